"""SQL files run on a psycopg2 connection as psql would run them; shared by fixtures and migrations.

The session is after a file what it was before: settings that the file makes (pg_dump empties ``search_path``)
are taken back, as they would end with psql's own session.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg2
from psycopg2 import extensions

from containertest.errors import ContainerTestError
from containertest.sql.extensions import folder_of
from containertest.sql.message import server_message, statement_message
from containertest.sql.own import blocking, own_cursor
from containertest.sql.reading import read_script
from containertest.sql.script import ScriptError, Statement, split

_log = logging.getLogger(__name__)
_SESSION_SETTINGS = Path(__file__).with_name("session_settings.sql")
_UTF8 = "SET client_encoding TO 'UTF8'"
_WHO = ("session_authorization", "role")
_FILE = "containertest_file"
_BLOCK = "containertest_block"


def run_atomic(connection: extensions.connection, path: Path, error: type[ContainerTestError]) -> None:
    """Run a file in one transaction, or under a savepoint of the one that is open; all of it or nothing.

    The file's own BEGIN … COMMIT becomes a savepoint, so that its COMMIT doesn't keep half of a broken file.
    Raises ``error`` with file, line, statement and PostgreSQL's message.
    """
    _AtomicRun(connection, path, error).run()


def run_plain(connection: extensions.connection, path: Path, error: type[ContainerTestError]) -> None:
    """Run a file as ``psql -v ON_ERROR_STOP=1 -f`` does: each statement by itself, or in the file's BEGIN.

    The connection must not be in a transaction. What was done before an error stays, settings included: for
    databases that are thrown away then. Raises as ``run_atomic``.
    """
    _Run(connection, path, error).run()


class _Run:
    atomic = False

    def __init__(self, connection: extensions.connection, path: Path, error: type[ContainerTestError]) -> None:
        self.connection = connection
        self.path = path
        self.error = error
        self.script = read_script(path, error)
        self.statement: Statement | None = None
        self.edge = "before its first statement"
        self.open_block: Statement | None = None

    def run(self) -> None:
        try:
            with (
                _own_begin(self.connection),
                own_cursor(self.connection) as cursor,
            ):
                self.cursor = cursor
                self.guarded()
        except ScriptError as problem:
            raise self.error(f"{self.path}, {problem}") from None
        except psycopg2.Error as problem:
            raise self.error(f"{self.path}, {self.explain(problem)}") from problem

    def explain(self, problem: psycopg2.Error) -> str:
        if self.statement:
            folder = functools.partial(folder_of, self.connection)
            return statement_message(self.script, self.statement, problem, folder, atomic=self.atomic)
        return f"{self.edge}: " + "\n".join(server_message(problem))

    def guarded(self) -> None:
        """Run all statements; a file that fails leaves no transaction of its own open."""
        try:
            self.all_statements()
        except BaseException:
            if self.connection.closed == 0 and self.status() != extensions.TRANSACTION_STATUS_IDLE:
                self.undo("ROLLBACK")
            raise

    def all_statements(self) -> None:
        with _same_session(self.cursor):
            for statement in split(self.script, self.standard_strings, self.connection.info.dbname):
                self.statement = statement
                self.execute(statement)
                if self.connection.get_parameter_status("client_encoding") != "UTF8":
                    # The file was decoded by the encoding that it names: what is sent is UTF-8.
                    self.cursor.execute(_UTF8)
            self.statement, self.edge = None, "at its end (COMMIT)"
            if self.open_block:
                raise ScriptError(self.open_block.line, "this transaction has no COMMIT: psql would not keep it")

    def execute(self, statement: Statement) -> None:
        self.send(statement)
        if self.status() == extensions.TRANSACTION_STATUS_IDLE:
            self.open_block = None
        else:
            self.open_block = self.open_block or statement

    def send(self, statement: Statement) -> None:
        """Send the statement's own bytes: nothing in it is a placeholder."""
        text = statement.text.encode()
        if statement.words[:1] == ("COPY",) and "STDOUT" in statement.words:
            self.copy(text, b"")
        elif statement.rows is not None:
            self.copy(text, statement.rows.encode())
        else:
            self.cursor.execute(text)

    def copy(self, text: bytes, rows: bytes) -> None:
        with blocking():
            self.cursor.copy_expert(text, io.BytesIO(rows))

    def status(self) -> int:
        return self.connection.get_transaction_status()

    def standard_strings(self) -> bool:
        return self.connection.get_parameter_status("standard_conforming_strings") != "off"

    def undo(self, *commands: str) -> None:
        """Roll back; what goes wrong here must not hide why."""
        try:
            for command in commands:
                self.cursor.execute(command)
        except psycopg2.Error as problem:
            _log.warning("%s: could not be rolled back: %s", self.path, problem)


class _AtomicRun(_Run):
    atomic = True

    def guarded(self) -> None:
        nested = self.status() != extensions.TRANSACTION_STATUS_IDLE
        self.cursor.execute(f"SAVEPOINT {_FILE}" if nested else "BEGIN")
        try:
            self.all_statements()
            self.cursor.execute(f"RELEASE SAVEPOINT {_FILE}" if nested else "COMMIT")
        except BaseException:
            if self.connection.closed == 0:
                undo = [f"ROLLBACK TO SAVEPOINT {_FILE}", f"RELEASE SAVEPOINT {_FILE}"]
                self.undo(*(undo if nested else ["ROLLBACK"]))
            raise

    def execute(self, statement: Statement) -> None:
        words = statement.words
        if words[:1] == ("BEGIN",) or words[:2] == ("START", "TRANSACTION"):
            self.begin(statement)
        elif words[:1] in (("COMMIT",), ("END",)) and "PREPARED" not in words:
            self.end(statement, f"RELEASE SAVEPOINT {_BLOCK}")
        elif words[:1] in (("ROLLBACK",), ("ABORT",)) and not {"TO", "PREPARED"} & set(words):
            self.end(statement, f"ROLLBACK TO SAVEPOINT {_BLOCK}", f"RELEASE SAVEPOINT {_BLOCK}")
        elif words[:2] == ("PREPARE", "TRANSACTION"):
            raise ScriptError(statement.line, "PREPARE TRANSACTION would end the one transaction a file runs in")
        else:
            self.send(statement)

    def begin(self, statement: Statement) -> None:
        if not self.open_block:
            self.cursor.execute(f"SAVEPOINT {_BLOCK}")
            self.open_block = statement

    def end(self, statement: Statement, *commands: str) -> None:
        """End the file's own block; without one PostgreSQL only warns, so nothing is to be done."""
        if not self.open_block:
            return
        for command in commands:
            self.cursor.execute(command)
        self.open_block = None
        if "CHAIN" in statement.words and "NO" not in statement.words:
            self.begin(statement)


@contextlib.contextmanager
def _own_begin(connection: extensions.connection) -> Iterator[None]:
    """Turn psycopg2's own BEGIN off while a file runs, unless a transaction is open already."""
    if connection.autocommit or connection.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
        yield
        return
    connection.autocommit = True
    try:
        yield
    finally:
        if connection.closed == 0:
            connection.autocommit = False


@contextlib.contextmanager
def _same_session(cursor: extensions.cursor) -> Iterator[None]:
    """Send a script as UTF-8 and take back the settings it made; after an error a rollback does that."""
    before = _settings(cursor)
    cursor.execute(_UTF8)
    yield
    after = _settings(cursor)
    # Who one is comes first: it decides which settings one may set.
    for name in sorted(before.keys() | after.keys(), key=lambda name: (name not in _WHO, name)):
        if name not in before:
            cursor.execute(f'RESET "{name}"')
        elif before[name] != after.get(name):
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, before[name]))


def _settings(cursor: extensions.cursor) -> dict[str, str]:
    cursor.execute(_SESSION_SETTINGS.read_text())
    return dict(cursor.fetchall())
