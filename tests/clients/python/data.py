"""Collections and rows that several programs share."""
import numpy as np
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema

DIM = 16


def create_small(name, n=10, index="FLAT", metric="L2"):
    schema = CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("tag", DataType.VARCHAR, max_length=64),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=4),
    ])
    c = Collection(name, schema, consistency_level="Strong")
    if n:
        c.insert(small_columns(range(n)))
    c.create_index("v", {"index_type": index, "metric_type": metric, "params": {}})
    c.load()
    return c


def small_columns(ids):
    return [list(ids), [f"t{i % 3}" for i in ids], [[float(i), 0.0, 0.0, 1.0] for i in ids]]


def everything_schema():
    return CollectionSchema([
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("b", DataType.BOOL),
        FieldSchema("i8", DataType.INT8),
        FieldSchema("i16", DataType.INT16),
        FieldSchema("i32", DataType.INT32),
        FieldSchema("i64", DataType.INT64),
        FieldSchema("f", DataType.FLOAT),
        FieldSchema("d", DataType.DOUBLE),
        FieldSchema("s", DataType.VARCHAR, max_length=200),
        FieldSchema("j", DataType.JSON),
        FieldSchema("ai", DataType.ARRAY, element_type=DataType.INT64, max_capacity=20),
        FieldSchema("as_", DataType.ARRAY, element_type=DataType.VARCHAR, max_length=20, max_capacity=20),
        FieldSchema("v", DataType.FLOAT_VECTOR, dim=DIM),
    ], enable_dynamic_field=True)


def make_rows(n):
    g = np.random.default_rng(3)
    vectors = g.standard_normal((n, DIM)).astype(np.float32)
    rows = []
    for i in range(n):
        j = {"k": i % 50, "s": f"v{i % 10}", "nested": {"x": i / 4, "l": [i % 5, i % 7]}, "list": [i % 3, i % 11, "z"],
             "flag": i % 2 == 0}
        if i % 4 == 0:
            j["rare"] = i
        row = dict(id=i, b=i % 3 == 0, i8=i % 256 - 128, i16=i * 7 % 65536 - 32768, i32=i * 1000 - 5000,
                   i64=i * 10**12, f=i / 8, d=i / 3, s=f"name_{i % 100:03d}_{'ab' if i % 2 else 'cd'}", j=j,
                   ai=[i % 10, i % 20, 5], as_=[f"x{i % 4}", f"y{i % 6}"], v=vectors[i].tolist())
        if i % 2 == 0:
            row["color"] = ["red", "green", "blue"][i % 3]
        row["extra"] = i % 30
        rows.append(row)
    return rows


def create_everything(name):
    return Collection(name, everything_schema(), consistency_level="Strong", shards_num=2)


def insert_everything(collection, rows, batch=250):
    for start in range(0, len(rows), batch):
        collection.insert(rows[start:start + batch])


def distances(metric, query, vectors):
    """Milvus's numbers: L2 squared; IP; COSINE."""
    q, x = np.asarray(query, np.float64), np.asarray(vectors, np.float64)
    if metric == "L2":
        return ((x - q) ** 2).sum(1)
    if metric == "IP":
        return x @ q
    return x @ q / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))


def exact(metric, query, vectors, ids, k):
    d = distances(metric, query, vectors)
    order = np.argsort(d if metric == "L2" else -d, kind="stable")[:k]
    return [ids[i] for i in order], [float(d[i]) for i in order]


def bit_distances(metric, query, vectors):
    q = np.unpackbits(np.frombuffer(query, np.uint8))
    x = np.array([np.unpackbits(np.frombuffer(v, np.uint8)) for v in vectors])
    if metric == "HAMMING":
        return (x != q).sum(1).astype(float)
    both, either = (x & q).sum(1), (x | q).sum(1)
    return 1 - both / np.maximum(either, 1)
