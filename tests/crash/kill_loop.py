#!/usr/bin/env python3
"""Kills the server at random moments and checks after each restart that nothing acknowledged was lost and nothing
appeared that nobody sent.

  kill_loop.py --saker build/release/saker [--loops 10] [--seed N] [--dir DIR] [--dropsync dropsync.so]
  kill_loop.py --attach HOST:PORT      the workload and the check once against a running server, without kills
  kill_loop.py --selftest              the checker against made-up losses: each must be found

Each loop: start; check everything acknowledged so far; run writers (insert, upsert, delete), flush, compaction and
create/drop of collections and partitions concurrently; kill -9 after 0.2 to 1.2 s (every tenth time SIGTERM). With
--dropsync the server runs over a file layer that loses what was not synced when it dies. The data directory lives on
through all loops, so an early fault that shows later is found too.

What is checked, per request: acknowledged means all of it is there; refused means none of it; unacknowledged (the
connection broke) may be either, but whole, and once seen stays as it was seen. Every row carries the number of the
request that wrote it, so a row back from the dead, an old version or a stranger's row is recognised.
Needs Python with pymilvus (any), numpy.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

DIM = 8
ROW_CAP = 1500   # live rows a writer keeps


# ---- the journal and the check: pure -------------------------------------------------------------------------------
class Request:
    """One write as it was sent. `rows` maps key -> version (None: deleted by this request)."""

    def __init__(self, number, kind, rows):
        self.number, self.kind, self.rows = number, kind, rows
        self.fate = "sent"   # sent | acknowledged | refused


class KeyRange:
    """The history of one writer's own keys. A writer has one request under way at a time, so at most the last is open."""

    def __init__(self):
        self.live = {}    # key -> version, of what is settled
        self.open = None

    def send(self, request):
        assert self.open is None or self.open.fate != "sent"
        self.open = request

    def settle(self, applied):
        if self.open is not None and applied:
            for key, version in self.open.rows.items():
                if version is None:
                    self.live.pop(key, None)
                else:
                    self.live[key] = version
        self.open = None

    def after(self, request):
        state = dict(self.live)
        for key, version in request.rows.items():
            if version is None:
                state.pop(key, None)
            else:
                state[key] = version
        return state


def compare(expected, seen):
    """What is wrong with `seen` {key: version} if `expected` should be there: a list of words."""
    wrong = []
    for key, version in expected.items():
        if key not in seen:
            wrong.append(f"LOST row {key} of request {version}")
        elif seen[key] != version:
            kind = "LOST version" if seen[key] < version else "PHANTOM version"
            wrong.append(f"{kind}: row {key} is of request {seen[key]}, should be of {version}")
    for key, version in seen.items():
        if key not in expected:
            wrong.append(f"PHANTOM row {key} of request {version}")
    return wrong


def check_range(key_range, seen):
    """Compares and settles the open request by what is seen."""
    request = key_range.open
    before = compare(key_range.live, seen)
    if request is None or request.fate == "refused":
        key_range.settle(False)
        return before
    after = compare(key_range.after(request), seen)
    if request.fate == "acknowledged":
        key_range.settle(True)
        return after
    if not after:
        key_range.settle(True)
        return []
    if not before:
        key_range.settle(False)
        return []
    # Neither all nor nothing: say by how much it is a half, apart from other faults.
    keys = set(request.rows)
    touched = [w for w in before if any(f" {k} " in w for k in keys)]
    others = [w for w in before if w not in touched]
    key_range.settle(False)
    if touched and others:
        return others + [f"HALF of {request.kind} request {request.number}: {len(touched)} of {len(keys)} rows"]
    return others or [f"HALF of {request.kind} request {request.number}: {len(touched)} of {len(keys)} rows"]


class Names:
    """Things that are created and dropped: each name is acknowledged as there, as gone, or open."""

    def __init__(self):
        self.state = {}   # name -> there | gone | open

    def check(self, seen):
        wrong = []
        for name, state in self.state.items():
            if state == "there" and name not in seen:
                wrong.append(f"LOST {name}: its creation was acknowledged")
            elif state == "gone" and name in seen:
                wrong.append(f"PHANTOM {name}: its drop was acknowledged")
            elif state == "open":
                self.state[name] = "there" if name in seen else "gone"
        wrong += [f"PHANTOM {name}: nobody created it" for name in seen if name not in self.state]
        return wrong


def selftest():
    def fresh(fate=None):
        r = KeyRange()
        r.live = {1: 10, 2: 10, 3: 11}
        if fate:
            request = Request(20, "upsert", {2: 20, 3: None, 4: 20})
            r.send(request)
            request.fate = fate
        return r
    same, done = {1: 10, 2: 10, 3: 11}, {1: 10, 2: 20, 4: 20}
    cases = [
        # what, range, seen, must the checker object
        ("all well", fresh(), same, False),
        ("a lost row", fresh(), {1: 10, 3: 11}, True),
        ("a stranger", fresh(), {**same, 9: 5}, True),
        ("an old version", fresh(), {**same, 3: 9}, True),
        ("a newer version", fresh(), {**same, 3: 12}, True),
        ("open, applied", fresh("sent"), done, False),
        ("open, not applied", fresh("sent"), same, False),
        ("open, half", fresh("sent"), {1: 10, 2: 20, 3: 11}, True),
        ("open, half of the delete", fresh("sent"), {1: 10, 2: 20, 3: 11, 4: 20}, True),
        ("open, applied, and another lost", fresh("sent"), {2: 20, 4: 20}, True),
        ("acknowledged, there", fresh("acknowledged"), done, False),
        ("acknowledged, lost", fresh("acknowledged"), same, True),
        ("acknowledged delete undone", fresh("acknowledged"), {**done, 3: 11}, True),
        ("refused, absent", fresh("refused"), same, False),
        ("refused, applied", fresh("refused"), done, True),
    ]
    bad = 0
    for what, key_range, seen, objects in cases:
        found = check_range(key_range, seen)
        if bool(found) != objects:
            bad += 1
            print(f"the checker is wrong about: {what}: {found}")
    r = fresh("sent")
    check_range(r, done)
    if not check_range(r, same):   # seen once, it must stay
        bad += 1
        print("the checker is wrong about: an open request that came and went")
    for state, seen, objects in (("there", {"a"}, False), ("there", set(), True), ("gone", {"a"}, True), ("gone", set(), False),
                                 ("open", {"a"}, False), ("open", set(), False), ("gone", {"b"}, True)):
        names = Names()
        names.state["a"] = state
        if bool(names.check(seen)) != objects:
            bad += 1
            print(f"the checker is wrong about names: {state} {seen}")
    print(f"{len(cases) + 8 - bad} passed, {bad} failed")
    return 1 if bad else 0


# ---- the wire ------------------------------------------------------------------------------------------------------
class Refused(Exception):
    """The server answered with an error: the request must not have been applied."""


class Broken(Exception):
    """No answer: the request may or may not have been applied."""


class Server:
    slow = []   # calls that took more than 3 s, whatever came of them

    def __init__(self, address):
        import grpc
        from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2
        self.grpc, self.common, self.m, self.schema = grpc, common_pb2, milvus_pb2, schema_pb2
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)])
        self.stub = milvus_pb2_grpc.MilvusServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def call(self, method, request, timeout=20):
        begin = time.time()
        try:
            reply = getattr(self.stub, method)(request, timeout=timeout)
        except self.grpc.RpcError as e:
            if e.code() in (self.grpc.StatusCode.UNAVAILABLE, self.grpc.StatusCode.CANCELLED, self.grpc.StatusCode.DEADLINE_EXCEEDED,
                            self.grpc.StatusCode.UNKNOWN, self.grpc.StatusCode.INTERNAL):
                raise Broken(f"{method}: {e.code().name} {e.details()}") from None
            raise Refused(f"{method}: {e.code().name} {e.details()}") from None
        except ValueError as e:   # the channel was closed
            raise Broken(str(e)) from None
        finally:
            if time.time() - begin > 3:
                Server.slow.append(f"{method} {time.time() - begin:.1f} s")
        status = reply if isinstance(reply, self.common.Status) else reply.status
        if status.code or status.error_code:
            raise Refused(f"{method}: code {status.code} {status.error_code} {status.reason}")
        return reply

    def pairs(self, **items):
        return [self.common.KeyValuePair(key=k, value=str(v)) for k, v in items.items()]

    def create(self, name, shards=1):
        field = self.schema.FieldSchema
        s = self.schema.CollectionSchema(name=name, fields=[
            field(name="id", data_type=5, is_primary_key=True), field(name="ver", data_type=5),
            field(name="v", data_type=101, type_params=self.pairs(dim=DIM))])
        self.call("CreateCollection", self.m.CreateCollectionRequest(
            collection_name=name, schema=s.SerializeToString(), shards_num=shards, consistency_level=0))

    def index(self, name, kind):
        params = '{"M": 8, "efConstruction": 40}' if kind == "HNSW" else "{}"
        self.call("CreateIndex", self.m.CreateIndexRequest(
            collection_name=name, field_name="v", extra_params=self.pairs(index_type=kind, metric_type="L2", params=params)))

    def load(self, name):
        begin = time.time()
        self.call("LoadCollection", self.m.LoadCollectionRequest(collection_name=name, replica_number=1))
        end = time.time() + 30
        while time.time() < end:
            try:
                if self.call("GetLoadingProgress", self.m.GetLoadingProgressRequest(collection_name=name)).progress >= 100:
                    if time.time() - begin > 3:
                        Server.slow.append(f"loading {name} {time.time() - begin:.1f} s")
                    return
            except Refused:
                pass
            time.sleep(0.02)
        raise Refused(f"{name} is not loaded after 30 s")

    def longs(self, name, values):
        return self.schema.FieldData(field_name=name, type=5, scalars=self.schema.ScalarField(
            long_data=self.schema.LongArray(data=values)))

    def columns(self, keys, version):
        floats = [x for k in keys for x in vector_of(k, version)]
        return [self.longs("id", keys), self.longs("ver", [version] * len(keys)),
                self.schema.FieldData(field_name="v", type=101, vectors=self.schema.VectorField(
                    dim=DIM, float_vector=self.schema.FloatArray(data=floats)))]

    def insert(self, name, keys, version, partition="", upsert=False):
        kind = self.m.UpsertRequest if upsert else self.m.InsertRequest
        self.call("Upsert" if upsert else "Insert", kind(
            collection_name=name, partition_name=partition, fields_data=self.columns(keys, version), num_rows=len(keys)))

    def delete(self, name, keys):
        self.call("Delete", self.m.DeleteRequest(collection_name=name, expr=f"id in {list(keys)}"))

    def rows(self, name):
        """({key: version}, how many rows came)."""
        reply = self.call("Query", self.m.QueryRequest(collection_name=name, expr="id >= 0", output_fields=["id", "ver"],
                                                       consistency_level=0), timeout=60)
        columns = {f.field_name: list(f.scalars.long_data.data) for f in reply.fields_data}
        ids, versions = columns.get("id", []), columns.get("ver", [])
        return dict(zip(ids, versions)), len(ids)

    def count(self, name):
        reply = self.call("Query", self.m.QueryRequest(collection_name=name, expr="", output_fields=["count(*)"],
                                                       consistency_level=0), timeout=60)
        return reply.fields_data[0].scalars.long_data.data[0]

    def nearest(self, name, vectors):
        import struct
        group = self.common.PlaceholderGroup(placeholders=[self.common.PlaceholderValue(
            tag="$0", type=101, values=[struct.pack(f"<{DIM}f", *v) for v in vectors])])
        reply = self.call("Search", self.m.SearchRequest(
            collection_name=name, dsl_type=1, nq=len(vectors), placeholder_group=group.SerializeToString(), output_fields=["ver"],
            search_params=self.pairs(anns_field="v", topk=5, metric_type="L2", params='{"ef": 64}', round_decimal=-1),
            consistency_level=0), timeout=60)
        ids = list(reply.results.ids.int_id.data)
        out, at = [], 0
        for n in reply.results.topks:
            out.append(ids[at:at + n])
            at += n
        return out

    def collections(self):
        return set(self.call("ShowCollections", self.m.ShowCollectionsRequest()).collection_names)

    def partitions(self, name):
        return set(self.call("ShowPartitions", self.m.ShowPartitionsRequest(collection_name=name)).partition_names)


def vector_of(key, version):
    r = random.Random(key * 1_000_003 + version)
    return [r.uniform(-1, 1) for _ in range(DIM)]


# ---- the workload --------------------------------------------------------------------------------------------------
class Workload:
    MAIN = {"main_a": (2, "FLAT"), "main_b": (1, "HNSW")}

    def __init__(self, seed, prefix=""):
        self.random = random.Random(seed)
        self.prefix = prefix
        self.main = {prefix + n: v for n, v in self.MAIN.items()}
        self.ranges = {n: [KeyRange() for _ in range(3)] for n in self.main}
        self.next_key = {}
        self.number = 0
        self.lock = threading.Lock()
        self.names = Names()
        self.names.state = {n: "there" for n in self.main}
        self.side = {}      # short-lived collection -> (KeyRange, Names of its partitions)
        self.counts = {}
        self.surprises = []
        self.stopping = threading.Event()

    def request_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def note(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def surprise(self, what):
        with self.lock:
            if len(self.surprises) < 20:
                self.surprises.append(what)

    def set_up(self, server):
        for name, (shards, kind) in self.main.items():
            server.create(name, shards)
            server.index(name, kind)
            server.load(name)

    def send(self, key_range, request, call):
        """Journals before sending; returns False when the connection broke."""
        key_range.send(request)
        try:
            call()
        except Refused as e:
            request.fate = "refused"
            self.surprise(str(e))
            self.note("refused")
            key_range.settle(False)
            return True
        except Broken:
            self.note("open")
            return False
        request.fate = "acknowledged"
        self.note(request.kind)
        key_range.settle(True)
        return True

    def write(self, server, name, slot, seed):
        rnd, mine = random.Random(seed), self.ranges[name][slot]
        while not self.stopping.is_set():
            number = self.request_number()
            base = (slot + 1) * 10_000_000
            live = list(mine.live)
            kind = rnd.choices(["insert", "upsert", "delete"], [5, 3, 2] if len(live) < ROW_CAP else [1, 2, 8])[0]
            kind = "insert" if kind in self.without else kind
            if kind == "insert" or not live:
                first = self.next_key.get((name, slot), base)
                n = rnd.choice([1, 2, 10, 60, 200])
                self.next_key[name, slot] = first + n
                keys = list(range(first, first + n))
                ok = self.send(mine, Request(number, "insert", dict.fromkeys(keys, number)),
                               lambda: server.insert(name, keys, number))
            elif kind == "upsert":
                keys = rnd.sample(live, min(len(live), rnd.choice([1, 5, 50])))
                first = self.next_key.get((name, slot), base)
                self.next_key[name, slot] = first + 2
                keys += [first, first + 1]
                ok = self.send(mine, Request(number, "upsert", dict.fromkeys(keys, number)),
                               lambda: server.insert(name, keys, number, upsert=True))
            else:
                keys = rnd.sample(live, min(len(live), rnd.choice([1, 5, 50, 300])))
                ok = self.send(mine, Request(number, "delete", dict.fromkeys(keys, None)), lambda: server.delete(name, keys))
            if not ok:
                return

    def maintain(self, server, seed):
        rnd = random.Random(seed)
        ids = {}
        while not self.stopping.is_set():
            name = rnd.choice(list(self.main))
            try:
                if (rnd.random() < 0.6 and "flush" not in self.without) or "compaction" in self.without:
                    if "flush" in self.without:
                        return
                    server.call("Flush", server.m.FlushRequest(collection_names=[name]))
                    self.note("flush")
                else:
                    if name not in ids:
                        ids[name] = server.call("DescribeCollection",
                                                server.m.DescribeCollectionRequest(collection_name=name)).collectionID
                    server.call("ManualCompaction", server.m.ManualCompactionRequest(collectionID=ids[name]))
                    self.note("compaction")
            except Refused as e:
                self.surprise(str(e))
            except Broken:
                return
            time.sleep(rnd.uniform(0, 0.15))

    def define(self, server, seed):
        """Creates and drops collections and partitions, with a few rows in them."""
        rnd = random.Random(seed)
        while not self.stopping.is_set():
            there = [n for n in self.side if self.names.state.get(n) == "there"]
            roll = rnd.random()
            try:
                if len(there) < 2 or (roll < 0.3 and len(there) < 8):
                    name = f"{self.prefix}side_{self.request_number()}"
                    self.side[name] = (KeyRange(), Names())
                    self.side[name][1].state["_default"] = "there"
                    self.change(self.names, name, "there", lambda: server.create(name))
                elif roll < 0.5:
                    name = rnd.choice(there)
                    self.change(self.names, name, "gone",
                                lambda: server.call("DropCollection", server.m.DropCollectionRequest(collection_name=name)))
                elif roll < 0.75:
                    name, (rows, parts) = self.pick(rnd, there)
                    part = f"p{self.request_number()}"
                    self.change(parts, part, "there", lambda: server.call("CreatePartition", server.m.CreatePartitionRequest(
                        collection_name=name, partition_name=part)))
                else:
                    name, (rows, parts) = self.pick(rnd, there)
                    number = self.request_number()
                    keys = list(range(number * 100, number * 100 + 20))
                    part = rnd.choice([p for p, s in parts.state.items() if s == "there"])
                    if not self.send(rows, Request(number, "insert", dict.fromkeys(keys, number)),
                                     lambda: server.insert(name, keys, number, partition=part)):
                        return
            except Broken:
                return
            time.sleep(rnd.uniform(0, 0.02))

    def pick(self, rnd, there):
        name = rnd.choice(there)
        return name, self.side[name]

    def change(self, names, name, target, call):
        before = names.state.get(name, "gone")
        names.state[name] = "open"
        try:
            call()
        except Refused as e:
            names.state[name] = before
            self.surprise(str(e))
            return
        names.state[name] = target
        self.note("create" if target == "there" else "drop")

    def run(self, address, stop):
        """Runs until stop() (which kills the server, or not) returns."""
        self.stopping.clear()
        servers, threads = [], []
        seeds = [self.random.getrandbits(32) for _ in range(16)]
        jobs = [(self.write, name, slot) for name in self.main for slot in range(3)] + [(self.maintain,)]
        if "define" not in self.without:
            jobs.append((self.define,))
        for (job, *arguments), seed in zip(jobs, seeds):
            server = Server(address)
            servers.append(server)
            threads.append(threading.Thread(target=self.guard, args=(job, server, *arguments, seed)))
        for t in threads:
            t.start()
        stop()
        self.stopping.set()
        for t in threads:
            t.join()
        for s in servers:
            s.close()

    def guard(self, job, *arguments):
        try:
            job(*arguments)
        except Exception as e:   # a fault of this program must not look like a good run
            self.surprise(f"harness: {job.__name__}: {e!r}")
            self.broken_harness = True

    broken_harness = False
    without = ()   # kinds of operations that are left out, to narrow a fault down

    # ---- after a restart
    def check(self, server):
        wrong = [w for w in self.names.check({n for n in server.collections() if n.startswith(self.prefix)})]
        for name in self.main:
            if self.names.state[name] != "there":
                continue
            seen, came = server.rows(name)
            count = server.count(name)
            if came != len(seen):
                wrong.append(f"{name}: PHANTOM: a query gives {came} rows, of which {came - len(seen)} are doubles")
            if count != len(seen):
                wrong.append(f"{name}: count(*) is {count}, a query gives {len(seen)} rows")
            by_slot = {}
            for key, version in seen.items():
                by_slot.setdefault(key // 10_000_000 - 1, {})[key] = version
            for slot, key_range in enumerate(self.ranges[name]):
                wrong += [f"{name}: {w}" for w in check_range(key_range, by_slot.pop(slot, {}))]
            wrong += [f"{name}: PHANTOM row {k}: out of every range" for rows in by_slot.values() for k in rows]
            wrong += self.check_search(server, name, seen)
        wrong += self.check_side(server)
        return wrong

    def check_search(self, server, name, seen):
        sample = self.random.sample(sorted(seen), min(20, len(seen)))
        if not sample:
            return []
        wrong = []
        found = server.nearest(name, [vector_of(k, seen[k]) for k in sample])
        for key, ids in zip(sample, found):
            strangers = [i for i in ids if i not in seen]
            if strangers:
                wrong.append(f"{name}: PHANTOM: search shows rows {strangers} that a query does not")
            if key not in ids:
                wrong.append(f"{name}: LOST: search for the vector of row {key} does not find it: {ids}")
        return wrong

    def check_side(self, server):
        wrong = []
        for name in list(self.side):
            rows, parts = self.side[name]
            if self.names.state[name] == "gone":
                del self.side[name]
                continue
            wrong += [f"{name}: {w}" for w in parts.check(server.partitions(name))]
        # Loading costs, so the rows of one of them are looked at, and it goes afterwards.
        if self.side and self.random.random() < 0.7:
            name = self.random.choice(list(self.side))
            server.index(name, "FLAT")
            server.load(name)
            seen, _ = server.rows(name)
            wrong += [f"{name}: {w}" for w in check_range(self.side[name][0], seen)]
            server.call("ReleaseCollection", server.m.ReleaseCollectionRequest(collection_name=name))
            server.call("DropCollection", server.m.DropCollectionRequest(collection_name=name))
            self.names.state[name] = "gone"
        # The open request of one not looked at stays open: no further rows may go there.
        for name in self.side:
            if self.side[name][0].open is not None and self.names.state[name] == "there":
                server.call("DropCollection", server.m.DropCollectionRequest(collection_name=name))
                self.names.state[name] = "gone"
        return wrong

    def tear_down(self, server):
        for name in list(self.main) + list(self.side):
            server.call("DropCollection", server.m.DropCollectionRequest(collection_name=name))


# ---- the process ---------------------------------------------------------------------------------------------------
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(saker, data, port, http, log, env):
    child = subprocess.Popen([saker, "standalone", "--data", data, "--listen", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"],
                             stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
    begin = time.time()
    while True:
        try:
            s = Server(f"127.0.0.1:{port}")
            s.call("ShowCollections", s.m.ShowCollectionsRequest(), timeout=2)
            return child, s, time.time() - begin
        except (Broken, Refused):
            s.close()
        if child.poll() is not None:
            raise RuntimeError(f"the server ended with status {child.returncode} at start")
        if time.time() - begin > 60:
            child.kill()
            raise RuntimeError("the server does not answer after 60 s")
        time.sleep(0.02)


def wait_loaded(server, names, timeout_s=30):
    """After a restart what was loaded is loaded again by itself."""
    end = time.time() + timeout_s
    for name in names:
        while True:
            try:
                server.count(name)
                break
            except Refused as e:
                if time.time() > end:
                    raise RuntimeError(f"{name} was loaded, and is not {timeout_s} s after the restart: {e}") from None
                time.sleep(0.02)


def disk_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files
               if os.path.exists(os.path.join(d, f)))


def loops(arguments):
    top = os.path.realpath(arguments.dir or tempfile.mkdtemp(prefix="saker-kill-"))
    data, state = os.path.join(top, "data"), os.path.join(top, "state")
    os.makedirs(data, exist_ok=True)
    rnd = random.Random(arguments.seed)
    work = Workload(arguments.seed)
    dropsync = None
    if arguments.dropsync:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import drop_unsynced as dropsync
    failures, start_times, began = [], [], time.time()
    with open(os.path.join(top, "server.log"), "ab") as log:
        for i in range(arguments.loops + 1):
            env = dict(os.environ)
            if dropsync:
                dropsync.start(state)
                env = dropsync.environment(os.path.abspath(arguments.dropsync), data, state, True)
            port, http = free_port(), free_port()
            t = time.time()
            child = None
            try:
                child, server, took = start(arguments.saker, data, port, http, log, env)
                start_times.append(took)
                if i == 0:
                    work.set_up(server)
                else:
                    wait_loaded(server, work.main)
                if arguments.sabotage and i == arguments.loops:
                    victim = next(k for r in work.ranges["main_a"] for k in r.live)
                    server.delete("main_a", [victim])
                wrong = work.check(server) if i else []
                if wrong:   # for whoever looks for the cause: does it heal?
                    time.sleep(1)
                    print(f"    a second later: {len(work.check(server))} wrong", flush=True)
            except (RuntimeError, Refused, Broken) as e:
                wrong = [f"after restart: {e}"]
            checked = time.time() - t
            if wrong:
                failures.append((i, wrong))
                print(f"loop {i}: {len(wrong)} wrong (seed {arguments.seed}, data kept in {top})", flush=True)
                for w in wrong[:12]:
                    print(f"    {w}", flush=True)
                json.dump({n: [[k, v] for r in work.ranges[n] for k, v in r.live.items()] for n in work.main},
                          open(os.path.join(top, "expected.json"), "w"))
                if child is not None:
                    child.kill()
                    child.wait()
                if arguments.keep_going and not any("after restart" in w for w in wrong):
                    continue
                break
            server.close()
            if i == arguments.loops:
                child.terminate()
                child.wait(30)
                break
            polite = i % 10 == 9
            pause = rnd.uniform(0.2, 1.2)

            def stop():
                time.sleep(pause)
                child.send_signal(signal.SIGTERM if polite else signal.SIGKILL)
                try:
                    child.wait(30)
                except subprocess.TimeoutExpired:
                    failures.append((i, ["SIGTERM: not stopped after 30 s"]))
                    child.kill()
                    child.wait()
            work.run(f"127.0.0.1:{port}", stop)
            if dropsync and not polite:
                dropsync.drop(data, state, rnd.getrandbits(30), rnd.choice(["strict", "random", "random"]))
            rows = sum(len(r.live) for rs in work.ranges.values() for r in rs)
            print(f"loop {i + 1}/{arguments.loops}: start and check {checked:.2f} s, ran {pause:.2f} s, {rows} rows, "
                  f"{disk_bytes(data) / 1e6:.1f} MB, {'SIGTERM' if polite else 'kill -9'}", flush=True)
    print("operations: " + ", ".join(f"{k} {v}" for k, v in sorted(work.counts.items())))
    for s in work.surprises:
        print(f"refused: {s[:200]}")
    if Server.slow:
        print("slow calls: " + ", ".join(Server.slow[:20]))
    done = len(start_times) - 1
    print(f"{done} kills in {time.time() - began:.0f} s, start p50 {sorted(start_times)[len(start_times) // 2] * 1e3:.0f} ms; "
          f"{sum(len(w) for _, w in failures)} wrong")
    if work.broken_harness:
        print("the harness itself failed")
        return 2
    if failures:
        print(f"{done - len(failures)} passed, {len(failures)} failed")
        return 1
    print(f"{done} passed, 0 failed")
    if not arguments.dir:
        shutil.rmtree(top)
    return 0


def attach(arguments):
    work = Workload(arguments.seed, prefix=f"k{os.getpid()}_")
    server = Server(arguments.attach)
    work.set_up(server)
    work.run(arguments.attach, lambda: time.sleep(arguments.seconds))
    wrong = work.check(server)
    if arguments.sabotage:
        victim = next(k for r in work.ranges[work.prefix + "main_a"] for k in r.live)
        server.delete(work.prefix + "main_a", [victim])
        wrong += work.check(server)
    print("operations: " + ", ".join(f"{k} {v}" for k, v in sorted(work.counts.items())))
    for s in work.surprises:
        print(f"refused: {s[:200]}")
    for w in wrong[:20]:
        print(f"    {w}")
    work.tear_down(server)
    print(f"{len(wrong)} wrong")
    return 1 if wrong or work.broken_harness else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--saker", default="build/release/saker")
    p.add_argument("--loops", type=int, default=10)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--dir", help="where data and logs go (default: a temporary directory, removed when all is well)")
    p.add_argument("--dropsync", help="dropsync.so: what was not synced is lost at each kill")
    p.add_argument("--keep-going", action="store_true", help="go on after a failed check")
    p.add_argument("--attach", metavar="HOST:PORT")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--sabotage", action="store_true", help="delete one row behind the journal's back: the check must fail")
    p.add_argument("--selftest", action="store_true")
    p.add_argument("--without", default="", help="leave out some of: flush, compaction, upsert, delete, define (comma between)")
    a = p.parse_args()
    Workload.without = tuple(a.without.split(","))
    if a.selftest:
        sys.exit(selftest())
    sys.exit(attach(a) if a.attach else loops(a))


if __name__ == "__main__":
    main()
