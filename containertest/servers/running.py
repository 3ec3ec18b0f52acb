"""What ``manager.postgres`` and ``manager.redis`` are: the running services, as this process has them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from containertest.servers.leases import Lease
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.services.redis_shared import confined

if TYPE_CHECKING:
    import psycopg2.extensions
    import redis
    from typing_extensions import Self

__all__ = ["RunningPostgres", "RunningRedis"]


#: Seconds in which a container that lives answers at its own address, on a machine that is not overloaded.
NEAR_TIMEOUT = 3


class _Running:
    """What both have in common: where the server is, and what it says.

    Whoever keeps such an object is never led to a server that has ended: it then stands for the one that has taken
    its place, and the first use of it starts that.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.host = lease.endpoint.host
        self.port = lease.endpoint.port
        self.password = lease.endpoint.password
        self.backend = lease.server.backend
        self.version = lease.version
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def takes_the_place_of(self, earlier: Self) -> None:
        """Have ``earlier``, which users may have kept, stand for this server from now on."""
        earlier.__dict__ = self.__dict__

    def has_ended(self, start_again: Callable[[], object]) -> None:
        """Forget the server. ``start_again`` gets another one, which `takes_the_place_of` this one."""
        self.__dict__ = {"_start_again": start_again}

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there, and nothing is after the end of the server.
        if start_again := self.__dict__.get("_start_again"):
            start_again()
            if self.__dict__.get("_start_again") is not start_again:
                return getattr(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def _ended(self) -> bool:
        return "_start_again" in self.__dict__

    def logs(self) -> str:
        """The server's log up to now."""
        return self.lease.server.logs()


class RunningPostgres(_Running):
    """A running PostgreSQL and this process' own database on it.

    :param name: the database; the same as `dbname`.
    :param template: the template database it was cloned from.
    """

    def __init__(self, lease: Lease, name: str, template: str) -> None:
        super().__init__(lease)
        self.name = self.dbname = name
        self.template = template
        self.username = lease.endpoint.username
        self._connection: psycopg2.extensions.connection | None = None

    def __repr__(self) -> str:
        if self._ended():
            return "<PostgreSQL, which has ended; the next use starts another one>"
        return f"<PostgreSQL {self.version} on {self.backend}: {self.username}@{self.host}:{self.port}/{self.dbname}>"

    @property
    def url(self) -> str:
        """``postgresql://user:password@host:port/dbname``, its parts percent-encoded.

        Where this process has libpq's variables for other servers (``PGHOSTADDR``, ``PGSSLMODE``, ``PGOPTIONS``,
        ``PGSERVICE``, …) it has the parameters that go before them, for libpq's clients in this process. Programs that
        are started get `ContainerManager.environ`. What no parameter can heal is a ``PGSERVICE`` that is not defined,
        ``PGTZ``, ``PGDATESTYLE`` and ``PGGEQO``.
        """
        return postgres_service.url(self.lease.endpoint, self.dbname)

    def connect(self, dbname: str | None = None, **kwargs: Any) -> psycopg2.extensions.connection:
        """Open a new connection, with psycopg2's defaults (a transaction begins with the first statement).

        Nothing of the environment is in force: of libpq's variables only what is given here.

        :param dbname: another database than this process' own.
        :param kwargs: as for ``psycopg2.connect``.
        :raises psycopg2.OperationalError: as psycopg2 does.
        """
        elsewhere = any(name in kwargs for name in ("host", "hostaddr", "port", "service"))
        endpoint, name = self.lease.endpoint, dbname or self.dbname
        if endpoint.near and not elsewhere:
            import psycopg2

            try:
                return postgres_service.connect(endpoint.nearest(), name, **{"connect_timeout": NEAR_TIMEOUT, **kwargs})
            except psycopg2.OperationalError as error:
                if "FATAL" in str(error):  # the server's own answer
                    raise
                # The address of a container that is gone may swallow what is sent there; its published port refuses it.
                self.lease.endpoint = replace(endpoint, near=None)
        return postgres_service.connect(endpoint, name, **kwargs)

    @property
    def connection(self) -> psycopg2.extensions.connection:
        """The shared connection, in autocommit mode; opened again when it has been closed.

        A child made by fork that has kept this object opens one of its own, to the same database.
        """
        with self._lock:
            if self._connection is None or self._connection.closed or self._pid != os.getpid():
                self._pid, self._connection = os.getpid(), self.connect()
                self._connection.autocommit = True
            return self._connection

    def close(self) -> None:
        """Close the shared connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


class RunningRedis(_Running):
    """A running Redis, for this process alone."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.db = int(lease.endpoint.database or 0)
        self._client: redis.Redis | None = None

    def __repr__(self) -> str:
        if self._ended():
            return "<Redis, which has ended; the next use starts another one>"
        return f"<Redis {self.version} on {self.backend}: {self.host}:{self.port}/{self.db}>"

    @property
    def url(self) -> str:
        """``redis://:password@host:port/db``, its parts percent-encoded."""
        return redis_service.url(self.lease.endpoint)

    def connect(self, **kwargs: Any) -> redis.Redis:
        """Make a new client, with redis-py's defaults (replies are bytes).

        :param kwargs: as for ``redis.Redis``, such as ``decode_responses=True``.

        On a server that others use too it refuses, with a ConfigError, what reaches beyond this logical database.
        """
        client = redis_service.connect(self.lease.endpoint, **kwargs)
        # Another host or port most often leads to the same server: as "localhost", or by a proxy.
        ours = self.lease.is_external and "connection_pool" not in kwargs
        return confined(client, self.db) if ours else client

    @property
    def client(self) -> redis.Redis:
        """The shared client; it connects again by itself when it has been closed."""
        with self._lock:
            if self._client is None:
                self._client = self.connect()
            return self._client

    def close(self) -> None:
        """Close the shared client's connections."""
        with self._lock:
            if self._client is not None:
                with suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._client.close()
            self._client = None
