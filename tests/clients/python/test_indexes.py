"""Every index type, describing and dropping them, load and release."""
import numpy as np
import pytest
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, Index, MilvusException, utility

import data
from conftest import ORACLE

FLOAT = [
    ("FLAT", {}, {}, 1.0),
    ("IVF_FLAT", {"nlist": 32}, {"nprobe": 16}, 0.8),
    ("IVF_SQ8", {"nlist": 32}, {"nprobe": 16}, 0.75),
    ("HNSW", {"M": 16, "efConstruction": 100}, {"ef": 64}, 0.9),
    ("AUTOINDEX", {}, {}, 0.9),
]


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(1).standard_normal((3000, 32)).astype(np.float32)


def make(name, x, kind=DataType.FLOAT_VECTOR):
    dim = x.shape[1] if kind == DataType.FLOAT_VECTOR else len(x[0]) * 8
    c = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                           FieldSchema("s", DataType.VARCHAR, max_length=30),
                                           FieldSchema("n", DataType.INT32),
                                           FieldSchema("v", kind, dim=dim)]), consistency_level="Strong")
    n = len(x)
    c.insert([list(range(n)), [f"s{i % 17}" for i in range(n)], [i % 100 for i in range(n)], list(x)])
    return c


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
@pytest.mark.parametrize("kind,build,search,least", FLOAT)
def test_float_indexes(name, vectors, kind, build, search, least, metric):
    c = make(name, vectors)
    c.flush()
    c.create_index("v", {"index_type": kind, "metric_type": metric, "params": build})
    utility.wait_for_index_building_complete(name)
    progress = utility.index_building_progress(name)
    assert progress["total_rows"] == 3000 and progress["pending_index_rows"] == 0
    c.load()
    hit = total = 0
    for q in vectors[:30] + 0.1:
        true_ids, true_d = data.exact(metric, q, vectors, list(range(3000)), 10)
        got = c.search([q], "v", {"metric_type": metric, "params": search}, 10)[0]
        assert len(got) == 10
        d = list(got.distances)
        assert d == sorted(d, reverse=metric != "L2")
        real = data.distances(metric, q, vectors[list(got.ids)])
        assert np.allclose(real, d, rtol=0.05 if kind == "IVF_SQ8" else 1e-3, atol=0.3 if kind == "IVF_SQ8" else 1e-3)
        hit += len(set(got.ids) & set(true_ids))
        total += 10
    assert hit / total >= least


@pytest.mark.parametrize("metric", ["HAMMING", "JACCARD"])
@pytest.mark.parametrize("kind,build,search", [("BIN_FLAT", {}, {}), ("BIN_IVF_FLAT", {"nlist": 16}, {"nprobe": 16})])
def test_binary_indexes(name, kind, build, search, metric):
    g = np.random.default_rng(2)
    bits = [g.integers(0, 256, 16, dtype=np.uint8).tobytes() for _ in range(1000)]
    c = make(name, bits, DataType.BINARY_VECTOR)
    c.flush()
    c.create_index("v", {"index_type": kind, "metric_type": metric, "params": build})
    c.load()
    for q in bits[:10]:
        d = np.sort(data.bit_distances(metric, q, bits))[:5]
        got = c.search([q], "v", {"metric_type": metric, "params": search}, 5)[0]
        assert np.allclose(list(got.distances), d, atol=1e-4)
        assert got.ids[0] == bits.index(q)


def test_growing_and_indexed_agree(name, vectors):
    c = make(name, vectors[:1000])
    c.create_index("v", {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 16, "efConstruction": 100}})
    c.load()
    q = vectors[:20] + 0.05
    before = [set(h.ids) for h in c.search(q, "v", {"params": {"ef": 200}}, 10)]
    c.flush()
    utility.wait_for_index_building_complete(name)
    after = [set(h.ids) for h in c.search(q, "v", {"params": {"ef": 200}}, 10)]
    assert sum(len(a & b) for a, b in zip(before, after)) >= 190


@pytest.mark.parametrize("kind", ["", "STL_SORT", "Trie", pytest.param("INVERTED", marks=pytest.mark.later)])
def test_scalar_indexes(name, vectors, kind):
    c = make(name, vectors[:500])
    c.flush()
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    field = "n" if kind == "STL_SORT" else "s"
    c.create_index(field, {"index_type": kind} if kind else {}, index_name="scalar_one")
    c.load()
    assert len(c.query("n == 7")) == 5
    assert len(c.query('s == "s3"')) == sum(i % 17 == 3 for i in range(500))
    assert len(c.query('s like "s1%"')) == sum(f"s{i % 17}".startswith("s1") for i in range(500))
    assert len(c.query("n > 90 and n <= 95")) == 25
    assert c.has_index(index_name="scalar_one")
    c.release()
    c.drop_index(index_name="scalar_one")
    assert not c.has_index(index_name="scalar_one")
    c.load()
    assert len(c.query("n == 7")) == 5


def test_describe_index(name, vectors):
    c = make(name, vectors[:100])
    c.flush()
    params = {"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 16}}
    c.create_index("v", params, index_name="mine")
    index = c.index(index_name="mine")
    assert index.params == params and index.field_name == "v" and index.index_name == "mine"
    assert [i.index_name for i in c.indexes] == ["mine"]
    assert c.has_index()
    assert Index(c, "v", params, index_name="mine").params == params
    c.drop_index(index_name="mine")
    assert not c.has_index() and c.indexes == []


def test_default_index_name(name, vectors):
    c = make(name, vectors[:10])
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    assert c.indexes[0].index_name in ("v", "_default_idx_103", "_default_idx")


def test_create_index_again(name, vectors):
    c = make(name, vectors[:10])
    params = {"index_type": "FLAT", "metric_type": "L2", "params": {}}
    c.create_index("v", params)
    c.create_index("v", params)   # the same is no error
    with pytest.raises(MilvusException):
        c.create_index("v", {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 8}})
    with pytest.raises(MilvusException):
        c.create_index("v", params, index_name="second")


def test_drop_index_while_loaded(small):
    with pytest.raises(MilvusException) as e:
        small.drop_index()
    assert "index cannot be dropped, collection is loaded, please release it first" in str(e.value)


def test_load_needs_an_index(name, vectors):
    c = make(name, vectors[:10])
    with pytest.raises(MilvusException) as e:
        c.load()
    assert e.value.code == 700 and "index not found" in str(e.value)


def test_load_release_and_error_101(small, name):
    small.release()
    for call in (lambda: small.query("id >= 0"), lambda: small.search([[0.0] * 4], "v", {"metric_type": "L2"}, 3)):
        with pytest.raises(MilvusException) as e:
            call()
        assert e.value.code == 101 and "collection not loaded" in str(e.value)
    assert str(utility.load_state(name)).endswith("NotLoad")
    small.load()
    small.load()   # twice is no error
    assert utility.loading_progress(name)["loading_progress"] == "100%"
    assert str(utility.load_state(name)).endswith("Loaded")
    assert len(small.query("id >= 0")) == 10
    small.release()
    small.release()
    assert str(utility.load_state("nothing_here")).endswith("NotExist")


def test_insert_while_released_then_load(small):
    small.release()
    small.insert(data.small_columns(range(10, 20)))
    small.delete("id in [0]")
    small.load()
    assert sorted(r["id"] for r in small.query("id >= 0")) == list(range(1, 20))


def test_replicas(small):
    groups = small.get_replicas().groups
    assert len(groups) == 1 and groups[0].shards


@pytest.mark.parametrize("params,words", [
    ({"index_type": "FOO", "metric_type": "L2", "params": {}}, "invalid index type: FOO"),
    ({"index_type": "HNSW", "metric_type": "L3", "params": {"M": 8, "efConstruction": 8}}, "metric type not found or not supported"),
    ({"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8}}, ""),
    ({"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 0}}, ""),
    ({"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 65537}}, ""),
    ({"index_type": "IVF_FLAT", "metric_type": "L2", "params": {}}, ""),
    ({"index_type": "BIN_FLAT", "metric_type": "L2", "params": {}}, ""),
])
def test_bad_index_parameters(name, vectors, params, words):
    c = make(name, vectors[:10])
    with pytest.raises(MilvusException) as e:
        c.create_index("v", params)
    assert words in str(e.value)
    assert not c.has_index()
