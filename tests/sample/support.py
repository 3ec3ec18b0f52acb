"""What the test modules share: the servers, and waiting."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable

from containertest import ContainerManager
from containertest.sample.database import SCHEMA, Database, DatabaseSettings

#: One manager for all modules. Servers are started once per run, the schema is made once.
containers = ContainerManager(migrations=SCHEMA)


def pool_of(case: type[unittest.TestCase], **settings: float) -> Database:
    """Open a pool for all tests of a class: connecting takes longer than most of them."""
    database = Database(DatabaseSettings(containers.postgres.url, **settings))
    case.addClassCleanup(database.close)
    return database


def wait_until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Return as soon as ``condition()`` is true; fail after ``timeout`` seconds.

    A test that sleeps is too slow on a fast machine and fails on a slow one.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {timeout:g} s")
        time.sleep(0.005)
