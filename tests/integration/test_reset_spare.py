"""The spare clone that is made ahead for whose tests have DDL."""

from __future__ import annotations

import contextlib
import functools
import signal
import unittest
from unittest import mock

import psycopg2

from containertest.reset import pg_spare
from containertest.reset.pg_clone import own_databases, spare_names
from tests.integration import private_servers
from tests.integration.reset_case import Baseline, ResetCase
from tests.integration.reset_server import TestDatabase, server
from tests.support import eventually, run_python

DDL = "CREATE TABLE t (i int); INSERT INTO parent (name) VALUES ('x')"
OID = "SELECT oid FROM pg_database WHERE datname = current_database()"


class SpareTests(ResetCase):
    def setUp(self):
        # A database for each test: what was cloned for the one before would count.
        self.database = TestDatabase(server(), self.schema)
        self.addCleanup(self.database.drop)
        self.resetter = self.database.reset()
        self.addCleanup(self.resetter.close)
        self.baseline = Baseline(self.database)

    def reset_after_ddl(self, times=1):
        for _ in range(times):
            self.execute(DDL)
            self.resetter.reset()

    def spare(self):
        """The oid of the spare clone; None without one. Who takes it waits until it is ready."""
        found = self.execute(f"SELECT oid FROM pg_database WHERE datname = '{spare_names(self.database.name)[0]}'")
        return found[0][0] if found else None

    def make_spare(self):
        before = self.spare()
        self.reset_after_ddl(2)
        self.assertTrue(eventually(lambda: self.spare() not in (None, before)))
        return self.spare()

    def test_second_clone_is_followed_by_a_spare_that_the_third_takes(self):
        self.reset_after_ddl()
        self.assertIsNone(self.spare())
        spare = self.make_spare()
        for _ in range(3):
            self.reset_after_ddl()
            self.assertEqual(self.value(OID), spare)
            self.assert_baseline()
            self.execute("INSERT INTO parent (name) VALUES ('y')")
            self.resetter.reset()
            self.assert_baseline()
            self.assertTrue(eventually(self.spare))
            spare = self.spare()

    def test_without_ddl_there_is_none(self):
        for _ in range(3):
            self.execute("INSERT INTO parent (name) VALUES ('y')")
            self.resetter.reset()
        self.assertEqual(own_databases(self.database.connection.cursor(), self.database.name), [self.database.name])

    def test_it_has_the_levels_over_the_template(self):
        for data in ("INSERT INTO parent (name) VALUES ('class')", "CREATE TABLE of_class (i int)"):
            with self.subTest(data):
                self.execute(data)
                self.snapshot()
                level = Baseline(self.database)
                spare = self.make_spare()
                self.reset_after_ddl()
                self.assertEqual(self.value(OID), spare)
                self.assertEqual(level.difference(), "")
                self.execute("DELETE FROM parent")
                self.resetter.reset()
                self.assertEqual(level.difference(), "")
                self.restore()
                self.assert_baseline()

    def test_one_of_another_level_is_not_taken(self):
        spare = self.make_spare()
        self.execute("INSERT INTO parent (name) VALUES ('class')")
        self.snapshot()
        level = Baseline(self.database)
        self.reset_after_ddl()
        self.assertNotEqual(self.value(OID), spare)
        self.assertEqual(level.difference(), "")

    def test_sessions_of_others_are_ended_and_find_the_baseline_when_they_come_again(self):
        self.make_spare()
        other = self.connect()
        self.reset_after_ddl()
        with self.assertRaises(psycopg2.Error):
            self.execute("SELECT 1", other)
        self.assertEqual(self.value("SELECT count(*) FROM parent", self.connect()), 1)

    def test_who_writes_before_it_is_looked_at_is_undone(self):
        self.make_spare()
        arrive = pg_spare.arrive

        def write_first(*args):
            self.execute("INSERT INTO parent (name) VALUES ('early')", self.connect())
            return arrive(*args)

        with mock.patch.object(pg_spare, "arrive", write_first):
            self.reset_after_ddl()
        self.resetter.reset()
        self.assert_baseline()

    def test_one_that_is_lost_costs_a_clone_and_no_more(self):
        for lost in ("DROP DATABASE {}", "ALTER DATABASE {} RENAME TO elsewhere"):
            with self.subTest(lost):
                self.make_spare()
                self.assertTrue(eventually(functools.partial(self.lose, lost)))
                self.reset_after_ddl()
                self.assert_baseline()
        with self.database.admin() as cursor:
            cursor.execute("DROP DATABASE elsewhere")

    def lose(self, statement):
        """Have the spare clone gone; False while somebody is connected to it, as when it is not ready yet."""
        with self.database.admin() as cursor:
            try:
                cursor.execute(statement.format(spare_names(self.database.name)[0]))
            except psycopg2.errors.ObjectInUse:
                return False
        return True

    def test_database_that_a_test_has_dropped_is_replaced_by_it(self):
        spare = self.make_spare()
        self.database.close()
        with self.database.admin() as cursor:
            cursor.execute(f"DROP DATABASE {self.database.name}")
        self.resetter.reset()
        self.assertEqual(self.value(OID), spare)
        self.assert_baseline()


class KilledTests(unittest.TestCase):
    """A process that is killed while a spare is made, on a server of others."""

    SCRIPT = """
    import os, signal
    from containertest import ContainerManager

    def migrate(url):
        import psycopg2
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            for number in range(60):
                cursor.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY, name text UNIQUE)")
        connection.close()

    manager = ContainerManager(redis=None, migrations=migrate).start()
    for _ in range(2):
        manager.postgres.connection.cursor().execute("CREATE TABLE made (i int)")
        manager.reset_database()
    os.kill(os.getpid(), signal.SIGKILL)
    """

    def test_nothing_is_left(self):
        url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**private_servers.postgres())
        with contextlib.closing(private_servers.connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def left():
                cursor.execute("SELECT datname FROM pg_database WHERE datname ~ 'ct|testdb'")
                return cursor.fetchall()

            for _ in range(3):
                done = run_python(self.SCRIPT, CONTAINERTEST_BACKEND="external", CONTAINERTEST_POSTGRES_URL=url)
                self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                self.assertTrue(eventually(lambda: not left()), left())


if __name__ == "__main__":
    unittest.main()
