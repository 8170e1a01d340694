"""pytest plugin for Milvus's own suite: `--tags L0 L1` keeps the tests marked @pytest.mark.tags(...) with one of them.

The suite names pytest-tags from GitHub for this; these lines do the same without fetching it. Modules that only its
Kubernetes helpers use (etcd, the operator's API) are replaced by empty ones, since the tests we run never call them.
"""
import importlib.util
import os
import sys
import types

import pytest

for _name in ("pyetcd",):
    if importlib.util.find_spec(_name) is None:
        sys.modules[_name] = types.ModuleType(_name)


def pytest_addoption(parser):
    parser.addoption("--tags", nargs="+", default=None, help="keep only tests that carry one of these tags")
    parser.addoption("--every", type=int, default=1, help="keep every Nth test only: a sample")
    parser.addoption("--results", default=None, help="file that gets one line per test")


def pytest_configure(config):
    config.addinivalue_line("markers", "tags(*names): levels and topics of a test")
    if config.getoption("--results") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Results(config.getoption("--results")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    skips = _skips(os.environ.get("SAKER_SUITE_SKIP"))
    for item in items:
        callspec = getattr(item, "callspec", None)
        known_as = item.nodeid + str(callspec.params if callspec else "")
        for name, reason in skips.items():
            if name in known_as:
                item.add_marker(pytest.mark.skip(reason=reason))
    wanted, every = set(config.getoption("--tags") or ()), config.getoption("--every")
    keep, drop, at = [], [], 0
    for item in items:
        tags = {name for marker in item.iter_markers("tags") for name in _flat(marker.args)}
        at += not wanted or bool(tags & wanted)
        (keep if (not wanted or tags & wanted) and at % every == 0 else drop).append(item)
    config.hook.pytest_deselected(items=drop)
    items[:] = keep


def _flat(values):
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _skips(path):
    """{part of a test's name or parameters: reason} from lines `name  # reason`."""
    found = {}
    if path and os.path.exists(path):
        for line in open(path):
            name, _, reason = line.partition("#")
            if name.strip():
                found[name.strip()] = reason.strip() or "left out"
    return found


class _Results:
    """One line per test: outcome, phase, seconds, name, last line of the error."""

    def __init__(self, path):
        self.path = path
        open(path, "w").close()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            reason = ""
            if report.failed:
                lines = [line for line in str(report.longreprtext).splitlines() if line.strip()]
                errors = [line for line in lines if line.startswith("E ")]
                reason = (errors or lines or [""])[-1 if not errors else 0].strip()[:400]
            with open(self.path, "a") as f:
                f.write("\t".join([report.outcome, report.when, f"{report.duration:.2f}", report.nodeid, reason]) + "\n")
