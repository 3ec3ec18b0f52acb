"""What the reset doesn't look at each time is not missed for it."""

from __future__ import annotations

import psycopg2

from containertest.reset import pg_prepare, postgres
from tests.integration.reset_case import SMALL, Baseline, ResetCase
from tests.integration.reset_server import TestDatabase, server

SEQUENCES = """
    CREATE SEQUENCE free;
    CREATE SEQUENCE high;
    SELECT setval('high', 7, false);
    CREATE TABLE late (id serial PRIMARY KEY);
    ALTER SEQUENCE late_id_seq RESTART WITH 100;
    CREATE TABLE early (id serial PRIMARY KEY);
"""

FAMILY = """
    CREATE TABLE animal (id serial PRIMARY KEY, name text);
    CREATE TABLE dog (tricks int) INHERITS (animal);
    CREATE TABLE visit (id serial, at int) PARTITION BY RANGE (at);
    CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (10);
    CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (10) TO (20);
"""


class SequenceTests(ResetCase):
    """Reading a sequence fast doesn't show values that are not called yet."""

    schema = SEQUENCES

    def check(self, *statements):
        with self.in_place():
            for statement in statements:
                self.execute(statement)
            self.assertTrue(self.baseline.difference(), "this has changed nothing")
            self.resetter.reset()
            self.assert_baseline()

    def test_value_set_but_not_called_is_brought_back(self):
        self.check("SELECT setval('free', 5, false)")

    def test_value_set_but_not_called_is_brought_back_after_a_rollback(self):
        self.check("BEGIN; SELECT setval('free', 5, false); ROLLBACK")

    def test_value_set_along_with_another_tables_row_is_brought_back(self):
        self.check("BEGIN; INSERT INTO early DEFAULT VALUES; SELECT setval('late_id_seq', 3, false); COMMIT")

    def test_value_set_by_other_code_is_brought_back(self):
        self.check("DO $$ BEGIN PERFORM pg_catalog.setval('public.free'::regclass, 5, false); END $$")

    def test_value_set_on_another_connection_is_brought_back(self):
        self.execute("SELECT setval('free', 5, false)", self.connect())
        self.check()

    def test_value_set_twice_is_brought_back_twice(self):
        for _ in range(2):
            self.check("SELECT setval('free', 5, false)")

    def test_sequence_that_does_not_begin_at_its_start_is_brought_back(self):
        self.check("SELECT setval('high', 1, false)")
        self.check("TRUNCATE late RESTART IDENTITY")

    def test_snapshots_value_is_forgotten_with_the_snapshot(self):
        self.execute("SELECT setval('free', 5, false), setval('high', 9)")
        self.resetter.snapshot()
        snapshot = Baseline(self.database)
        for statement in (
            "SELECT nextval('free')",
            "SELECT setval('free', 6, false)",
            "SELECT setval('high', 9, false)",
        ):
            self.execute(statement)
            self.resetter.reset()
            self.assertEqual(snapshot.difference(), "")
        self.resetter.restore()
        self.assert_baseline()


class SetvalTests(ResetCase):
    """setval() does for users what PostgreSQL's own does."""

    schema = SEQUENCES

    def test_setval_returns_the_value(self):
        self.assertEqual(self.execute("SELECT setval('free', 5, false), setval('free', 6, true)"), [(5, 6)])
        self.assertEqual(self.value("SELECT nextval('free')"), 7)

    def test_setval_of_null_does_nothing(self):
        self.assertIsNone(self.value("SELECT setval('free', NULL, false)"))
        self.assertIsNone(self.value("SELECT setval('free', 5, NULL)"))
        self.assertEqual(self.value("SELECT nextval('free')"), 1)

    def test_setval_out_of_bounds_is_an_error(self):
        with self.assertRaises(psycopg2.errors.NumericValueOutOfRange):
            self.execute("SELECT setval('free', 0, false)")

    def test_setval_in_a_read_only_transaction_is_an_error(self):
        with self.assertRaises(psycopg2.errors.ReadOnlySqlTransaction):
            self.execute("BEGIN READ ONLY; SELECT setval('free', 5, false)")

    def test_setvals_column_has_its_name(self):
        with self.database.connection.cursor() as cursor:
            cursor.execute("SELECT setval('free', 5, false)")
            self.assertEqual(cursor.description[0].name, "setval")


class EarlierSetvalTests(ResetCase):
    """An object made before tracking was installed stands for PostgreSQL's own setval()."""

    schema = SEQUENCES + "CREATE VIEW setting AS SELECT setval('free', 5, false);"

    def test_value_set_by_a_view_of_the_migrations_is_brought_back(self):
        with self.in_place():
            self.execute("SELECT * FROM setting")
            self.assertTrue(self.baseline.difference())
            self.resetter.reset()
            self.assert_baseline()


class EarlierFunctionTests(ResetCase):
    """A function made before, of PostgreSQL's own code."""

    schema = SEQUENCES + (
        "CREATE FUNCTION put(regclass, bigint, boolean) RETURNS bigint STRICT LANGUAGE internal AS 'setval3_oid';"
    )

    def test_value_set_by_a_function_of_the_migrations_is_brought_back(self):
        with self.in_place():
            self.execute("SELECT put('free', 5, false)")
            self.resetter.reset()
            self.assert_baseline()


class UnwatchedTests(ResetCase):
    """Where the baseline has no rows, only INSERT is noted."""

    schema = SMALL + FAMILY

    def check(self, statement, baseline):
        with self.in_place():
            self.execute(statement)
            self.assertTrue(baseline.difference(), "this has changed nothing")
            self.resetter.reset()
            self.assertEqual(baseline.difference(), "")

    def test_rows_that_are_changed_after_they_were_inserted_are_removed(self):
        for statement in (
            "INSERT INTO child (parent) VALUES (1); UPDATE child SET id = 9",
            "INSERT INTO child (parent) VALUES (1), (1); DELETE FROM child WHERE id = 2",
            "INSERT INTO child (parent) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 7",
            "INSERT INTO visit (at) VALUES (1); UPDATE visit SET at = 11",
            "INSERT INTO dog (name) VALUES ('fido'); UPDATE animal SET name = 'rex'",
            "INSERT INTO child (parent) VALUES (1); TRUNCATE child",
        ):
            with self.subTest(statement):
                self.check(statement, self.baseline)

    def test_snapshots_rows_are_brought_back(self):
        self.execute("INSERT INTO child (parent) VALUES (1), (1); INSERT INTO dog (name) VALUES ('fido')")
        self.execute("INSERT INTO visit (at) VALUES (1)")
        self.resetter.snapshot()
        snapshot = Baseline(self.database)
        for statement in (
            "UPDATE child SET id = 9 WHERE id = 1",
            "DELETE FROM child WHERE id = 2",
            "TRUNCATE child",
            "UPDATE animal SET name = 'rex'",
            "UPDATE dog SET name = 'rex'",
            "DELETE FROM visit",
            "UPDATE visit SET at = 11",
            "DELETE FROM visit_1",
        ):
            with self.subTest(statement):
                self.check(statement, snapshot)

    def test_snapshots_rows_are_brought_back_after_a_clone(self):
        self.execute("INSERT INTO child (parent) VALUES (1), (1)")
        self.resetter.snapshot()
        self.execute("CREATE TABLE t (i int)")
        self.resetter.reset()
        self.check("DELETE FROM child WHERE id = 2", Baseline(self.database))
        self.assertEqual(self.value("SELECT count(*) FROM child"), 2)

    def test_forgotten_snapshots_rows_are_gone(self):
        self.execute("INSERT INTO child (parent) VALUES (1), (1)")
        self.resetter.snapshot()
        with self.in_place():
            self.resetter.restore()
        self.assert_baseline()


class OldMarksTests(ResetCase):
    """Notes of earlier tests stay for a while."""

    def test_many_statements_are_noted_and_forgotten(self):
        with self.in_place():
            for _ in range(3):
                for _ in range(postgres.MOST_MARKS // 2):
                    self.execute("INSERT INTO child (parent) VALUES (1)")
                self.execute("UPDATE parent SET name = 'x'")
                self.resetter.reset()
                self.assert_baseline()
        self.assertLess(self.value("SELECT count(*) FROM containertest.marks"), postgres.MOST_MARKS)

    def test_write_that_is_committed_late_is_noted(self):
        connection = self.connect(autocommit=False)
        for _ in range(3):
            self.execute("INSERT INTO child (parent) VALUES (1)", connection)
            self.execute("INSERT INTO parent (name) VALUES ('other')")
            connection.commit()
            self.resetter.reset()
            self.assert_baseline()


class RemovedTests(ResetCase):
    """A database that is handed over to another program works without what is taken out of it."""

    schema = SEQUENCES

    def setUp(self):
        """Each test has a database of its own: the class's is not reset any more after this."""
        self.database = TestDatabase(server(), self.schema)
        self.addCleanup(self.database.drop)
        self.database.reset()

    def check(self):
        pg_prepare.remove(self.database.connection)
        self.assertEqual(self.value("SELECT setval('free', 5, false)"), 5)
        self.assertEqual(self.value("SELECT nextval('free')"), 5)
        names = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'containertest%'"
        return self.value(names)

    def test_setval_is_postgresqls_own_again(self):
        self.assertEqual(self.check(), 0)

    def test_setval_works_where_a_view_needs_ours(self):
        self.execute("CREATE VIEW setting AS SELECT setval('free', 9, false)")
        self.check()
        self.assertEqual(self.value("SELECT * FROM setting"), 9)
        self.assertEqual(self.value("SELECT nextval('free')"), 9)
