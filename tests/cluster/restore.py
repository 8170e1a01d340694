#!/usr/bin/env python3
"""etcd restored from a snapshot, in a running cluster as cluster.py starts it: a snapshot, changes of metadata and rows
after it, everything stopped, etcd's data deleted on all members and made anew by `saker ctl etcd restore`, everything
started. Nothing may be missing, what came after the snapshot included. Drops all collections first.

  restore.py [--dir build/cluster] [--saker build/release/saker] [--servers build/servers]
"""

import argparse
import os
import shutil
import sys
import time

from cluster import ALL, ETCDS, ROOT, SAKERS, Cluster
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException


def rows(first, count):
    return [{"id": first + i, "vector": [i, 0, 0, 1]} for i in range(count)]


def fill(client, cluster):
    """Returns how many rows each collection has."""
    for name in client.list_collections():
        client.drop_collection(name)
    client.create_collection("before", dimension=4)
    client.insert("before", rows(0, 1000))
    client.flush("before")
    taken = cluster.ctl("etcd", "snapshot")
    assert taken.returncode == 0, taken.stderr
    print(taken.stdout, end="")
    client.create_collection("after", dimension=4)
    client.insert("after", rows(0, 500))
    client.insert("before", rows(5000, 500))
    client.flush("before")
    client.insert("before", rows(6000, 100))  # in the log alone
    return {"before": 1600, "after": 500}


def lose_and_restore(cluster):
    cluster.stop([name for name in ALL if name in ETCDS or name in SAKERS])
    file = cluster.path("restore.db")
    file.unlink(missing_ok=True)
    for name in ETCDS:
        shutil.rmtree(cluster.path("data", name))
        made = cluster.ctl("etcd", "restore", "--to", file, "--member", name, "--data-dir", cluster.path("data", name), "--etcdutl",
                           cluster.servers / "etcdutl-3.6")
        assert made.returncode == 0, made.stdout + made.stderr
    cluster.start(ETCDS)
    status = cluster.ctl("etcd", "status")
    assert status.returncode == 0, status.stdout + status.stderr
    cluster.start(list(SAKERS))


def count(client, name):
    return client.query(name, "", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]


def check(client, expected):
    """Once served, everything is there at once: a smaller count is never an answer."""
    assert sorted(client.list_collections()) == sorted(expected), client.list_collections()
    deadline = time.monotonic() + 60
    for name, there in expected.items():
        while True:
            try:
                found = count(client, name)
                break
            except MilvusException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        assert found == there, f"{name}: {found} rows of {there}"
    client.create_collection("new", dimension=4)
    client.insert("new", rows(7, 1))
    assert count(client, "new") == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=os.environ.get("SAKER_SERVERS", ROOT / "build/servers"))
    args = parser.parse_args()
    cluster = Cluster(args.dir, args.saker, args.servers)
    client = MilvusClient(uri="http://127.0.0.1:19530", timeout=30)
    expected = fill(client, cluster)
    client.close()
    begun = time.monotonic()
    lose_and_restore(cluster)
    check(MilvusClient(uri="http://127.0.0.1:19530", timeout=30), expected)
    print(f"everything is served again {time.monotonic() - begun:.1f} s after all of it was stopped")
    print("1 passed, 0 failed")


if __name__ == "__main__":
    sys.exit(main())
