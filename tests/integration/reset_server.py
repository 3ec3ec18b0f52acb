"""A local PostgreSQL for the tests of the reset, and databases on it as the manager makes them."""

from __future__ import annotations

import contextlib
import functools
import itertools
from pathlib import Path

import psycopg2

from containertest import ContainerManager, Postgres
from containertest.backends.local_programs import find
from containertest.reset.pg_clone import clone_database, drop_database, own_databases
from containertest.reset.postgres import PostgresReset, prepare_template
from containertest.services import postgres
from containertest.settings import Settings
from tests.support import require

#: The superuser; and a role without any rights but to log in and to create databases.
USER, PLAIN = "tester", "plain"

_numbers = itertools.count()


@functools.cache
def server() -> Server:
    """Return the one server of this process, which ends with it; skips the tests where it can't run."""
    require("local")
    return Server(ContainerManager(Postgres(username=USER), None, backend="local").start())


@functools.cache
def binaries() -> Path:
    """Return the folder of the server's programs."""
    spec = postgres.spec(Postgres(), Settings.load(), "unused")
    return find(spec.local, spec.title).origin


class Server:
    """A running PostgreSQL, whose roles all have the same password."""

    def __init__(self, manager: ContainerManager) -> None:
        self._running = manager.postgres
        self.prefix = self._running.dbname
        self._create_role(f"{PLAIN} LOGIN CREATEDB")
        self._create_role("app LOGIN")

    def _create_role(self, role: str) -> None:
        # Other processes of the run share the server.
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            with contextlib.suppress(psycopg2.errors.DuplicateObject, psycopg2.errors.UniqueViolation):
                cursor.execute(f"CREATE ROLE {role} PASSWORD %s", (self._running.password,))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which libpq finds the server."""
        it = self._running
        return {"PGHOST": it.host, "PGPORT": str(it.port), "PGUSER": it.username, "PGPASSWORD": it.password}

    def url(self, role: str = USER, dbname: str = "postgres") -> str:
        it = self._running
        return f"postgresql://{role}:{it.password}@{it.host}:{it.port}/{dbname}"

    def connect(self, dbname: str = "postgres", **kw) -> psycopg2.extensions.connection:
        """A new autocommit connection."""
        connection = self._running.connect(dbname, **kw)
        connection.autocommit = True
        return connection


class TestDatabase:
    """What the manager gives to ``PostgresReset``: a database of one's own, cloned from a template."""

    __test__ = False

    def __init__(self, server: Server, schema: str, *, role: str = USER, prepare: bool = True) -> None:
        number = next(_numbers)
        self.server, self.role = server, role
        self.name, self.template = f"{server.prefix}_{number}", f"ct_template_{server.prefix}_{number}"
        with self.admin() as cursor:
            cursor.execute(f'CREATE DATABASE {self.template} OWNER "{role}"')
        connection = self.connect(self.template)
        if schema:
            connection.cursor().execute(schema)
        connection.close()
        self._connection = None
        if prepare:
            self.prepare()

    def prepare(self) -> None:
        """Prepare the template and clone the database from it."""
        connection = self.connect(self.template)
        prepare_template(connection)
        connection.close()
        self.clone()

    def clone(self) -> None:
        """Make the database from the template as it is."""
        with self.admin(self.role) as cursor:
            clone_database(cursor, self.template, self.name)

    @contextlib.contextmanager
    def admin(self, role: str = USER):
        connection = self.server.connect(user=role)
        try:
            yield connection.cursor()
        finally:
            connection.close()

    @property
    def connection(self):
        if self._connection is None or self._connection.closed:
            self._connection = self.connect()
        return self._connection

    def connect(self, dbname: str | None = None, **kw):
        return self.server.connect(dbname or self.name, **{"user": self.role, **kw})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def reset(self, **kw) -> PostgresReset:
        return PostgresReset(self, **kw)

    def drop(self) -> None:
        """Remove both databases."""
        self.close()
        with self.admin() as cursor:
            for name in (*own_databases(cursor, self.name), self.template):
                drop_database(cursor, name)

    def execute(self, statement: str):
        """Run statements on the shared connection and return the last one's rows, if any."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None
