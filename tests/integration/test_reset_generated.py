"""Random sequences of statements over several connections: after each, the whole database is its baseline again.

CT_TESTS_EXAMPLES is the number of sequences.
"""

from __future__ import annotations

import contextlib
import os
import unittest
import warnings
from unittest import mock

import psycopg2
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg2 import extensions

from containertest.errors import ResetError
from containertest.reset import pg_others, pg_prepare
from containertest.reset.postgres import PostgresReset
from tests.integration.reset_case import SCHEMA, Baseline, Levels
from tests.integration.reset_server import TestDatabase, server

EXAMPLES = int(os.environ.get("CT_TESTS_EXAMPLES", "50"))

#: What is a large table here, so that dumps are fast: shop.big, which is not copied.
MOST_ROWS = 100
SMALLER = SCHEMA.replace("10001", str(MOST_ROWS + 1))

#: {n} is a small number, {m} a larger one.
ROWS = [
    "INSERT INTO author (email, country) VALUES ('{m}', 'at')",
    "INSERT INTO author (email) VALUES ('{n}')",
    "INSERT INTO author (id, email) VALUES ({n}, '{m}')",
    "INSERT INTO author (email) VALUES (NULL)",
    "UPDATE author SET email = id || '{m}'",
    "UPDATE author SET country = 'ch' WHERE id = {n}",
    "DELETE FROM author WHERE id = {n}",
    "TRUNCATE author CASCADE",
    "TRUNCATE author RESTART IDENTITY CASCADE",
    "SELECT * FROM author FOR UPDATE",
    "UPDATE country SET code = '{n}' WHERE code = 'at'",
    "INSERT INTO country VALUES ('{n}', 'n')",
    "DELETE FROM country WHERE code = 'de'",
    "TRUNCATE country CASCADE",
    "INSERT INTO book (author_id, title) SELECT id, '{m}' FROM author",
    "DELETE FROM book",
    "INSERT INTO review (book_id, words) SELECT id, 'w{n}' FROM book",
    "INSERT INTO odd (\"two words\", tags) VALUES ('{n}', '{{{m}}}')",
    "UPDATE odd SET seen = '{n} days', raw = '\\x0{n}'",
    'DELETE FROM odd WHERE "Select" > {n}',
    "INSERT INTO node (parent, name) SELECT max(id), '{n}' FROM node",
    "UPDATE node SET parent = {n} WHERE id > 1",
    "DELETE FROM node",
    "INSERT INTO egg VALUES ({m}, NULL)",
    "INSERT INTO hen VALUES ({n}, 1)",
    "UPDATE egg SET hen = {n}",
    "DELETE FROM egg WHERE id = {n}",
    "INSERT INTO late VALUES ({m}, {n}, {m})",
    "UPDATE late SET place = 3 - place",
    "DELETE FROM late",
    "INSERT INTO event (at, what) VALUES ('200{n}-01-01', 'x'), ('202{n}-01-01', 'a')",
    "UPDATE event SET at = '202{n}-01-01', what = 'a'",
    "DELETE FROM event_new",
    "TRUNCATE event_old",
    "INSERT INTO dog (name, tricks) VALUES ('d', {n})",
    "UPDATE animal SET name = '{m}'",
    "DELETE FROM ONLY animal",
    "INSERT INTO cache (body) VALUES ('{n}')",
    "DELETE FROM cache",
    "INSERT INTO bare DEFAULT VALUES",
    "DELETE FROM bare",
    "INSERT INTO no_key VALUES (1, 'one'), ({n}, NULL)",
    "DELETE FROM no_key WHERE n = {n}",
    "UPDATE no_key SET t = 'x' WHERE n = {n}",
    "INSERT INTO watched (body) VALUES ('{n}')",
    "DELETE FROM watched",
    "INSERT INTO guarded DEFAULT VALUES",
    "UPDATE guarded SET id = id + {m}",
    "INSERT INTO ruled VALUES ({m}, 'x')",
    "UPDATE ruled SET body = '{n}'",
    "INSERT INTO secret (owner) VALUES ('tester')",
    "DELETE FROM secret",
    'INSERT INTO shop."order" (author_id) VALUES ({n})',
    "INSERT INTO shop.big (body) VALUES ('{n}')",
    "WITH gone AS (DELETE FROM no_key RETURNING *) INSERT INTO audit (line) SELECT t FROM gone",
    "INSERT INTO audit (line) SELECT i FROM generate_series(1, {m}) i",
    "SELECT write_a_lot()",
    "CALL pay()",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(60000 + {n}, 'x')",
    "SELECT lo_unlink(60000 + {n})",
]
SEQUENCES = [
    "SELECT nextval('author_id_seq')",
    "SELECT nextval('ticket'), nextval('called')",
    "SELECT nextval('cached')",
    "SELECT setval('ticket', {m}0)",
    "SELECT setval('called', {n} + 1, false)",
    "SELECT setval('ready', 50, {m} % 2 = 0)",
    "SELECT setval('book_id_seq', {m}, {n} % 2 = 0)",
    "SELECT nextval('down'), nextval('review_id_seq')",
]
TRANSACTIONS = [
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT AND CHAIN",
    "PREPARE TRANSACTION 'p{n}'",
    "COMMIT PREPARED 'p{n}'",
    "ROLLBACK PREPARED 'p{n}'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT 1 / 0",
]
SESSION = [
    "SET session_replication_role = replica",
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_read_only = on",
    "SET search_path = shop",
    "SET ROLE app",
    "SET row_security = off",
    "SELECT pg_advisory_lock({n})",
    "LOCK TABLE author IN SHARE MODE",
    "CREATE TEMP TABLE author (id int)",
    "CREATE TEMP TABLE t{n} AS SELECT * FROM no_key",
    "LISTEN news",
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM author",
    "VACUUM no_key",
    "ANALYZE author",
]
DDL = [
    "CREATE TABLE t{n} (id serial PRIMARY KEY, author int REFERENCES author)",
    "INSERT INTO t{n} DEFAULT VALUES",
    "DROP TABLE IF EXISTS t{n}",
    "DROP TABLE review",
    "ALTER TABLE author ADD c{n} int DEFAULT {m}",
    "ALTER TABLE no_key DROP COLUMN t",
    "ALTER TABLE book ALTER title TYPE varchar({m}0)",
    "ALTER TABLE watched DISABLE TRIGGER note",
    "ALTER SEQUENCE ticket RESTART WITH {m}",
    "REFRESH MATERIALIZED VIEW authors_by_country",
    "CREATE OR REPLACE FUNCTION write_a_lot() RETURNS void LANGUAGE sql AS 'SELECT {n}'",
    "DROP SCHEMA shop CASCADE",
    "SELECT lo_put(54711, {n}, 'x')",
    "UPDATE shop.big SET body = '{m}' WHERE id = {n}",
    "INSERT INTO always DEFAULT VALUES",
    "COMMENT ON TABLE author IS '{n}'",
]
#: What is done with the library, or with a connection as a whole.
ACTIONS = ["reset", "snapshot", "snapshot base", "restore", "restore everything", "close"]

#: Each kind as often as it stands here.
KINDS = [ROWS] * 9 + [SEQUENCES] * 2 + [TRANSACTIONS] * 5 + [SESSION, DDL, ACTIONS, ACTIONS]
CONNECTIONS = ["shared", "shared", "a", "b", "app"]

steps = st.tuples(
    st.sampled_from(CONNECTIONS),
    st.sampled_from(KINDS).flatmap(st.sampled_from),
    st.integers(0, 4),
    st.integers(5, 25),
)


class World(Levels):
    """A database with its connections and its baselines: the first, the base and the present one."""

    def __init__(self) -> None:
        self.database = TestDatabase(server(), SMALLER)
        self.resetter: PostgresReset = self.database.reset()
        self.first = self.base = self.baseline = Baseline(self.database)
        self.others: dict[str, extensions.connection] = {}

    def connection(self, name: str) -> extensions.connection:
        if name == "shared":
            return self.database.connection
        if name not in self.others or self.others[name].closed:
            self.others[name] = self.database.connect(user="app" if name == "app" else "tester")
        return self.others[name]

    def step(self, name: str, what: str, n: int, m: int) -> None:
        if what == "reset":
            self.reset()
        elif what.startswith("snapshot"):
            self.snapshot(base=what.endswith("base"))
        elif what.startswith("restore"):
            self.restore(everything=what.endswith("everything"))
        elif what == "close":
            self.connection(name).close()
        elif name == "shared" or not what.startswith("CREATE TEMP"):  # what an idle session has is its own
            self.execute(name, what.format(n=n, m=m))

    def execute(self, name: str, statement: str) -> None:
        with contextlib.suppress(psycopg2.Error):
            connection = self.connection(name)
            if connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE:
                # One thread uses all connections: whoever would wait would wait for ever.
                connection.cursor().execute("SET lock_timeout = '20ms'")
            connection.cursor().execute(statement)

    def reset(self) -> None:
        self.resetter.reset()
        self.compare()

    def restore(self, *, everything: bool = False) -> None:
        super().restore(everything=everything)
        if everything:
            self.base = self.first
        self.baseline = self.base
        self.compare()

    def snapshot(self, *, base: bool = False) -> None:
        try:
            super().snapshot(base=base)
        except ResetError:
            return  # refused, with the reason
        self.database.execute("DISCARD TEMP")  # a session's own tables are no part of it
        self.baseline = Baseline(self.database)
        if base:
            self.base = self.baseline

    def compare(self) -> None:
        if difference := self.baseline.difference():
            raise AssertionError(difference)

    def drop(self) -> None:
        for connection in self.others.values():
            connection.close()
        self.database.drop()


class GeneratedTests(unittest.TestCase):
    world: World | None = None

    @classmethod
    def setUpClass(cls) -> None:
        # Nobody is about to end a transaction by himself: don't wait for that.
        no_patience = mock.patch.object(pg_others.find_lasting, "__defaults__", (0.005,))
        for patch in (no_patience, mock.patch.object(pg_prepare, "MOST_ROWS", MOST_ROWS)):
            patch.start()
            cls.addClassCleanup(patch.stop)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.drop_world()

    @classmethod
    def drop_world(cls) -> None:
        if cls.world:
            cls.world.drop()
        cls.world = None

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(steps, min_size=1, max_size=12))
    def test_any_sequence_of_statements_is_undone(self, sequence):
        server()
        cls = type(self)
        cls.world = cls.world or World()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                for step in sequence:
                    note(f"{step[0]}: {step[1].format(n=step[2], m=step[3])}")
                    cls.world.step(*step)
                cls.world.reset()
                if cls.world.baseline is not cls.world.base:
                    cls.world.restore(everything=False)
                if cls.world.base is not cls.world.first:
                    cls.world.restore(everything=True)
        except BaseException:
            # The next try starts with a database that nothing has happened to.
            cls.drop_world()
            raise


if __name__ == "__main__":
    unittest.main()
