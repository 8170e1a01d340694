#!/usr/bin/env python3
"""dropsync.so and drop_unsynced.py do what they claim: dropsync_test.py <path of dropsync.so>."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import drop_unsynced  # noqa: E402

LIBRARY = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""

PRELUDE = """
import os, signal
def write(path, data, at=None, sync=False, flags=os.O_RDWR | os.O_CREAT):
    fd = os.open(path, flags, 0o644)
    if at is None: os.write(fd, data)
    else: os.pwrite(fd, data, at)
    if sync: os.fdatasync(fd)
    os.close(fd)
def sync(path='.'):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


class DropsyncTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.dir = os.path.join(os.path.realpath(self.scratch.name), "data")
        self.state = os.path.join(self.scratch.name, "state")
        os.mkdir(self.dir)
        drop_unsynced.start(self.state)

    def tearDown(self):
        self.scratch.cleanup()

    def run_killed(self, code, fast=True):
        env = drop_unsynced.environment(LIBRARY, self.dir, self.state, fast)
        code = PRELUDE + code + "\nos.kill(os.getpid(), signal.SIGKILL)\n"
        result = subprocess.run([sys.executable, "-c", code], cwd=self.dir, env=env, capture_output=True)
        self.assertEqual(result.returncode, -9, result.stderr.decode())

    def drop(self, mode="strict", seed=0):
        return drop_unsynced.drop(self.dir, self.state, seed, mode)

    def content(self, name):
        path = os.path.join(self.dir, name)
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            return file.read()

    def outcomes(self, code, names, seeds=30):
        """The set of what may be left of the files, over many seeds."""
        seen = set()
        for seed in range(seeds):
            self.tearDown()
            self.setUp()
            self.run_killed(code)
            self.drop("random", seed)
            seen.add(tuple(self.content(n) for n in names))
        return seen

    def test_synced_stays_unsynced_goes(self):
        self.run_killed("write('a', b'durable', sync=True); sync(); write('a', b' and not', at=7)")
        self.assertEqual(self.content("a"), b"durable and not")
        self.assertEqual(self.drop()[0], 1)
        self.assertEqual(self.content("a"), b"durable")

    def test_real_syncs_too(self):
        self.run_killed("write('a', b'durable', sync=True); sync(); write('b', b'x')", fast=False)
        self.drop()
        self.assertEqual((self.content("a"), self.content("b")), (b"durable", None))

    def test_keep_keeps_all(self):
        self.run_killed("write('a', b'x'); os.rename('a', 'b')")
        self.drop("keep")
        self.assertEqual(self.content("b"), b"x")

    def test_overwritten_range_comes_back(self):
        self.run_killed("write('a', b'0123456789', sync=True); sync(); write('a', b'XYZ', at=8); write('a', b'__', at=0)")
        self.assertEqual(self.content("a"), b"__234567XYZ")
        self.drop()
        self.assertEqual(self.content("a"), b"0123456789")

    def test_truncation_comes_back(self):
        self.run_killed("write('a', b'0123456789', sync=True); sync(); os.truncate('a', 10)\n"
                        "fd = os.open('a', os.O_RDWR); os.ftruncate(fd, 3); os.write(fd, b'ab')")
        self.assertEqual(self.content("a"), b"ab2")
        self.drop()
        self.assertEqual(self.content("a"), b"0123456789")

    def test_truncating_open_comes_back(self):
        self.run_killed("write('a', b'old', sync=True); sync(); write('a', b'n', flags=os.O_WRONLY | os.O_TRUNC)")
        self.assertEqual(self.content("a"), b"n")
        self.drop()
        self.assertEqual(self.content("a"), b"old")

    def test_preallocated_space_counts_as_content(self):
        self.run_killed("fd = os.open('a', os.O_RDWR | os.O_CREAT)\nos.posix_fallocate(fd, 0, 4096)\nos.fdatasync(fd)\nsync()\n"
                        "os.pwrite(fd, b'one', 0)\nos.fdatasync(fd)\nos.pwrite(fd, b'two', 3)")
        self.drop()
        self.assertEqual(self.content("a"), b"one" + b"\0" * 4093)

    def test_creation_needs_its_directory_synced(self):
        self.run_killed("write('a', b'x', sync=True)")
        self.drop()
        self.assertIsNone(self.content("a"))

    def test_rename_over_a_file(self):
        before = "write('current', b'1', sync=True); sync(); write('tmp', b'2', sync=True); os.rename('tmp', 'current')"
        self.run_killed(before)
        self.drop()
        self.assertEqual((self.content("current"), self.content("tmp")), (b"1", None))
        self.run_killed(before + "; sync()")
        self.drop()
        self.assertEqual((self.content("current"), self.content("tmp")), (b"2", None))

    def test_renamed_before_its_data_was_synced(self):
        self.run_killed("write('tmp', b'2'); os.rename('tmp', 'a'); sync()")
        self.drop()
        self.assertEqual(self.content("a"), b"")

    def test_unlink_comes_back(self):
        self.run_killed("write('a', b'x', sync=True); write('b', b'y', sync=True); sync(); os.unlink('a'); sync(); os.unlink('b')")
        self.drop()
        self.assertEqual((self.content("a"), self.content("b")), (None, b"y"))
        self.assertEqual(os.listdir(os.path.join(self.state, "graves")), [])

    def test_directories_go_with_what_is_in_them(self):
        self.run_killed("os.mkdir('d'); write('d/a', b'x', sync=True); sync('d')")
        self.drop()
        self.assertEqual(os.listdir(self.dir), [])
        self.run_killed("os.mkdir('d'); sync(); write('d/a', b'x', sync=True); sync('d'); os.mkdir('e')")
        self.drop()
        self.assertEqual(os.listdir(self.dir), ["d"])
        self.assertEqual(self.content("d/a"), b"x")

    def test_link(self):
        self.run_killed("write('t', b'x', sync=True); os.link('t', 'a'); sync(); os.unlink('t'); os.link('a', 'b')")
        self.drop()
        self.assertEqual((self.content("a"), self.content("b")), (b"x", None))

    def test_an_inode_used_again(self):
        self.run_killed("for i in range(5):\n write('a', b'%d' % i, sync=True); sync(); os.unlink('a'); sync()\n"
                        "write('b', b'last', sync=True); sync()")
        self.drop()
        self.assertEqual((self.content("a"), self.content("b")), (None, b"last"))

    def test_other_directories_are_left_alone(self):
        self.run_killed("write('../outside', b'x')")
        self.drop()
        self.assertEqual(self.content("../outside"), b"x")

    def test_states_by_seed_are_all_allowed(self):
        seen = self.outcomes("write('a', b'S' * 1024, sync=True); sync(); write('a', b'A' * 1024, at=1024); write('a', b'O' * 512, at=0)",
                             ["a"])
        self.assertGreater(len(seen), 5)
        for (content,) in seen:
            self.assertIn(content[:512], (b"S" * 512, b"O" * 512))
            self.assertEqual(content[512:1024], b"S" * 512)
            self.assertLessEqual(len(content), 2048)
        self.assertIn((b"S" * 1024,), seen)
        self.assertIn((b"O" * 512 + b"S" * 512 + b"A" * 1024,), seen)

    def test_names_by_seed(self):
        seen = self.outcomes("write('a', b'1', sync=True); sync(); write('t', b'2', sync=True); os.rename('t', 'a')", ["a", "t"])
        self.assertEqual(seen, {(b"1", None), (b"1", b"2"), (b"2", None)})

    def test_threads(self):
        self.run_killed("import threading\n"
                        "def work(n):\n"
                        " fd = os.open('f%d' % n, os.O_RDWR | os.O_CREAT)\n"
                        " for i in range(200):\n"
                        "  os.write(fd, b'%3d' % i)\n"
                        "  if i == 150: os.fdatasync(fd)\n"
                        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
                        "[t.start() for t in threads]\n[t.join() for t in threads]\nsync()")
        self.drop()
        for n in range(4):
            self.assertEqual(self.content("f%d" % n), b"".join(b"%3d" % i for i in range(151)))


if __name__ == "__main__":
    if not LIBRARY:
        sys.exit(__doc__)
    unittest.main()
