#!/usr/bin/env python3
"""Runs the Compose file without an engine: each service is a process with a network and mounts of its own, the images are
replaced by programs of this machine. What only running shows is seen: names in certificates, addresses that the others are
told, Kafka's quorum, whether the health checks say the truth, how long stopping takes.

  run_compose.py --project PROJECT.json --saker SAKER --servers DIR [--python PYTHON]

PROJECT.json is what check/compose prints of a Compose file with its secrets beside it; DIR is what tests/servers/install.sh
installed (etcd-3.6, etcdctl-3.6, kafka, versitygw); PYTHON has pymilvus. Needs root. The last line is "N passed, M failed".
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[1]
NET = "saker-compose"
SUBNET = "10.213.77"
ROUND_TRIP = """
import sys
from pymilvus import MilvusClient
one = MilvusClient(uri="http://proxy1:19530", timeout=30)
two = MilvusClient(uri="http://proxy2:19530", timeout=30)
one.create_collection("deployed", dimension=4)
one.insert("deployed", [{"id": i, "vector": [float(i), 0.0, 0.0, 0.0]} for i in range(100)])
one.flush("deployed", timeout=60)
found = two.search("deployed", [[42.0, 0.0, 0.0, 0.0]], limit=100, consistency_level="Strong", search_params={"metric_type": "COSINE"})
assert len(found[0]) == 100, f"{len(found[0])} of 100 rows found"
two.drop_collection("deployed")
"""


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, **more)


def must(*argv):
    done = run(*argv)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(str(a) for a in argv)}: {done.stderr.strip()}")


class Engine:
    """Starts and ends services. One network namespace holds a bridge, each service has one of its own."""

    def __init__(self, project, saker, servers):
        self.services = {name: s for name, s in project["services"].items() if not s.get("profiles")}
        self.dir = Path(tempfile.mkdtemp(prefix="saker-compose-"))
        self.processes = {}
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        for name, program in {"etcd": servers / "etcd-3.6", "etcdctl": servers / "etcdctl-3.6", "versitygw": servers / "versitygw",
                              "saker": saker, "saker-ready": DEPLOY / "ready.sh"}.items():
            (self.bin / name).symlink_to(program)
        self.kafka = servers / "kafka"

    def namespace(self, name):
        return f"{NET}-{name}"

    def network(self):
        must("ip", "netns", "add", NET)
        must("ip", "-n", NET, "link", "add", "bridge", "type", "bridge")
        must("ip", "-n", NET, "link", "set", "bridge", "up")
        hosts = ["127.0.0.1 localhost"]
        for n, name in enumerate(self.services, start=2):
            space = self.namespace(name)
            must("ip", "netns", "add", space)
            must("ip", "-n", NET, "link", "add", f"v{n}", "type", "veth", "peer", "name", "eth0", "netns", space)
            must("ip", "-n", NET, "link", "set", f"v{n}", "master", "bridge")
            must("ip", "-n", NET, "link", "set", f"v{n}", "up")
            must("ip", "-n", space, "addr", "add", f"{SUBNET}.{n}/24", "dev", "eth0")
            must("ip", "-n", space, "link", "set", "eth0", "up")
            must("ip", "-n", space, "link", "set", "lo", "up")
            hosts.append(f"{SUBNET}.{n} {name}")
        (self.dir / "hosts").write_text("\n".join(hosts) + "\n")

    def mounts(self, name):
        """Shell lines that make the service's view of the files: nothing outside of it is changed."""
        lines = [f"hostname {name}", "mount --make-rprivate /", "mount -t tmpfs tmpfs /mnt"]
        service = self.services[name]
        targets = [(v["target"], v["source"] if v["type"] == "bind" else str(self.volume(v["source"]))) for v in service.get("volumes", [])]
        for number, (target, source) in enumerate(targets):
            lines += [f"mkdir -p /mnt/{number}"] if Path(source).is_dir() else [f"touch /mnt/{number}"]
            lines += [f"mount --bind {shlex.quote(source)} /mnt/{number}"]
        # Of /etc and /var/lib the service sees a copy that it may add to.
        for top in ("etc", "var/lib"):
            lines += [f"mkdir -p /mnt/up/{top} /mnt/work/{top}",
                      f"mount -t overlay overlay -o lowerdir=/{top},upperdir=/mnt/up/{top},workdir=/mnt/work/{top} /{top}"]
        lines.append(f"mount --bind {self.dir}/hosts /etc/hosts")
        for number, (target, source) in enumerate(targets):
            lines += [f"mkdir -p {target}"] if Path(source).is_dir() else [f"mkdir -p {os.path.dirname(target)}", f"touch {target}"]
            lines += [f"mount --bind /mnt/{number} {target}"]
        return lines

    def volume(self, name):
        path = self.dir / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def command(self, name):
        service = self.services[name]
        given = (service.get("entrypoint") or []) + (service.get("command") or [])
        program = next((p for image, p in {"etcd": "etcd", "versitygw": "versitygw", "kafka": None}.items() if image in service["image"]), "saker")
        return ([program] if program else []) + given

    def environment(self, name):
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}", **(self.services[name].get("environment") or {})}
        if "kafka" in self.services[name]["image"]:
            env.update(KAFKA_HOME=str(self.kafka), KAFKA_HEAP_OPTS="-Xms128m -Xmx256m")
        return env

    def start(self, name):
        script = "\n".join(["set -e", *self.mounts(name), f"exec {shlex.join(self.command(name))}"])
        with open(self.dir / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(name), "unshare", "-m", "-u", "bash", "-c", script], env=self.environment(name),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def inside(self, name, argv, **more):
        return run("nsenter", "-t", self.processes[name].pid, "-n", "-m", *argv, env=self.environment(name), **more)

    def healthy(self, name):
        test = self.services[name]["healthcheck"]["test"]
        if test[1] == "wget":  # of the S3 server's image
            test = ["CMD", "python3", "-c", f"import urllib.request; urllib.request.urlopen({test[-1]!r}, timeout=5)"]
        if self.processes[name].poll() is not None:
            return False
        try:
            return self.inside(name, [test[1].removeprefix("/usr/bin/"), *test[2:]], timeout=20).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def tail(self, name):
        return "\n".join((self.dir / f"{name}.log").read_text(errors="replace").splitlines()[-8:])

    def end(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        for name in [*self.services, None]:
            run("ip", "netns", "del", self.namespace(name) if name else NET)
        shutil.rmtree(self.dir, ignore_errors=True)


class Results:
    passed = failed = 0

    def add(self, what, wrong=""):
        print(f"{'WRONG ' if wrong else 'ok    '} {what}", flush=True)
        for line in str(wrong).splitlines():
            print(f"         {line[:300]}")
        self.passed, self.failed = self.passed + (not wrong), self.failed + bool(wrong)


def until_healthy(engine, probe, limit):
    deadline = time.monotonic() + limit
    waiting = list(engine.services)
    while waiting and time.monotonic() < deadline:
        waiting = [name for name in waiting if not probe(name)]
        time.sleep(0.5)
    return "\n".join(f"{name}:\n{engine.tail(name)}" for name in waiting)


def check(engine, python, results, limit):
    begun = time.monotonic()
    for name in engine.services:
        engine.start(name)
    results.add("every service's own health check succeeds", until_healthy(engine, engine.healthy, limit))

    def ready(name):
        return "saker" not in engine.services[name]["image"] or engine.inside(name, ["saker-ready"]).returncode == 0
    results.add("every process of Saker is ready", until_healthy(engine, ready, limit))
    print(f"       after {time.monotonic() - begun:.0f} s", flush=True)
    if results.failed:
        return
    done = engine.inside("proxy1", [python, "-c", ROUND_TRIP], timeout=180)
    results.add("rows written through one proxy are found through the other", done.stderr[-600:] if done.returncode else "")
    refused = engine.inside("proxy1", ["etcdctl", "--endpoints=https://etcd1:2379", "--cacert=/etc/saker/tls/ca.crt", "endpoint", "health"])
    results.add("etcd refuses who shows no certificate", "" if refused.returncode else "it answered")
    for name, process in engine.processes.items():
        if "saker" in engine.services[name]["image"]:
            process.send_signal(signal.SIGTERM)
    slow = []
    deadline = time.monotonic() + 60
    for name, process in engine.processes.items():
        if "saker" not in engine.services[name]["image"]:
            continue
        try:
            code = process.wait(max(0.1, deadline - time.monotonic()))
            if code != 0:
                slow.append(f"{name} ended with {code}:\n{engine.tail(name)}")
        except subprocess.TimeoutExpired:
            slow.append(f"{name} is still there after 60 s:\n{engine.tail(name)}")
    results.add("all processes of Saker stop in the time that they are given", "\n".join(slow))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--saker", type=Path, required=True)
    parser.add_argument("--servers", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--limit", type=float, default=300, help="seconds until all is healthy")
    args = parser.parse_args()
    engine, results = Engine(json.loads(args.project.read_text()), args.saker.resolve(), args.servers.resolve()), Results()
    try:
        engine.network()
        check(engine, args.python, results, args.limit)
    finally:
        engine.end()
    print(f"{results.passed} passed, {results.failed} failed")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
