#!/usr/bin/env python3
"""Work moves between the nodes of a running cluster, under load: a node joins, or is drained and stopped, and no request
fails. Prints a line for each move.

  moves.py [MOVE ...] [--dir build/cluster] [--deadline SECONDS] [--report FILE.json]

Needs pymilvus, and a cluster as cluster.py starts it. Clients insert and search at 50 requests a second in all, through
both proxies, with retries off. A move passes if every request was answered well within the deadline, nothing that was
acknowledged is missing, and the node has work (it joined) or ended by itself with none (it was drained).
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import faults
from cluster import ROOT, Cluster
from faults import Load, client, lost, prepare
from pymilvus.exceptions import MilvusException

BYSTANDERS = ["moves_b", "moves_c"]  # loaded collections that nobody asks: their segments move too


def owners(name):
    """The datanodes that own the collection's shards."""
    found = client(19530)._get_connection().get_replicas(name)
    return {shard.shard_leader for group in found.groups for shard in group.shards}


def holders(names):
    """How many segments each querynode serves. Asked again while one that has just ended is still counted on."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return count_segments(names)
        except MilvusException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)


def count_segments(names):
    count = {}
    for name in names:
        for segment in client(19530)._get_connection().get_query_segment_info(name):
            if segment.state == 3:  # sealed
                for node in segment.nodeIds:
                    count[node] = count.get(node, 0) + 1
    return count


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.25)
    return found


class Moves:
    def __init__(self, cluster, after):
        self.cluster, self.after = cluster, after

    def join_querynode(self, name):
        before = set(holders([name] + BYSTANDERS))
        self.cluster.start(["querynode3"])
        new = until(lambda: set(holders([name] + BYSTANDERS)) - before, 60, "the new querynode serves segments")
        return f"querynode {min(new)} serves {holders([name] + BYSTANDERS)[min(new)]} segments"

    def join_datanode(self, name):
        before = owners(name)
        self.cluster.start(["datanode2"])
        new = until(lambda: owners(name) - before, 60, "the new datanode owns a shard")
        return f"datanode {min(new)} owns a shard"

    def drain(self, name):
        begun = time.monotonic()
        self.cluster.send(name, signal.SIGTERM)
        until(lambda: not self.cluster.alive(name), 60, f"{name} ends")
        told = self.cluster.tail(name, 40)
        if "holds nothing any more" not in told:
            raise AssertionError(f"{name} ended with work left:\n{told}")
        return f"{name} ended {time.monotonic() - begun:.1f} s after SIGTERM"

    def drain_querynode(self, name):
        if len(holders([name] + BYSTANDERS)) < 2:
            raise AssertionError("there is only one querynode that serves segments")
        told = self.drain("querynode3")
        self.cluster.start(["querynode3"])  # taken back
        until(lambda: len(holders([name] + BYSTANDERS)) >= 2, 60, "the querynode serves segments again")
        return told + ", and served again when it was started"

    def drain_datanode(self, name):
        before = owners(name)
        told = self.drain("datanode2")
        until(lambda: len(owners(name)) == 1, 10, "the other datanode owns all shards")
        self.cluster.start(["datanode2"])
        until(lambda: owners(name) == before or len(owners(name)) == 2, 60, "the datanode owns a shard again")
        return told + ", and owned shards again when it was started"

    def run(self, move):
        name = f"moves_{move}"
        absent = {"join_querynode": ["querynode3"], "join_datanode": ["datanode2"]}.get(move, [])
        for node in absent:
            self.cluster.end(node)
        for collection in [name] + BYSTANDERS:
            prepare(collection)
        load = Load(name)
        load.start()
        time.sleep(5)
        begun = time.monotonic()
        try:
            note, wrong = getattr(self, move)(name), 0
        except AssertionError as e:
            note, wrong = str(e), 1
        took = time.monotonic() - begun
        time.sleep(self.after)
        load.stop()
        result = load.summary(begun, time.monotonic())
        result["slowest_s"] = max((r[1] for results in load.results.values() for r in results if r[0] >= begun), default=0)
        result["lost"], result["phantom"] = lost(name, load)
        result["note"], result["wrong"], result["move_s"] = note, wrong, took
        for collection in [name] + BYSTANDERS:
            client(19530).drop_collection(collection)
        return result


ORDER = ["join_querynode", "join_datanode", "drain_querynode", "drain_datanode"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("moves", nargs="*", metavar="MOVE", help=", ".join(ORDER))
    parser.add_argument("--dir", default=ROOT / "build/cluster")
    parser.add_argument("--saker", default=ROOT / "build/release/saker")
    parser.add_argument("--servers", default=ROOT / "build/servers")
    parser.add_argument("--deadline", type=float, default=faults.DEADLINE_S, help="seconds that a request may take")
    parser.add_argument("--after", type=float, default=5)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    faults.DEADLINE_S = args.deadline
    runner = Moves(Cluster(args.dir, args.saker, args.servers), args.after)
    report, wrong = {}, 0
    for move in args.moves or ORDER:
        if move not in ORDER:
            sys.exit(f"there is no move {move}; there are {', '.join(ORDER)}")
        r = report[move] = runner.run(move)
        failed = r["search"]["failed"] + r["insert"]["failed"]
        wrong += bool(failed + r["lost"] + r["phantom"] + r["wrong"])
        print(f"{move:16} {r['search']['requests'] + r['insert']['requests']} requests, {failed} failed, slowest {r['slowest_s']:.2f} s, "
              f"gaps: search {r['search']['longest_gap_s']:.2f} s insert {r['insert']['longest_gap_s']:.2f} s   "
              f"lost {r['lost']} phantom {r['phantom']}   {r['note']}", flush=True)
        for kind in ("search", "insert"):
            for error in r[kind]["errors"]:
                print(f"{'':16}   {kind}: {error[:200]}", flush=True)
    if args.report:
        args.report.write_text(json.dumps(report, indent=1))
    print(f"{len(report) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
