#!/usr/bin/env python3
"""What collections, idleness and a search cost in a running cluster: keys and writes in etcd, seconds, CPU.

  costs.py [collections] [search] [--dir build/cluster] [--count 1000] [--idle SECONDS] [--report FILE.json]

collections: creates --count of them with one client (the CreateCollection calls alone are counted), then counts etcd's
keys for a collection and for a segment, and etcd's writes a second while nothing happens.
search: one client searches one collection, in the cluster and in a standalone process of the same program, which it
starts: CPU of all processes for each search, and the median. The same collection, rows and queries for both.
Needs pymilvus and numpy, and a cluster as cluster.py starts it. Prints one line for each figure, with its goal.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cluster import ETCDS, ROOT, SAKERS, Cluster
from pymilvus import DataType, MilvusClient

TICK = os.sysconf("SC_CLK_TCK")


class Etcd:
    """etcd's HTTP gateway: key counts, revisions, metrics."""

    def __init__(self, cluster):
        self.cluster = cluster

    def keys(self):
        every = base64.b64encode(b"\0").decode()
        answer = json.loads(self.cluster.ask_etcd(ETCDS[0], "/v3/kv/range", {"key": every, "range_end": every, "count_only": True}, 10))
        return int(answer.get("count", 0)), int(answer["header"]["revision"])

    def proposals(self):
        for line in self.cluster.ask_etcd(ETCDS[0], "/metrics", timeout=10).splitlines():
            if line.startswith("etcd_server_proposals_committed_total"):
                return float(line.split()[1])
        raise RuntimeError("etcd has no etcd_server_proposals_committed_total")


class Table:
    def __init__(self):
        self.report, self.missed = {}, 0

    def line(self, what, value, unit, goal=None):
        met = goal is None or value <= goal
        self.missed += not met
        self.report[what] = {"value": value, "unit": unit, "goal": goal, "met": met}
        limit = "" if goal is None else f"goal <= {goal:g} {unit}   {'met' if met else 'MISSED'}"
        print(f"{what:58} {value:10.3f} {unit:10} {limit}", flush=True)


def schema(dim):
    made = MilvusClient.create_schema()
    made.add_field("id", DataType.INT64, is_primary=True)
    made.add_field("v", DataType.FLOAT_VECTOR, dim=dim)
    return made


def collections(cluster, table, count, idle_s):
    etcd, client = Etcd(cluster), MilvusClient(uri="http://127.0.0.1:19530", timeout=30)
    keys_before, _ = etcd.keys()
    made = schema(8)
    begun = time.monotonic()
    for i in range(count):
        client.create_collection(f"costs_{i}", schema=made)
    table.line(f"create {count} collections", time.monotonic() - begun, "s", 30 * count / 1000)
    time.sleep(5)
    keys, _ = etcd.keys()
    table.line("keys in etcd for a collection", (keys - keys_before) / count, "keys", 2)

    segments = 8
    for i in range(segments):
        client.insert("costs_0", [{"id": i * 100 + k, "v": [0.1 * k] * 8} for k in range(100)])
        client.flush("costs_0")
    time.sleep(5)
    after, _ = etcd.keys()
    # Those that a compaction has merged meanwhile keep their keys for a while.
    table.line(f"keys in etcd for a segment, of {segments} flushed", (after - keys) / segments, "keys", 2)

    time.sleep(20)
    _, revision = etcd.keys()
    proposals, begun = etcd.proposals(), time.monotonic()
    cpu = cpu_s(cluster)
    time.sleep(idle_s)
    took = time.monotonic() - begun
    table.line(f"etcd revisions a second, idle, {count} collections", (etcd.keys()[1] - revision) / took, "1/s", 1)
    table.line("etcd raft proposals a second, idle (lease renewals too)", (etcd.proposals() - proposals) / took, "1/s", 1)
    table.line("CPU of all of Saker's processes, idle", (cpu_s(cluster) - cpu) / took * 100, "% a core")
    for i in range(count):
        client.drop_collection(f"costs_{i}")


def process_cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_s(cluster):
    return sum(process_cpu_s(cluster.pid(name)) for name in SAKERS if cluster.alive(name))


def fill(client, name, rows, dim):
    if client.has_collection(name):
        client.drop_collection(name)
    params = client.prepare_index_params()
    params.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 100})
    client.create_collection(name, schema=schema(dim), num_shards=1)
    random = np.random.default_rng(1)
    for half in range(2):  # two segments, so that two querynodes serve them
        vectors = random.random((rows // 2, dim), dtype=np.float32)
        for at in range(0, len(vectors), 5000):
            client.insert(name, [{"id": half * rows + at + k, "v": v} for k, v in enumerate(vectors[at:at + 5000])])
        client.flush(name)
    client.create_index(name, params)
    client.load_collection(name)
    deadline = time.monotonic() + 120
    while client.describe_index(name, "v").get("pending_index_rows", 0) and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(3)


def measure(client, name, dim, searches, cpu):
    queries = np.random.default_rng(2).random((searches, dim), dtype=np.float32)
    for q in queries[:300]:
        client.search(name, [q], limit=10, consistency_level="Bounded")
    took, before = [], cpu()
    for q in queries:
        begun = time.perf_counter()
        client.search(name, [q], limit=10, consistency_level="Bounded")
        took.append(time.perf_counter() - begun)
    return (cpu() - before) / searches * 1e6, float(np.median(took)) * 1e6


def search(cluster, table, searches=3000, rows=20000, dim=128):
    name = "costs_search"
    directory = Path(tempfile.mkdtemp(prefix="saker-costs-"))
    try:
        client = MilvusClient(uri="http://127.0.0.1:19530", timeout=30)
        fill(client, name, rows, dim)
        cluster_cpu, cluster_p50 = measure(client, name, dim, searches, lambda: cpu_s(cluster))
        client.drop_collection(name)
        with open(directory / "log", "wb") as log:
            alone = subprocess.Popen([cluster.saker, "standalone", "--data", directory / "data", "--listen", "127.0.0.1:19539", "--http",
                                      "127.0.0.1:19540"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while b"ready" not in (directory / "log").read_bytes() and time.monotonic() < deadline:
                time.sleep(0.05)
            client = MilvusClient(uri="http://127.0.0.1:19539", timeout=30)
            fill(client, name, rows, dim)
            alone_cpu, alone_p50 = measure(client, name, dim, searches, lambda: process_cpu_s(alone.pid))
        finally:
            alone.send_signal(signal.SIGTERM)
            alone.wait(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    calls = 3  # the owner and two querynodes; the winners' fields need none: the key alone is asked for
    table.line("standalone: CPU a search", alone_cpu, "us")
    table.line("standalone: p50", alone_p50, "us")
    table.line("cluster: CPU of all processes a search", cluster_cpu, "us")
    table.line(f"cluster: more CPU for each of {calls} internal calls", (cluster_cpu - alone_cpu) / calls, "us", 120)
    table.line("cluster: p50", cluster_p50, "us")
    table.line("cluster: p50 over standalone's", cluster_p50 / alone_p50, "x", 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="collections, search; nothing: both")
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=ROOT / "build/servers")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    cluster, table = Cluster(args.dir, args.saker, args.servers), Table()
    what = args.what or ["collections", "search"]
    for one in what:
        if one not in ("collections", "search"):
            sys.exit(f"there is no {one}; there are collections and search")
    if "collections" in what:
        collections(cluster, table, args.count, args.idle)
    if "search" in what:
        search(cluster, table)
    if args.report:
        args.report.write_text(json.dumps(table.report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
