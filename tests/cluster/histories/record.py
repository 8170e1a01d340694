#!/usr/bin/env python3
"""Records histories of a running cluster while it is disturbed, and has them checked for linearizability.

  record.py --dir build/cluster --checker build/histories/histories [--count 20] [--operations 5000] [--seed N]
            [--model register|catalog] [--faults kill,pause,cut] [--out build/histories/runs]

Each history is of one model: `register` (upsert, delete and strong read of single keys, with flushes in between) or `catalog`
(create, drop, describe, rename, aliases of a handful of names); the odd ones are registers. Clients speak to both proxies,
with their retries off. A write that failed without saying that nothing was done is of unknown outcome, and its client goes on
as another one: it may still take effect. Faults: kill (-9, and started again), pause (SIGSTOP, and on again), cut (nobody
reaches the process: nft drops its ports), of one to all of a kind of process. The last line is "N passed, M failed"; histories
are kept under --out with the seed in their names. Needs pymilvus, and root and nft for cuts.
"""

import argparse
import json
import logging
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cluster as cluster_module
from cluster import ETCDS, KAFKA_PORT, ROOT, S3_PORT, SAKERS, Cluster, etcd_ports
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

PROXIES = {"proxy1": 19530, "proxy2": 19531}
DEADLINE_S = 3.0
# The codes by which a refusal says that nothing was done, and what a history calls them.
REFUSALS = {100: "no collection", 1600: "no alias", 1601: "is a collection", 1602: "refused"}
REFUSED_WORDS = ("conflicts with an existing alias", "create duplicate collection", "cannot drop the collection via alias",
                 "unsupported use an alias to rename", "duplicated new collection name")


class History:
    """Thread-safe."""

    def __init__(self, model, seed):
        self.header = {"model": model, "seed": seed}
        self.lines = []
        self.faults = []
        self.lock = threading.Lock()
        self.errors = {}

    def add(self, **operation):
        with self.lock:
            self.lines.append(operation)

    def fault(self, what):
        with self.lock:
            self.faults.append((time.monotonic_ns(), what))

    def error(self, op, error):
        text = f"{op}: {type(error).__name__}: {error}"[:160]
        with self.lock:
            self.errors[text] = self.errors.get(text, 0) + 1

    def write(self, path):
        with open(path, "w") as out:
            out.write(json.dumps({**self.header, "faults": self.faults}) + "\n")
            for line in self.lines:
                out.write(json.dumps(line) + "\n")
        with open(path.with_suffix(".errors"), "w") as out:
            for text, count in sorted(self.errors.items(), key=lambda item: -item[1]):
                out.write(f"{count:6} {text}\n")


def refusal(error):
    """What a refusal that did nothing is called in a history; None: nobody knows what was done."""
    if not isinstance(error, MilvusException):
        return None
    if any(word in str(error) for word in REFUSED_WORDS):
        return "refused"
    return REFUSALS.get(error.code)


class Client(threading.Thread):
    """One thread of requests, through one proxy after another. A subclass makes its operations."""

    names = 0
    names_lock = threading.Lock()

    def __init__(self, work, number):
        super().__init__(daemon=True)
        self.work, self.random = work, random.Random(work.seed * 1000 + number)
        self.connections = {}
        self.reborn()

    def reborn(self):
        """Another client's name: what the old one asked for may still happen."""
        with Client.names_lock:
            Client.names += 1
            self.number = Client.names

    def connection(self, proxy):
        if proxy not in self.connections:
            self.connections[proxy] = MilvusClient(uri=f"http://127.0.0.1:{PROXIES[proxy]}", timeout=DEADLINE_S)
        return self.connections[proxy]

    def request(self, groups, op, call, read=False, sample=None, **fields):
        """Does `call(connection)` through some proxy and adds a line for each group. `sample` turns an answer into the fields
        of each group's line."""
        proxy = self.random.choice(list(PROXIES))
        try:
            connection = self.connection(proxy)
        except Exception as e:  # nothing was asked for yet
            self.work.history.error("connect", e)
            time.sleep(0.1)
            return False
        begun = time.monotonic_ns()
        said, outcome, answer = "", "ok", None
        try:
            answer = call(connection)
        except Exception as e:
            said = f"{type(e).__name__}: {e}"[:120]
            outcome = refusal(e)
            if outcome is None:
                self.work.history.error(op, e)
        ended = time.monotonic_ns()
        if outcome is None and read:
            return False
        for group in groups:
            more = sample(group, answer) if sample and outcome == "ok" else {}
            self.work.history.add(client=self.number, group=group, op=op, outcome=outcome or "unknown", call=begun,
                                  **{"return": ended if outcome else 0}, through=proxy, said=said, **{**fields, **more})
        if outcome is None:
            self.work.weigh(groups)
            self.reborn()
        return True

    def run(self):
        try:
            while self.work.next_due(self.random):
                self.operation()
        except Exception as e:
            self.work.broken = e
            raise


class Work:
    """A model's clients: as many operations as asked for, at a steady rate."""

    def __init__(self, seed, operations, rate, history):
        self.seed, self.operations, self.period, self.history = seed, operations, 1 / rate, history
        self.due = time.monotonic()
        self.lock = threading.Lock()
        self.number = 0
        self.broken = None

    def next_due(self, rng):
        with self.lock:
            if len(self.history.lines) >= self.operations:
                return False
            self.due = max(self.due + self.period * rng.uniform(0.5, 1.5), time.monotonic() - 0.5)
            wait = self.due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        return True

    def weigh(self, groups):
        """What has operations of unknown outcome is given up sooner: each of them makes a verdict harder to find."""

    def fresh(self):
        """A number that no other operation has."""
        with self.lock:
            self.number += 1
            return self.number


class RegisterWork(Work):
    """Keys are given up after some operations, so that writes of unknown outcome don't pile up on them."""

    PER_KEY, KEYS = 60, 12

    def __init__(self, name, *args):
        super().__init__(*args)
        self.name = name
        self.keys = {key: 0 for key in range(1, self.KEYS + 1)}
        self.next_key = self.KEYS + 1

    def some_keys(self, rng, count):
        with self.lock:
            chosen = rng.sample(sorted(self.keys), count)
            for key in chosen:
                self.count(key, 1)
            return chosen

    def count(self, key, operations):
        self.keys[key] += operations
        if self.keys[key] >= self.PER_KEY:
            del self.keys[key]
            self.keys[self.next_key] = 0
            self.next_key += 1

    def weigh(self, groups):
        with self.lock:
            for group in groups:
                if (key := int(group.removeprefix("key"))) in self.keys:
                    self.count(key, 10)


class RegisterClient(Client):
    def operation(self):
        work, rng = self.work, self.random
        kind = rng.choices(["read", "upsert", "delete"], [50, 35, 15])[0]
        keys = work.some_keys(rng, rng.choice([1, 1, 1, 2, 3]))
        groups = [f"key{key}" for key in keys]
        if kind == "read":
            def rows(group, answer):
                return {"values": [row["value"] for row in answer if f"key{row['id']}" == group]}
            self.request(groups, "read", lambda c: c.query(
                work.name, filter=f"id in {keys}", output_fields=["id", "value"], consistency_level="Strong", timeout=DEADLINE_S,
                retry_times=0), read=True, sample=rows)
        elif kind == "upsert":
            value = work.fresh()
            rows = [{"id": key, "value": value, "v": [float(value), 1.0]} for key in keys]
            self.request(groups, "upsert", lambda c: c.upsert(work.name, rows, timeout=DEADLINE_S, retry_times=0), value=value)
        else:
            self.request(groups, "delete", lambda c: c.delete(work.name, ids=keys, timeout=DEADLINE_S, retry_times=0))


class CatalogWork(Work):
    """Groups of three names and two aliases; a group is given up after some operations."""

    PER_GROUP, GROUPS = 60, 6

    def __init__(self, *args):
        super().__init__(*args)
        self.groups = {group: 0 for group in range(self.GROUPS)}
        self.next_group = self.GROUPS

    def some_group(self, rng):
        with self.lock:
            group = rng.choice(sorted(self.groups))
            self.count(group, 1)
            return group

    def count(self, group, operations):
        self.groups[group] += operations
        if self.groups[group] >= self.PER_GROUP:
            del self.groups[group]
            self.groups[self.next_group] = 0
            self.next_group += 1

    def weigh(self, groups):
        with self.lock:
            for name in groups:
                if (group := int(name.rsplit("_", 1)[1])) in self.groups:
                    self.count(group, 15)


class CatalogClient(Client):
    KINDS = {"describe": 50, "create": 14, "drop": 10, "rename": 8, "create alias": 6, "alter alias": 6, "drop alias": 6}

    def operation(self):
        work, rng = self.work, self.random
        group = f"s{work.seed}_{work.some_group(rng)}"
        names = [f"h{group}_{letter}" for letter in "abc"]
        aliases = [f"h{group}_{letter}" for letter in "xy"]
        kind = rng.choices(list(self.KINDS), self.KINDS.values())[0]
        name, to = rng.sample(names, 2)
        alias = rng.choice(aliases)
        options = {"timeout": DEADLINE_S, "retry_times": 0}
        if kind == "describe":
            def which(_, answer):
                return {"value": int(answer["description"])}
            asked = rng.choice(names + aliases)
            self.request([group], kind, lambda c: c.describe_collection(asked, **options), read=True, sample=which, name=asked)
        elif kind == "create":
            value = work.fresh()
            self.request([group], kind, lambda c: self.create(c, name, value), name=name, value=value)
        elif kind == "drop":
            self.request([group], kind, lambda c: c.drop_collection(name, **options), name=name)
        elif kind == "rename":
            self.request([group], kind, lambda c: c.rename_collection(name, to, **options), name=name, to=to)
        elif kind == "create alias":
            self.request([group], kind, lambda c: c.create_alias(name, alias, **options), name=alias, to=name)
        elif kind == "alter alias":
            self.request([group], kind, lambda c: c.alter_alias(name, alias, **options), name=alias, to=name)
        else:
            self.request([group], kind, lambda c: c.drop_alias(alias, **options), name=alias)

    @staticmethod
    def create(connection, name, value):
        # The description tells which creation a collection is of; another dimension makes it another schema.
        schema = connection.create_schema(description=str(value))
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2 + value % 30000)
        connection.create_collection(name, schema=schema, timeout=DEADLINE_S, retry_times=0)


class Disturber(threading.Thread):
    """Faults one after another, drawn from the seed, until told to stop; then everything is put right again."""

    VICTIMS = [["datanode1"], ["datanode2"], ["querynode1"], ["querynode2"], ["querynode3"], ["mixcoord1"], ["mixcoord2"], ["proxy1"], ["proxy2"],
             ["etcd1"], ["etcd2"], ["etcd3"], ETCDS, ["datanode1", "datanode2"], ["mixcoord1", "mixcoord2"],
             ["querynode1", "querynode2", "querynode3"], ["kafka"], ["s3"], ["datanode1", "mixcoord1"], ["datanode2", "etcd1"]]

    def __init__(self, cluster, seed, kinds, only, history):
        super().__init__(daemon=True)
        self.cluster, self.random, self.kinds, self.history = cluster, random.Random(seed), kinds, history
        self.victims = [names for names in self.VICTIMS if not only or set(names) <= only]
        self.stopping = threading.Event()
        self.broken = None

    def ports(self, name):
        if name in ETCDS:
            return list(etcd_ports(name))
        return {"kafka": [KAFKA_PORT], "s3": [S3_PORT]}.get(name) or [SAKERS[name][1]]

    def run(self):
        try:
            while not self.stopping.wait(self.random.uniform(0.5, 3)):
                self.disturb()
        except BaseException as e:  # SystemExit too: cluster.py ends so
            self.broken = e
        finally:
            nft("delete", "table", "inet", "saker_faults")

    def disturb(self):
        names = self.random.choice(self.victims)
        how = self.random.choice(self.kinds)
        seconds = self.random.choice([0.2, 1, 2, 4, 8])
        self.history.fault(f"{how} {' '.join(names)} for {seconds} s")
        if how == "kill":
            for name in names:
                self.cluster.end(name, cluster_module.signal.SIGKILL)
            self.stopping.wait(seconds)
            for name in names:
                self.cluster.begin(name)
        elif how == "pause":
            for name in names:
                self.cluster.send(name, cluster_module.signal.SIGSTOP)
            self.stopping.wait(seconds)
            for name in names:
                self.cluster.send(name, cluster_module.signal.SIGCONT)
        else:
            ports = ", ".join(str(port) for name in names for port in self.ports(name))
            nft("add", "table", "inet", "saker_faults")
            nft("add", "chain", "inet", "saker_faults", "input", "{ type filter hook input priority 0; }")
            nft("add", "rule", "inet", "saker_faults", "input", "tcp", "dport", f"{{ {ports} }}", "drop")
            nft("add", "rule", "inet", "saker_faults", "input", "tcp", "sport", f"{{ {ports} }}", "drop")
            self.stopping.wait(seconds)
            nft("delete", "table", "inet", "saker_faults")
        self.history.fault(f"{' '.join(names)} again")


def nft(*words):
    return subprocess.run(["nft", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def can_cut():
    works = shutil.which("nft") is not None and nft("add", "table", "inet", "saker_faults")
    return works and nft("delete", "table", "inet", "saker_faults")


def until_well(cluster, limit=90):
    """That all processes are up and ready; the name of one that isn't."""
    deadline = time.monotonic() + limit
    missing = ""
    while time.monotonic() < deadline:
        missing = next((name for name in cluster_module.ALL if not cluster.alive(name) or not cluster.ready(name)), "")
        if not missing:
            return ""
        time.sleep(0.2)
    return missing


def prepare_register(name):
    c = MilvusClient(uri=f"http://127.0.0.1:{PROXIES['proxy1']}", timeout=30)
    schema = c.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("value", DataType.INT64)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    c.create_collection(name, schema=schema, num_shards=2, timeout=30)
    index = c.prepare_index_params()
    index.add_index("v", index_type="FLAT", metric_type="L2")
    c.create_index(name, index, timeout=30)
    c.load_collection(name, timeout=60)


def flusher(name, stop, rng):
    """Rows go over from growing to sealed segments, and segments are merged, while they are read and written."""
    while not stop.wait(rng.uniform(1, 5)):
        try:
            c = MilvusClient(uri=f"http://127.0.0.1:{PROXIES[rng.choice(list(PROXIES))]}", timeout=DEADLINE_S)
            c.flush(name, timeout=DEADLINE_S)
            if rng.random() < 0.3:
                c.compact(name, timeout=DEADLINE_S)
        except Exception:  # it is tried again soon
            pass


def last_reads(work, name):
    """Every key once more, when all is well again: until it answers, and part of the history."""
    reader = RegisterClient(work, 999)
    keys = list(range(1, work.next_key))
    for first in range(0, len(keys), 20):
        some = keys[first:first + 20]
        deadline = time.monotonic() + 60
        while not reader.request(
                [f"key{key}" for key in some], "read", lambda c: c.query(
                    name, filter=f"id in {some}", output_fields=["id", "value"], consistency_level="Strong", timeout=10, retry_times=0),
                read=True, sample=lambda group, answer: {"values": [r["value"] for r in answer if f"key{r['id']}" == group]}):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is not read well within 60 s after the last fault")
            time.sleep(0.2)


def last_describes(work):
    reader = CatalogClient(work, 999)
    for group in range(work.next_group):
        for letter in "abcxy":
            name = f"hs{work.seed}_{group}_{letter}"
            deadline = time.monotonic() + 60
            while not reader.request([f"s{work.seed}_{group}"], "describe", lambda c: c.describe_collection(name, timeout=10, retry_times=0),
                                     read=True, sample=lambda _, answer: {"value": int(answer["description"])}, name=name):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{name} is not described within 60 s after the last fault")
                time.sleep(0.2)


def record(cluster, model, seed, args):
    history, flush = History(model, seed), threading.Event()
    rng = random.Random(seed)
    if model == "register":
        name = f"history_{seed}"
        prepare_register(name)
        work = RegisterWork(name, seed, args.operations, args.rate, history)
        clients = [RegisterClient(work, n) for n in range(args.clients)]
        threading.Thread(target=flusher, args=(name, flush, rng), daemon=True).start()
    else:
        work = CatalogWork(seed, args.operations, args.rate, history)
        clients = [CatalogClient(work, n) for n in range(args.clients)]
    disturber = Disturber(cluster, seed, args.faults, set(args.processes), history)
    begun = time.monotonic()
    for client in clients:
        client.start()
    if args.faults:
        disturber.start()
    for client in clients:
        client.join()
    took = time.monotonic() - begun
    disturber.stopping.set()
    if args.faults:
        disturber.join()
    flush.set()
    missing = until_well(cluster)
    try:
        if missing:
            raise TimeoutError(f"{missing} is not well 90 s after the last fault: {cluster.health(missing) if missing in SAKERS else ''}")
        last_reads(work, name) if model == "register" else last_describes(work)
    finally:
        history.write(args.out / f"{model}-{seed}.jsonl")
    for broken in (work.broken, disturber.broken):
        if broken:
            raise RuntimeError(f"the recording broke: {type(broken).__name__}: {broken}")
    well = sum(line["outcome"] != "unknown" for line in history.lines)
    print(f"   {model}-{seed}: {len(history.lines)} operations in {took:.0f} s, {len(history.lines) - well} of unknown outcome, "
          f"{sum('again' not in what for _, what in history.faults)} faults", flush=True)
    if model == "register":
        MilvusClient(uri=f"http://127.0.0.1:{PROXIES['proxy1']}", timeout=30).drop_collection(name)
    if well < len(history.lines) / 2:
        raise RuntimeError("less than half of the operations were answered: the history says little")
    return args.out / f"{model}-{seed}.jsonl"


def main():
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error with its stack
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=cluster_module.os.environ.get("SAKER_SERVERS", ROOT / "build/servers"))
    parser.add_argument("--checker", type=Path, default=ROOT / "build/histories/histories")
    parser.add_argument("--out", type=Path, default=ROOT / "build/histories/runs")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=100, help="operations begun in a second")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the first; the next have the numbers after it")
    parser.add_argument("--model", choices=["register", "catalog"])
    parser.add_argument("--faults", default="kill,pause,cut", help="kinds with commas between them; empty: none")
    parser.add_argument("--processes", nargs="+", default=[], metavar="NAME", help="only these are disturbed")
    args = parser.parse_args()
    args.faults = [kind for kind in args.faults.split(",") if kind]
    if "cut" in args.faults and not can_cut():
        print("   no cuts: they need nft, and root")
        args.faults.remove("cut")
    args.out.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(args.dir, args.saker, args.servers)
    passed = failed = 0
    for seed in range(args.seed, args.seed + args.count):
        model = args.model or ("register" if seed % 2 else "catalog")
        try:
            path = record(cluster, model, seed, args)
            verdict = subprocess.run([args.checker, "-pictures", args.out, path], capture_output=True, text=True)
            path.with_suffix(".verdict").write_text(verdict.stdout)
            said = verdict.stdout.splitlines()[:-1]
            print("\n".join(f"   {line}" for line in said[:-1][:40] + said[-1:]), flush=True)
            if verdict.stderr:
                print(verdict.stderr, flush=True)
            good = verdict.returncode == 0
        except (RuntimeError, TimeoutError, MilvusException) as e:
            print(f"   {model}-{seed}: {e}", flush=True)
            good = False
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
