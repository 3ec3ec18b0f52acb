"""What the reset doesn't look at each time is not missed for it."""

from __future__ import annotations

import psycopg2

from containertest.reset import pg_prepare
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
        self.snapshot()
        snapshot = Baseline(self.database)
        for statement in (
            "SELECT nextval('free')",
            "SELECT setval('free', 6, false)",
            "SELECT setval('high', 9, false)",
        ):
            self.execute(statement)
            self.resetter.reset()
            self.assertEqual(snapshot.difference(), "")
        self.restore()
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


class PrivateSetvalTests(ResetCase):
    """Where new functions are nobody's but their owner's, setval() is everybody's all the same."""

    schema = """
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        CREATE SEQUENCE s; GRANT ALL ON s TO app;
    """

    def test_other_roles_can_call_it(self):
        self.execute("SET ROLE app; SELECT setval('s', 5, false)")
        self.assertEqual(self.value("SELECT nextval('s')"), 5)
        self.resetter.reset()
        self.assert_baseline()


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
        self.snapshot()
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
        self.snapshot()
        self.execute("CREATE TABLE t (i int)")
        self.resetter.reset()
        self.check("DELETE FROM child WHERE id = 2", Baseline(self.database))
        self.assertEqual(self.value("SELECT count(*) FROM child"), 2)

    def test_forgotten_snapshots_rows_are_gone(self):
        self.execute("INSERT INTO child (parent) VALUES (1), (1)")
        self.snapshot()
        with self.in_place():
            self.restore()
        self.assert_baseline()


class LateTests(ResetCase):
    """Notes of who wrote are kept as long as they may be needed."""

    def test_write_that_is_committed_late_is_noted(self):
        connection = self.connect(autocommit=False)
        for _ in range(3):
            self.execute("INSERT INTO child (parent) VALUES (1)", connection)
            self.execute("INSERT INTO parent (name) VALUES ('other')")
            connection.commit()
            self.resetter.reset()
            self.assert_baseline()


class NoteTests(ResetCase):
    """That a table was written is noted without being seen in it."""

    def test_last_value_of_the_session_is_the_tables_own(self):
        self.execute("INSERT INTO parent (name) VALUES ('x'); INSERT INTO child (id, parent) VALUES (9, 2)")
        self.execute("UPDATE parent SET name = 'y' WHERE id = 2")
        self.assertEqual(self.execute("SELECT lastval(), currval('parent_id_seq')"), [(2, 2)])

    def test_statement_that_writes_no_row_is_no_trouble(self):
        with self.in_place():
            self.execute("INSERT INTO child (parent) SELECT 1 WHERE false; UPDATE parent SET name = 'x' WHERE false")
            self.resetter.reset()
            self.assert_baseline()

    def test_roles_without_rights_of_ours_can_write(self):
        self.execute(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app"
        )
        self.snapshot()
        snapshot = Baseline(self.database)
        self.execute("INSERT INTO parent (name) VALUES ('x'); DELETE FROM child", self.connect(user="app"))
        with self.in_place():
            self.resetter.reset()
        self.assertEqual(snapshot.difference(), "")


def _table(number):
    """One of many tables, every tenth of which has a reference row."""
    reference = f"REFERENCES t{number - 7}" if number > 6 else ""
    row = f"INSERT INTO t{number} DEFAULT VALUES;" if number % 10 == 3 else ""
    return f"CREATE TABLE t{number} (id serial PRIMARY KEY, other int {reference}); {row}"


class GroupTests(ResetCase):
    """In a large schema several tables have one note."""

    schema = (
        "\n".join(map(_table, range(100)))
        + """
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER t AFTER DELETE ON t50 FOR EACH ROW EXECUTE FUNCTION nothing();
        ALTER TABLE t50 ENABLE ALWAYS TRIGGER t;
    """
    )

    def test_tables_share_notes(self):
        notes, tables = self.execute("SELECT count(*), sum(last - first + 1) FROM containertest.notes")[0]
        self.assertLess(notes, tables)
        self.assertEqual(tables, 100)

    def test_any_table_is_brought_back_in_place(self):
        for number in set(range(100)) - {50}:
            with self.in_place():
                self.execute(f"INSERT INTO t{number} DEFAULT VALUES")
                self.resetter.reset()
        self.assert_baseline()

    def test_reference_rows_are_brought_back_with_and_without_the_neighbours(self):
        with self.in_place():
            self.execute(
                "DELETE FROM t93; UPDATE t83 SET other = NULL; INSERT INTO t84 DEFAULT VALUES; TRUNCATE t63 CASCADE"
            )
            self.resetter.reset()
            self.assert_baseline()

    def test_snapshot_has_the_tables_that_were_written_and_no_neighbours(self):
        self.execute("INSERT INTO t20 DEFAULT VALUES; DELETE FROM t93")
        self.snapshot()
        self.assertEqual(
            self.execute("SELECT name FROM containertest.tracked WHERE level > 0 ORDER BY 1"),
            [("public.t20",), ("public.t93",)],
        )
        snapshot = Baseline(self.database)
        self.execute("DELETE FROM t20; INSERT INTO t93 DEFAULT VALUES; INSERT INTO t19 DEFAULT VALUES")
        with self.in_place():
            self.resetter.reset()
        self.assertEqual(snapshot.difference(), "")
        with self.in_place():
            self.restore()
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
