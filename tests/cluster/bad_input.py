#!/usr/bin/env python3
"""Bad input and bad times at a process's start, one after the other, and what it says and does about each: waits until
the trouble is over, goes on and says so in health, or ends with a message. docs/operations.md has the same table.

  bad_input.py [CASE ...] --saker build/release/saker [--servers build/servers]

Starts its own etcd, Kafka and S3 server on free ports. Prints a line for each case and "N passed, M failed".
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ACCESS, SECRET = "saker", "saker-secret"
used = set()


def free_port():
    """Below the range that the kernel hands out to clients."""
    import random
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in used:
            used.add(port)
            return port


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def until(done, limit=30, what="it"):
    deadline = time.monotonic() + limit
    while True:
        result = done()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {limit} s")
        time.sleep(0.05)


class Process:
    def __init__(self, argv, log, env=None):
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=dict(os.environ, **(env or {})), start_new_session=True)

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def end(self, number=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(number)
        return self.process.wait(30)


class Servers:
    """etcd, Kafka and S3 with nothing in them; each can be had more than once."""

    def __init__(self, directory, programs):
        self.dir, self.programs, self.running = Path(directory), Path(programs), []

    def start(self, name, argv, port, env=None):
        process = Process(argv, self.dir / f"{name}.log", env)
        self.running.append(process)
        try:
            until(lambda: listening(port) or not process.alive(), 180, f"{name}'s start")
        finally:
            if not process.alive():
                raise AssertionError(f"{name} ended at its start:\n{process.text()[-2000:]}")
        return process

    def etcd(self, name, *flags, scheme="http", version="3.6", port=None):
        port, peer = port or free_port(), free_port()
        url = f"{scheme}://127.0.0.1:{port}"
        process = self.start(name, [
            self.programs / f"etcd-{version}", "--name", name, "--data-dir", self.dir / name, "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls",
            f"http://127.0.0.1:{peer}", "--initial-cluster", f"{name}=http://127.0.0.1:{peer}", "--logger", "zap", "--log-level", "warn",
            "--unsafe-no-fsync", *flags], port)
        return process, url

    def s3(self, name, port=None):
        port = port or free_port()
        (self.dir / name).mkdir(exist_ok=True)
        return self.start(name, [self.programs / "versitygw", "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET,
                                 "posix", self.dir / name], port), port

    def kafka(self):
        port, controller, data = free_port(), free_port(), self.dir / "kafka"
        config = self.dir / "kafka.properties"
        config.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}", f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names=CONTROLLER", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            f"log.dirs={data}", "offsets.topic.replication.factor=1", "auto.create.topics.enable=false", "message.max.bytes=16777216", ""]))
        java = ["java", "-Xmx256m", "-Xms64m", "-cp", f"{self.programs}/kafka/libs/*"]
        subprocess.run(java + ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(config)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.start("kafka", java + ["kafka.Kafka", str(config)], port), port

    def ctl(self, url, *args, **kwargs):
        return subprocess.run([self.programs / "etcdctl-3.6", "--endpoints", url, *args], check=True, capture_output=True, text=True, **kwargs)

    def end(self):
        for process in self.running:
            process.end()


class Saker:
    """A process of one role, by default a mixcoord, which needs etcd and S3 but not Kafka."""

    def __init__(self, program, directory, config, role="mixcoord", data=None, environment=None):
        self.http, self.internal = free_port(), free_port()
        self.data = Path(data or tempfile.mkdtemp(dir=directory))
        file = Path(tempfile.mkdtemp(dir=directory)) / "saker.yaml"
        file.write_text(config)
        argv = [program, role, "--config", file, "--data", self.data, "--http", f"127.0.0.1:{self.http}",
                "--internal", f"127.0.0.1:{self.internal}"]
        if role == "proxy":
            argv += ["--listen", f"127.0.0.1:{free_port()}"]
        self.process = Process(argv, file.parent / "log", environment)

    def get(self, path, json_wanted=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers={"accept": "application/json"} if json_wanted else {})
        try:
            with urllib.request.urlopen(request, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self):
        return self.get("/readyz")[0] == 200

    def says(self, words, limit=30):
        """Until its log holds a line with all of them."""
        def found():
            for line in self.process.text().splitlines():
                if all(word in line for word in words):
                    return line
        try:
            return until(found, limit, f"a line with {words}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.process.text()[-3000:]}") from None

    def waits(self, words, seconds=1.5):
        """It says so once, lives, isn't ready, and doesn't repeat itself."""
        line = self.says(words)
        time.sleep(seconds)
        assert self.process.alive(), f"it ended: {self.process.text()[-2000:]}"
        assert not self.ready(), "it is ready"
        assert self.get("/livez")[0] == 200
        status, body = self.get("/healthz")
        assert status == 503 and "waiting for" in body, body
        message = line.split("waiting for", 1)[-1]
        assert self.process.text().count(message) == 1, f"told more than once: {message}"

    def becomes_ready(self, limit=60):
        until(lambda: self.ready() or not self.process.alive(), limit, "being ready")
        assert self.process.alive(), f"it ended: {self.process.text()[-2000:]}"

    def ends(self, code, words, limit=30):
        until(lambda: not self.process.alive(), limit, "its end")
        text = self.process.text()
        assert self.process.process.returncode == code, f"exit code {self.process.process.returncode}: {text[-1000:]}"
        assert any(all(word in line for word in words) for line in text.splitlines()), f"it said: {text[-2000:]}"

    def end(self):
        self.process.end(signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.end()


class Cases:
    def __init__(self, saker, programs, directory):
        self.saker, self.dir = saker, Path(directory)
        self.servers = Servers(directory, programs)
        _, self.etcd = self.servers.etcd("etcd")
        _, self.s3 = self.servers.s3("s3")
        self.kafka_port = None

    def config(self, root=None, **more):
        """The settings of a cluster of its own; `more` replaces sections' lines: etcd_endpoints=…, minio_port=…"""
        self.count = getattr(self, "count", 0) + 1
        values = {"etcd_endpoints": self.etcd, "etcd_rootPath": root or f"case{self.count}", "kafka_brokerList": f"127.0.0.1:{self.kafka_port or 1}",
                  "minio_address": "127.0.0.1", "minio_port": self.s3, "minio_accessKeyID": ACCESS, "minio_secretAccessKey": SECRET,
                  "minio_bucketName": root or f"case{self.count}", "minio_createBucket": "true"}
        values.update(more)
        sections = {}
        for key, value in values.items():
            section, name = key.split("_", 1)
            if value is not None:
                sections.setdefault(section, []).append(f"  {name}: {value}")
        return "".join(f"{section}:\n" + "\n".join(lines) + "\n" for section, lines in sections.items())

    def run(self, config, **kwargs):
        return Saker(self.saker, self.dir, config, **kwargs)

    def need_kafka(self):
        if self.kafka_port is None:
            _, self.kafka_port = self.servers.kafka()

    # ---- settings: it ends with 2 and names the key

    def half_a_configuration(self):
        with self.run(self.config(minio_bucketName=None, kafka_brokerList=None)) as saker:
            saker.ends(2, ["minio.bucketName", "kafka.brokerList", "KAFKA_BROKERLIST"])

    def a_value_that_makes_no_sense(self):
        with self.run(self.config(etcd_requestTimeout="soon")) as saker:
            saker.ends(2, ["etcd.requestTimeout", "'soon'", "100 to 60000"])

    def no_yaml(self):
        with self.run("etcd: [1") as saker:
            saker.ends(2, ["saker.yaml", "not valid YAML"])

    def an_environment_variable_that_makes_no_sense(self):
        with self.run(self.config(), environment={"COMMON_SESSION_TTL": "1"}) as saker:
            saker.ends(2, ["COMMON_SESSION_TTL", "'1'", "3 to 3600"])

    def an_endpoint_that_is_none(self):
        with self.run(self.config(etcd_endpoints="127.0.0.1")) as saker:
            saker.ends(1, ["127.0.0.1", "host:port"])

    # ---- etcd

    def etcd_away(self):
        port = free_port()
        with self.run(self.config(etcd_endpoints=f"http://127.0.0.1:{port}")) as saker:
            saker.waits(["waiting for etcd", f"127.0.0.1:{port}", "Connection refused"])
            process, _ = self.servers.etcd("late", port=port)
            saker.becomes_ready()
            process.end()

    def etcd_speaks_something_else(self):
        with self.run(self.config(etcd_endpoints=f"http://127.0.0.1:{self.s3}")) as saker:
            saker.waits(["waiting for etcd", f"127.0.0.1:{self.s3}"])

    def etcd_wrong_password(self):
        process, url = self.servers.etcd("auth")
        for step in (["user", "add", "root:rootpass"], ["user", "grant-role", "root", "root"], ["user", "add", "saker:right"],
                     ["role", "add", "keeper"], ["role", "grant-permission", "--prefix=true", "keeper", "readwrite", "password/"],
                     ["user", "grant-role", "saker", "keeper"], ["auth", "enable"]):
            self.servers.ctl(url, *step)
        auth = "\n  auth: {enabled: true, userName: saker, password: %s}"
        with self.run(self.config("password", etcd_endpoints=url + auth % "wrong")) as saker:
            saker.waits(["waiting for etcd", '"saker"', "password"])
        with self.run(self.config("password", etcd_endpoints=url)) as saker:
            saker.waits(["waiting for etcd", "authentication", "user name and password"])
        with self.run(self.config("password", etcd_endpoints=url + auth % "right")) as saker:
            saker.becomes_ready()
        with self.run(self.config("another", etcd_endpoints=url + auth % "right")) as saker:
            saker.waits(["waiting for etcd", "permission"])
            self.servers.ctl(url, "--user", "root:rootpass", "role", "grant-permission", "--prefix=true", "keeper", "readwrite", "another/")
            saker.becomes_ready()
        process.end()

    def certificates(self):
        tls = self.dir / "tls"
        if tls.exists():
            return tls
        tls.mkdir()

        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=tls, check=True, capture_output=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        (tls / "ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        for ca in ("ca", "other-ca"):
            openssl("req", "-x509", *key, "-days", "2", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
        for name, ca in (("server", "ca"), ("client", "ca"), ("other", "other-ca")):
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2",
                    "-extfile", "ext", "-out", f"{name}.pem")
        return tls

    def etcd_wrong_certificate(self):
        tls = self.certificates()
        process, url = self.servers.etcd("tls", "--cert-file", tls / "server.pem", "--key-file", tls / "server.key", "--trusted-ca-file",
                                         tls / "ca.pem", "--client-cert-auth", scheme="https")

        def ssl(ca, client):
            return f"{url}\n  ssl: {{enabled: true, tlsCACert: {tls}/{ca}.pem, tlsCert: {tls}/{client}.pem, tlsKey: {tls}/{client}.key}}"
        with self.run(self.config(etcd_endpoints=ssl("other-ca", "client"))) as saker:
            saker.waits(["waiting for etcd", "certificate"])
        with self.run(self.config(etcd_endpoints=ssl("ca", "other"))) as saker:
            saker.waits(["waiting for etcd", url])
        with self.run(self.config(etcd_endpoints=url.replace("https", "http"))) as saker:
            saker.waits(["waiting for etcd", "127.0.0.1"])
        with self.run(self.config(etcd_endpoints=ssl("nowhere", "client"))) as saker:
            saker.ends(1, [f"{tls}/nowhere.pem", "PEM"])
        with self.run(self.config(etcd_endpoints=ssl("ca", "client"))) as saker:
            saker.becomes_ready()
        process.end()

    def etcd_full(self):
        process, url = self.servers.etcd("full", "--quota-backend-bytes", str(16 << 20))
        value = "x" * (1 << 20)
        for i in range(40):
            try:
                self.servers.ctl(url, "put", "filler", input=value)
            except subprocess.CalledProcessError:
                break
        with self.run(self.config(etcd_endpoints=url)) as saker:
            saker.waits(["waiting for", "NOSPACE"])
            config = self.dir / "full.yaml"
            config.write_text(self.config(etcd_endpoints=url))
            done = subprocess.run([self.saker, "ctl", "etcd", "defrag", "--config", config], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            saker.becomes_ready()
        process.end()

    def etcd_alone_is_a_warning(self):
        with self.run(self.config()) as saker:
            saker.becomes_ready()
            status, body = saker.get("/healthz")
            assert status == 200 and body.startswith("OK\n"), body
            assert "warning: etcd has 1 voting member" in body, body
            status, body = saker.get("/healthz", json_wanted=True)
            answer = json.loads(body)
            assert answer["state"] == "OK" and "1 voting member" in answer["warnings"][0], body
            assert "saker_etcd_warnings 1" in saker.get("/metrics")[1]

    # ---- Kafka

    def begin(self, config):
        """A cluster's metadata is begun by a coordinator; the others wait for it."""
        with self.run(config) as coordinator:
            coordinator.becomes_ready()
            coordinator.end()

    def no_coordinator_ever(self):
        config = self.config()
        with self.run(config, role="querynode") as saker:
            saker.waits(["waiting for etcd", "waiting for a coordinator"])
            self.begin(config)
            saker.becomes_ready()

    def kafka_away(self):
        config = self.config(kafka_brokerList="127.0.0.1:9")
        self.begin(config)
        with self.run(config, role="datanode") as saker:
            saker.waits(["waiting for Kafka", "127.0.0.1:9"])

    def kafka_topic_of_other_settings(self):
        self.need_kafka()
        config = self.config(kafka_topic="few")
        self.begin(config)
        with self.run(config + "rootCoord: {dmlChannelNum: 4}\n", role="datanode") as saker:
            saker.becomes_ready()
        with self.run(config + "rootCoord: {dmlChannelNum: 2}\n", role="datanode") as saker:
            saker.ends(1, ["Kafka", "few", "partitions = 4, it must be 2"])

    # ---- S3

    def s3_away(self):
        port = free_port()
        with self.run(self.config(minio_port=port)) as saker:
            saker.waits(["waiting for the object store", f"127.0.0.1:{port}"])
            process, _ = self.servers.s3("late-s3", port)
            saker.becomes_ready(90)
            process.end()

    def s3_wrong_secret(self):
        with self.run(self.config(minio_secretAccessKey="wrong")) as saker:
            saker.waits(["waiting for the object store", "check access_key and secret_key"])

    def s3_without_the_bucket(self):
        with self.run(self.config(minio_bucketName="nobodys", minio_createBucket="false")) as saker:
            saker.ends(1, ["nobodys", "bucket"])

    # ---- who is who

    def a_data_directory_of_another_cluster(self):
        first, second = self.config(), self.config()
        with self.run(first) as saker:
            saker.becomes_ready()
            saker.end()
            data = saker.data
        with self.run(second) as saker:
            saker.becomes_ready()
            saker.end()
        with self.run(second, data=data) as saker:
            saker.ends(1, [str(data), "belongs to cluster", "empty data directory"])

    def stores_of_two_clusters(self):
        for name in ("mixone", "mixtwo"):
            with self.run(self.config(name)) as saker:
                saker.becomes_ready()
                saker.end()
        with self.run(self.config("mixone", minio_bucketName="mixtwo")) as saker:
            saker.ends(1, ["the meta store belongs to cluster", "the object store to cluster"])

    def two_processes_on_one_data_directory(self):
        config = self.config()
        with self.run(config) as first:
            first.becomes_ready()
            with self.run(config, data=first.data) as second:
                second.ends(1, [str(first.data), "in use by process", str(first.process.process.pid)])

    def two_nodes_of_one_name(self):
        config = self.config()
        with self.run(config) as first:
            first.becomes_ready()
            copy = Path(tempfile.mkdtemp(dir=self.dir)) / "copy"
            copy.mkdir()
            shutil.copy(first.data / "node", copy)  # what says who it is
            with self.run(config, data=copy) as second:
                second.says(["could not be registered", "copy of the other's data directory", str(first.internal)])
                until(second.ready)
                status, body = second.get("/healthz")
                assert status == 503 and "copy of the other's data directory" in body, body
                assert first.get("/healthz")[0] == 200, first.get("/healthz")
                first.end()
                until(lambda: second.get("/healthz")[0] == 200, 30, "its registration once the other is gone")

    def a_node_killed_registers_again_at_once(self):
        config = self.config()
        with self.run(config) as first:
            first.becomes_ready()
            first.process.end()
            port = first.internal
            with self.run(config + f"rootCoord: {{port: {port}}}\n", data=first.data) as second:
                second.becomes_ready()

    # ---- the machine

    def a_full_disk(self):
        disk = Path(tempfile.mkdtemp(dir=self.dir)) / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode != 0:
            return "skipped: this needs the right to mount"
        try:
            (disk / "filler").write_bytes(b"x" * (4 << 20))
        except OSError:
            pass
        try:
            with self.run(self.config(), data=disk) as saker:
                saker.waits(["waiting for", str(disk)])
                (disk / "filler").unlink()
                saker.becomes_ready()
                body = saker.get("/healthz")[1]
                assert "saker.diskReserveMb" in body, body
        finally:
            subprocess.run(["umount", "-l", disk], check=True)

    def a_clock_that_jumps(self):
        library, shift = self.dir / "clock_shift.so", self.dir / "clock_shift"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).parent / "clock_shift.c"], check=True)
        shift.write_bytes(bytes(8))

        def set_clock(seconds):
            with open(shift, "r+b") as file:
                file.write(seconds.to_bytes(8, "little", signed=True))
        with self.run(self.config(), environment={"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(shift)}) as saker:
            saker.becomes_ready()
            assert "wall clock" not in saker.get("/healthz")[1]
            set_clock(600)
            until(lambda: "the wall clock was set by +600" in saker.get("/healthz")[1], 10, "its being told in health")
            saker.says(["the wall clock was set by +600"])
            set_clock(-600)
            # Nobody asks for health: the renewal of its lease notices it.
            saker.says(["the wall clock was set by -1200"])
            assert "the wall clock was set by -1200" in saker.get("/healthz")[1]
            assert saker.ready() and saker.get("/healthz")[0] == 200


def main():
    cases = [name for name, value in vars(Cases).items() if callable(value) and not name.startswith("_")
             and name not in ("config", "run", "begin", "need_kafka", "certificates")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(cases))
    parser.add_argument("--saker", default=ROOT / "build/release/saker", type=Path)
    parser.add_argument("--servers", default=os.environ.get("SAKER_SERVERS", ROOT / "build/servers"))
    args = parser.parse_args()
    for name in args.cases:
        if name not in cases:
            sys.exit(f"there is no case {name}; there are {', '.join(cases)}")
    directory = tempfile.mkdtemp(prefix="saker-bad-input-")
    passed = failed = 0
    runner = Cases(args.saker.resolve(), args.servers, directory)
    try:
        for name in args.cases or cases:
            begun = time.monotonic()
            try:
                note = getattr(runner, name)() or ""
                passed += 1
                print(f"ok    {name:45} {time.monotonic() - begun:5.1f} s  {note}", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAIL  {name:45} {time.monotonic() - begun:5.1f} s  {error}", flush=True)
    finally:
        runner.servers.end()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
