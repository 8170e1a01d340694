#!/usr/bin/env python3
"""A whole cluster on this machine, real servers included: etcd (3 nodes, TLS), Kafka, S3 (versitygw), and every role of
Saker as a process of its own. `./dev cluster` calls it.

  cluster.py start [NAME ...]   all of it, or what is named; prints the endpoints, the proxies' first
  cluster.py kill NAME ...      kill -9
  cluster.py pause NAME ...     SIGSTOP; resume: SIGCONT
  cluster.py stop [NAME ...]    all of it, Saker's processes first; or what is named
  cluster.py wipe etcd          kills the etcd nodes, deletes their data and starts them empty
  cluster.py status             a line for each: up, paused or down, and what its health says

Everything is kept under --dir (build/cluster): data/NAME, log/NAME, pid/NAME, tls/, saker.yaml.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ETCDS = ["etcd1", "etcd2", "etcd3"]
SAKERS = {  # name: (subcommand, internal port, http port, client port)
    "mixcoord1": ("mixcoord", 21001, 21101, None),
    "mixcoord2": ("mixcoord", 21002, 21102, None),
    "datanode1": ("datanode", 21003, 21103, None),
    "datanode2": ("datanode", 21004, 21104, None),
    "querynode1": ("querynode", 21005, 21105, None),
    "querynode2": ("querynode", 21006, 21106, None),
    "querynode3": ("querynode", 21007, 21107, None),
    "indexnode1": ("indexnode", 21008, 21108, None),
    "proxy1": ("proxy", 21009, 9091, 19530),
    "proxy2": ("proxy", 21010, 21110, 19531),
}
SERVERS = ETCDS + ["kafka", "s3"]
ALL = SERVERS + list(SAKERS)
S3_PORT, KAFKA_PORT, KAFKA_CONTROLLER = 17070, 19092, 19093
ACCESS, SECRET, BUCKET = "saker", "saker-secret", "saker"


def etcd_ports(name):
    n = int(name[-1])
    return 12378 + n, 13378 + n


def die(message):
    sys.exit(message)


class Cluster:
    def __init__(self, directory, saker, servers):
        self.dir = Path(directory).resolve()
        self.saker = Path(saker).resolve()
        self.servers = Path(servers).resolve()
        self.etcd_quota = 2 << 30  # of members that are started from now on

    def path(self, *parts):
        path = self.dir.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # ---- processes

    def pid(self, name):
        try:
            pid = int(self.path("pid", name).read_text())
            with open(f"/proc/{pid}/environ", "rb") as environ:  # the number may be another process's by now
                return pid if f"SAKER_CLUSTER_NAME={self.dir}/{name}".encode() in environ.read().split(b"\0") else None
        except (OSError, ValueError):
            return None

    def alive(self, name):
        pid = self.pid(name)
        if pid is None:
            return False
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    def paused(self, name):
        pid = self.pid(name)
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "T"
        except OSError:
            return False

    def spawn(self, name, argv, environment=None):
        if self.alive(name):
            return
        env = dict(os.environ, SAKER_CLUSTER_NAME=f"{self.dir}/{name}", **(environment or {}))
        with open(self.path("log", name), "ab") as log:
            process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                       start_new_session=True, cwd=self.dir)
        self.path("pid", name).write_text(str(process.pid))

    def send(self, name, number):
        pid = self.pid(name)
        if pid is None:
            die(f"{name} is not running")
        os.kill(pid, number)

    def end(self, name, number=signal.SIGTERM, limit=40):  # a node is emptied first
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, number)
        deadline = time.monotonic() + limit
        while self.alive(name):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += 1000
            time.sleep(0.02)
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        while self.threads(pid) > 1:  # a killed process is a zombie while its other threads still hold its ports
            time.sleep(0.02)

    @staticmethod
    def threads(pid):
        try:
            return len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            return 0

    def until(self, name, ready, limit=90):
        deadline = time.monotonic() + limit
        while not ready():
            if not self.alive(name):
                die(f"{name} ended at its start:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                die(f"{name} isn't ready after {limit} s:\n{self.tail(name)}")
            time.sleep(0.05)

    def tail(self, name, lines=15):
        try:
            return "\n".join(self.path("log", name).read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    # ---- etcd

    def certificates(self):
        tls = self.dir / "tls"
        if (tls / "client.pem").exists():
            return tls
        tls.mkdir(parents=True, exist_ok=True)

        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=tls, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=saker dev cluster")
        (tls / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
        for who in ("server", "client"):
            openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{who}.key",
                    "-out", f"{who}.csr", "-subj", f"/CN={who}")
            openssl("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650",
                    "-extfile", "san", "-out", f"{who}.pem")
        return tls

    def start_etcd(self, name):
        tls = self.certificates()
        client, peer = etcd_ports(name)
        members = ",".join(f"{n}=https://127.0.0.1:{etcd_ports(n)[1]}" for n in ETCDS)
        self.spawn(name, [
            self.servers / "etcd-3.6", "--name", name, "--data-dir", self.path("data", name),
            "--listen-client-urls", f"https://127.0.0.1:{client}", "--advertise-client-urls", f"https://127.0.0.1:{client}",
            "--listen-peer-urls", f"https://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"https://127.0.0.1:{peer}",
            "--initial-cluster", members, "--initial-cluster-state", "new", "--initial-cluster-token", "saker-dev",
            "--cert-file", tls / "server.pem", "--key-file", tls / "server.key", "--trusted-ca-file", tls / "ca.pem", "--client-cert-auth",
            "--peer-cert-file", tls / "server.pem", "--peer-key-file", tls / "server.key", "--peer-trusted-ca-file", tls / "ca.pem",
            "--peer-client-cert-auth", "--auto-compaction-mode", "revision", "--auto-compaction-retention", "10000",
            "--quota-backend-bytes", str(self.etcd_quota), "--logger", "zap", "--log-level", "warn"])

    def ask_etcd(self, name, path, body=None, timeout=2):
        """The answer of one member's HTTP gateway, as text; `body`, if there is one, is sent as JSON."""
        tls = self.dir / "tls"
        context = ssl.create_default_context(cafile=tls / "ca.pem")
        context.load_cert_chain(tls / "client.pem", tls / "client.key")
        request = urllib.request.Request(f"https://127.0.0.1:{etcd_ports(name)[0]}{path}", data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return answer.read().decode()

    def etcd_ready(self, name):
        try:
            return json.loads(self.ask_etcd(name, "/health"))["health"] == "true"
        except (OSError, ValueError, KeyError):
            return False

    def etcd_leads(self, name):
        status = json.loads(self.ask_etcd(name, "/v3/maintenance/status", {}))
        return status["leader"] == status["header"]["member_id"]

    def etcdctl(self, *args, **kwargs):
        tls = self.dir / "tls"
        return subprocess.run([self.servers / "etcdctl-3.6", "--endpoints", ",".join(f"https://127.0.0.1:{etcd_ports(n)[0]}" for n in ETCDS),
                               "--cacert", tls / "ca.pem", "--cert", tls / "client.pem", "--key", tls / "client.key", *args],
                              capture_output=True, text=True, **kwargs)

    def ctl(self, *args):
        """saker ctl ARGS with the cluster's settings."""
        return subprocess.run([self.saker, "ctl", *args, "--config", self.dir / "saker.yaml"], capture_output=True, text=True)

    # ---- Kafka

    def start_kafka(self):
        data = self.path("data", "kafka")
        config = self.path("data", "kafka.properties")
        config.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{KAFKA_CONTROLLER}",
            f"listeners=PLAINTEXT://127.0.0.1:{KAFKA_PORT},CONTROLLER://127.0.0.1:{KAFKA_CONTROLLER}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{KAFKA_PORT}", "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", f"log.dirs={data}",
            "offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "auto.create.topics.enable=false", "message.max.bytes=16777216", ""]))
        java = ["java", "-Xmx384m", "-Xms128m", "-cp", f"{self.servers}/kafka/libs/*"]
        if not (data / "meta.properties").exists():
            data.mkdir(parents=True, exist_ok=True)
            subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(config)],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.spawn("kafka", java + ["kafka.Kafka", str(config)])

    # ---- S3

    def start_s3(self):
        self.path("data", "s3", "x").parent.mkdir(parents=True, exist_ok=True)
        self.spawn("s3", [self.servers / "versitygw", "--port", f"127.0.0.1:{S3_PORT}", "--access", ACCESS, "--secret", SECRET,
                          "posix", self.dir / "data" / "s3"])

    # ---- Saker

    def write_config(self):
        tls = self.dir / "tls"
        endpoints = ",".join(f"https://127.0.0.1:{etcd_ports(n)[0]}" for n in ETCDS)
        self.path("saker.yaml").write_text(f"""# The settings of every process of this cluster.
etcd:
  endpoints: {endpoints}
  rootPath: saker-dev
  ssl:
    enabled: true
    tlsCACert: {tls}/ca.pem
    tlsCert: {tls}/client.pem
    tlsKey: {tls}/client.key
kafka:
  brokerList: 127.0.0.1:{KAFKA_PORT}
minio:
  address: 127.0.0.1
  port: {S3_PORT}
  accessKeyID: {ACCESS}
  secretAccessKey: {SECRET}
  bucketName: {BUCKET}
  createBucket: true
""")

    def start_saker(self, name):
        subcommand, internal, http, client = SAKERS[name]
        argv = [self.saker, subcommand, "--config", self.dir / "saker.yaml", "--data", self.path("data", name),
                "--internal", f"127.0.0.1:{internal}", "--http", f"127.0.0.1:{http}"]
        if client:
            argv += ["--listen", f"127.0.0.1:{client}"]
        self.spawn(name, argv)

    def health(self, name):
        port = SAKERS[name][2]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
                return answer.status, answer.read().decode(errors="replace").strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace").strip()
        except OSError as error:
            return 0, str(error)

    # ---- commands

    def begin(self, name):
        if name in ETCDS:
            self.start_etcd(name)
        elif name == "kafka":
            self.start_kafka()
        elif name == "s3":
            self.start_s3()
        else:
            self.start_saker(name)

    def ready(self, name):
        if name in ETCDS:
            return self.etcd_ready(name)
        if name in ("kafka", "s3"):
            try:
                socket.create_connection(("127.0.0.1", KAFKA_PORT if name == "kafka" else S3_PORT), timeout=1).close()
                return True
            except OSError:
                return False
        return self.health(name)[0] == 200

    def start(self, names):
        self.require_servers(names)
        self.certificates()
        self.write_config()
        for stage in ([n for n in names if n in SERVERS], [n for n in names if n in SAKERS]):
            for name in stage:
                self.begin(name)
            for name in stage:
                self.until(name, lambda name=name: self.ready(name))

    def require_servers(self, names):
        wanted = {"etcd-3.6": ETCDS, "kafka/libs": ["kafka"], "versitygw": ["s3"]}
        for program, needed_by in wanted.items():
            if set(needed_by) & set(names) and not (self.servers / program).exists():
                die(f"{self.servers / program} is missing: tests/servers/install.sh installs the servers")
        if set(names) & set(SAKERS) and not self.saker.exists():
            die(f"{self.saker} is missing: ./dev build")

    def stop(self, names):
        for name in [n for n in names if n in SAKERS] + [n for n in names if n in SERVERS]:
            self.end(name)

    def wipe_etcd(self):
        for name in ETCDS:
            self.end(name, signal.SIGKILL)
            shutil.rmtree(self.path("data", name), ignore_errors=True)
        for name in ETCDS:
            self.begin(name)
        for name in ETCDS:
            self.until(name, lambda name=name: self.ready(name))

    def status(self):
        for name in ALL:
            state = "down" if not self.alive(name) else "paused" if self.paused(name) else "up"
            said = ""
            if state == "up":
                said = "serves" if name in SERVERS and self.ready(name) else "" if name in SERVERS else self.health(name)[1]
            print(f"{name:12} {state:7} {self.pid(name) or '':>8}  {said}")

    def endpoints(self):
        for name, (_, internal, http, client) in sorted(SAKERS.items(), key=lambda item: item[1][3] or 99999):
            where = f"gRPC and REST 127.0.0.1:{client}, " if client else ""
            print(f"{name:12} {where}health http://127.0.0.1:{http}")
        print(f"{'etcd':12} " + ",".join(f"https://127.0.0.1:{etcd_ports(n)[0]}" for n in ETCDS))
        print(f"{'kafka':12} 127.0.0.1:{KAFKA_PORT}\n{'s3':12} http://127.0.0.1:{S3_PORT}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=os.environ.get("SAKER_SERVERS", ROOT / "build/servers"))
    parser.add_argument("command", choices=["start", "kill", "pause", "resume", "stop", "wipe", "status"])
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    cluster = Cluster(args.dir, args.saker, args.servers)
    if args.command == "wipe":
        if args.names != ["etcd"]:
            die("only etcd can be wiped: wipe etcd")
        return cluster.wipe_etcd()
    names = [m for n in args.names for m in (ETCDS if n == "etcd" else [n])]
    for name in names:
        if name not in ALL:
            die(f"there is no {name}; there are {', '.join(ALL)}")
    if args.command == "start":
        cluster.start(names or ALL)
        if not names:
            cluster.endpoints()
    elif args.command == "stop":
        cluster.stop(names or ALL)
    elif args.command == "status":
        cluster.status()
    else:
        if not names:
            die(f"{args.command} what? One of {', '.join(ALL)}")
        for name in names:
            if args.command == "kill":
                cluster.end(name, signal.SIGKILL)
            else:
                cluster.send(name, signal.SIGSTOP if args.command == "pause" else signal.SIGCONT)


if __name__ == "__main__":
    main()
