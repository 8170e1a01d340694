"""What the newest client calls: MilvusClient of pymilvus 3, sync and async; and what came to Milvus after 2.3."""
import asyncio
import time

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException

from conftest import NEWEST, URI, unique

pytestmark = [pytest.mark.newest]
if NEWEST:
    from pymilvus import AnnSearchRequest, AsyncMilvusClient, RRFRanker, WeightedRanker


def make(client, name, n=100, **more):
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("tag", DataType.VARCHAR, max_length=32)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=8)
    index = client.prepare_index_params()
    index.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 64})
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong", **more)
    if n:
        client.insert(name, rows(range(n)))
    return name


def rows(ids):
    return [{"id": i, "tag": f"t{i % 5}", "v": [float(i)] * 8, "extra": i * 2} for i in ids]


def state_name(state):
    return str(getattr(state["state"], "name", state["state"]))


def test_everyday_calls(client, name):
    make(client, name)
    assert client.has_collection(name) and name in client.list_collections()
    assert client.get_collection_stats(name)["row_count"] >= 0
    r = client.upsert(name, rows([3, 200]))
    assert r["upsert_count"] == 2
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 101
    assert client.get(name, ids=[200], output_fields=["extra", "tag"])[0]["extra"] == 400
    hits = client.search(name, [[5.0] * 8], limit=3, output_fields=["tag", "extra"], filter="id < 50")[0]
    assert hits[0]["id"] == 5 and hits[0]["entity"]["extra"] == 10
    assert client.delete(name, ids=[5])["delete_count"] == 1
    assert client.delete(name, filter='tag == "t1"')["delete_count"] >= 0
    assert client.query(name, filter="id in [1, 5, 6]") == []
    client.flush(name)
    assert client.get_collection_stats(name)["row_count"] > 0
    job = client.compact(name)
    assert client.get_compaction_state(job) in ("Completed", "Executing", "UndefiedState")
    client.refresh_load(name)
    client.release_collection(name)
    assert state_name(client.get_load_state(name)) == "NotLoad"
    client.load_collection(name)
    assert state_name(client.get_load_state(name)) == "Loaded"
    new = name + "_x"
    client.rename_collection(name, new)
    assert not client.has_collection(name)
    client.drop_collection(new)
    assert not client.has_collection(new)


@pytest.mark.later   # INVERTED
def test_indexes(client, name):
    make(client, name, 10)
    assert client.list_indexes(name) == ["v"]
    d = client.describe_index(name, "v")
    assert d["index_type"] == "HNSW" and d["metric_type"] == "L2" and d["field_name"] == "v"
    assert d["state"] == "Finished"
    client.release_collection(name)
    client.drop_index(name, "v")
    assert client.list_indexes(name) == []
    index = client.prepare_index_params()
    index.add_index("v", index_type="AUTOINDEX", metric_type="COSINE")
    index.add_index("tag", index_type="INVERTED")
    client.create_index(name, index)
    assert sorted(client.list_indexes(name)) == ["tag", "v"]
    assert client.describe_index(name, "v")["index_type"] == "AUTOINDEX"
    client.load_collection(name)
    assert len(client.query(name, filter='tag == "t1"')) == 2


def test_partitions(client, name):
    make(client, name, 0)
    client.create_partition(name, "p")
    assert client.has_partition(name, "p") and set(client.list_partitions(name)) == {"_default", "p"}
    client.insert(name, rows(range(10)), partition_name="p")
    assert len(client.query(name, filter="id >= 0", partition_names=["p"])) == 10
    client.flush(name)
    assert client.get_partition_stats(name, "p")["row_count"] == 10
    client.release_partitions(name, ["p"])
    client.load_partitions(name, ["p"])
    client.release_collection(name)
    client.drop_partition(name, "p")
    assert not client.has_partition(name, "p")


def test_aliases(client, name):
    make(client, name, 5)
    a = unique("alias")
    client.create_alias(name, a)
    assert client.describe_alias(a)["collection_name"] == name
    assert len(client.query(a, filter="id >= 0")) == 5
    other = make(client, name + "_o", 3)
    client.alter_alias(other, a)
    assert client.describe_alias(a)["collection_name"] == other
    client.drop_alias(a)
    client.drop_collection(other)


@pytest.mark.later   # asks DescribeDatabase
def test_databases_and_use(client, name):
    d = unique("db")
    client.create_database(d)
    mine = MilvusClient(uri=URI)
    mine.use_database(d)
    make(mine, name, 3)
    assert mine.list_collections() == [name] and not client.has_collection(name)
    mine.drop_collection(name)
    mine.close()
    assert d in client.list_databases()
    client.drop_database(d)


@pytest.mark.later
def test_describe_database(client):
    d = unique("db")
    client.create_database(d, properties={"database.max.collections": 5})
    got = client.describe_database(d)
    assert got["name"] == d
    client.alter_database_properties(d, {"database.max.collections": 7})
    assert str(client.describe_database(d).get("database.max.collections")) == "7"
    client.drop_database(d)


def test_properties(client, name):
    make(client, name, 1)
    client.alter_collection_properties(name, {"collection.ttl.seconds": 1000})
    assert client.describe_collection(name)["properties"]["collection.ttl.seconds"] == "1000"


@pytest.mark.later
def test_drop_properties(client, name):
    make(client, name, 1)
    client.alter_collection_properties(name, {"collection.ttl.seconds": 1000})
    client.drop_collection_properties(name, ["collection.ttl.seconds"])
    assert "collection.ttl.seconds" not in client.describe_collection(name)["properties"]


def test_iterators(client, name):
    make(client, name, 300)
    it = client.query_iterator(name, batch_size=70, filter="id >= 20", output_fields=["tag"])
    got = []
    while page := it.next():
        got += [r["id"] for r in page]
    it.close()
    assert got == list(range(20, 300))
    it = client.search_iterator(name, [[0.0] * 8], batch_size=40, limit=120, search_params={"metric_type": "L2"},
                                output_fields=["tag"])
    got = []
    while page := it.next():
        got += [h["id"] for h in page]
    it.close()
    assert got == list(range(120))


def test_an_iterator_keeps_what_it_began_with(client, name):
    """Rows deleted while it is under way, flushed and compacted away, still come: it reads at its first page's time."""
    make(client, name, 300)
    client.flush(name)
    it = client.query_iterator(name, batch_size=50, filter="id >= 0", output_fields=["tag"])
    got = [r["id"] for r in it.next()]
    client.delete(name, filter="id < 290")
    client.insert(name, rows(range(1000, 1050)))
    client.flush(name)
    job = client.compact(name)
    for _ in range(200):
        if client.get_compaction_state(job) == "Completed":
            break
        time.sleep(0.05)
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 60
    while page := it.next():
        got += [r["id"] for r in page]
    it.close()
    assert got == list(range(300))


@pytest.mark.later
def test_segments(client, name):
    make(client, name, 20)
    client.flush(name)
    assert sum(s.num_rows for s in client.list_persistent_segments(name)) == 20
    client.list_loaded_segments(name)


def test_users_and_roles(client):
    user, role = unique("u"), unique("r")
    client.create_user(user, "Secret123")
    client.create_role(role)
    try:
        assert user in client.list_users() and role in client.list_roles()
        client.grant_role(user, role)
        assert role in client.describe_user(user)["roles"]
        client.revoke_role(user, role)
        client.update_password(user, "Secret123", "Other456")
    finally:
        client.drop_role(role)
        client.drop_user(user)
    assert user not in client.list_users() and role not in client.list_roles()


@pytest.mark.later
def test_filter_templates(client, name):
    make(client, name)
    q = lambda f, p: sorted(r["id"] for r in client.query(name, filter=f, filter_params=p))
    assert q("id == {x}", {"x": 7}) == [7]
    assert q("id in {xs}", {"xs": [1, 2, 500]}) == [1, 2]
    assert q("tag == {t} and id < {n}", {"t": "t2", "n": 10}) == [2, 7]
    assert q("extra > {e}", {"e": 190}) == [96, 97, 98, 99]
    hits = client.search(name, [[3.0] * 8], limit=2, filter="tag in {ts}", filter_params={"ts": ["t4"]})[0]
    assert hits[0]["id"] == 4
    with pytest.raises(MilvusException):
        q("id == {missing}", {})


def make_hybrid(client, name, n=200):
    g = np.random.default_rng(4)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("n", DataType.INT64)
    schema.add_field("a", DataType.FLOAT_VECTOR, dim=8)
    schema.add_field("b", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=32)
    index = client.prepare_index_params()
    index.add_index("a", index_type="FLAT", metric_type="IP")
    index.add_index("b", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 64})
    index.add_index("bits", index_type="BIN_FLAT", metric_type="HAMMING")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    a, b = g.standard_normal((n, 8)).astype(np.float32), g.standard_normal((n, 4)).astype(np.float32)
    client.insert(name, [dict(id=i, n=i % 10, a=a[i].tolist(), b=b[i].tolist(), bits=bytes(g.integers(0, 256, 4, dtype=np.uint8)))
                         for i in range(n)])
    return a, b


@pytest.mark.later
def test_several_vector_fields(client, name):
    a, b = make_hybrid(client, name)
    assert client.search(name, [b[9].tolist()], anns_field="b", limit=1)[0][0]["id"] == 9
    got = client.search(name, [a[9].tolist()], anns_field="a", limit=5)[0]
    assert [h["id"] for h in got] == list(np.argsort(-(a @ a[9]))[:5])
    with pytest.raises(Exception):
        client.search(name, [a[9].tolist()], limit=5)   # which field?


@pytest.mark.later
def test_hybrid_search_rrf(client, name):
    a, b = make_hybrid(client, name)
    qa, qb = a[3], b[70]
    reqs = [AnnSearchRequest([qa.tolist()], "a", {"metric_type": "IP"}, 20),
            AnnSearchRequest([qb.tolist()], "b", {"metric_type": "L2", "params": {"ef": 200}}, 20)]
    scores = {}
    for order in (np.argsort(-(a @ qa))[:20], np.argsort(((b - qb) ** 2).sum(1))[:20]):
        for rank, i in enumerate(order):
            scores[int(i)] = scores.get(int(i), 0) + 1 / (60 + rank + 1)
    want = sorted(scores, key=lambda i: -scores[i])
    got = client.hybrid_search(name, reqs, RRFRanker(60), limit=10, output_fields=["n"])[0]
    assert len(got) == 10
    assert np.allclose([h["distance"] for h in got], [scores[i] for i in want[:10]], rtol=1e-4)
    assert all(h["entity"]["n"] == h["id"] % 10 for h in got)
    page = client.hybrid_search(name, reqs, RRFRanker(60), limit=5, offset=5)[0]
    assert [round(h["distance"], 5) for h in page] == [round(h["distance"], 5) for h in got[5:]]


@pytest.mark.later
def test_hybrid_search_weighted_and_filtered(client, name):
    a, b = make_hybrid(client, name)
    reqs = [AnnSearchRequest([a[3].tolist()], "a", {"metric_type": "IP"}, 20, expr="n < 5"),
            AnnSearchRequest([b[3].tolist()], "b", {"metric_type": "L2"}, 20, expr="n < 5")]
    got = client.hybrid_search(name, reqs, WeightedRanker(0.3, 0.7), limit=10, output_fields=["n"])[0]
    assert len(got) == 10 and got[0]["id"] == 3 and all(h["entity"]["n"] < 5 for h in got)
    d = [h["distance"] for h in got]
    assert d == sorted(d, reverse=True) and all(0 <= x <= 1 for x in d)
    with pytest.raises(MilvusException):
        client.hybrid_search(name, reqs, WeightedRanker(0.3), limit=10)
    with pytest.raises(MilvusException):
        client.hybrid_search(name, reqs, WeightedRanker(0.3, 1.7), limit=10)


@pytest.mark.later
def test_nullable_and_defaults(client, name):
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("n", DataType.INT64, nullable=True)
    schema.add_field("s", DataType.VARCHAR, max_length=20, default_value="none")
    schema.add_field("f", DataType.FLOAT, nullable=True, default_value=1.5)
    schema.add_field("j", DataType.JSON, nullable=True)
    schema.add_field("arr", DataType.ARRAY, element_type=DataType.INT32, max_capacity=4, nullable=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    d = {f["name"]: f for f in client.describe_collection(name)["fields"]}
    assert d["n"]["nullable"] and not d["s"].get("nullable")
    client.insert(name, [
        {"id": 1, "n": 10, "s": "x", "f": 2.5, "j": {"a": 1}, "arr": [1, 2], "v": [0.0, 0.0]},
        {"id": 2, "n": None, "s": None, "f": None, "j": None, "arr": None, "v": [1.0, 0.0]},
        {"id": 3, "v": [2.0, 0.0]},
    ])

    def check():
        got = {r["id"]: r for r in client.query(name, filter="id > 0", output_fields=["*"])}
        assert (got[1]["n"], got[1]["s"], got[1]["f"], got[1]["j"]) == (10, "x", 2.5, {"a": 1}) and list(got[1]["arr"]) == [1, 2]
        for i in (2, 3):
            assert (got[i]["n"], got[i]["s"], got[i]["f"], got[i]["j"], got[i]["arr"]) == (None, "none", 1.5, None, None)
        ids = lambda f: sorted(r["id"] for r in client.query(name, filter=f))
        assert ids("n is null") == [2, 3] and ids("n is not null") == [1]
        assert ids("n > 5") == [1] and ids("not (n > 5)") == [] and ids("n > 5 or id == 3") == [1, 3]
        assert ids('s == "none"') == [2, 3]
        hit = client.search(name, [[1.0, 0.0]], limit=1, output_fields=["n", "s"])[0][0]
        assert hit["id"] == 2 and hit["entity"]["n"] is None and hit["entity"]["s"] == "none"
    check()
    client.flush(name)
    client.release_collection(name)
    client.load_collection(name)
    check()
    with pytest.raises(Exception):
        client.insert(name, [{"id": None, "v": [0.0, 0.0]}])


def test_async_client(name):
    async def story():
        c = AsyncMilvusClient(uri=URI)
        schema = MilvusClient.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
        index = c.prepare_index_params()
        index.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 32})
        await c.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
        await asyncio.gather(*(c.insert(name, [{"id": i, "v": [float(i)] * 4} for i in range(k, k + 20)])
                               for k in range(0, 200, 20)))
        assert await c.has_collection(name)
        hits = await asyncio.gather(*(c.search(name, [[float(i)] * 4], limit=1) for i in range(0, 200, 10)))
        assert [h[0][0]["id"] for h in hits] == list(range(0, 200, 10))
        assert len(await c.query(name, filter="id < 10")) == 10
        assert (await c.get(name, ids=[5]))[0]["id"] == 5
        await c.upsert(name, [{"id": 5, "v": [500.0] * 4}])
        await c.delete(name, ids=[6])
        assert len(await c.query(name, filter="id < 10")) == 9
        await c.flush(name)
        await c.create_partition(name, "p")
        assert "p" in await c.list_partitions(name)
        assert name in await c.list_collections()
        assert (await c.describe_collection(name))["collection_name"] == name
        await c.release_collection(name)
        with pytest.raises(MilvusException) as e:
            await c.query(name, filter="id < 10")
        assert e.value.code == 101
        await c.load_collection(name)
        await c.drop_collection(name)
        assert not await c.has_collection(name)
        await c.close()
    asyncio.run(story())


@pytest.mark.later
def test_async_hybrid_search(client, name):
    a, b = make_hybrid(client, name)

    async def story():
        c = AsyncMilvusClient(uri=URI)
        got = await c.hybrid_search(name, [AnnSearchRequest([a[3].tolist()], "a", {"metric_type": "IP"}, 20),
                                           AnnSearchRequest([b[3].tolist()], "b", {"metric_type": "L2"}, 20)],
                                    RRFRanker(), limit=5)
        assert len(got[0]) == 5
        await c.close()
    asyncio.run(story())
