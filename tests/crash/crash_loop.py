#!/usr/bin/env python3
"""Lets a store lose power again and again, and checks each time that what it acknowledged is there.

    crash_loop.py --library dropsync.so --worker crash_worker --store log [--rounds N] [--seed N]

Every round works on what the round before left, in a fresh process, for a random while.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import drop_unsynced  # noqa: E402


def crash_round(worker, library, store, data, state, acks, seed, rng):
    """Works, kills, drops, verifies. Returns a line about it."""
    drop_unsynced.start(state)
    env = drop_unsynced.environment(library, data, state)
    process = subprocess.Popen([worker, store, "work", data, acks, str(seed)], env=env, stderr=subprocess.PIPE)
    time.sleep(rng.choice([0.02, 0.1, 0.3, 0.6]) * (0.5 + rng.random()))
    if process.poll() is not None:
        sys.exit(f"the worker ended by itself: {process.stderr.read().decode()}")
    process.kill()
    process.wait()
    process.stderr.close()
    mode = rng.choice(["strict", "random", "random", "random", "keep"])
    dropped = drop_unsynced.drop(data, state, seed, mode)
    verified = subprocess.run([worker, store, "verify", data, acks], capture_output=True, text=True)
    line = f"round {seed} {mode}: {dropped[0]} + {dropped[1]} unsynced; {verified.stdout.strip()}"
    if verified.returncode != 0:
        raise RuntimeError(f"{line}\n{verified.stderr}")
    return line


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--store", choices=["log", "objects", "rocksdb"], required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    rng = random.Random(arguments.seed)
    scratch = os.path.realpath(tempfile.mkdtemp(prefix="saker_crash_"))
    data, state, acks = (os.path.join(scratch, name) for name in ("data", "state", "acks"))
    os.mkdir(data)
    # An odd seed makes some of the log's rounds truncate, an even one none: only then can atomicity be checked.
    for number in range(arguments.rounds):
        seed = arguments.seed * 1000 + number * (2 if arguments.seed % 2 == 0 else 1)
        try:
            print(crash_round(os.path.abspath(arguments.worker), os.path.abspath(arguments.library), arguments.store, data,
                              state, acks, seed, rng), flush=True)
        except RuntimeError as error:
            sys.exit(f"{error}\nseed {arguments.seed}; what is left: {scratch}")
    subprocess.run(["rm", "-rf", scratch], check=True)


if __name__ == "__main__":
    main()
