"""Without superuser rights: rows and sequences are brought back, and what can't be seen is said once."""

from __future__ import annotations

import contextlib
import tempfile
import unittest
import warnings
from pathlib import Path

from tests.integration.reset_case import SCHEMA, SMALL, Baseline, ResetCase
from tests.integration.reset_dump import can_dump, dump
from tests.integration.reset_server import PLAIN, TestDatabase, server
from tests.integration.test_reset_postgres import ALL
from tests.integration.test_reset_snapshots import SNAPSHOTS
from tests.support import eventually, run_python

#: What can't be seen without the rights of a superuser, besides DDL; and what nobody without them can do.
UNSEEN = {"clone: large object changed", "clone: large object extended", "clone: large object's comment"}
IMPOSSIBLE = {
    *("replica role", "another role", "another connection, session settings", "another role's connection"),
    "setting of a role",
}

#: The row that only a superuser may write there: the policy lets a role see and write its own.
SECRET = ("INSERT INTO secret (owner) VALUES ('nobody');", "INSERT INTO secret (owner) VALUES (current_user);")

ROWS_AND_SEQUENCES = {
    name: statements
    for name, statements in ALL.items()
    if (not name.startswith("clone") or name.startswith(("clone: large", "clone: trigger that"))) and name not in UNSEEN
}


class PlainCase(ResetCase):
    schema = SCHEMA
    role = PLAIN


class RowTests(PlainCase):
    """One for each way to write rows and sequences that a plain role has; made below."""

    def check(self, name, statements):
        for statement in statements:
            if callable(statement):
                statement(self)
            else:
                self.execute(statement.replace("{name}", self.database.name).replace(*SECRET))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.resetter.reset(name)
        self.assert_baseline()


def _add_test(name, statements):
    def test(self):
        if "since 15" not in name or self.database.connection.server_version >= 150000:
            self.check(name, statements)

    setattr(RowTests, "test_" + "_".join("".join(c if c.isalnum() else " " for c in name).split()), test)


for _name, _statements in ROWS_AND_SEQUENCES.items():
    if _name not in IMPOSSIBLE:
        _add_test(_name, _statements)


class SnapshotTests(PlainCase):
    def test_snapshots_of_all_kinds(self):
        for name, statements in SNAPSHOTS.items():
            if name in ("template: new table", "template: large objects"):
                continue  # not seen
            with self.subTest(name):
                self.execute(statements.replace("{name}", self.database.name))
                self.snapshot()
                snapshot = Baseline(self.database)
                for dirt in ("UPDATE author SET email = id::text; DELETE FROM no_key", "SELECT nextval('ticket')"):
                    self.execute(dirt)
                    self.resetter.reset()
                    self.assertEqual(snapshot.difference(), "")
                self.restore()
                self.assert_baseline()

    def test_row_that_a_snapshot_changed_keeps_those_that_refer_to_it(self):
        self.execute("UPDATE country SET name = 'x'")
        self.snapshot()
        snapshot = Baseline(self.database)
        self.execute("DELETE FROM country WHERE code = 'at'")
        self.resetter.reset()
        self.assertEqual(snapshot.difference(), "")


class LimitTests(PlainCase):
    def test_what_cannot_be_seen_is_said_once_in_a_warning(self):
        with self.assertWarnsRegex(RuntimeWarning, "no superuser.*DDL.*is not seen.*large object"):
            resetter = self.database.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3):
                self.execute("UPDATE author SET email = id::text")
                resetter.reset()
                resetter.push(1)
                resetter.pop(0)
                resetter.reset()

    def test_ddl_that_is_in_the_way_of_rows_is_undone(self):
        for statement in (
            "ALTER TABLE author RENAME TO writer; INSERT INTO writer (email) VALUES ('x')",
            "DROP TABLE review",
            "DROP SCHEMA shop CASCADE",
            "DROP SCHEMA containertest CASCADE",
            """
            CREATE TABLE t (author int REFERENCES author); INSERT INTO author (email) VALUES ('x');
            INSERT INTO t VALUES (3)
            """,
        ):
            self.execute(statement)
            self.resetter.reset()
            self.assert_baseline()

    def test_leftover_of_the_same_role_is_ended(self):
        connection = self.connect(autocommit=False)
        self.execute("LOCK TABLE author", connection)
        self.execute("SELECT 1")
        with self.assertWarnsRegex(ResourceWarning, "LOCK TABLE author"):
            self.resetter.reset("test")

    def test_idle_connections_live_on(self):
        connection = self.connect()
        self.execute("INSERT INTO author (email) VALUES ('x')", connection)
        self.resetter.reset()
        self.assertEqual(self.value("SELECT count(*) FROM author", connection), 2)

    def test_pg_dump_of_the_schema_has_our_triggers_and_nothing_else(self):
        if not can_dump(self.database):
            return
        options = ("--schema=public", "--schema-only", "--no-owner")
        plain = TestDatabase(server(), self.schema, role=PLAIN, prepare=False)
        self.addCleanup(plain.drop)
        before = dump(plain, plain.template, *options).splitlines()
        added = [line for line in dump(self.database, None, *options).splitlines() if line not in before]
        self.assertTrue(added)
        for line in added:
            self.assertRegex(line, "containertest_(mark|more)|containertest.mark")


class ForeignTableTests(unittest.TestCase):
    """Tables in the database that the role does not own, as an extension's are."""

    def test_others_tables_are_left_alone(self):
        database = TestDatabase(server(), SMALL, role=PLAIN, prepare=False)
        self.addCleanup(database.drop)
        with contextlib.closing(database.connect(database.template, user="tester")) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE SCHEMA theirs CREATE TABLE t (i serial); INSERT INTO theirs.t DEFAULT VALUES")
            cursor.execute("GRANT ALL ON SCHEMA theirs TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA theirs TO PUBLIC")
        database.prepare()
        with self.assertWarns(RuntimeWarning):
            resetter = database.reset()
        database.execute("INSERT INTO parent (name) VALUES ('x'); INSERT INTO theirs.t VALUES (7)")
        resetter.reset()
        self.assertEqual(database.execute("SELECT count(*) FROM parent"), [(1,)])


RUN = """
    import sys, unittest, warnings
    from containertest import ContainerManager, PostgresTestCase

    containers = ContainerManager(redis=None, migrations=sys.argv[1])

    class Tests(PostgresTestCase):
        @classmethod
        def setUpTestData(cls):
            cls.db.cursor().execute("INSERT INTO parent (name) VALUES ('class')")

        def look(self):
            self.assertRowCount("parent", 2)
            with self.db.cursor() as cursor:
                cursor.execute("INSERT INTO parent (name) VALUES ('x') RETURNING id")
                self.assertEqual(cursor.fetchone()[0], 3)
                cursor.execute("UPDATE parent SET name = id::text")
                # The snapshot of a role without rights is a template database.
                name = self.manager().postgres.dbname
                cursor.execute("SELECT count(*) FROM pg_database WHERE datname IN (%s, %s)",
                    (name, f"ct_template_{name}_1"))
                self.assertEqual(cursor.fetchone()[0], 2)

        test_1 = test_2 = test_3 = look

    Tests.containers = containers
    warnings.simplefilter("always")
    print(containers.start().postgres.backend, containers.postgres.dbname)
    result = unittest.TextTestRunner(sys.stdout).run(unittest.defaultTestLoader.loadTestsFromTestCase(Tests))
    if sys.argv[2] == "killed":
        import os, signal
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


class ExternalServerTests(unittest.TestCase):
    """The whole library on a server that is not ours, as a role that may create databases and no more."""

    def run_tests(self, end):
        on = server()
        migration = self.migration()
        done = run_python(
            RUN,
            migration,
            end,
            CONTAINERTEST_BACKEND="external",
            CONTAINERTEST_POSTGRES_URL=on.url(PLAIN),
        )
        self.assertIn("Ran 3 tests", done.stdout, done.stderr)
        self.assertIn("\nOK\n", done.stdout)
        backend = done.stdout.split()[0]
        self.assertEqual(backend, "external")
        self.assertEqual(done.stderr.count("RuntimeWarning"), 1, done.stderr)

        def left():
            with contextlib.closing(on.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database WHERE datdba = %s::regrole", (PLAIN,))
                return [row for (row,) in cursor.fetchall() if "_ct" in row]

        self.assertTrue(eventually(lambda: not left()), left())

    def migration(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "schema.sql")
        path.write_text(SMALL)
        return str(path)

    def test_rows_come_back_and_nothing_is_left(self):
        self.run_tests("exit")

    def test_nothing_is_left_after_a_crash_either(self):
        self.run_tests("killed")


if __name__ == "__main__":
    unittest.main()
