#!/usr/bin/env python3
"""Prints a table per test file of a results.txt written by suite_plugin.py: table.py RESULTS [BASELINE].

With the results of another run (the real Milvus's) as BASELINE, also names what passes there and not here.
"""
import collections
import sys


def load(path):
    results = {}
    for line in open(path):
        outcome, _, seconds, test, *reason = line.rstrip("\n").split("\t") if "\t" in line else (None,) * 4
        if outcome:
            results[test] = (outcome, reason[0] if reason else "")
    return results


def main():
    results = load(sys.argv[1])
    counts = collections.defaultdict(collections.Counter)
    for test, (outcome, _) in results.items():
        counts[test.split("::")[0].split("/")[-1]][outcome] += 1
    print(f"{'file':34}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for name in sorted(counts):
        row = counts[name]
        print(f"{name:34}{row['passed']:8}{row['failed']:8}{row['skipped']:8}")
    total = collections.Counter(outcome for outcome, _ in results.values())
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    if len(sys.argv) > 2:
        baseline = load(sys.argv[2])
        worse = [t for t, (o, _) in results.items() if o == "failed" and baseline.get(t, ("",))[0] == "passed"]
        print(f"{len(worse)} fail here and pass in the baseline:")
        for test in sorted(worse):
            print(f"  {test}: {results[test][1][:200]}")


if __name__ == "__main__":
    main()
