"""Insert, upsert, delete, get, query, count; flush, compaction, segments; consistency."""
import time

import numpy as np
import pytest
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, MilvusException, utility

import data
from conftest import NEWEST


def ids(rows):
    return sorted(r["id"] for r in rows)


def count(c, expr="", **more):
    return c.query(expr, output_fields=["count(*)"], **more)[0]["count(*)"]


def test_insert_reply(small):
    r = small.insert(data.small_columns([50, 51, 52]))
    assert r.insert_count == 3 and list(r.primary_keys) == [50, 51, 52] and r.timestamp > 0
    assert (r.succ_count, r.err_count) == (3, 0)


def test_rows_come_back_as_sent(everything):
    c, rows = everything
    got = c.query("id in [0, 1, 2, 3, 499, 500, 999]", output_fields=["*"])
    assert ids(got) == [0, 1, 2, 3, 499, 500, 999]
    for r in got:
        want = rows[r["id"]]
        for key, value in want.items():
            if key in ("f", "d"):
                assert r[key] == pytest.approx(value, rel=1e-6)
            elif key == "v":
                assert np.allclose(r[key], value)
            else:
                assert list(r[key]) == value if isinstance(value, list) else r[key] == value, key
        assert ("color" in r) == ("color" in want)


def test_output_fields(everything):
    c, rows = everything
    got = c.query("id == 4", output_fields=["s", "j"])[0]
    assert set(got) == {"id", "s", "j"} and got["j"] == rows[4]["j"]
    got = c.query("id == 4", output_fields=["color"])[0]
    assert got["color"] == rows[4]["color"]


def test_numpy_and_row_input(name):
    c = data.create_small(name, 0)
    c.insert([np.arange(5), [f"n{i}" for i in range(5)], np.ones((5, 4), np.float32)])
    c.insert([{"id": 10, "tag": "row", "v": [1, 2, 3, 4]}])
    assert ids(c.query("id >= 0")) == [0, 1, 2, 3, 4, 10]


def test_count_limit_offset(everything):
    c, rows = everything
    assert count(c) == 1000
    assert count(c, "i8 > 0") == sum(r["i8"] > 0 for r in rows)
    assert len(c.query("id >= 0", limit=10)) == 10
    seen = []
    for offset in range(0, 100, 30):
        seen += [r["id"] for r in c.query("id < 100", limit=30, offset=offset)]
    assert sorted(seen) == list(range(100)) and len(set(seen)) == 100
    assert len(c.query("id < 100", limit=50, offset=90)) == 10
    with pytest.raises(MilvusException):
        c.query("id >= 0", limit=16385)
    with pytest.raises(MilvusException) as e:
        c.query("")
    assert "empty expression should be used with limit" in str(e.value)
    assert len(c.query("", limit=7)) == 7


def test_query_is_ordered_by_key_with_limit(everything):
    c, _ = everything
    assert [r["id"] for r in c.query("id >= 100", limit=5)] == [100, 101, 102, 103, 104]


def test_delete_by_key_and_again(small):
    r = small.delete("id in [1, 2, 77]")
    assert r.delete_count in (2, 3)
    assert ids(small.query("id >= 0")) == [0] + list(range(3, 10))
    assert count(small) == 8
    small.insert(data.small_columns([1]))
    assert 1 in ids(small.query("id >= 0"))
    hits = small.search([[2.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 3)[0]
    assert 2 not in hits.ids


def test_delete_by_expression(small):
    small.delete('tag == "t1"')
    assert ids(small.query("id >= 0")) == [0, 2, 3, 5, 6, 8, 9]


def test_delete_sealed_and_growing(name):
    c = data.create_small(name, 20)
    c.flush()
    c.insert(data.small_columns(range(20, 30)))
    c.delete("id in [5, 25]")
    assert count(c) == 28
    c.flush()
    c.release()
    c.load()
    assert count(c) == 28 and ids(c.query("id in [4, 5, 25, 26]")) == [4, 26]


def test_upsert(small):
    r = small.upsert([[3, 100], ["new3", "new100"], [[30.0, 0, 0, 1], [100.0, 0, 0, 1]]])
    assert r.upsert_count == 2
    got = {r["id"]: r["tag"] for r in small.query("id in [3, 100]", output_fields=["tag"])}
    assert got == {3: "new3", 100: "new100"} and count(small) == 11
    hits = small.search([[30.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 1)[0]
    assert hits.ids[0] == 3 and hits.distances[0] == 0


def test_upsert_many_times_then_flush(name):
    c = data.create_small(name, 50)
    for round_ in range(4):
        c.upsert([list(range(50)), [f"r{round_}"] * 50, [[float(i), float(round_), 0, 1] for i in range(50)]])
    assert count(c) == 50
    c.flush()
    assert {r["tag"] for r in c.query("id >= 0", output_fields=["tag"])} == {"r3"}


def test_upsert_auto_id_is_refused(name):
    c = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True, auto_id=True),
                                           FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]))
    with pytest.raises(Exception):
        c.upsert([[[1.0, 2.0]]])


def test_growing_is_searched_at_once(small):
    for i in range(200, 230):
        small.insert(data.small_columns([i]))
        hits = small.search([[float(i), 0, 0, 1]], "v", {"metric_type": "L2"}, 1, consistency_level="Strong")[0]
        assert hits.ids[0] == i


def test_flush_and_segments(name):
    c = data.create_small(name, 100)
    c.flush()
    assert c.num_entities == 100
    for _ in range(300):   # the sealed segment is handed over in the background
        info = utility.get_query_segment_info(name)
        if sum(s.num_rows for s in info) == 100:
            break
        time.sleep(0.1)
    assert sum(s.num_rows for s in info) == 100 and all(s.collectionID for s in info)


def test_flush_all_seen_in_persistent_segments(name):
    if NEWEST:
        pytest.skip("get_persistent_segment_infos is list_persistent_segments there: test_newest.py")
    from pymilvus import connections
    c = data.create_small(name, 30)
    c.flush()
    infos = connections._fetch_handler("default").get_persistent_segment_infos(name)
    assert sum(i.num_rows for i in infos) == 30


def test_compaction(name):
    c = data.create_small(name, 0)
    for i in range(4):
        c.insert(data.small_columns(range(i * 100, i * 100 + 100)))
        c.flush()
    c.delete("id in " + str(list(range(0, 400, 2))))
    c.flush()
    c.compact()
    c.wait_for_compaction_completed(timeout=60)
    state = c.get_compaction_state()
    assert str(state.state).endswith("Completed")
    assert c.get_compaction_plans() is not None
    assert count(c) == 200
    c.release()
    c.load()
    assert ids(c.query("id >= 0")) == list(range(1, 400, 2))


@pytest.mark.parametrize("level", ["Strong", "Session", "Bounded", "Eventually"])
def test_consistency_levels(small, level):
    small.insert(data.small_columns([500]))
    if level in ("Bounded", "Eventually"):
        time.sleep(1)
    got = small.query("id >= 0", consistency_level=level)
    assert len(got) == 11 if level in ("Strong", "Session") else len(got) >= 0
    hits = small.search([[1.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 3, consistency_level=level)[0]
    assert len(hits) == 3


def test_customized_timestamp(small):
    r = small.insert(data.small_columns([600]))
    got = small.query("id == 600", consistency_level="Customized", guarantee_timestamp=r.timestamp)
    assert ids(got) == [600]


def test_collection_level_is_the_default(name):
    schema = CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                               FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)])
    for level, number in (("Strong", 0), ("Session", 1), ("Bounded", 2), ("Eventually", 3)):
        c = Collection(name, schema, consistency_level=level)
        assert c.describe()["consistency_level"] in (number, level)
        c.drop()


@pytest.mark.later   # 2.3.5 loses sight of other keys of the segment
def test_duplicate_keys_are_kept_by_insert(name):
    c = data.create_small(name, 0)
    c.insert(data.small_columns([1, 2]))
    c.insert(data.small_columns([1]))
    assert set(ids(c.query("id >= 0"))) == {1, 2}
    c.delete("id in [1]")
    assert ids(c.query("id >= 0")) == [2]


def test_big_batch(name, rng):
    c = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                           FieldSchema("v", DataType.FLOAT_VECTOR, dim=128)]), consistency_level="Strong")
    x = rng.random((20000, 128), dtype=np.float32)
    c.insert([list(range(20000)), x])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    assert count(c) == 20000
    assert c.search([x[12345]], "v", {"metric_type": "L2"}, 1)[0].ids[0] == 12345


def test_unicode_and_long_strings(name):
    c = Collection(name, CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("s", DataType.VARCHAR, max_length=65535),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]), consistency_level="Strong")
    texts = ["", "żółć 漢字 🙂", "a" * 60000, 'quo"te\\back\'s', "new\nline\ttab"]
    c.insert([list(range(len(texts))), texts, [[0.0, 1.0]] * len(texts)])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    assert {r["id"]: r["s"] for r in c.query("id >= 0", output_fields=["s"])} == dict(enumerate(texts))
    assert ids(c.query('s == "żółć 漢字 🙂"')) == [1]


def test_json_shapes(name):
    c = Collection(name, CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("j", DataType.JSON),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]), consistency_level="Strong")
    values = [{}, {"a": None}, {"a": [1, "x", {"b": 1.5}]}, {"a": {"b": {"c": True}}}, {"ключ": "значение"}]
    c.insert([list(range(len(values))), values, [[0.0, 1.0]] * len(values)])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    assert {r["id"]: r["j"] for r in c.query("id >= 0", output_fields=["j"])} == dict(enumerate(values))
