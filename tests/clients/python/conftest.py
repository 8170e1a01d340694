"""Our own programs over every supported call of pymilvus, as a user writes them.

SAKER_HOST, SAKER_PORT   the server (127.0.0.1:19530; port 0: none, for test_auth.py alone)
SAKER_AUTH               HOST:PORT of a server with authorization on; without it test_auth.py is skipped
SAKER_ORACLE=1           the server is the real Milvus 2.3.5: what came to Milvus later is skipped

Markers: `newest` needs pymilvus 3 (skipped with 2.3.7); `later` is what Milvus 2.3.5 itself lacks.
"""
import itertools
import os
import re

import numpy as np
import pymilvus
import pytest
from pymilvus import Collection, MilvusClient, connections, utility

import data

HOST = os.environ.get("SAKER_HOST", "127.0.0.1")
PORT = int(os.environ.get("SAKER_PORT", "19530"))
URI = f"http://{HOST}:{PORT}"
ORACLE = os.environ.get("SAKER_ORACLE") == "1"
PYMILVUS = tuple(int(x) for x in re.findall(r"\d+", pymilvus.__version__)[:2])
NEWEST = PYMILVUS >= (3, 0)
_counter = itertools.count()


def pytest_configure(config):
    config.addinivalue_line("markers", "newest: needs pymilvus 3")
    config.addinivalue_line("markers", "later: what Milvus 2.3.5 itself lacks")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("newest") and not NEWEST:
            item.add_marker(pytest.mark.skip(reason=f"pymilvus {pymilvus.__version__} has no such call"))
        if item.get_closest_marker("later") and ORACLE:
            item.add_marker(pytest.mark.skip(reason="Milvus 2.3.5 lacks it"))


@pytest.fixture(scope="session")
def uri():
    return URI


@pytest.fixture(scope="session", autouse=True)
def connected():
    if PORT == 0:   # only test_auth.py is wanted
        yield
        return
    connections.connect("default", host=HOST, port=PORT, timeout=30)
    yield
    connections.disconnect("default")


@pytest.fixture(scope="session")
def client():
    c = MilvusClient(uri=URI, timeout=30)
    yield c
    c.close()


def unique(prefix="c"):
    return f"{prefix}_{os.getpid()}_{next(_counter)}"


@pytest.fixture
def name():
    """A collection name nobody else uses; the collection is dropped afterwards."""
    n = unique()
    yield n
    if utility.has_collection(n):
        utility.drop_collection(n)


@pytest.fixture
def small(name):
    """Ten rows of id, tag, v (4 dimensions), FLAT L2, loaded, strong."""
    c = data.create_small(name)
    yield c


@pytest.fixture(scope="session")
def everything():
    """A loaded collection with every scalar type and 1,000 known rows; half flushed, half only inserted. Read only."""
    n = unique("everything")
    rows = data.make_rows(1000)
    c = data.create_everything(n)
    data.insert_everything(c, rows[:500])
    c.flush()
    data.insert_everything(c, rows[500:])
    c.create_index("v", {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 16, "efConstruction": 100}})
    c.load()
    yield c, rows
    c.drop()


@pytest.fixture
def rng():
    return np.random.default_rng(7)
