"""What a test leaves open never hangs the next one: it is ended, and named in a warning; idle connections live on."""

from __future__ import annotations

import threading
import time
import unittest
import warnings

import psycopg2
from psycopg2.pool import ThreadedConnectionPool

from containertest.errors import ResetError
from tests.integration.reset_case import ResetCase
from tests.support import eventually

#: Seconds that no reset may take, on however slow a machine: PostgreSQL's own lock_timeout here is 10 s.
NOT_HUNG = 9.0


class LeftoverTests(ResetCase):
    def warned(self, culprit="tests.Some.test_this"):
        """Reset, and return the text of its one ResourceWarning."""
        began = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.resetter.reset(culprit)
        self.assertLess(time.monotonic() - began, NOT_HUNG)
        self.assert_baseline()
        texts = [str(item.message) for item in caught if item.category is ResourceWarning]
        self.assertEqual(len(texts), 1, texts)
        return texts[0]

    def silent(self):
        """Reset, which warns of nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.resetter.reset("tests.Some.test_this")
        self.assert_baseline()

    def assert_ended(self, connection):
        with self.assertRaises(psycopg2.Error):
            self.execute("SELECT 1", connection)

    def test_transaction_that_wrote_is_ended(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO parent (name) VALUES ('left open')", connection)
        text = self.warned()
        self.assert_ended(connection)
        for part in ("tests.Some.test_this: ", "left open", "idle in transaction", "'tester'"):
            self.assertIn(part, text)
        self.assertRegex(text, r"for \d+\.\d\d s after the query")

    def test_transaction_that_only_read_is_ended(self):
        connection = self.connect(autocommit=False)
        self.execute("SELECT * FROM parent", connection)
        self.assertIn("SELECT * FROM parent", self.warned())
        self.assert_ended(connection)

    def test_transaction_is_named_where_nothing_was_written_since(self):
        self.silent()
        self.silent()
        self.execute("SELECT 1", self.connect(autocommit=False))
        self.assertIn("SELECT 1", self.warned())

    def test_aborted_transaction_holds_nothing_and_is_left_alone(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO parent (name) VALUES ('x')", connection)
        with self.assertRaises(psycopg2.errors.DivisionByZero):
            self.execute("LOCK TABLE child; SELECT 1 / 0", connection)
        self.silent()
        connection.rollback()
        self.assertEqual(self.value("SELECT count(*) FROM parent", connection), 1)

    def test_lock_on_a_table_to_be_reset_is_ended(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.execute("LOCK TABLE parent, child IN ACCESS EXCLUSIVE MODE", connection)
        self.assertIn("LOCK TABLE", self.warned())
        self.assert_ended(connection)

    def test_lock_on_a_row_to_be_deleted_is_ended(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        connection = self.connect(autocommit=False)
        self.execute("SELECT * FROM parent FOR UPDATE", connection)
        self.warned()
        self.assert_ended(connection)

    def test_ddl_in_an_open_transaction_is_ended(self):
        connection = self.connect(autocommit=False)
        self.execute("ALTER TABLE parent ADD note text; CREATE TABLE t (i int)", connection)
        self.warned()

    def test_query_under_way_is_ended(self):
        connection = self.connect()
        failed = []

        def run():
            try:
                self.execute("SELECT pg_sleep(300)", connection)
            except psycopg2.Error as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        self.assertTrue(eventually(lambda: self.value(count) == 1))
        self.assertIn("pg_sleep(300)", self.warned())
        thread.join(60)
        self.assertTrue(failed)

    def test_advisory_lock_of_a_session_is_ended(self):
        connection = self.connect()
        self.execute("SELECT pg_advisory_lock(42)", connection)
        self.assertIn("holding an advisory lock", self.warned())
        self.assertTrue(self.value("SELECT pg_try_advisory_lock(42)"))

    def test_all_of_several_are_named(self):
        connections = [self.connect(autocommit=False) for _ in range(5)]
        for number, connection in enumerate(connections):
            self.execute(f"SELECT {number} AS leftover", connection)
        text = self.warned()
        for number in range(5):
            self.assertIn(f"SELECT {number} AS leftover", text)

    def test_another_role_and_its_application_are_named(self):
        connection = self.connect(user="app", application_name="worker", autocommit=False)
        self.execute("SELECT 1", connection)
        text = self.warned()
        self.assertIn("role 'app', application 'worker'", text)

    def test_idle_connections_live_on(self):
        connections = [self.connect() for _ in range(5)]
        for connection in connections:
            self.execute("INSERT INTO parent (name) VALUES (gen_random_uuid())", connection)
        self.silent()
        for connection in connections:
            self.assertEqual(self.value("SELECT count(*) FROM parent", connection), 1)

    def test_pool_lives_on(self):
        pool = ThreadedConnectionPool(3, 3, self.database.server.url(dbname=self.database.name))
        self.addCleanup(pool.closeall)
        for _ in range(10):
            for number in range(3):
                connection = pool.getconn()
                self.execute(f"INSERT INTO parent (name) VALUES ('{number}')", connection)
                self.assertEqual(self.value("SELECT max(id) FROM parent", connection), 2 + number)
                connection.commit()
                pool.putconn(connection)
            self.silent()

    def test_connection_closed_a_moment_ago_is_no_leftover(self):
        for _ in range(20):
            connection = self.connect(autocommit=False)
            self.execute("INSERT INTO parent (name) VALUES ('x')", connection)
            connection.close()
            self.silent()

    def test_short_transaction_of_another_thread_is_no_leftover(self):
        stop = threading.Event()

        def write():
            connection = self.database.connect()
            while not stop.is_set():
                connection.cursor().execute("BEGIN; SELECT * FROM parent; COMMIT")
            connection.close()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(20):
                self.silent()
        finally:
            stop.set()
            thread.join(60)

    def test_other_databases_sessions_are_left_alone(self):
        connection = self.connect(dbname="postgres", autocommit=False)
        self.execute("SELECT pg_advisory_xact_lock(1), txid_current()", connection)
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.silent()
        self.assertEqual(self.value("SELECT 1", connection), 1)

    def test_first_new_id_is_the_same_although_an_open_transaction_took_ids(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO parent (name) SELECT i::text FROM generate_series(1, 50) i", connection)
        self.warned()
        self.assertEqual(self.value("INSERT INTO parent (name) VALUES ('x') RETURNING id"), 2)


class StrictTests(ResetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.resetter = cls.database.reset(strict=True)

    def test_leftover_is_an_error_after_the_reset_is_done(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO parent (name) VALUES ('left open')", connection)
        with self.assertRaises(ResetError) as caught:
            self.resetter.reset("tests.Some.test_this")
        for part in ("tests.Some.test_this", "left open", "Close the connection"):
            self.assertIn(part, str(caught.exception))
        self.assert_baseline()
        self.resetter.reset()


if __name__ == "__main__":
    unittest.main()
