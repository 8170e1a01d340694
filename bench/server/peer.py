#!/usr/bin/env python3
"""Starts and stops the real Milvus 2.3.5 (PyPI's `milvus` wheel) as a plain child process, for comparison.

  peer.py setup VENV                       make the virtual environment it lives in
  peer.py start BASE PORT [KEY=VALUE ...]  unpack into BASE, listen on PORT; KEY=VALUE as in milvus.yaml
  peer.py stop BASE                        SIGTERM, then SIGKILL after 20 s

The wheel's binary listens on 0.0.0.0; its metrics port is the first free one from 9191. `start` returns when the server
answers; its pid is in BASE/pid.
"""
import os
import signal
import socket
import subprocess
import sys
import time

REQUIREMENTS = ["milvus==2.3.5", "pymilvus==2.3.7", "setuptools<70", "marshmallow<4", "numpy<2", "pandas<2.3",
                "h5py", "pytest"]


def setup(venv):
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        subprocess.check_call([sys.executable, "-m", "venv", venv])
    probe = subprocess.run([python, "-c", "import milvus, pymilvus, h5py, pytest"], capture_output=True)
    if probe.returncode != 0:
        subprocess.check_call([python, "-m", "pip", "install", "-q", *REQUIREMENTS])
    return python


def free_port(start):
    for port in range(start, start + 1000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass
    raise RuntimeError(f"no free port from {start} on")


def prepare(base, port, overrides):
    """Writes the configuration and the unpacked binary; returns (argv, environment)."""
    import milvus
    base = os.path.abspath(base)
    os.makedirs(base, exist_ok=True)
    config = milvus.MilvusServerConfig()
    config.update(data_dir=base, proxy_port=port)
    for key, value in overrides.items():
        config.set(key, value)
    config.resolve()
    milvus._initialize_data_files(base)
    binary = os.path.join(base, "bin", "milvus")
    env = dict(os.environ, DEPLOY_MODE="STANDALONE", METRICS_PORT=str(free_port(9191)),
               MILVUS_RUN_DIR=os.path.join(base, "run"),
               LD_LIBRARY_PATH=os.path.dirname(binary) + ":" + os.environ.get("LD_LIBRARY_PATH", ""))
    env.pop("MALLOC_ARENA_MAX", None)
    return [binary, "run", "standalone"], env


def spawn(base, port, overrides=None):
    argv, env = prepare(base, port, overrides or {})
    out = open(os.path.join(base, "output.log"), "ab")
    child = subprocess.Popen(argv, cwd=base, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                             start_new_session=True)
    with open(os.path.join(base, "pid"), "w") as f:
        f.write(str(child.pid))
    return child


def wait_ready(port, child=None, timeout_s=120):
    from pymilvus import MilvusClient
    start = time.time()
    while time.time() - start < timeout_s:
        if child is not None and child.poll() is not None:
            raise RuntimeError(f"the server ended with status {child.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            MilvusClient(uri=f"http://127.0.0.1:{port}", token="root:Milvus", timeout=5).list_collections()
            return time.time() - start
        except Exception:
            time.sleep(0.1)
    raise RuntimeError(f"no answer on port {port} after {timeout_s} s")


def stop(base):
    try:
        pid = int(open(os.path.join(base, "pid")).read())
    except OSError:
        return
    for sig, wait_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            break
        end = time.time() + wait_s
        while time.time() < end:
            try:
                if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
                    break
            except OSError:
                break
            time.sleep(0.05)
        else:
            continue
        break
    try:
        os.unlink(os.path.join(base, "pid"))
    except OSError:
        pass


def main():
    command, *args = sys.argv[1:]
    if command == "setup":
        print(setup(args[0]))
    elif command == "start":
        base, port = os.path.abspath(args[0]), int(args[1])
        child = spawn(base, port, dict(a.split("=", 1) for a in args[2:]))
        print(f"pid {child.pid}, ready after {wait_ready(port, child):.1f} s", flush=True)
        os._exit(0)
    elif command == "stop":
        stop(args[0])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
