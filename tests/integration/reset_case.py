"""A TestCase with a database of its own, that compares all of it with the baseline."""

from __future__ import annotations

import contextlib
import difflib
import unittest
import warnings
from collections.abc import Iterator
from pathlib import Path

from containertest.reset.postgres import PostgresReset
from tests.integration.reset_dump import catalog_dump
from tests.integration.reset_server import USER, TestDatabase, server

SCHEMA = Path(__file__).with_name("reset_schema.sql").read_text(encoding="utf-8")

#: One table with a row, one that refers to it; for tests that need no more.
SMALL = """
    CREATE TABLE parent (id serial PRIMARY KEY, name text UNIQUE);
    CREATE TABLE child (id serial PRIMARY KEY, parent int NOT NULL REFERENCES parent);
    INSERT INTO parent (name) VALUES ('first');
"""


class Baseline:
    """What was there, to compare with what is there now."""

    def __init__(self, database: TestDatabase) -> None:
        self.database = database
        self.brief = catalog_dump(database, brief=True)
        self.full = catalog_dump(database)

    def difference(self) -> str:
        """Return in what the database differs from what was there; "" if in nothing."""
        if catalog_dump(self.database, brief=True) == self.brief:
            return ""
        now = catalog_dump(self.database)
        return "\n".join(difflib.unified_diff(self.full, now, "baseline", "now", lineterm="", n=0))[:4000]


class Levels:
    """The levels that managers and test classes lay over the migrations', of the database of ``resetter``."""

    resetter: PostgresReset
    has_base = False

    def snapshot(self, *, base: bool = False) -> None:
        """Make what is there the base, as a manager's snapshot, or a class's level on the base, if there is one."""
        self.resetter.push(2 if self.has_base and not base else 1)
        self.has_base = self.has_base or base

    def restore(self, *, everything: bool = False) -> None:
        """Go back to the base, if there is one, with ``everything`` to the migrations."""
        self.has_base = self.has_base and not everything
        self.resetter.pop(1 if self.has_base else 0)
        self.resetter.reset()


class ResetCase(Levels, unittest.TestCase):
    """Each class has a database made from ``schema`` for ``role``; each test starts at its baseline."""

    schema = SMALL
    role = USER
    database: TestDatabase
    baseline: Baseline

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.database = TestDatabase(server(), cls.schema, role=cls.role)
        cls.addClassCleanup(cls.database.drop)
        with warnings.catch_warnings(record=cls.role != USER):
            cls.resetter = cls.database.reset()
        cls.baseline = Baseline(cls.database)

    def setUp(self) -> None:
        super().setUp()
        self.has_base = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.restore(everything=True)

    def connect(self, *, autocommit: bool = True, **kw):
        """Open another connection, which is closed at the end of the test."""
        connection = self.database.connect(**kw)
        connection.autocommit = autocommit
        self.addCleanup(connection.close)
        return connection

    def execute(self, statement: str, connection=None):
        """Run statements, on the shared connection if no other is given; return the last one's rows, if any."""
        if connection is None:
            return self.database.execute(statement)
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement: str, connection=None):
        """Return the first column of the first row."""
        return self.execute(statement, connection)[0][0]

    def assert_baseline(self) -> None:
        if difference := self.baseline.difference():
            self.fail(difference)

    def assert_snapshot_comes_back(self, dirt: str) -> None:
        """Make a snapshot, fail unless it is there again after ``dirt``, and forget it."""
        self.snapshot()
        snapshot = Baseline(self.database)
        self.execute(dirt)
        self.resetter.reset()
        self.assertEqual(snapshot.difference(), "")
        self.restore()
        self.assert_baseline()

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Fail if the database is cloned in the block."""
        before = self.value("SELECT oid FROM pg_database WHERE datname = current_database()")
        yield
        self.assertEqual(self.value("SELECT oid FROM pg_database WHERE datname = current_database()"), before, "cloned")
