"""One start of servers, timed: ``python -m benchmarks.startup_starts NAME``, for `benchmarks.startup`.

Prints the seconds from before the first import of the library to the first answers of all servers, as JSON, then the
folder of the run if there is one. Each start is as the library's own documentation has it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

START = time.perf_counter()


def done(folder: Path | None = None) -> None:
    seconds = time.perf_counter() - START
    print(json.dumps({"seconds": seconds, "folder": folder and str(folder)}), flush=True)


def ask(cursor: Any) -> None:
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def ours(backend: str) -> None:
    from containertest import ContainerManager

    manager = ContainerManager(backend=backend).start()
    with manager.postgres.connection.cursor() as cursor:
        ask(cursor)
    assert manager.redis.client.ping()
    done(manager.postgres.lease.session.folder)


def testcontainers() -> None:
    with ExitStack() as stack:
        from testcontainers.community.postgres import PostgresContainer
        from testcontainers.community.redis import RedisContainer

        postgres = stack.enter_context(PostgresContainer(os.environ["CONTAINERTEST_POSTGRES_IMAGE"], driver=None))
        redis = stack.enter_context(RedisContainer(os.environ["CONTAINERTEST_REDIS_IMAGE"]))

        import psycopg2

        connection = stack.enter_context(closing(psycopg2.connect(postgres.get_connection_url())))
        with connection.cursor() as cursor:
            ask(cursor)
        assert redis.get_client().ping()
        done()


def pytest_postgresql() -> None:
    with tempfile.TemporaryDirectory() as folder:
        from port_for import get_port
        from pytest_postgresql.executors import PostgreSQLExecutor

        executor = PostgreSQLExecutor(
            executable=f"{os.environ['BENCH_POSTGRES_BIN']}/pg_ctl",
            host="127.0.0.1",
            port=get_port(None),
            datadir=f"{folder}/data",
            unixsocketdir=folder,
            logfile=f"{folder}/log",
            startparams="-w",  # the fixture's defaults
            dbname="tests",
        )
        with executor:
            executor.wait_for_postgres()

            import psycopg

            with psycopg.connect(f"host=127.0.0.1 port={executor.port} user=postgres dbname=postgres") as connection:
                ask(connection.cursor())
            done()


def testing_postgresql() -> None:
    import testing.postgresql

    with testing.postgresql.Postgresql() as postgres:
        import psycopg2

        with closing(psycopg2.connect(**postgres.dsn(database="test"))) as connection, connection.cursor() as cursor:
            ask(cursor)
        done()


STARTS: dict[str, Callable[[], None]] = {
    "docker": lambda: ours("docker"),
    "local": lambda: ours("local"),
    "testcontainers": testcontainers,
    "pytest-postgresql": pytest_postgresql,
    "testing.postgresql": testing_postgresql,
}

if __name__ == "__main__":
    STARTS[sys.argv[1]]()
