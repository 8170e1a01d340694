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
import subprocess
import sys
import threading
import time
from pathlib import Path

import cluster as cluster_module
import grpc
from cluster import ETCDS, ROOT, SAKERS, Cluster
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

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


def check_health(port):
    """What CheckHealth tells a client: whether all is well, and the reasons if not."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = milvus_pb2_grpc.MilvusServiceStub(channel).CheckHealth(milvus_pb2.CheckHealthRequest(), timeout=5)
        return answer.isHealthy, " ".join(answer.reasons)


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

    def etcd_leader(self):
        victim = next(name for name in ETCDS if self.cluster.etcd_leads(name))
        self.kill(victim)
        time.sleep(15)
        self.restart(victim)

    def etcd_two(self):
        self.outage_of_etcd(lambda: self.kill(*ETCDS[:2]), lambda: self.restart(*ETCDS[:2]))

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

    def with_quota(self, quota):
        """One member after the other, so that a quorum stays."""
        self.cluster.etcd_quota = quota
        for name in ETCDS:
            self.cluster.end(name)
            self.restart(name)

    def expect(self, holds, what):
        if not holds:
            self.wrong.append(what)

    def until(self, holds, limit):
        """Seconds until it holds, or None."""
        begun = time.monotonic()
        while not holds():
            if time.monotonic() - begun > limit:
                return None
            time.sleep(0.1)
        return time.monotonic() - begun

    def etcd_quota(self):
        before = {name: self.cluster.pid(name) for name in SAKERS}
        self.with_quota(32 << 20)
        value = "x" * (1 << 20)
        self.until(lambda: self.cluster.etcdctl("put", "filler", input=value).returncode != 0, 60)
        worked, took, error = ddl()
        self.expect(not worked, "metadata was changed though etcd is full")
        self.expect("NOSPACE" in error, f"the refusal doesn't name NOSPACE: {error}")
        self.expect(took <= 2, f"the refusal took {took:.1f} s")
        told = self.until(lambda: "NOSPACE" in self.cluster.health("proxy1")[1], 10)
        self.expect(told is not None, f"health doesn't name NOSPACE: {self.cluster.health('proxy1')}")
        self.expect(self.cluster.health("proxy1")[0] == 503, "health isn't degraded")
        healthy, reasons = check_health(19530)
        self.expect(not healthy and "NOSPACE" in reasons, f"CheckHealth: {healthy} {reasons}")
        time.sleep(10)  # reads and writes go on meanwhile
        self.cluster.etcdctl("del", "filler")
        defrag = self.cluster.ctl("etcd", "defrag")
        self.expect(defrag.returncode == 0, f"saker ctl etcd defrag: {defrag.stderr}")
        begun = time.monotonic()
        works = self.until(lambda: ddl()[0], 30)
        self.expect(works is not None and works <= 5, f"metadata works {works} s after there is space again")
        well = self.until(lambda: self.cluster.health("proxy1")[0] == 200, 30)
        self.expect(check_health(19530)[0], f"CheckHealth: {check_health(19530)}")
        self.expect(well is not None, f"health stays degraded: {self.cluster.health('proxy1')}")
        self.exits = sum(self.cluster.pid(name) != pid for name, pid in before.items())
        self.note = (f"metadata refused in {took:.1f} s ({error[:60]}), health names it; works {works or -1:.1f} s after defrag, "
                     f"health well after {time.monotonic() - begun:.1f} s; exits: {self.exits}")
        self.with_quota(2 << 30)

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
        self.expect(missing == 0, f"{missing} acknowledged changes are gone")
        self.expect(back == 0, f"{back} dropped collections are back")
        self.expect(works is not None, "metadata can't be changed any more")
        self.expect(fewest >= expected, f"only {fewest} of {expected} collections were shown")
        changes.clean()

    def run(self, fault):
        name = f"fault_{fault}"
        self.note, self.exits, self.wrong = "", 0, []
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
        result["wrong"] = self.wrong
        result["fault_s"] = ended - begun
        client(19530).drop_collection(name)
        return result


# What each is to reach: the share of requests that succeed, or the longest time without one.
SHARE, GAP = "share", "gap"
GOALS = {
    "querynode": {"search": (GAP, 5), "insert": (SHARE, 0.999)},
    "querynode_replicas": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "datanode": {"search": (GAP, 15), "insert": (GAP, 5)},
    "coordinator": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_one": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_leader": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_quota": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_two": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_wiped": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_all_killed": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
    "etcd_all_paused": {"search": (SHARE, 0.999), "insert": (SHARE, 0.999)},
}
ORDER = list(GOALS)


def missed(fault, result):
    """What of a fault's goals was not reached, in words."""
    words = [f"{result[what]} {what}" for what in ("lost", "phantom", "exits") if result[what]]
    for kind, (measure, goal) in GOALS[fault].items():
        if measure == SHARE and result[kind]["share"] < goal:
            words.append(f"{kind} below {goal:.1%}")
        if measure == GAP and result[kind]["longest_gap_s"] > goal:
            words.append(f"{kind} out for more than {goal} s")
    return words


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
        report[fault] = r
        bad = r["lost"] + r["phantom"] + len(r["wrong"])
        if args.check:
            bad += r["exits"] + sum(not r[kind]["works"] for kind in ("search", "insert"))
        wrong += bool(bad)
        print(f"{fault:20} search {r['search']['share']:8.3%} gap {r['search']['longest_gap_s']:5.1f} s   "
              f"insert {r['insert']['share']:8.3%} gap {r['insert']['longest_gap_s']:5.1f} s   "
              f"lost {r['lost']} phantom {r['phantom']}   {r['note']}", flush=True)
        r["missed"] = missed(fault, r)
        print(f"{'':20}   goal {'missed: ' + ', '.join(r['missed']) if r['missed'] else 'met'}", flush=True)
        for what in r["wrong"]:
            print(f"{'':20}   WRONG: {what}", flush=True)
        for kind in ("search", "insert"):
            for error in r[kind]["errors"]:
                print(f"{'':20}   {kind}: {error[:200]}", flush=True)
    if args.report:
        args.report.write_text(json.dumps(report, indent=1))
    print(f"{len(report) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
