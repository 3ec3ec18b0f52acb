"""What the tests of assertNumQueries share: a server, and an inner test whose assertion is looked at."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, ClassVar

import psycopg2
import psycopg2.pool

from containertest import ContainerManager, PostgresTestCase
from tests import support

ONE = "SELECT 1 AS one"


class Queries(unittest.TestCase):
    """A server, and an inner test whose assertion is looked at."""

    url: ClassVar[str]
    case: ClassVar[PostgresTestCase]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        support.require_any()
        servers = ContainerManager(redis=None).start()
        cls.addClassCleanup(servers.stop)

        class Case(PostgresTestCase):
            containers = servers

        cls.url = servers.postgres.url
        cls.case = Case("assertNumQueries")

    def setUp(self) -> None:
        super().setUp()
        with self.old().cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int)")

    def old(self, **options: Any) -> Any:
        """A psycopg2 connection that is there before the block."""
        connection = psycopg2.connect(self.url, **options)
        self.addCleanup(connection.close)
        connection.autocommit = True
        return connection

    def counted(self, work: Callable[[], object], *expected: str) -> None:
        """``work`` executes just these statements, and a wrong number fails."""
        with self.case.assertNumQueries(len(expected)) as queries:
            work()
        self.assertEqual(queries, list(expected))
        with self.assertRaisesRegex(AssertionError, f"^{len(expected)} queries were executed, not 99"):
            with self.case.assertNumQueries(99):
                work()

    async def awaited(self, work: Callable[[], Any], *expected: str) -> None:
        with self.case.assertNumQueries(len(expected)) as queries:
            await work()
        self.assertEqual(queries, list(expected))
        with self.assertRaisesRegex(AssertionError, f"^{len(expected)} queries were executed, not 99"):
            with self.case.assertNumQueries(99):
                await work()
