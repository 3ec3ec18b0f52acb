"""The shared connection is after a reset as if it were new."""

from __future__ import annotations

import collections
import unittest

import psycopg2
from psycopg2 import extensions, extras

from tests.integration.reset_case import SMALL, ResetCase

SETTINGS = "SELECT name, setting FROM pg_settings WHERE context IN ('user', 'superuser') ORDER BY name"


class ServerStateTests(ResetCase):
    """What the server keeps for a session."""

    def setUp(self):
        super().setUp()
        self.before = self.execute(SETTINGS)
        self.pid = self.value("SELECT pg_backend_pid()")

    def reset(self):
        """Reset, and see that the connection was good enough to be kept."""
        with self.assertNoLogs("containertest"):
            self.resetter.reset()
        self.assertEqual(self.value("SELECT pg_backend_pid()"), self.pid)
        self.assertEqual(self.execute(SETTINGS), self.before)
        self.assert_baseline()

    def test_settings_are_back(self):
        self.execute("SET work_mem = '1MB'; SET search_path = 'pg_catalog'; SET statement_timeout = '1s'")
        self.execute("SET default_transaction_read_only = on; SET lock_timeout = '9s'; SET row_security = off")
        self.reset()

    def test_default_isolation_is_back(self):
        for level in ("serializable", "repeatable read"):
            self.execute("INSERT INTO parent (name) VALUES ('x')")
            self.execute(f"SET default_transaction_isolation = '{level}'; SET default_transaction_deferrable = on")
            self.execute("SET default_transaction_read_only = on")
            self.reset()

    def test_own_settings_are_gone(self):
        self.execute("SET my.setting = 'x'")
        self.reset()
        self.assertIn(self.value("SELECT current_setting('my.setting', true)"), (None, ""))

    def test_role_is_back(self):
        self.execute("SET ROLE app")
        self.reset()
        self.assertEqual(self.execute("SELECT current_user, session_user"), [("tester", "tester")])

    def test_session_authorization_is_back(self):
        self.execute("SET SESSION AUTHORIZATION app")
        self.reset()
        self.assertEqual(self.execute("SELECT current_user, session_user"), [("tester", "tester")])

    def test_listening_ends(self):
        self.execute("LISTEN news")
        self.reset()
        self.assertEqual(self.execute("SELECT pg_listening_channels()"), [])

    def test_notifications_that_came_in_are_gone(self):
        self.execute("LISTEN news; NOTIFY news, 'old'")
        self.execute("SELECT 1")
        self.assertTrue(self.database.connection.notifies)
        self.reset()
        self.assertEqual(self.database.connection.notifies, [])

    def test_temporary_tables_are_gone(self):
        self.execute(
            "CREATE TEMP TABLE t AS SELECT 1 AS one; CREATE TEMP SEQUENCE s; CREATE TEMP VIEW v AS SELECT 1 AS i"
        )
        self.reset()
        self.assertEqual(self.value("SELECT count(*) FROM pg_class WHERE relpersistence = 't'"), 0)

    def test_temporary_table_that_hides_a_table_is_gone(self):
        self.execute("CREATE TEMP TABLE parent (id int); INSERT INTO parent VALUES (1), (2), (3)")
        self.execute("INSERT INTO public.parent (name) VALUES ('x')")
        self.reset()
        self.assertEqual(self.value("SELECT count(*) FROM parent"), 1)

    def test_advisory_locks_are_free(self):
        self.execute("SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(2, 3)")
        self.reset()
        self.assertTrue(self.value("SELECT pg_try_advisory_lock(1)", self.connect()))

    def test_prepared_statements_are_gone(self):
        self.execute("PREPARE p AS SELECT 1")
        self.reset()
        self.execute("PREPARE p AS SELECT 2")

    def test_cursors_are_closed(self):
        self.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
        self.reset()
        self.assertEqual(self.execute("SELECT name FROM pg_cursors"), [])

    def test_currval_is_forgotten(self):
        self.execute("SELECT nextval('parent_id_seq')")
        self.reset()
        with self.assertRaises(psycopg2.errors.ObjectNotInPrerequisiteState):
            self.execute("SELECT currval('parent_id_seq')")

    def test_open_transaction_is_rolled_back(self):
        self.execute("BEGIN; INSERT INTO parent (name) VALUES ('x'); SAVEPOINT a")
        self.reset()
        self.assertEqual(self.value("SELECT count(*) FROM parent"), 1)

    def test_aborted_transaction_is_rolled_back(self):
        self.execute("BEGIN; INSERT INTO parent (name) VALUES ('x')")
        with self.assertRaises(psycopg2.errors.DivisionByZero):
            self.execute("SELECT 1 / 0")
        self.reset()
        self.assertEqual(self.value("SELECT 1"), 1)

    def test_read_only_and_serializable_transactions_are_rolled_back(self):
        for mode in ("READ ONLY", "ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"):
            self.execute("INSERT INTO parent (name) VALUES ('x')")
            self.execute(f"BEGIN TRANSACTION {mode}; SELECT * FROM parent")
            self.reset()

    def test_deferred_constraints_that_do_not_hold_are_rolled_back(self):
        self.execute("BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO parent (name) VALUES ('x')")
        self.reset()


class OtherDefaultsTests(ResetCase):
    """A database whose settings psycopg2 overrules for itself when it connects."""

    schema = (
        SMALL
        + """
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET datestyle = German', current_database());
            EXECUTE format('ALTER DATABASE %I SET work_mem = 3072', current_database());
        END $$;
        """
    )

    def test_what_psycopg2_has_set_stays_so(self):
        for _ in range(3):
            self.assertEqual(self.value("SELECT date '2001-02-03'").isoformat(), "2001-02-03")
            self.assertEqual(self.value("SHOW work_mem"), "3MB")
            self.execute("SET datestyle = 'SQL, MDY'; SET work_mem = '1MB'; INSERT INTO parent (name) VALUES ('x')")
            self.resetter.reset()
            self.assert_baseline()


class ConnectionTests(ResetCase):
    """What psycopg2 keeps for a connection."""

    def reset(self):
        self.resetter.reset()
        self.assert_baseline()
        self.assertTrue(self.database.connection.autocommit)
        self.assertEqual(self.value("SELECT count(*) FROM parent"), 1)

    def test_autocommit_is_on_again(self):
        self.database.connection.autocommit = False
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.database.connection.commit()
        self.execute("INSERT INTO parent (name) VALUES ('y')")
        self.reset()

    def test_isolation_and_read_only_are_back(self):
        connection = self.database.connection
        connection.set_session("SERIALIZABLE", readonly=True, deferrable=True)
        self.reset()
        self.assertIs(self.database.connection, connection)
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.assertEqual(self.value("SHOW transaction_isolation"), "read committed")

    def test_cursor_factory_is_back(self):
        self.database.connection.cursor_factory = extras.DictCursor
        self.reset()
        self.assertIsNone(self.database.connection.cursor_factory)

    def test_reset_works_with_any_cursor_factory(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.database.connection.cursor_factory = extras.RealDictCursor
        self.resetter.reset()
        self.assert_baseline()

    def test_client_encoding_is_back(self):
        self.database.connection.set_client_encoding("LATIN1")
        self.reset()
        self.assertEqual(self.database.connection.encoding, "UTF8")
        self.assertEqual(self.value("SELECT 'Zoë €'"), "Zoë €")

    def test_client_encoding_set_by_sql_is_back(self):
        self.execute("SET client_encoding = 'LATIN1'; SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'")
        self.reset()
        self.assertEqual(self.value("SELECT 'Zoë €'"), "Zoë €")
        self.assertEqual(self.value("SHOW timezone"), self.value("SHOW timezone", self.connect()))
        self.assertEqual(self.value("SHOW datestyle"), self.value("SHOW datestyle", self.connect()))

    def test_types_registered_on_the_connection_are_forgotten(self):
        text_as_bytes = extensions.new_type((25,), "LOUD", lambda value, cursor: value and value.upper())
        extensions.register_type(text_as_bytes, self.database.connection)
        self.assertEqual(self.value("SELECT name FROM parent"), "FIRST")
        connection = self.database.connection
        self.reset()
        self.assertIs(self.database.connection, connection)
        self.assertEqual(self.value("SELECT name FROM parent"), "first")

    def test_notices_are_gone(self):
        self.execute("DO $$ BEGIN RAISE NOTICE 'old'; END $$")
        self.reset()
        self.assertEqual(self.database.connection.notices, [])

    def begin_two_phases(self):
        connection = self.database.connection
        connection.autocommit = False
        connection.tpc_begin(connection.xid(1, "a", "b"))
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        return connection

    def test_log_of_notices_that_a_test_put_there_is_gone(self):
        connection = self.database.connection
        connection.notices, connection.notifies = collections.deque(maxlen=5), collections.deque(maxlen=5)
        self.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$; LISTEN news; NOTIFY news")
        connection.poll()
        self.resetter.reset()
        self.assertEqual((connection.notices, connection.notifies), ([], []))

    def test_two_phase_transaction_is_rolled_back(self):
        self.begin_two_phases()
        self.reset()

    def test_prepared_two_phase_transaction_is_rolled_back(self):
        self.begin_two_phases().tpc_prepare()
        self.reset()
        self.assertEqual(self.value("SELECT count(*) FROM pg_prepared_xacts"), 0)

    def test_closed_connection_is_opened_again(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.database.connection.close()
        self.reset()

    def test_connection_that_a_test_has_opened_again_and_changed_is_as_new_afterwards(self):
        self.database.connection.close()
        connection = self.database.connection
        connection.set_session("SERIALIZABLE", readonly=True, autocommit=False)
        connection.cursor_factory = extras.DictCursor
        connection.set_client_encoding("LATIN1")
        self.reset()
        self.assertIsNone(self.database.connection.cursor_factory)
        self.assertEqual(self.database.connection.encoding, "UTF8")
        self.execute("INSERT INTO parent (name) VALUES ('x')")

    def test_connection_ended_by_the_server_is_opened_again(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        with self.assertRaises(psycopg2.OperationalError):
            self.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        self.reset()

    def test_connection_ended_by_another_is_opened_again(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        pid = self.value("SELECT pg_backend_pid()")
        self.assertTrue(self.value(f"SELECT pg_terminate_backend({pid})", self.connect()))
        self.reset()

    def test_copy_under_way_is_given_up(self):
        class Broken:
            def read(self, size):
                raise KeyboardInterrupt

        with self.assertRaises((KeyboardInterrupt, psycopg2.Error)):
            with self.database.connection.cursor() as cursor:
                cursor.copy_expert("COPY parent FROM STDIN", Broken())
        self.reset()

    def test_server_side_cursor_is_gone(self):
        connection = self.database.connection
        connection.autocommit = False
        named = connection.cursor("c")
        named.execute("SELECT generate_series(1, 10000)")
        named.fetchone()
        self.reset()


if __name__ == "__main__":
    unittest.main()
