"""Connecting; databases; collections with every field type; aliases; partitions; properties."""
import pytest
from pymilvus import (Collection, CollectionSchema, DataType, FieldSchema, MilvusClient, MilvusException,
                      connections, db, utility)

import data
from conftest import HOST, NEWEST, PORT, URI, unique


def test_connect_and_version(client):
    assert utility.get_server_version()
    assert isinstance(client.list_collections(), list)


def test_two_connections_close_one():
    a, b = MilvusClient(uri=URI), MilvusClient(uri=URI)
    a.close()
    assert isinstance(b.list_collections(), list)
    b.close()


def test_connect_to_unknown_database():
    with pytest.raises(MilvusException) as e:
        connections.connect("elsewhere", host=HOST, port=PORT, db_name="no_such_db")
        utility.list_collections(using="elsewhere")
    assert e.value.code == 800
    assert "database not found" in str(e.value)


def test_databases(name):
    d = unique("db")
    db.create_database(d)
    try:
        assert d in db.list_database() and "default" in db.list_database()
        with pytest.raises(MilvusException) as e:
            db.create_database(d)
        assert "already exist" in str(e.value)
        connections.connect("other", host=HOST, port=PORT, db_name=d)
        c = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                               FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]), using="other")
        assert utility.list_collections(using="other") == [name]
        assert not utility.has_collection(name)
        with pytest.raises(MilvusException):
            db.drop_database(d)   # not empty
        c.drop()
        connections.disconnect("other")
    finally:
        db.drop_database(d)
    assert d not in db.list_database()


def test_same_name_in_two_databases(name):
    d = unique("db")
    db.create_database(d)
    connections.connect("second", host=HOST, port=PORT, db_name=d)
    schema = CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                               FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)])
    here, there = Collection(name, schema), Collection(name, schema, using="second")
    here.insert([[1, 2], [[0.0, 1.0], [1.0, 0.0]]])
    here.flush()
    there.flush()
    assert (here.num_entities, there.num_entities) == (2, 0)
    there.drop()
    connections.disconnect("second")
    db.drop_database(d)
    assert utility.has_collection(name)


def test_drop_default_database():
    with pytest.raises(MilvusException) as e:
        db.drop_database("default")
    assert "can not drop default database" in str(e.value)


def test_describe_every_field_type(name, client):
    data.create_everything(name)
    d = client.describe_collection(name)
    fields = {f["name"]: f for f in d["fields"]}
    assert list(fields) == ["id", "b", "i8", "i16", "i32", "i64", "f", "d", "s", "j", "ai", "as_", "v"]
    assert [f["field_id"] for f in d["fields"]] == list(range(100, 113))
    assert fields["id"]["is_primary"] and fields["id"]["type"] == DataType.INT64
    assert int(fields["s"]["params"]["max_length"]) == 200
    assert int(fields["v"]["params"]["dim"]) == data.DIM
    assert fields["ai"]["element_type"] == DataType.INT64 and int(fields["ai"]["params"]["max_capacity"]) == 20
    assert fields["as_"]["element_type"] == DataType.VARCHAR
    assert d["enable_dynamic_field"] and not d["auto_id"]
    assert d["num_shards"] == 2 and d["num_partitions"] == 1
    assert d["consistency_level"] == 0 and d["collection_name"] == name


def test_orm_reads_schema_back(name):
    data.create_everything(name)
    c = Collection(name)
    assert [f.name for f in c.schema.fields] == [f.name for f in data.everything_schema().fields]
    assert c.schema.enable_dynamic_field and c.primary_field.name == "id"
    assert c.num_entities == 0 and c.is_empty
    assert c.describe()["num_shards"] == 2


def test_create_again_same_and_other_schema(name):
    data.create_small(name, 0)
    data_schema = Collection(name).schema
    Collection(name, data_schema)
    with pytest.raises(Exception):
        Collection(name, CollectionSchema([FieldSchema("pk", DataType.INT64, is_primary=True),
                                           FieldSchema("v", DataType.FLOAT_VECTOR, dim=8)]))


def test_list_has_rename_drop(name):
    data.create_small(name, 3)
    assert name in utility.list_collections() and utility.has_collection(name)
    new = name + "_new"
    utility.rename_collection(name, new)
    assert not utility.has_collection(name) and utility.has_collection(new)
    assert len(Collection(new).query("id >= 0", output_fields=["tag"])) == 3
    utility.drop_collection(new)
    assert not utility.has_collection(new)
    utility.drop_collection(new)   # dropping what isn't there is no error


def test_recreate_after_drop_is_empty(name):
    data.create_small(name, 5).drop()
    c = data.create_small(name, 2)
    assert sorted(r["id"] for r in c.query("id >= 0")) == [0, 1]


def test_binary_and_varchar_key(name):
    c = Collection(name, CollectionSchema([
        FieldSchema("key", DataType.VARCHAR, is_primary=True, max_length=20),
        FieldSchema("bits", DataType.BINARY_VECTOR, dim=16)]))
    r = c.insert([["a", "b", "c"], [bytes([1, 2]), bytes([3, 4]), bytes([5, 6])]])
    assert list(r.primary_keys) == ["a", "b", "c"] and r.insert_count == 3
    c.create_index("bits", {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "params": {}})
    c.load()
    got = c.query('key in ["a", "c", "nope"]', output_fields=["bits"], consistency_level="Strong")
    assert {r["key"]: r["bits"][0] for r in got} == {"a": bytes([1, 2]), "c": bytes([5, 6])}


@pytest.mark.parametrize("kind", [DataType.INT64, DataType.VARCHAR])
def test_auto_id(name, kind):
    extra = {"max_length": 64} if kind == DataType.VARCHAR else {}
    c = Collection(name, CollectionSchema([
        FieldSchema("id", kind, is_primary=True, auto_id=True, **extra),
        FieldSchema("n", DataType.INT32), FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]), consistency_level="Strong")
    keys = []
    for start in (0, 50):
        r = c.insert([list(range(start, start + 50)), [[float(i), 1.0] for i in range(start, start + 50)]])
        keys += list(r.primary_keys)
    assert len(set(keys)) == 100 and all(isinstance(k, str if extra else int) for k in keys)
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    got = c.query("n >= 0", output_fields=["n"])
    assert {r["id"]: r["n"] for r in got} == dict(zip(keys, range(100)))


def test_aliases(name):
    other, alias = unique(), unique("alias")
    c = data.create_small(name, 4)
    d = data.create_small(other, 7)
    utility.create_alias(name, alias)
    assert utility.list_aliases(name) == [alias]
    assert len(Collection(alias).query("id >= 0")) == 4
    with pytest.raises(MilvusException) as e:
        utility.create_alias(other, alias)
    assert e.value.code in (1602, 65535)
    utility.alter_alias(other, alias)
    assert len(Collection(alias).query("id >= 0")) == 7
    with pytest.raises(MilvusException):
        utility.drop_collection(alias)
    utility.drop_alias(alias)
    assert not utility.has_collection(alias)
    d.drop()
    c.drop()


def test_describe_alias(client, name):
    data.create_small(name, 0)
    alias = unique("alias")
    client.create_alias(name, alias)
    got = client.describe_alias(alias)
    assert got["alias"] == alias and got["collection_name"] == name
    assert alias in client.list_aliases(name)["aliases"]
    assert alias in client.describe_collection(name)["aliases"]
    client.drop_alias(alias)
    with pytest.raises(MilvusException) as e:
        client.describe_alias(alias)
    assert e.value.code == 1600


def test_partitions(name):
    c = data.create_small(name, 0)
    c.release()
    assert [p.name for p in c.partitions] == ["_default"]
    p = c.create_partition("north", description="cold")
    c.create_partition("south")
    assert {x.name for x in c.partitions} == {"_default", "north", "south"}
    assert c.has_partition("north") and not c.has_partition("west")
    assert utility.has_partition(name, "south")
    p.insert(data.small_columns(range(0, 6)))
    c.insert(data.small_columns(range(6, 10)), partition_name="south")
    c.insert(data.small_columns(range(10, 13)))
    c.flush()
    assert (p.num_entities, c.partition("south").num_entities, c.num_entities) == (6, 4, 13)
    c.load()
    assert sorted(r["id"] for r in c.query("id >= 0", partition_names=["north"])) == list(range(6))
    assert sorted(r["id"] for r in c.query("id >= 0", partition_names=["north", "south"])) == list(range(10))
    hits = c.search([[7.0, 0, 0, 1]], "v", {"metric_type": "L2"}, 3, partition_names=["north"])[0]
    assert hits.ids[0] == 5
    with pytest.raises(MilvusException) as e:
        c.insert(data.small_columns([99]), partition_name="west")
    assert e.value.code == 200
    p.delete("id in [0, 1, 8]")
    assert sorted(r["id"] for r in c.query("id < 10")) == list(range(2, 10))
    c.release()
    c.drop_partition("north")
    assert not c.has_partition("north")
    c.load()
    assert sorted(r["id"] for r in c.query("id >= 0")) == list(range(6, 13))


def test_load_partition_only(name):
    c = data.create_small(name, 0)
    c.release()
    c.create_partition("a")
    c.create_partition("b")
    c.insert(data.small_columns(range(3)), partition_name="a")
    c.insert(data.small_columns(range(3, 6)), partition_name="b")
    c.partition("a").load()
    assert sorted(r["id"] for r in c.query("id >= 0", partition_names=["a"])) == [0, 1, 2]
    with pytest.raises(MilvusException) as e:
        c.query("id >= 0", partition_names=["b"])
    assert "not loaded" in str(e.value)
    c.partition("b").load()
    assert len(c.query("id >= 0")) == 6
    c.partition("a").release()
    assert sorted(r["id"] for r in c.query("id >= 0", partition_names=["b"])) == [3, 4, 5]


def test_default_partition_stays(name):
    c = data.create_small(name, 0)
    c.release()
    with pytest.raises(MilvusException) as e:
        c.drop_partition("_default")
    assert "default partition cannot be deleted" in str(e.value)


def test_partition_key(name):
    c = Collection(name, CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("who", DataType.VARCHAR, max_length=32, is_partition_key=True),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]), num_partitions=8, consistency_level="Strong")
    assert len(c.partitions) == 8
    c.insert([list(range(200)), [f"user{i % 20}" for i in range(200)], [[float(i), 0.0] for i in range(200)]])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    assert sorted(r["id"] for r in c.query('who == "user3"')) == list(range(3, 200, 20))
    assert len(c.query('who in ["user3", "user4"] and id < 100')) == 10
    hits = c.search([[50.0, 0.0]], "v", {}, 5, expr='who == "user7"', output_fields=["who"])[0]
    assert hits.ids[0] == 47 and all(h.entity.get("who") == "user7" for h in hits)
    with pytest.raises(MilvusException):
        c.create_partition("mine")
    with pytest.raises(Exception):
        c.insert([[1], ["user1"], [[0.0, 0.0]]], partition_name="_default_0")


def test_properties(name, client):
    c = data.create_small(name, 2)
    c.set_properties({"collection.ttl.seconds": 3600})
    if NEWEST:   # 2.3.7 does not show them
        assert client.describe_collection(name)["properties"]["collection.ttl.seconds"] == "3600"
    c.set_properties({"collection.ttl.seconds": 0})
    assert len(c.query("id >= 0")) == 2


@pytest.mark.later   # 2.3.5 applies it at compaction
def test_ttl_hides_old_rows(name):
    import time
    c = data.create_small(name, 5)
    c.release()
    c.set_properties({"collection.ttl.seconds": 2})
    c.load()
    time.sleep(4)
    assert c.query("id >= 0") == []
    c.insert(data.small_columns([100]))
    assert [r["id"] for r in c.query("id >= 0")] == [100]


def test_statistics(name, client):
    c = data.create_small(name, 10)
    c.flush()
    assert c.num_entities == 10
    assert client.get_collection_stats(name)["row_count"] == 10
    assert int(client.get_partition_stats(name, "_default")["row_count"]) == 10


def test_fast_create_with_client(client, name):
    client.create_collection(name, dimension=8)
    client.insert(name, [{"id": i, "vector": [float(i)] * 8, "color": "red" if i % 2 else "blue"} for i in range(20)])
    assert client.describe_collection(name)["enable_dynamic_field"]
    got = client.query(name, filter='color == "red"', output_fields=["color"], consistency_level="Strong")
    assert len(got) == 10
    hits = client.search(name, [[3.0] * 8], limit=4, output_fields=["color"], consistency_level="Strong")[0]
    assert len(hits) == 4 and {"id", "distance", "entity"} <= set(hits[0])
    state = client.get_load_state(name)["state"]
    assert str(getattr(state, "name", state)).endswith("Loaded")
    assert client.get(name, ids=[2, 3, 999])[0]["id"] == 2
    client.delete(name, [2])
    assert client.query(name, filter="id in [2, 3]", consistency_level="Strong")[0]["id"] == 3


def test_client_with_schema_and_string_key(client, name):
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="HNSW", metric_type="COSINE", params={"M": 8, "efConstruction": 64})
    client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong")
    client.insert(name, [{"key": f"k{i}", "vec": [1.0, float(i), 0.0, 0.0]} for i in range(30)])
    hits = client.search(name, [[1.0, 0.0, 0.0, 0.0]], limit=3, search_params={"metric_type": "COSINE"})[0]
    assert [h.get("key", h.get("id")) for h in hits] == ["k0", "k1", "k2"]
    assert client.get(name, ids=["k7"])[0]["key"] == "k7"
    assert client.list_indexes(name) == ["vec"]
    assert client.describe_index(name, "vec")["index_type"] == "HNSW"
    client.release_collection(name)
    with pytest.raises(MilvusException) as e:
        client.search(name, [[1.0, 0.0, 0.0, 0.0]], limit=3)
    assert e.value.code == 101


@pytest.mark.parametrize("bad", ["1abc", "a-b", "a b", "a" * 256, "ü", "$x"])
def test_bad_names(bad):
    with pytest.raises(MilvusException) as e:
        Collection(bad, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                          FieldSchema("v", DataType.FLOAT_VECTOR, dim=2)]))
    assert e.value.code == 1100 and "Invalid collection name" in str(e.value)
