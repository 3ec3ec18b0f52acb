"""What assertNumQueries counts of psycopg 3 and asyncpg, on connections of every age, in pools and by any cursor."""

from __future__ import annotations

import asyncio
import io
import unittest

import asyncpg
import psycopg
import psycopg_pool

from tests.integration.query_counting import ONE, Queries


class Psycopg3Tests(Queries):
    def setUp(self) -> None:
        super().setUp()
        self.before = psycopg.connect(self.url, autocommit=True)
        self.addCleanup(self.before.close)

    def test_old_and_new_connections_and_pools(self) -> None:
        cursor = self.before.cursor()
        with psycopg_pool.ConnectionPool(self.url, min_size=1, open=True) as pool:

            def by_pool() -> None:
                with pool.connection() as connection:
                    connection.execute(ONE)

            def new() -> None:
                with psycopg.connect(self.url) as connection:
                    connection.execute(ONE)

            self.counted(by_pool, ONE)
            self.counted(new, ONE)
            self.counted(lambda: self.before.execute(ONE), ONE)
            self.counted(lambda: cursor.execute(query=ONE), ONE)

    def test_each_kind_of_cursor_and_way_to_execute_counts(self) -> None:
        def work() -> None:
            psycopg.ClientCursor(self.before).execute("SELECT 1")
            getattr(psycopg, "RawCursor", psycopg.Cursor)(self.before).execute(b"SELECT 2")
            with self.before.transaction():
                with self.before.cursor("named") as named:
                    named.execute(psycopg.sql.SQL("SELECT {}").format(3))
                    named.fetchall()
            list(self.before.cursor().stream("SELECT 4"))
            with self.before.cursor().copy("COPY t TO STDOUT") as copy:
                list(copy)
            self.before.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
            with self.before.pipeline():
                self.before.execute("SELECT 5")
            with self.assertRaises(psycopg.errors.UndefinedTable):
                self.before.execute("SELECT * FROM missing")

        self.counted(
            work,
            "SELECT 1",
            "SELECT 2",
            "SELECT 3",
            "SELECT 4",
            "COPY t TO STDOUT",
            "INSERT INTO t VALUES (%s)",
            "SELECT 5",
            "SELECT * FROM missing",
        )

    def test_asynchronous(self) -> None:
        async def main() -> None:
            before = await psycopg.AsyncConnection.connect(self.url)

            async def old() -> None:
                async with before.transaction():
                    await (await before.execute("SELECT 1")).fetchall()
                    await before.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,)])
                    async with before.cursor().copy("COPY t TO STDOUT") as copy:
                        [row async for row in copy]
                    [row async for row in before.cursor().stream("SELECT 2")]
                    await before.cursor("named").execute("SELECT 3")

            async def new() -> None:
                async with await psycopg.AsyncConnection.connect(self.url) as connection:
                    await connection.execute(ONE)

            await self.awaited(old, "SELECT 1", "INSERT INTO t VALUES (%s)", "COPY t TO STDOUT", "SELECT 2", "SELECT 3")
            await self.awaited(new, ONE)
            async with psycopg_pool.AsyncConnectionPool(self.url, min_size=1, open=False) as pool:

                async def by_pool() -> None:
                    async with pool.connection() as connection:
                        await connection.execute(ONE)

                await self.awaited(by_pool, ONE)
            await before.close()

        asyncio.run(main())


class AsyncpgTests(Queries, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().slow_callback_duration = 60  # a slow machine is none of its business
        self.before = await asyncpg.connect(self.url)
        self.addAsyncCleanup(self.before.close)

    async def test_old_and_new_connections_and_pools(self) -> None:
        async def new() -> None:
            connection = await asyncpg.connect(self.url)
            await connection.fetch(ONE)
            await connection.close()

        async with asyncpg.create_pool(self.url, min_size=1, max_size=2) as pool:

            async def by_pool() -> None:
                async with pool.acquire() as connection:
                    await connection.execute(ONE)
                await pool.fetchval(ONE)

            await self.awaited(by_pool, ONE, ONE)
        await self.awaited(new, ONE)
        await self.awaited(lambda: self.before.execute(query=ONE), ONE)

    async def test_each_way_to_execute_counts(self) -> None:
        prepared = await self.before.prepare(ONE)

        async def work() -> None:
            await self.before.execute("SELECT 1")
            await self.before.fetch("SELECT 2")
            await self.before.fetchrow("SELECT 3")
            await self.before.fetchval("SELECT 4")
            await self.before.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,)])
            await self.before.copy_from_query("SELECT 5", output=io.BytesIO())
            await self.before.copy_from_table("t", output=io.BytesIO())
            await self.before.copy_to_table("t", source=io.BytesIO(b"6\n"))
            await self.before.copy_records_to_table("t", records=[(7,)])

        async def by_statements_and_cursors() -> None:
            await prepared.fetch()
            await prepared.fetchrow()
            await prepared.fetchval()
            async with self.before.transaction(), self.before.transaction():
                [row async for row in self.before.cursor("SELECT 8")]
                await (await prepared.cursor()).fetch(1)

        await self.awaited(
            work,
            *(f"SELECT {number}" for number in range(1, 5)),
            "INSERT INTO t VALUES ($1)",
            "COPY (SELECT 5) TO STDOUT",
            "COPY t TO STDOUT",
            "COPY t FROM STDIN",
            "COPY t FROM STDIN",
        )
        await self.awaited(by_statements_and_cursors, ONE, ONE, ONE, "SELECT 8", ONE)

    async def test_transaction_control_of_the_driver_does_not_count_but_a_statement_does(self) -> None:
        async def work() -> None:
            transaction = self.before.transaction()
            await transaction.start()
            await self.before.execute(ONE)
            await transaction.rollback()
            await self.before.execute("COMMIT")

        await self.awaited(work, ONE, "COMMIT")


if __name__ == "__main__":
    unittest.main()
