"""A private PostgreSQL server for the tests of the reset, and databases on it as the manager makes them."""

from __future__ import annotations

import atexit
import contextlib
import glob
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

from containertest.reset.pg_clone import clone_database, drop_database
from containertest.reset.postgres import PostgresReset, prepare_template

OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_prepared_transactions": "10",
    "listen_addresses": "127.0.0.1",
}

_numbers = itertools.count()
_server: Server | None = None


def server() -> Server:
    """Return the one server of this process, which ends with it."""
    global _server
    if _server is None:
        _server = Server()
        atexit.register(_server.stop)
    return _server


def binaries() -> Path:
    """Return the folder of the newest PostgreSQL, or that of CONTAINERTEST_POSTGRES_BIN."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(Path(path).parent.name))
    return Path(os.environ.get("CONTAINERTEST_POSTGRES_BIN") or found[-1])


class Server:
    """PostgreSQL on a free port, run by the user postgres when the tests run as root."""

    def __init__(self, **options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ct-reset-"))
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", self.folder / "data", "--no-sync", "-A", "trust", "-U", "tester", "-E", "UTF8")
        settings = {**OPTIONS, **options, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.folder / "data", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
                **self._user,
            )
        self._wait()

    def connect(self, dbname: str = "postgres", **kw) -> psycopg2.extensions.connection:
        """A new autocommit connection."""
        connection = psycopg2.connect(
            **{"host": "127.0.0.1", "port": self.port, "user": "tester", "dbname": dbname, **kw}
        )
        connection.autocommit = True
        return connection

    def stop(self) -> None:
        """End the server and remove its folder."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.process.send_signal(3)
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [binaries() / program, *map(str, arguments)], check=True, capture_output=True, cwd="/", **self._user
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except psycopg2.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)


class TestDatabase:
    """What the manager gives to ``PostgresReset``: a database of one's own, cloned from a template."""

    __test__ = False

    def __init__(self, server: Server, schema: str, *, role: str = "tester", prepare: bool = True) -> None:
        number = next(_numbers)
        self.server, self.role = server, role
        self.name, self.template = f"test{number}", f"ct_template_{number}"
        with self.admin() as cursor:
            cursor.execute(f'CREATE DATABASE {self.template} OWNER "{role}"')
        connection = self.connect(self.template)
        connection.cursor().execute(schema)
        if prepare:
            prepare_template(connection)
        connection.close()
        with self.admin(role) as cursor:
            clone_database(cursor, self.template, self.name)
        self._connection = None

    @contextlib.contextmanager
    def admin(self, role: str = "tester"):
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
            drop_database(cursor, self.name)
            drop_database(cursor, self.template)

    def execute(self, statement: str):
        """Run statements on the shared connection and return the last one's rows, if any."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None


def dump(database: TestDatabase, name: str | None = None) -> str:
    """Return all of a database as pg_dump writes it, rows sorted, with the contents of materialized views."""
    name = name or database.name
    result = subprocess.run(
        [
            *(binaries() / "pg_dump", "--create", "--exclude-schema=containertest"),
            *("-h", "127.0.0.1", "-p", str(database.server.port), "-U", "tester", name),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return "\n".join([*_sort_rows(result.stdout), *_views(database.connect(name, user="tester"))])


def _sort_rows(text: str) -> list[str]:
    lines, rows = [], None
    for line in text.splitlines():
        if line.startswith(("\\restrict", "\\unrestrict")):
            continue
        if rows is None:
            lines.append(line)
            rows = [] if line.startswith("COPY ") else None
        elif line == "\\.":
            lines += [*sorted(rows), line]
            rows = None
        else:
            rows.append(line)
    return lines


def _views(connection) -> list[str]:
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT oid::regclass::text, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1")
        found = cursor.fetchall()
        lines = []
        for view, populated in found:
            lines.append(f"{view} {populated}")
            if populated:
                cursor.execute(f"SELECT v::text FROM {view} v ORDER BY 1")
                lines += [row for (row,) in cursor.fetchall()]
    return lines
