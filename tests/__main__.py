"""``python -m tests [--verbose] [--jobs N] [NAME …]``: runs tests, and says first on which servers.

A NAME is a package, module, class or test, as in ``tests.sample.test_postgres.UserCreationTests``.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import sys
import unittest
from importlib import import_module
from pathlib import Path

from containertest import ContainerManager, ContainerTestError
from tests import parallel, support

LOG = logging.getLogger("containertest")
TOP = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="a line for each test")
    parser.add_argument("--failfast", action="store_true", help="stop at the first failure")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="run so many modules at a time")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    _say_what_the_library_logs()
    if any(not name.startswith("tests.unit") for name in given.names or ["tests"]):
        _say_what_servers_there_are()
    if given.jobs > 1:
        return parallel.run(given.names or ["tests"], given.jobs)
    tests = unittest.TestSuite(_load(name) for name in given.names or ["tests"])
    runner = unittest.TextTestRunner(verbosity=1 + given.verbose, failfast=given.failfast)
    result = runner.run(tests)
    for line in support.left_out():
        print(line, file=sys.stderr)
    return 0 if result.wasSuccessful() and (result.testsRun or result.skipped) else 1


def _say_what_the_library_logs() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("containertest: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)


def _say_what_servers_there_are() -> None:
    """Start servers, so that the first line of all names backend and versions; then what was logged before it."""
    (shown,) = LOG.handlers
    held = logging.handlers.BufferingHandler(capacity=1000)
    LOG.handlers = [held]
    try:
        ContainerManager().start()
    except ContainerTestError as error:
        print(f"containertest: no servers here, only tests without them can pass. {error}", file=sys.stderr)
    finally:
        LOG.handlers = [shown]
        for record in (*held.buffer[-1:], *held.buffer[:-1]):
            shown.handle(record)


def _load(name: str) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    folder = TOP / name.replace(".", "/")
    if folder.is_dir():
        import_module(name)
        return loader.discover(str(folder), top_level_dir=str(TOP))
    return loader.loadTestsFromName(name)


if __name__ == "__main__":
    sys.exit(main())
