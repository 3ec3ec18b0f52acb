"""Connections to PostgreSQL: settings, a pool, transactions, the schema."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import extensions
from psycopg2.pool import ThreadedConnectionPool

if TYPE_CHECKING:
    from psycopg2.extensions import connection

__all__ = ["SCHEMA", "Database", "DatabaseSettings", "DatabaseUnavailable"]

#: The file that `Database.migrate` runs; tests hand it to ``ContainerManager(migrations=…)``.
SCHEMA = Path(__file__).with_name("schema.sql")
#: The advisory lock that `Database.migrate` takes; any number that nothing else in the database uses.
MIGRATION_LOCK = 7_537_001


class DatabaseUnavailable(Exception):
    """The database does not answer, has broken off, or has no free connection; worth another try later."""


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is and how it is used.

    :param url: ``postgresql://user:password@host:port/dbname``.
    :param pool_size: connections at most.
    :param timeout: seconds to wait for a new connection, and for a free one of the pool.
    """

    url: str = field(repr=False)
    pool_size: int = 10
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if self.pool_size < 1 or not 0 < self.timeout < threading.TIMEOUT_MAX:
            raise ValueError("a pool needs at least one connection, and a timeout of more than 0 seconds")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> DatabaseSettings:
        """Read ``DATABASE_URL``, ``DATABASE_POOL_SIZE`` and ``DATABASE_TIMEOUT``.

        :raises ValueError: when the first is missing or one of the others is not a number.
        """
        url = environ.get("DATABASE_URL")
        if not url:
            raise ValueError("DATABASE_URL is not set; it looks like postgresql://user:password@host/dbname")
        try:
            return cls(
                url=url,
                pool_size=int(environ.get("DATABASE_POOL_SIZE", cls.pool_size)),
                timeout=float(environ.get("DATABASE_TIMEOUT", cls.timeout)),
            )
        except ValueError as error:
            raise ValueError(f"DATABASE_POOL_SIZE or DATABASE_TIMEOUT is wrong: {error}") from error


class Database:
    """A pool of connections. Nothing is connected before the first transaction.

    :param settings: `DatabaseSettings`, or only their URL.
    """

    def __init__(self, settings: DatabaseSettings | str) -> None:
        self.settings = settings if isinstance(settings, DatabaseSettings) else DatabaseSettings(settings)
        size = self.settings.pool_size
        self._free = threading.BoundedSemaphore(size)
        seconds = max(1, round(self.settings.timeout))  # whole ones for libpq, and 0 would be for ever
        self._pool = ThreadedConnectionPool(0, size, self.settings.url, connect_timeout=seconds)
        # psycopg2 opens minconn connections at once, and closes a returned one when it has minconn idle ones.
        self._pool.minconn = size

    @contextmanager
    def transaction(self) -> Iterator[connection]:
        """Lend a connection: commit at the end of the block, or roll back when it raises.

        psycopg2's own pool raises when it is empty; this one waits for a free connection.

        :raises DatabaseUnavailable: after ``timeout`` seconds, or when the connection breaks.
        """
        if not self._free.acquire(timeout=self.settings.timeout):
            raise DatabaseUnavailable(f"no free connection after {self.settings.timeout:g} s")
        try:
            with self._lent_connection() as lent, lent:
                yield lent
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise DatabaseUnavailable(str(error).strip()) from error
        finally:
            self._free.release()

    @contextmanager
    def _lent_connection(self) -> Iterator[connection]:
        lent = self._pool.getconn()
        try:
            yield lent
        finally:
            self._pool.putconn(lent)

    def ping(self, timeout: float = 5.0) -> None:
        """Return when the database answers a query on a new connection.

        :raises DatabaseUnavailable: when it can't be reached, or has not answered within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            # Not connect_timeout: that is in whole seconds, and for each address of the host.
            with closing(psycopg2.connect(self.settings.url, async_=True)) as probe:
                _wait(probe, deadline)
                cursor = probe.cursor()
                cursor.execute("SELECT 1")
                _wait(probe, deadline)
        except psycopg2.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error

    def migrate(self) -> None:
        """Bring the schema up to date. Safe to call at every start, and from several processes at once."""
        with self.transaction() as connection, connection.cursor() as cursor:
            # CREATE … IF NOT EXISTS fails when two sessions create the same thing at the same time.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            cursor.execute(SCHEMA.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Close all connections. May be called twice."""
        if not self._pool.closed:
            self._pool.closeall()


def _wait(probe: connection, deadline: float) -> None:
    """Let a non-blocking connection finish what it is doing."""
    while (state := probe.poll()) != extensions.POLL_OK:
        readers = [probe] if state == extensions.POLL_READ else []
        writers = [probe] if state == extensions.POLL_WRITE else []
        if not any(select.select(readers, writers, [], max(0.0, deadline - time.monotonic()))):
            raise DatabaseUnavailable("the database did not answer in time")
