"""A test that fails after it has written something."""

from __future__ import annotations

import logging
import unittest
from typing import Any

import recorder

from containertest import IntegrationTestCase

containers = recorder.new_manager()
tearDownModule = containers.stop


def setUpModule() -> None:
    insert(containers.start().postgres.connection, 1)
    containers.snapshot()


def insert(connection: Any, pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO work (pid) VALUES (%s)", (pid,))


class FailingTests(IntegrationTestCase):
    containers = containers

    @classmethod
    def setUpTestData(cls) -> None:
        insert(cls.db, 2)

    def test_a_fails(self) -> None:
        insert(self.db, 4711)
        self.fail("on purpose")

    def test_b_begins_at_the_baseline(self) -> None:
        self.assertRowCount("work", 1, "pid = 1")
        self.assertRowCount("work", 2)


class LaterTests(IntegrationTestCase):
    containers = containers

    def test_begins_at_the_modules_baseline(self) -> None:
        self.assertRowCount("work", 1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    unittest.main()
