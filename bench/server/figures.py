#!/usr/bin/env python3
"""The Figures: the real Milvus 2.3.5 and Saker, one after the other on this machine, the same requests byte for byte.

  figures.py --data minilm-384.hdf5 [--saker build/release/saker] [--only saker|milvus] [--loadgen build/release/loadgen]
             [--json OUT] [--seconds 4] [--rows N]

--data is an HDF5 file in the ann-benchmarks layout (train, test, neighbors; attribute distance: angular or euclidean); next
to it NAME.attrs.npz may hold `uniform` (0..999) and `source` per row, else they are made up. Run it with the Python of an
environment that has milvus==2.3.5, pymilvus, h5py, numpy: bench/server/peer.py setup VENV makes one.
The requests are made once; bench/server/loadgen sends them from C++ and looks at every status. Recall is against exact
search. CPU and memory are of the server's processes, from /proc. Wall-clock figures move with the machine's load; the
ratios come from the same run.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import peer  # noqa: E402
from pymilvus.grpc_gen import common_pb2, milvus_pb2 as m, schema_pb2  # noqa: E402

BATCH = 2000
NOW, BOUNDED, EVENTUALLY = 0, 2, 1   # guarantee timestamps of Strong, Bounded, Eventually


# ---- /proc -----------------------------------------------------------------------------------------------------------
def tree(pid):
    children, out = {}, []
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            children.setdefault(int(open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[1]), []).append(int(p))
        except OSError:
            pass
    todo = [pid]
    while todo:
        x = todo.pop()
        out.append(x)
        todo += children.get(x, [])
    return out


def cpu_s(pid):
    total = 0
    for p in tree(pid):
        try:
            f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            total += int(f[11]) + int(f[12])
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


def rss_mb(pid, key="VmRSS"):
    total = 0
    for p in tree(pid):
        try:
            total += sum(int(line.split()[1]) for line in open(f"/proc/{p}/status") if line.startswith(key))
        except OSError:
            pass
    return total / 1024


def disk_mb(path):
    total = 0
    for folder, _, files in os.walk(path):
        for f in files:
            try:
                total += os.stat(os.path.join(folder, f)).st_blocks * 512
            except OSError:
                pass
    return total / 1e6


# ---- requests ---------------------------------------------------------------------------------------------------------
def pairs(**items):
    return [common_pb2.KeyValuePair(key=k, value=v if isinstance(v, str) else json.dumps(v)) for k, v in items.items()]


def create_request(name, dim):
    field = schema_pb2.FieldSchema
    schema = schema_pb2.CollectionSchema(name=name, fields=[
        field(name="id", data_type=5, is_primary_key=True), field(name="u", data_type=5), field(name="s", data_type=5),
        field(name="v", data_type=101, type_params=pairs(dim=str(dim)))])
    return m.CreateCollectionRequest(collection_name=name, schema=schema.SerializeToString(), shards_num=1, consistency_level=2)


def longs(name, values):
    return schema_pb2.FieldData(field_name=name, type=5, scalars=schema_pb2.ScalarField(
        long_data=schema_pb2.LongArray(data=values)))


def insert_request(name, ids, u, s, x):
    return m.InsertRequest(collection_name=name, num_rows=len(ids), fields_data=[
        longs("id", ids), longs("u", u), longs("s", s),
        schema_pb2.FieldData(field_name="v", type=101, vectors=schema_pb2.VectorField(
            dim=x.shape[1], float_vector=schema_pb2.FloatArray(data=x.ravel().tolist())))]).SerializeToString()


def search_request(name, q, k, metric, ef, expr="", when=BOUNDED, output=()):
    group = common_pb2.PlaceholderGroup(placeholders=[common_pb2.PlaceholderValue(
        tag="$0", type=101, values=[np.ascontiguousarray(q, dtype="<f4").tobytes()])])
    return m.SearchRequest(
        collection_name=name, dsl=expr, dsl_type=1, nq=1, placeholder_group=group.SerializeToString(), output_fields=output,
        search_params=pairs(anns_field="v", topk=str(k), metric_type=metric, params={"ef": ef}, round_decimal="-1",
                            ignore_growing="False"),
        guarantee_timestamp=when, consistency_level={NOW: 0, BOUNDED: 2, EVENTUALLY: 3}[when]).SerializeToString()


def get_request(name, key):
    return m.QueryRequest(collection_name=name, expr=f"id in [{key}]", output_fields=["u", "s"], guarantee_timestamp=BOUNDED,
                          consistency_level=2).SerializeToString()


def write_frames(path, frames):
    with open(path, "wb") as f:
        for frame in frames:
            f.write(struct.pack("<I", len(frame)) + frame)


def read_frames(path):
    data, at, out = open(path, "rb").read(), 0, []
    while at < len(data):
        (n,) = struct.unpack_from("<I", data, at)
        out.append(data[at + 4:at + 4 + n])
        at += 4 + n
    return out


def hits(answers):
    out = []
    for a in answers:
        reply = m.SearchResults.FromString(a)
        out.append(list(reply.results.ids.int_id.data))
    return out


# ---- exact search -----------------------------------------------------------------------------------------------------
def exact(x, queries, metric, mask, k):
    ids = np.flatnonzero(mask) if mask is not None else np.arange(len(x))
    y = x[ids]
    out = []
    for q in queries:
        d = -(y @ q) if metric == "COSINE" else (y * y).sum(1) - 2 * (y @ q)
        top = np.argpartition(d, min(k, len(d)) - 1)[:k]
        out.append(set(ids[top].tolist()))
    return out


def recall(found, true):
    return float(np.mean([len(set(f) & t) / max(1, len(t)) for f, t in zip(found, true)]))


class Data:
    def __init__(self, path, rows):
        with h5py.File(path) as f:
            self.x = f["train"][:rows].astype(np.float32)
            self.q = f["test"][:].astype(np.float32)
            angular = str(f.attrs.get("distance", "angular")) in ("angular", "cosine")
            neighbours = f["neighbors"][:, :10]
        self.metric = "COSINE" if angular else "L2"
        if angular:
            self.x /= np.maximum(1e-12, np.linalg.norm(self.x, axis=1, keepdims=True))
            self.q /= np.maximum(1e-12, np.linalg.norm(self.q, axis=1, keepdims=True))
        n = len(self.x)
        attributes = path.rsplit(".", 1)[0] + ".attrs.npz"
        if os.path.exists(attributes):
            a = np.load(attributes)
            self.u, self.s = a["uniform"][:n].astype(np.int64), a["source"][:n].astype(np.int64)
        else:
            g = np.random.default_rng(1)
            self.u = g.integers(0, 1000, n)
            self.s = np.argmax(self.x @ self.x[g.integers(0, n, 8)].T, axis=1)
        whole = n >= neighbours.max() + 1 and rows is None
        self.true = [set(r.tolist()) for r in neighbours] if whole else exact(self.x, self.q, self.metric, None, 10)
        big = int(np.bincount(self.s).argmax())
        self.filters = {"1 %": ("u < 10", self.u < 10), "10 %": ("u < 100", self.u < 100), "50 %": ("u < 500", self.u < 500),
                        "correlated": (f"s == {big}", self.s == big)}
        self.filter_queries = self.q[:300]
        self.filter_true = {name: exact(self.x, self.filter_queries, self.metric, mask, 10)
                            for name, (_, mask) in self.filters.items()}


# ---- one server -------------------------------------------------------------------------------------------------------
class MilvusServer:
    name = "Milvus 2.3.5"

    def __init__(self, base, port):
        self.base, self.port = base, port
        self.argv = None

    def command(self):
        if self.argv:   # the wheel's own check of the port objects to connections just closed
            return self.argv
        argv, env = peer.prepare(self.base, self.port, {})
        self.argv = ["/usr/bin/env", "-C", self.base, *(f"{k}={env[k]}" for k in ("DEPLOY_MODE", "METRICS_PORT", "MILVUS_RUN_DIR",
                                                                         "LD_LIBRARY_PATH")), *argv]
        return self.argv

    def data_folders(self):
        return [os.path.join(self.base, "data")]


class SakerServer:
    name = "Saker"

    def __init__(self, base, port, binary):
        self.base, self.port, self.binary = base, port, os.path.abspath(binary)

    def command(self):
        os.makedirs(self.base, exist_ok=True)
        return [self.binary, "standalone", "--data", os.path.join(self.base, "data"), "--listen", f"127.0.0.1:{self.port}",
                "--http", f"127.0.0.1:{peer.free_port(9391)}"]

    def data_folders(self):
        return [os.path.join(self.base, "data")]


class Bench:
    def __init__(self, server, data, loadgen, scratch, seconds):
        self.server, self.d, self.loadgen, self.scratch, self.seconds = server, data, loadgen, scratch, seconds
        self.target = f"127.0.0.1:{server.port}"
        self.pid = 0
        self.r = {}
        self.failed = 0

    def say(self, text):
        print(f"[{time.strftime('%T')}] {self.server.name}: {text}", flush=True)

    # processes
    def probe(self, method, request, least=2):
        path = os.path.join(self.scratch, "probe")
        write_frames(path, [request])
        p = subprocess.run([self.loadgen, "probe", self.target, method, path, str(least), os.path.join(self.scratch, self.server.name.split()[0] + ".log"),
                            *self.server.command()], capture_output=True, text=True)
        answer = json.loads(p.stdout)
        self.pid = answer["pid"]
        if "error" in answer:
            self.stop()
            raise RuntimeError(f"{self.server.name} does not answer: {answer['error']}")
        self.connect()
        return answer["answer_s"]

    def connect(self):
        import grpc
        from pymilvus.grpc_gen import milvus_pb2_grpc
        self.channel = grpc.insecure_channel(self.target, options=[("grpc.max_receive_message_length", -1),
                                                                   ("grpc.use_local_subchannel_pool", 1)])
        self.stub = milvus_pb2_grpc.MilvusServiceStub(self.channel)

    def stop(self):
        if not self.pid:
            return
        pid, self.pid = self.pid, 0
        for sig, wait_s in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                return
            end = time.time() + wait_s
            while time.time() < end:
                try:
                    if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
                except OSError:
                    return
                time.sleep(0.02)

    def call(self, method, request, may_fail=False):
        reply = getattr(self.stub, method)(request, timeout=300)
        status = reply if isinstance(reply, common_pb2.Status) else reply.status
        if (status.code or status.error_code) and not may_fail:
            raise RuntimeError(f"{method}: {status.code} {status.reason}")
        return reply

    def replay(self, method, frames, clients, seconds, keep=False):
        path, out = os.path.join(self.scratch, "requests"), os.path.join(self.scratch, "answers")
        write_frames(path, frames)
        before = cpu_s(self.pid)
        p = subprocess.run([self.loadgen, "replay", self.target, method, path, str(clients), str(seconds)] + ([out] if keep else []),
                           capture_output=True, text=True)
        result = json.loads(p.stdout)
        result["server_cpu_ms"] = (cpu_s(self.pid) - before) * 1e3 / max(1, result["n"])
        if result["failed"]:
            self.failed += result["failed"]
            self.say(f"{result['failed']} of {result['n']} {method} failed: {result['last_error']}")
        return (result, read_frames(out)) if keep else result

    # stories
    def settle(self, seconds=30):
        """Waits until the server's CPU is quiet."""
        end = time.time() + seconds
        while time.time() < end:
            a = cpu_s(self.pid)
            time.sleep(1)
            if cpu_s(self.pid) - a < 0.15:
                return

    def idle(self):
        show = m.ShowCollectionsRequest().SerializeToString()
        times = []
        for _ in range(3):
            times.append(self.probe("ShowCollections", show, 0))
            if len(times) < 3:
                self.stop()
        self.r["start empty s"] = statistics.median(times)
        self.settle()
        time.sleep(3)
        a = cpu_s(self.pid)
        time.sleep(10)
        self.r["idle cpu %"] = (cpu_s(self.pid) - a) * 10
        self.r["idle MB"] = rss_mb(self.pid)
        self.say(f"first answer {[round(t, 3) for t in times]} s, idle {self.r['idle MB']:.0f} MB {self.r['idle cpu %']:.1f} % CPU")

    def inserts(self, name):
        d = self.d
        return [insert_request(name, list(range(s, min(s + BATCH, len(d.x)))), d.u[s:s + BATCH].tolist(), d.s[s:s + BATCH].tolist(),
                               d.x[s:s + BATCH]) for s in range(0, len(d.x), BATCH)]

    def create_index(self, name):
        self.call("CreateIndex", m.CreateIndexRequest(collection_name=name, field_name="v", extra_params=pairs(
            index_type="HNSW", metric_type=self.d.metric, params={"M": 16, "efConstruction": 200})))

    def load(self, name):
        self.call("LoadCollection", m.LoadCollectionRequest(collection_name=name, replica_number=1))

    def fresh(self):
        """Recall right after the insert: loaded first, nothing flushed by us."""
        d, name = self.d, "fresh"
        self.call("CreateCollection", create_request(name, d.x.shape[1]))
        self.create_index(name)
        self.load(name)
        while self.call("GetLoadingProgress", m.GetLoadingProgressRequest(collection_name=name), True).progress < 100:
            time.sleep(0.05)
        self.replay("Insert", self.inserts(name), 1, 0)
        # One strong read waits until all is visible; then the figures are of what is there now.
        self.replay("Search", [search_request(name, d.q[0], 10, d.metric, 64, when=NOW)], 1, 0)
        n = 100
        for label, expr, true in (("none", "", d.true), ("1 %", "u < 10", d.filter_true["1 %"]), ("10 %", "u < 100", d.filter_true["10 %"])):
            _, answers = self.replay("Search", [search_request(name, q, 10, d.metric, 64, expr) for q in d.q[:n]], 4, 0, True)
            self.r[f"fresh recall {label}"] = recall(hits(answers), true[:n])
        self.say("fresh recall " + ", ".join(f"{k} {self.r['fresh recall ' + k]:.3f}" for k in ("none", "1 %", "10 %")))
        self.call("ReleaseCollection", m.ReleaseCollectionRequest(collection_name=name))
        self.call("DropCollection", m.DropCollectionRequest(collection_name=name))
        self.settle()

    def insert_then_index(self):
        d, name, n = self.d, "bench", len(self.d.x)
        self.call("CreateCollection", create_request(name, d.x.shape[1]))
        frames = self.inserts(name)
        before = cpu_s(self.pid)
        result = self.replay("Insert", frames, 1, 0)
        cpu = cpu_s(self.pid) - before
        last = time.time()
        self.r["insert rows/s"] = n / result["s"]
        self.r["insert rows/CPU-s"] = n / max(cpu, 1e-3)
        self.say(f"insert {n / result['s']:.0f} rows/s, {self.r['insert rows/CPU-s']:.0f} rows per CPU-second")
        self.create_index(name)
        self.call("Flush", m.FlushRequest(collection_names=[name]))
        self.load(name)
        cpu0 = cpu_s(self.pid)
        probe = [n - 1, n // 2, 0]
        searchable = indexed = None
        while (searchable is None or indexed is None) and time.time() - last < 400:
            if searchable is None:
                found = []
                for i in probe:
                    reply = self.stub.Search(m.SearchRequest.FromString(
                        search_request(name, d.x[i], 10, d.metric, 64, when=NOW)), timeout=300)
                    found.append(i in reply.results.ids.int_id.data)
                if all(found):
                    searchable = time.time() - last
            info = self.call("DescribeIndex", m.DescribeIndexRequest(collection_name=name, field_name="v"))
            i = info.index_descriptions[0]
            if i.state == 3 and i.indexed_rows >= n and i.pending_index_rows == 0:
                indexed = indexed or time.time() - last
            time.sleep(0.1)
        self.r["searchable s"], self.r["indexed s"] = searchable, indexed
        self.r["index CPU s"] = cpu_s(self.pid) - cpu0
        self.say(f"searchable {searchable and round(searchable, 2)} s, indexed {indexed and round(indexed, 2)} s after the last insert, "
                 f"{self.r['index CPU s']:.0f} s of CPU")
        self.settle(60)

    def sweep(self):
        d, name, at = self.d, "bench", {}
        frames, before = [search_request(name, q, 10, d.metric, 10) for q in d.q[:300]], None
        for _ in range(12):   # until the answers come from the index alone: the handover goes on in the background
            now = recall(hits(self.replay("Search", frames, 8, 0, True)[1]), d.true[:300])
            if before is not None and abs(now - before) < .005:
                break
            before = now
            time.sleep(3)
        for ef in (10, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256, 384):
            frames = [search_request(name, q, 10, d.metric, ef) for q in d.q]
            result, answers = self.replay("Search", frames, 8, 0, True)
            r = recall(hits(answers), d.true)
            self.say(f"ef {ef}: recall {r:.4f}, {result['qps']:.0f} QPS")
            for level in (.95, .99):
                if r >= level and level not in at:
                    at[level] = (ef, r, frames)
            if .99 in at:
                break
        for level in (.95, .99):
            if level not in at:
                continue
            ef, r, frames = at[level]
            # Three short measurements, the middle one: a neighbour's burst must not decide.
            runs = sorted((self.replay("Search", frames, 8, self.seconds) for _ in range(3)), key=lambda x: x["qps"])
            self.r[f"qps {level}"], self.r[f"ef {level}"], self.r[f"recall {level}"] = runs[1]["qps"], ef, r
            if level == .95:
                self.r["cpu ms/search"] = min(x["server_cpu_ms"] for x in runs)
                self.r["p50 ms"] = min(self.replay("Search", frames, 1, self.seconds / 2)["p50_ms"] for _ in range(3))
            self.say(f"recall {r:.3f} (ef {ef}): {runs[1]['qps']:.0f} QPS, {min(x['server_cpu_ms'] for x in runs):.3f} ms CPU a search")

    def filtered(self):
        d, name = self.d, "bench"
        for label, (expr, _) in d.filters.items():
            frames = [search_request(name, q, 10, d.metric, 64, expr) for q in d.filter_queries]
            _, answers = self.replay("Search", frames, 8, 0, True)
            self.r[f"filter recall {label}"] = recall(hits(answers), d.filter_true[label])
            self.r[f"filter qps {label}"] = self.replay("Search", frames, 8, self.seconds * .6)["qps"]
            self.say(f"filter {label}: recall {self.r[f'filter recall {label}']:.3f}, {self.r[f'filter qps {label}']:.0f} QPS")

    def get(self):
        g = np.random.default_rng(2)
        frames = [get_request("bench", int(k)) for k in g.integers(0, len(self.d.x), 1000)]
        result = self.replay("Query", frames, 8, self.seconds)
        self.r["get qps"], self.r["get cpu ms"] = result["qps"], result["server_cpu_ms"]
        self.say(f"get by key {result['qps']:.0f} QPS, {result['server_cpu_ms']:.3f} ms CPU")

    def loaded(self):
        self.settle(30)
        self.r["loaded MB"] = rss_mb(self.pid)
        self.r["loaded anonymous MB"] = rss_mb(self.pid, "RssAnon")
        self.r["disk MB"] = sum(disk_mb(f) for f in self.server.data_folders())
        self.say(f"loaded: {self.r['loaded MB']:.0f} MB (anonymous {self.r['loaded anonymous MB']:.0f}), disk {self.r['disk MB']:.0f} MB")

    def strong(self):
        """One row in, then a strong search that must find it; in a run of its own rows."""
        d, name, n = self.d, "bench", 60
        g = np.random.default_rng(8)
        x = g.standard_normal((n, d.x.shape[1])).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        ids = [10_000_000 + i for i in range(n)]
        ins, sea = os.path.join(self.scratch, "inserts"), os.path.join(self.scratch, "searches")
        out = os.path.join(self.scratch, "answers")
        write_frames(ins, [insert_request(name, [ids[i]], [5000], [5000], x[i:i + 1]) for i in range(n)])
        write_frames(sea, [search_request(name, x[i], 10, d.metric, 64, when=NOW) for i in range(n)])
        p = subprocess.run([self.loadgen, "alternate", self.target, ins, sea, str(n), out], capture_output=True, text=True)
        result = json.loads(p.stdout)
        self.failed += result["failed"]
        missed = sum(i not in f for i, f in zip(ids, hits(read_frames(out))))
        self.r["strong p50 ms"], self.r["strong missed"] = result["search_p50_ms"], missed
        self.r["insert p50 ms"] = result["insert_p50_ms"]
        self.say(f"strong search after a write: p50 {result['search_p50_ms']:.2f} ms, {missed} of {n} not seen; "
                 f"insert of a row p50 {result['insert_p50_ms']:.2f} ms" + (f"; {result['failed']} failed: {result['last_error']}" if result["failed"] else ""))

    def restart(self):
        d = self.d
        self.call("Flush", m.FlushRequest(collection_names=["bench"]), True)
        self.settle(20)
        times = []
        request = search_request("bench", d.q[0], 10, d.metric, 64)
        for _ in range(2):
            self.channel.close()
            self.stop()
            times.append(self.probe("Search", request, 60))
        self.r["start loaded s"] = min(times)
        self.say(f"exec to the first search {[round(t, 3) for t in times]} s")

    def run(self):
        try:
            for story in (self.idle, self.fresh, self.insert_then_index, self.sweep, self.filtered, self.get, self.loaded, self.strong,
                          self.restart):
                try:
                    story()
                except Exception as e:
                    self.say(f"{story.__name__} failed: {e!r}"[:500])
                    self.r[f"error {story.__name__}"] = repr(e)[:500]
                    if not self.pid:
                        break
            self.r["failed requests"] = self.failed
        finally:
            self.stop()
        return self.r


# ---- the table --------------------------------------------------------------------------------------------------------
# what, key, unit, wanted of Saker, and of the ratio ("x": times better than Milvus)
ROWS = [
    ("QPS at recall .95, 8 clients", "qps 0.95", "", (None, 6)), ("QPS at recall .99, 8 clients", "qps 0.99", "", (None, 6)),
    ("server CPU a search at .95", "cpu ms/search", "ms", (0.3, None)), ("p50 of one client at .95", "p50 ms", "ms", (0.5, None)),
    ("strong search after a write, p50", "strong p50 ms", "ms", (2, None)), ("get by key, QPS", "get qps", "", (None, 8)),
    ("recall right after insert, no filter", "fresh recall none", "", (-.95, None)),
    ("recall right after insert, filter 1 %", "fresh recall 1 %", "", (-.95, None)),
    ("recall right after insert, filter 10 %", "fresh recall 10 %", "", (-.95, None)),
    *[(f"recall indexed, filter {f}, ef 64", f"filter recall {f}", "", (-.95, None)) for f in ("1 %", "10 %", "50 %", "correlated")],
    *[(f"QPS indexed, filter {f}, ef 64", f"filter qps {f}", "", (None, 4)) for f in ("1 %", "10 %", "50 %", "correlated")],
    ("insert, rows per server-CPU-second", "insert rows/CPU-s", "", (None, 5)), ("insert, rows/s, one client", "insert rows/s", "", (None, None)),
    ("last insert to searchable", "searchable s", "s", (0.5, None)), ("last insert to indexed", "indexed s", "s", (25, None)),
    ("exec to first ListCollections, empty", "start empty s", "s", (0.3, None)), ("exec to first Search, with data", "start loaded s", "s", (1, None)),
    ("idle memory", "idle MB", "MB", (40, None)), ("idle CPU", "idle cpu %", "%", (0.5, None)),
    ("memory loaded", "loaded MB", "MB", (260, None)), ("disk", "disk MB", "MB", (300, None)),
    ("requests that failed", "failed requests", "", (0, None)),
]


def table(results):
    theirs, ours = results.get("Milvus 2.3.5", {}), results.get("Saker", {})

    def show(v):
        return "-" if v is None else f"{v:,.0f}" if abs(v) >= 100 else f"{v:.3g}"
    print(f"\n{'':42}{'Milvus 2.3.5':>14}{'Saker':>12}{'ratio':>9}   wanted")
    good = bad = 0
    for label, key, unit, (limit, ratio) in ROWS:
        a, b = theirs.get(key), ours.get(key)
        more = ratio is not None or (limit is not None and limit < 0) or key == "insert rows/s"
        factor = None if not a or not b else (b / a if more else a / b)
        wanted, ok = "", None
        if ratio is not None:
            wanted, ok = f">= {ratio}x", None if factor is None else factor >= ratio
        elif limit is not None:
            wanted = f">= {-limit}" if limit < 0 else f"<= {limit} {unit}"
            ok = None if b is None else (b >= -limit if limit < 0 else b <= limit)
        good, bad = good + (ok is True), bad + (ok is False)
        mark = {True: "met", False: "NOT MET", None: "" if not wanted else "?"}[ok]
        print(f"{label:42}{show(a):>10} {unit:3}{show(b):>8} {unit:3}{'' if factor is None else f'{factor:.2f}x':>9}   {wanted:12} {mark}")
    print(f"{good} passed, {bad} failed; load of the machine {os.getloadavg()[0]:.1f}")
    return bad


def find(*names):
    for n in names:
        if n and os.path.exists(n):
            return os.path.abspath(n)
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--saker", default=os.path.join(ROOT, "build/release/saker"))
    p.add_argument("--loadgen")
    p.add_argument("--only", choices=["saker", "milvus"])
    p.add_argument("--milvus-results", help="take Milvus's side from the --json of an earlier run")
    p.add_argument("--json")
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--rows", type=int)
    p.add_argument("--scratch", help="where both servers keep their data (default: a temporary directory)")
    a = p.parse_args()
    loadgen = find(a.loadgen, os.path.join(os.path.dirname(os.path.abspath(a.saker)), "loadgen"), os.path.join(ROOT, "build/bench/loadgen"),
                   os.path.join(ROOT, "build/release/loadgen"))
    if not loadgen:
        sys.exit("no loadgen: build the target of that name")
    print(f"reading {a.data}, exact answers", flush=True)
    data = Data(a.data, a.rows)
    scratch = a.scratch or tempfile.mkdtemp(prefix="saker-figures-")
    os.makedirs(scratch, exist_ok=True)
    results = {}
    if a.milvus_results:
        results["Milvus 2.3.5"] = json.load(open(a.milvus_results))["Milvus 2.3.5"]
    servers = []
    if a.only != "saker":
        servers.append(MilvusServer(os.path.join(scratch, "milvus"), peer.free_port(19730)))
    if a.only != "milvus":
        servers.append(SakerServer(os.path.join(scratch, "saker"), peer.free_port(19830), a.saker))
    for server in servers:
        results[server.name] = Bench(server, data, loadgen, scratch, a.seconds).run()
        if a.json:
            json.dump(results, open(a.json, "w"), indent=1)
    bad = table(results)
    if not a.scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
