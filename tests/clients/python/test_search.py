"""Search: metrics, parameters, pages, ranges, filters, outputs, iterators."""
import numpy as np
import pytest
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, MilvusException

import data
from conftest import NEWEST


@pytest.fixture(scope="module", params=["L2", "IP", "COSINE"])
def by_metric(request, connected):
    from conftest import unique
    x = np.random.default_rng(5).standard_normal((2000, 24)).astype(np.float32)
    c = Collection(unique("metric"), CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("n", DataType.INT64),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=24)]), consistency_level="Strong")
    c.insert([list(range(1500)), list(range(1500)), x[:1500]])
    c.flush()
    c.insert([list(range(1500, 2000)), list(range(1500, 2000)), x[1500:]])
    c.create_index("v", {"index_type": "FLAT", "metric_type": request.param, "params": {}})
    c.load()
    yield c, x, request.param
    c.drop()


def test_exact_results_and_scores(by_metric):
    c, x, metric = by_metric
    for q in x[::400] * 0.9:
        want, scores = data.exact(metric, q, x, list(range(2000)), 15)
        got = c.search([q], "v", {"metric_type": metric}, 15)[0]
        assert list(got.ids) == want
        assert np.allclose(list(got.distances), scores, rtol=1e-4, atol=1e-4)


def test_metric_may_be_left_out(by_metric):
    c, x, metric = by_metric
    assert list(c.search([x[3]], "v", {}, 5)[0].ids) == list(c.search([x[3]], "v", {"metric_type": metric}, 5)[0].ids)


def test_many_queries_in_one_call(by_metric):
    c, x, metric = by_metric
    got = c.search(x[:100], "v", {"metric_type": metric}, 7)
    assert len(got) == 100
    for i in (0, 50, 99):
        assert list(got[i].ids) == data.exact(metric, x[i], x, list(range(2000)), 7)[0]


def test_filtered_is_exact(by_metric):
    c, x, metric = by_metric
    for expr, keep in (("n < 20", range(20)), ("n % 2 == 0", range(0, 2000, 2)), ("n in [1, 1999]", [1, 1999]),
                       ("n < 0", [])):
        keep = list(keep)
        got = c.search([x[10]], "v", {"metric_type": metric}, 10, expr=expr)[0]
        want = data.exact(metric, x[10], x[keep], keep, 10)[0] if keep else []
        assert list(got.ids) == want


def test_pages(by_metric):
    c, x, metric = by_metric
    whole = list(c.search([x[1]], "v", {"metric_type": metric}, 50)[0].ids)
    pages = []
    for offset in range(0, 50, 10):
        pages += list(c.search([x[1]], "v", {"metric_type": metric, "offset": offset}, 10)[0].ids)
    assert pages == whole
    assert list(c.search([x[1]], "v", {"metric_type": metric}, 10, offset=20)[0].ids) == whole[20:30]


def test_range_search(by_metric):
    c, x, metric = by_metric
    q = x[7]
    _, scores = data.exact(metric, q, x, list(range(2000)), 200)
    near, far = scores[20], scores[120]
    got = c.search([q], "v", {"metric_type": metric, "params": {"radius": far, "range_filter": near}}, 300)[0]
    d = list(got.distances)
    eps = 1e-3
    if metric == "L2":
        assert all(near - eps <= s < far + eps for s in d)
    else:
        assert all(far - eps < s <= near + eps for s in d)
    assert 98 <= len(d) <= 102
    only = c.search([q], "v", {"metric_type": metric, "params": {"radius": far}}, 50)[0]
    assert len(only) == 50
    with pytest.raises(MilvusException):
        c.search([q], "v", {"metric_type": metric, "params": {"radius": near, "range_filter": far}}, 5)


def test_round_decimal(by_metric):
    c, x, metric = by_metric
    got = c.search([x[0] * 0.7], "v", {"metric_type": metric}, 5, round_decimal=2)[0]
    assert all(abs(s - round(s, 2)) < 1e-5 for s in got.distances)


def test_output_fields_in_search(everything):
    c, rows = everything
    got = c.search([rows[42]["v"]], "v", {"metric_type": "L2"}, 3,
                   output_fields=["s", "i8", "b", "d", "j", "ai", "as_", "v", "color", "extra"])[0]
    assert got.ids[0] == 42 and abs(got.distances[0]) < 1e-4
    e = got[0].entity
    for key in ("s", "i8", "b", "j", "color", "extra"):
        assert e.get(key) == rows[42][key]
    assert list(e.get("ai")) == rows[42]["ai"] and list(e.get("as_")) == rows[42]["as_"]
    assert np.allclose(e.get("v"), rows[42]["v"])
    star = c.search([rows[42]["v"]], "v", {"metric_type": "L2"}, 1, output_fields=["*"])[0][0].entity
    assert star.get("i64") == rows[42]["i64"] and star.get("extra") == 12


def test_search_filters_on_every_type(everything):
    c, rows = everything
    x = np.array([r["v"] for r in rows], np.float32)
    for expr, keep in (("b == true", lambda r: r["b"]), ('s like "name_01%"', lambda r: r["s"].startswith("name_01")),
                       ('j["k"] < 5', lambda r: r["j"]["k"] < 5), ("array_contains(ai, 13)", lambda r: 13 in r["ai"]),
                       ('color == "red"', lambda r: r.get("color") == "red"), ("d > 300.5", lambda r: r["d"] > 300.5)):
        good = [r["id"] for r in rows if keep(r)]
        got = c.search([x[100]], "v", {"metric_type": "L2", "params": {"ef": 200}}, 10, expr=expr)[0]
        want = data.exact("L2", x[100], x[good], good, 10)[0]
        assert set(got.ids) <= set(good)
        assert len(set(got.ids) & set(want)) >= 9, expr


def test_empty_collection(name):
    c = data.create_small(name, 0)
    got = c.search([[0.0] * 4, [1.0] * 4], "v", {"metric_type": "L2"}, 3)
    assert len(got) == 2 and [len(h) for h in got] == [0, 0]
    assert c.query("id >= 0") == []


def test_fewer_rows_than_limit(small):
    got = small.search([[0.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 100)[0]
    assert sorted(got.ids) == list(range(10))


def test_large_limit(name, rng):
    c = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                           FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)]), consistency_level="Strong")
    c.insert([list(range(17000)), rng.random((17000, 4), dtype=np.float32)])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    got = c.search([[0.5] * 4], "v", {"metric_type": "L2"}, 16384)[0]
    assert len(got) == 16384 and len(set(got.ids)) == 16384


def test_future_and_callback(small):
    future = small.search([[1.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 2, _async=True)
    assert future.result()[0].ids[0] == 1
    future = small.insert(data.small_columns([77]), _async=True)
    assert future.result().insert_count == 1


def test_query_iterator(everything):
    c, _ = everything
    it = c.query_iterator(batch_size=70, expr="id >= 100", output_fields=["s"])
    seen = []
    while True:
        page = it.next()
        if not page:
            break
        assert len(page) <= 70
        seen += [r["id"] for r in page]
    it.close()
    assert seen == list(range(100, 1000))


def test_query_iterator_limit(everything):
    c, _ = everything
    it = c.query_iterator(batch_size=30, limit=100, expr="id >= 0", output_fields=["id"])
    total = 0
    while page := it.next():
        total += len(page)
    it.close()
    assert total == 100


def test_search_iterator(everything):
    c, rows = everything
    it = c.search_iterator([rows[0]["v"]], "v", {"metric_type": "L2", "params": {"ef": 128}}, batch_size=50, limit=200,
                           output_fields=["s"])
    ids, scores = [], []
    while True:
        page = it.next()
        if len(page) == 0:
            break
        ids += list(page.ids())
        scores += list(page.distances())
    it.close()
    assert len(ids) == len(set(ids)) == 200 and scores == sorted(scores)
    x = np.array([r["v"] for r in rows], np.float32)
    want = data.exact("L2", x[0], x, list(range(1000)), 200)[0]
    assert len(set(ids) & set(want)) >= 180


@pytest.mark.parametrize("change,words", [
    (dict(limit=16385), "topk [16385] is invalid"),
    (dict(expr="id >"), "cannot parse expression"),
    (dict(expr="zz > 1"), "field zz not exist"),
    (dict(expr="tag > 1"), ""),
    (dict(output_fields=["zz"]), "field zz not exist"),
    (dict(partition_names=["zz"]), "partition name zz not found"),
    (dict(param={"metric_type": "IP"}), ""),
    (dict(param={"metric_type": "L2", "offset": -1}), ""),
    (dict(param={"metric_type": "L2", "offset": 16384}), ""),
    (dict(data=[[1.0, 2.0, 3.0]]), ""),
    (dict(anns_field="tag"), ""),
    (dict(round_decimal=9), ""),
])
def test_bad_searches(small, change, words):
    arguments = dict(data=[[0.0, 0, 0, 1]], anns_field="v", param={"metric_type": "L2"}, limit=3)
    arguments.update(change)
    try:
        got = small.search(**arguments)
        # 2.3's client drops the error of some failures and answers without hits.
        assert not NEWEST and sum(len(h) for h in got) == 0
    except Exception as e:
        assert words in str(e)
    assert len(small.search([[0.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 3)[0]) == 3
