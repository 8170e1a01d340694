#!/usr/bin/env python3
"""Faults on a running cluster, under load: what share of the requests succeeded, how long the longest gap was, and
whether anything acknowledged is missing afterwards. Prints a line for each fault.

  faults.py [FAULT ...] [--dir build/cluster] [--outage SECONDS] [--collections N] [--report FILE.json]

Needs pymilvus, and a cluster as cluster.py starts it. Clients insert and search at 50 requests a second in all, through
both proxies, with retries off; a request counts as failed if it isn't answered well within a second, counted from the
fault to 60 s after its end (--after). Proxies that a fault ends are not tried: clients have another.
"""

import argparse
import json
import logging
import random
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import cluster as cluster_module
from cluster import ETCDS, ROOT, SAKERS, Cluster
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

DIM = 32
DEADLINE_S = 1.0


def client(port):
    return MilvusClient(uri=f"http://127.0.0.1:{port}", timeout=10)


class Load:
    """Inserts and searches at a steady rate, each in a thread of its own, and remembers how every request ended."""

    def __init__(self, name, rate=50, level="Bounded"):
        self.name, self.level = name, level
        self.kinds = {"insert": rate / 2, "search": rate / 2}
        self.results = {kind: [] for kind in self.kinds}  # (begun, took, error or "")
        self.acknowledged = set()
        self.unknown = set()  # sent, and perhaps there
        self.next_id = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = []

    def start(self):
        for kind, rate in self.kinds.items():
            workers = 8  # enough that one slow answer does not hold up the rest
            for w in range(workers):
                thread = threading.Thread(target=self.work, args=(kind, workers / rate, w), daemon=True)
                thread.start()
                self.threads.append(thread)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(15)

    def work(self, kind, period, worker):
        connection = client((19530, 19531)[worker % 2])
        call = getattr(self, kind)
        due = time.monotonic() + period * random.random()
        while not self.stopping.wait(max(0, due - time.monotonic())):
            due = max(due + period, time.monotonic() - 1)
            begun = time.monotonic()
            try:
                call(connection)
                error = ""
            except Exception as e:  # every way to fail counts
                error = f"{type(e).__name__}: {e}"[:300]
            with self.lock:
                self.results[kind].append((begun, time.monotonic() - begun, error))

    def insert(self, connection):
        with self.lock:
            key = self.next_id
            self.next_id += 1
        try:
            connection.insert(self.name, [{"id": key, "v": [random.random() for _ in range(DIM)]}], timeout=DEADLINE_S, retry_times=0)
            with self.lock:
                self.acknowledged.add(key)
        except Exception:
            with self.lock:
                self.unknown.add(key)
            raise

    def search(self, connection):
        hits = connection.search(self.name, [[random.random() for _ in range(DIM)]], limit=5, timeout=DEADLINE_S,
                                 consistency_level=self.level, retry_times=0)
        if len(hits[0]) != 5:
            raise ValueError(f"{len(hits[0])} hits instead of 5")

    def summary(self, since, until):
        out = {}
        with self.lock:
            for kind, results in self.results.items():
                window = sorted(r for r in results if since <= r[0] <= until)
                bad = [r for r in window if r[2]]
                gap, last_good = 0.0, since
                for begun, took, error in window:
                    if not error:
                        gap = max(gap, begun + took - last_good)
                        last_good = begun + took
                gap = max(gap, until - last_good)
                out[kind] = {"requests": len(window), "failed": len(bad), "share": 1 - len(bad) / max(1, len(window)),
                             "works": any(not r[2] for r in window if r[0] > until - 5), "longest_gap_s": gap, "errors": sorted({r[2] for r in bad})[:3]}
        return out


def prepare(name, replicas=1):
    c = client(19530)
    if c.has_collection(name):
        c.drop_collection(name)
    schema = c.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    c.create_collection(name, schema=schema, num_shards=2)
    c.insert(name, [{"id": -1 - i, "v": [random.random() for _ in range(DIM)]} for i in range(5000)])
    c.flush(name)
    params = c.prepare_index_params()
    params.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 100})
    c.create_index(name, params)
    c.load_collection(name, replica_number=replicas)


def lost(name, load):
    """Acknowledged rows that a strong read doesn't find, and rows found that were never sent."""
    c = client(19530)
    found = set()
    deadline = time.monotonic() + 60
    while True:
        try:
            found = set()
            iterator = c.query_iterator(name, filter="id >= 0", output_fields=["id"], batch_size=5000, consistency_level="Strong")
            while batch := iterator.next():
                found.update(row["id"] for row in batch)
            iterator.close()
            break
        except MilvusException:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    return len(load.acknowledged - found), len(found - load.acknowledged - load.unknown)


def ddl(seconds=None):
    """How long a metadata change takes, and whether it worked."""
    c = client(19530)
    name = f"ddl_{random.randrange(10**9)}"
    begun = time.monotonic()
    try:
        c.create_collection(name, dimension=4, timeout=30)
        c.drop_collection(name)
        return True, time.monotonic() - begun, ""
    except Exception as e:
        return False, time.monotonic() - begun, str(e)[:200]


class Changes:
    """Creates and drops collections, one after the other, and remembers what was acknowledged."""

    def __init__(self):
        self.there, self.gone, self.unknown = set(), set(), set()
        self.times = []  # when one was acknowledged
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        connections = [client(19530), client(19531)]
        n = 0
        while not self.stopping.wait(0.05):
            n += 1
            name = f"change_{n}"
            try:
                connections[n % 2].create_collection(name, schema=small_schema(connections[0]), timeout=2, retry_times=0)
                self.there.add(name)
                self.times.append(time.monotonic())
            except Exception:
                self.unknown.add(name)
                continue
            if n % 3 == 0:
                try:
                    connections[0].drop_collection(name, timeout=2, retry_times=0)
                    self.gone.add(name)
                    self.times.append(time.monotonic())
                except Exception:
                    self.unknown.add(name)

    def stop(self):
        self.stopping.set()
        self.thread.join(30)

    def wrong(self):
        """Acknowledged changes that a proxy doesn't show: collections that are missing, or back."""
        missing, back = set(), set()
        for port in (19530, 19531):
            there = set(client(port).list_collections())
            missing |= self.there - self.gone - self.unknown - there
            back |= (self.gone - self.unknown) & there
        return len(missing), len(back)

    def clean(self):
        c = client(19530)
        for name in c.list_collections():
            if name.startswith("change_"):
                c.drop_collection(name)


def small_schema(c):
    schema = c.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    return schema


def make_collections(count):
    """So many besides; returns how long the calls took."""
    c = client(19530)
    there = set(c.list_collections())
    names = [f"many_{i}" for i in range(count) if f"many_{i}" not in there]
    schema = small_schema(c)
    begun = time.monotonic()
    for name in names:
        c.create_collection(name, schema=schema)
    return len(names), time.monotonic() - begun


class Faults:
    def __init__(self, cluster, outage, after, collections=0):
        self.cluster, self.outage, self.after, self.collections = cluster, outage, after, collections

    def leader(self, role):
        for name in ("mixcoord1", "mixcoord2"):
            log = (self.cluster.dir / "log" / name).read_text(errors="replace")
            last = [line for line in log.splitlines() if f"leads {role}" in line or f"no longer leads {role}" in line]
            if last and "no longer" not in last[-1] and self.cluster.alive(name):
                holder = name
                yield holder

    def kill(self, *names):
        for name in names:
            self.cluster.end(name, cluster_module.signal.SIGKILL)

    def restart(self, *names):
        self.cluster.start(list(names))

    # Each: what happens between the first and the second moment, when the fault is over.
    def querynode(self):
        self.kill("querynode1")
        time.sleep(15)
        self.restart("querynode1")

    querynode_replicas = querynode

    def datanode(self):
        for victim in ("datanode1", "datanode2"):  # one of them owns the collection's channels
            self.kill(victim)
            time.sleep(12)
            self.restart(victim)
            time.sleep(3)

    def coordinator(self):
        victim = next(self.leader("rootcoord"), "mixcoord1")
        begun = time.monotonic()
        self.kill(victim)
        worked, took, error = ddl()
        while not worked and time.monotonic() - begun < 60:
            time.sleep(0.2)
            worked, took, error = ddl()
        self.note = f"metadata works again after {time.monotonic() - begun:.1f} s"
        self.restart(victim)

    def etcd_one(self):
        self.kill("etcd1")
        time.sleep(15)
        self.restart("etcd1")

    def outage_of_etcd(self, down, up):
        before = {name: self.cluster.pid(name) for name in SAKERS}
        down()
        time.sleep(5)
        worked, took, error = ddl()
        self.note = f"metadata change while it is away: {'worked?!' if worked else 'refused'} in {took:.1f} s ({error[:90]})"
        time.sleep(max(0, self.outage - 5 - took))
        up()
        begun = time.monotonic()
        worked, _, _ = ddl()
        while not worked and time.monotonic() - begun < 60:
            time.sleep(0.2)
            worked, _, _ = ddl()
        exits = [name for name in SAKERS if self.cluster.pid(name) != before[name]]
        self.exits = len(exits)
        self.note += f"; works {time.monotonic() - begun:.1f} s after; exits: {len(exits)} {' '.join(exits)}"

    def etcd_all_killed(self):
        self.outage_of_etcd(lambda: self.kill(*ETCDS), lambda: self.restart(*ETCDS))

    def etcd_all_paused(self):
        self.outage_of_etcd(lambda: [self.cluster.send(n, cluster_module.signal.SIGSTOP) for n in ETCDS],
                            lambda: [self.cluster.send(n, cluster_module.signal.SIGCONT) for n in ETCDS])

    def etcd_wiped(self):
        """All of etcd's data deleted, its members started anew and empty."""
        before = {name: self.cluster.pid(name) for name in SAKERS}
        expected = len(client(19530).list_collections())
        changes = Changes()
        changes.thread.start()
        time.sleep(5)
        begun = time.monotonic()
        self.cluster.wipe_etcd()
        empty = time.monotonic()
        fewest = expected
        while not any(t > empty for t in changes.times) and time.monotonic() - begun < 120:
            for port in (19530, 19531):
                fewest = min(fewest, len(client(port).list_collections()))
            time.sleep(0.2)
        works = next((t for t in changes.times if t > empty), None)
        self.note = (f"{expected} collections, never fewer than {fewest} shown; " if fewest >= expected else f"ONLY {fewest} of {expected} SHOWN; ")
        self.note += f"metadata changes work {works - empty:.1f} s after etcd is back (away {empty - begun:.1f} s)" if works else "NO CHANGE WORKED"
        time.sleep(5)
        changes.stop()
        missing, back = changes.wrong()
        self.note += f"; {len(changes.there)} created, {len(changes.gone)} dropped: {missing} missing, {back} back"
        exits = [name for name in SAKERS if self.cluster.pid(name) != before[name] or not self.cluster.alive(name)]
        self.exits = len(exits)
        self.note += f"; exits: {len(exits)} {' '.join(exits)}"
        self.bad = missing + back + (not works) + (fewest < expected)
        changes.clean()

    def etcd_metrics(self):
        tls = self.cluster.dir / "tls"
        context = ssl.create_default_context(cafile=tls / "ca.pem")
        context.load_cert_chain(tls / "client.pem", tls / "client.key")
        with urllib.request.urlopen(f"https://127.0.0.1:{cluster_module.etcd_ports('etcd1')[0]}/metrics", timeout=5, context=context) as answer:
            lines = answer.read().decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("etcd_") and "{" not in line}

    def idle(self):
        """No fault: what metadata costs. Keys for each collection, and writes to etcd while nothing happens."""
        keys = self.etcd_metrics()["etcd_debugging_mvcc_keys_total"]
        made, took = make_collections(self.collections or 100)
        time.sleep(5)
        after = self.etcd_metrics()
        self.note = f"{made} collections in {took:.1f} s, {(after['etcd_debugging_mvcc_keys_total'] - keys) / max(1, made):.2f} keys each"
        time.sleep(30)
        then = self.etcd_metrics()
        for name, what in (("etcd_debugging_mvcc_current_revision", "revisions"), ("etcd_server_proposals_committed_total", "proposals")):
            self.note += f"; idle {(then[name] - after[name]) / 30:.2f} {what}/s"

    def run(self, fault):
        name = f"fault_{fault}"
        self.note, self.exits, self.bad = "", 0, 0
        if fault == "idle":
            self.idle()
            return None
        if self.collections:
            made, took = make_collections(self.collections)
            if made:
                print(f"{made} collections made in {took:.1f} s", flush=True)
        prepare(name, replicas=2 if fault.endswith("replicas") else 1)
        load = Load(name)
        load.start()
        time.sleep(5)
        begun = time.monotonic()
        getattr(self, fault)()
        ended = time.monotonic()
        time.sleep(self.after)
        until = time.monotonic()
        load.stop()
        result = load.summary(begun, until)
        result["lost"], result["phantom"] = lost(name, load)
        result["note"] = self.note
        result["exits"] = self.exits
        result["bad"] = self.bad
        result["fault_s"] = ended - begun
        client(19530).drop_collection(name)
        return result


ORDER = ["querynode", "querynode_replicas", "datanode", "coordinator", "etcd_one", "etcd_all_killed", "etcd_all_paused", "etcd_wiped", "idle"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(ORDER))
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=ROOT / "build/servers")
    parser.add_argument("--outage", type=float, default=600, help="seconds that etcd is away")
    parser.add_argument("--after", type=float, default=60)
    parser.add_argument("--collections", type=int, default=0, help="so many besides the one under load")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--check", action="store_true", help="fail also if a process ended or a kind of request works no more")
    args = parser.parse_args()
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # failed requests are counted, not shown one by one
    runner = Faults(Cluster(args.dir, args.saker, args.servers), args.outage, args.after, args.collections)
    report, wrong = {}, 0
    for fault in args.faults or ORDER:
        if fault not in ORDER:
            sys.exit(f"there is no fault {fault}; there are {', '.join(ORDER)}")
        r = runner.run(fault)
        if r is None:
            report[fault] = {"note": runner.note}
            print(f"{fault:20} {runner.note}", flush=True)
            continue
        report[fault] = r
        bad = r["lost"] + r["phantom"] + r["bad"]
        if args.check:
            bad += r["exits"] + sum(not r[kind]["works"] for kind in ("search", "insert"))
        wrong += bool(bad)
        print(f"{fault:20} search {r['search']['share']:8.3%} gap {r['search']['longest_gap_s']:5.1f} s   "
              f"insert {r['insert']['share']:8.3%} gap {r['insert']['longest_gap_s']:5.1f} s   "
              f"lost {r['lost']} phantom {r['phantom']}   {r['note']}", flush=True)
        for kind in ("search", "insert"):
            for error in r[kind]["errors"]:
                print(f"{'':20}   {kind}: {error[:200]}", flush=True)
    if args.report:
        args.report.write_text(json.dumps(report, indent=1))
    print(f"{len(report) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
