"""A test that fails after it has written something."""

from __future__ import annotations

import logging
import unittest

import recorder

from containertest import IntegrationTestCase

containers = recorder.new_manager()
setUpModule, tearDownModule = containers.start, containers.stop


class FailingTests(IntegrationTestCase):
    containers = containers

    def test_a_fails(self) -> None:
        with self.db.cursor() as cursor:
            cursor.execute("INSERT INTO work (pid) VALUES (4711)")
        self.fail("on purpose")

    def test_b_begins_at_the_baseline(self) -> None:
        self.assertRowCount("work", 0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    unittest.main()
