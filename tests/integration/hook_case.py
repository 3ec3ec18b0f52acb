"""What the tests of hooks share: a server with a table of users, made by a migration that is a coroutine function."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, ClassVar

import asyncpg

from containertest import ContainerManager, PostgresTestCase
from tests import support

SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, email text)"


class Hooks(unittest.TestCase):
    containers: ClassVar[ContainerManager]
    Base: ClassVar[Any]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        support.require_any()
        cls.containers = ContainerManager(redis=None, migrations=migrate).start()
        cls.addClassCleanup(cls.containers.stop)

        class Base(PostgresTestCase):
            containers = cls.containers

        cls.Base = Base

    def passes(self, case: type[unittest.TestCase]) -> None:
        result = support.run_case(case)
        self.assertEqual([text for _, text in (*result.errors, *result.failures)], [])
        self.assertGreater(result.testsRun, 0)

    def refused(self, case: type[unittest.TestCase], *words: str) -> None:
        result = support.run_case(case)
        self.assertTrue(result.errors)
        for _, text in result.errors:
            for word in words:
                self.assertIn(word, text)


async def migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    await asyncio.sleep(0)
    await connection.execute(SCHEMA)
    await connection.close()


async def add(case: Any, email: str) -> None:
    """As a user's own asynchronous code: on a connection of another driver."""
    connection = await asyncpg.connect(case.containers.postgres.url)
    try:
        await connection.execute("INSERT INTO users (email) VALUES ($1)", email)
    finally:
        await connection.close()
