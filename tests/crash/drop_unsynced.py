#!/usr/bin/env python3
"""Rolls a directory back to a state that a power loss could have left, after a process that ran with dropsync.so was killed.

    drop_unsynced.py --dir D --state S [--seed N] [--mode strict|random|keep]

strict: everything not known to be synced is gone. keep: nothing is (the process died, the power stayed). random: of each
file's unsynced changes some sectors and some of the growth survive, behind which there may be zeroes or garbage; of the
unsynced changes of names, some. The journal is used up: what remains counts as durable.
"""
import argparse
import collections
import os
import random
import shutil
import struct

SECTOR = 512

Change = collections.namedtuple("Change", "op ino offset length old_size new_size undo")


class Name:
    """A change of names; `paths` are those it concerns, target last."""

    def __init__(self, kind, op, ino, paths, grave=""):
        self.kind, self.op, self.ino, self.paths, self.grave = kind, op, ino, paths, grave
        self.done = False


class Reader:
    def __init__(self, body):
        self.body, self.at = body, 0

    def u64(self):
        self.at += 8
        return struct.unpack_from("<Q", self.body, self.at - 8)[0]

    def bytes(self):
        (n,) = struct.unpack_from("<I", self.body, self.at)
        self.at += 4 + n
        return self.body[self.at - n : self.at]

    def path(self):
        return os.fsdecode(self.bytes())


def records(path):
    with open(path, "rb") as journal:
        while True:
            head = journal.read(5)
            if len(head) < 5:
                return
            (length,) = struct.unpack("<I", head[1:])
            body = journal.read(length)
            if len(body) < length:
                return  # the kill came in between: what it announces hasn't happened
            yield head[:1].decode(), Reader(body)


class Model:
    """What is not durable yet, by the journal."""

    def __init__(self, journal):
        self.changes = collections.defaultdict(list)  # ino -> uncovered changes of data, oldest first
        self.done = set()  # changes of data that are over
        self.names = []  # uncovered changes of names, oldest first
        self.by_op = {}
        self.syncs = {}  # sync -> the ops it will cover
        for kind, r in records(journal):
            getattr(self, "on_" + kind)(r)

    def on_W(self, r):
        change = Change(r.u64(), r.u64(), r.u64(), r.u64(), r.u64(), r.u64(), r.bytes())
        self.changes[change.ino].append(change)
        self.by_op[change.op] = change

    def name(self, name):
        self.names.append(name)
        self.by_op[name.op] = name

    def on_N(self, r):
        self.name(Name("C", r.u64(), 0, [r.path()]))

    def on_C(self, r):
        op, ino = r.u64(), r.u64()
        # The inode may have belonged to a file that is gone.
        self.changes.pop(ino, None)
        for name in self.names:
            if name.ino == ino:
                name.ino = -1
        created = self.by_op[op]
        created.ino, created.done = ino, True

    def on_R(self, r):
        self.name(Name("R", r.u64(), r.u64(), [r.path(), r.path()], r.path()))

    def on_U(self, r):
        self.name(Name("U", r.u64(), r.u64(), [r.path()], r.path()))

    def on_L(self, r):
        self.name(Name("L", r.u64(), r.u64(), [r.path()]))

    def on_M(self, r):
        self.name(Name("M", r.u64(), -2, [r.path()]))

    def on_D(self, r):
        self.name(Name("D", r.u64(), -2, [r.path()]))

    def on_E(self, r):
        op = r.u64()
        change = self.by_op.get(op)
        if isinstance(change, Name):
            change.done = True
        else:
            self.done.add(op)

    def on_X(self, r):
        change = self.by_op.pop(r.u64(), None)
        if isinstance(change, Name):
            self.names.remove(change)

    def on_S(self, r):
        sync, ino = r.u64(), r.u64()
        self.syncs[sync] = (ino, {c.op for c in self.changes[ino] if c.op in self.done})

    def on_Y(self, r):
        sync, directory = r.u64(), r.path()
        covered, inodes = set(), set()
        for name in reversed(self.names):
            # A rename counts as one step; what made the file is implied by what came of it.
            here = os.path.dirname(name.paths[-1]) == directory
            if name.done and (here or name.ino in inodes):
                covered.add(name.op)
                if name.ino > 0:
                    inodes.add(name.ino)
        self.syncs[sync] = (None, covered)

    def on_F(self, r):
        ino, covered = self.syncs.pop(r.u64())
        if ino is None:
            self.names = [n for n in self.names if n.op not in covered]
            for op in covered:
                self.by_op.pop(op, None)
        else:
            self.changes[ino] = [c for c in self.changes[ino] if c.op not in covered]
            for op in covered:
                self.by_op.pop(op, None)
                self.done.discard(op)


def roll_back_data(path, changes, mode, rng):
    """Takes back unsynced changes of one file; which of them depends on the mode."""
    kept = {"strict": 0, "keep": len(changes)}.get(mode)
    if kept is None:
        kept = rng.choice([0, len(changes), rng.randint(0, len(changes))])
    with open(path, "r+b") as file:
        actual = file.seek(0, 2)
        size = actual if kept == len(changes) else changes[kept].old_size
        settled = set()  # sectors a newer version of which is on the disk
        tear = mode == "random" and rng.random() < 0.7
        for number in range(len(changes) - 1, -1, -1):
            change = changes[number]
            end = change.offset + change.length
            at = change.offset
            while at < end:
                sector = at // SECTOR
                stop = min(end, (sector + 1) * SECTOR)
                if sector not in settled:
                    if number < kept and not (tear and rng.random() < 0.5):
                        settled.add(sector)
                    else:
                        old = change.undo[at - change.offset : stop - change.offset]
                        file.seek(at)
                        file.write(old + b"\0" * (stop - at - len(old)))
                at = stop
        file.truncate(size)
        if mode == "random" and size < actual and rng.random() < 0.5:
            # The file had grown on the disk before its data came there.
            grown = rng.randint(size, actual)
            file.seek(size)
            file.write(rng.randbytes(grown - size) if rng.random() < 0.5 else b"\0" * (grown - size))


def inode(path):
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def undo_name(name, graves):
    target = name.paths[-1]
    if name.kind == "C":
        if inode(target) and name.ino in (0, inode(target)):
            os.unlink(target)
    elif name.kind == "L":
        if inode(target) == name.ino:
            os.unlink(target)
    elif name.kind == "M":
        if os.path.isdir(target):
            shutil.rmtree(target)  # a directory that isn't there has nothing in it
    elif name.kind == "D":
        if os.path.isdir(os.path.dirname(target)) and not os.path.exists(target):
            os.mkdir(target)
    elif name.kind == "R":
        source = name.paths[0]
        if name.ino and inode(target) == name.ino and inode(source) != name.ino:
            if os.path.isdir(os.path.dirname(source)):
                os.rename(target, source)
            else:
                os.unlink(target)
        restore(name, target, graves)
    elif name.kind == "U":
        restore(name, target, graves)


def restore(name, target, graves):
    grave = os.path.join(graves, name.grave)
    if name.grave and os.path.exists(grave) and not os.path.exists(target):
        if os.path.isdir(os.path.dirname(target)):
            os.link(grave, target)


def choose_names(names, mode, rng):
    """Those to undo."""
    if mode == "keep":
        return []
    if mode == "strict":
        return names
    # Journaling file systems keep the order; the standard doesn't ask for it, but whole directories at least go together.
    if rng.random() < 0.5:
        return names[rng.randint(0, len(names)) :]
    lost = {}
    return [n for n in names if lost.setdefault(os.path.dirname(n.paths[-1]), rng.random() < 0.5)]


def drop(directory, state, seed=0, mode="random"):
    """Returns how many changes of data and of names were not durable."""
    rng = random.Random(seed)
    journal, graves = os.path.join(state, "journal"), os.path.join(state, "graves")
    model = Model(journal)
    paths = {}
    for folder, _, files in list(os.walk(directory)) + list(os.walk(graves)):
        for file in files:
            path = os.path.join(folder, file)
            paths.setdefault(inode(path), path)
    unsynced = 0
    for ino, changes in sorted(model.changes.items()):
        if changes and ino in paths:
            unsynced += len(changes)
            roll_back_data(paths[ino], changes, mode, rng)
    for name in reversed(choose_names(model.names, mode, rng)):
        undo_name(name, graves)
    start(state)
    return unsynced, len(model.names)


def start(state):
    """An empty journal, and no graves."""
    shutil.rmtree(state, ignore_errors=True)
    os.makedirs(os.path.join(state, "graves"))
    open(os.path.join(state, "journal"), "wb").close()


def environment(library, directory, state, fast=True):
    """The environment to start a process in that is to lose power."""
    env = dict(os.environ, LD_PRELOAD=library, DROPSYNC_DIR=directory, DROPSYNC_STATE=state)
    if fast:
        env["DROPSYNC_FAST"] = "1"
    return env


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dir", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=["strict", "random", "keep"], default="random")
    arguments = parser.parse_args()
    data, names = drop(os.path.realpath(arguments.dir), arguments.state, arguments.seed, arguments.mode)
    print(f"{data} changes of data and {names} of names were not durable")
