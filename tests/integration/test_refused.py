"""Servers that answer but can't be used, and what the logs show that a user sees of them."""

from __future__ import annotations

import unittest
from typing import Any

from tests.integration.user_project import Project
from tests.support import on_every_backend

TEST = """
from containertest import ContainerManager, Postgres, PostgresTestCase
from containertest.wait import poll

containers = ContainerManager(Postgres(options=%r), redis=None)
setUpModule, tearDownModule = containers.start, containers.stop

class Tests(PostgresTestCase):
    containers = containers

    def test_log(self):
        with self.db.cursor() as cursor:
            cursor.execute("SELECT 'marker'")
        server = containers.postgres
        self.assertTrue(poll(lambda: "'marker'" in server.logs(), 60))
        for secret in ("SCRAM-SHA-256", "PASSWORD '", server.password):
            self.assertNotIn(secret, server.logs())
"""
#: The ways in which PostgreSQL logs statements, and the most that it logs.
TALKATIVE = (
    {"log_statement": "all", "log_min_duration_statement": "0"},
    {"log_min_messages": "debug5", "log_min_error_statement": "debug5", "debug_print_parse": "on"},
)


@on_every_backend
class LogCase:
    backend: str

    def test_no_log_has_a_password_or_what_is_made_of_one(self: Any) -> None:
        for options in TALKATIVE:
            with self.subTest(options):
                project = Project(self, test_it=TEST % options)
                for data in ("new", "kept"):
                    run = project.run(CONTAINERTEST_BACKEND=self.backend)
                    self.assertEqual(run.status, 0, f"{data}: {run.output[-2000:]}")

    def test_server_of_ours_that_refuses_a_statement_of_ours_is_told_as_such(self: Any) -> None:
        project = Project(self, test_it=TEST % {"default_transaction_read_only": "on"})
        for _ in range(2):  # where the data are new, the first statement is another one
            run = project.run(CONTAINERTEST_BACKEND=self.backend)
            self.assertNotEqual(run.status, 0)
        self.assertRegex(run.output, "has refused us for 5 s: cannot execute ALTER ROLE in a read-only transaction")
        self.assertNotIn("only slow", run.output)
        self.assertNotIn("SCRAM-SHA-256", run.output)


if __name__ == "__main__":
    unittest.main()
