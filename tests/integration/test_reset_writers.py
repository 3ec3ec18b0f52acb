"""Other connections and threads that write, large amounts, and what belongs to a database as a whole."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import unittest
import warnings
from pathlib import Path
from unittest import mock

import psycopg2

from containertest import ContainerManager, Postgres
from containertest.errors import ResetError
from containertest.reset import postgres
from containertest.reset.pg_clone import clone_database, drop_database, own_databases, read_properties, template_stem
from containertest.servers import databases
from tests.integration.reset_case import SCHEMA, Baseline, ResetCase
from tests.integration.reset_server import USER, server
from tests.support import eventually


class ConcurrentWriterTests(ResetCase):
    def writing(self, statements, threads=3):
        """Threads that go on running ``statements`` on connections of their own, each ended by a reset opened again."""
        stop, wrote = threading.Event(), threading.Event()

        def write():
            while not stop.is_set():
                with contextlib.suppress(psycopg2.Error):
                    connection = self.database.connect(connect_timeout=10)
                    with contextlib.closing(connection), connection.cursor() as cursor:
                        while not stop.is_set():
                            cursor.execute(statements)
                            wrote.set()

        @contextlib.contextmanager
        def running():
            started = [threading.Thread(target=write) for _ in range(threads)]
            for thread in started:
                thread.start()
            try:
                self.assertTrue(wrote.wait(60))
                yield
            finally:
                stop.set()
                for thread in started:
                    thread.join(60)
            self.assertFalse(any(thread.is_alive() for thread in started))
            # A session whose client is gone goes on until its statement ends.
            count = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
            )
            self.assertTrue(eventually(lambda: self.value(count) == 1))

        return running()

    def check(self, statements, rounds=15):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            with self.writing(statements):
                for _ in range(rounds):
                    self.resetter.reset()
            self.resetter.reset()
            self.assert_baseline()
            self.resetter.reset()
            self.assert_baseline()

    def test_reset_under_inserts(self):
        self.check("INSERT INTO parent (name) VALUES (gen_random_uuid())")

    def test_reset_under_inserts_of_children(self):
        self.check("INSERT INTO child (parent) SELECT id FROM parent")

    def test_reset_under_updates_of_the_baselines_rows(self):
        self.check("UPDATE parent SET name = gen_random_uuid() WHERE id = 1")

    def test_reset_under_transactions_with_savepoints(self):
        self.check("""
            BEGIN; SAVEPOINT a; INSERT INTO parent (name) VALUES (gen_random_uuid()); ROLLBACK TO a;
            INSERT INTO parent (name) VALUES (gen_random_uuid()); COMMIT
        """)

    def test_reset_under_locks(self):
        self.check("BEGIN; LOCK TABLE parent IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.01); COMMIT")

    def test_reset_under_truncate(self):
        self.check("TRUNCATE parent CASCADE")

    def test_reset_under_sequences(self):
        self.check("SELECT nextval('parent_id_seq')")

    def test_reset_under_ddl(self):
        self.check("CREATE TABLE IF NOT EXISTS t (i int); DROP TABLE IF EXISTS t", rounds=4)

    def test_transaction_that_began_before_a_reset_and_commits_after_it_is_undone_by_the_next(self):
        """Its transaction id is lower than that of the reset."""
        connection = self.connect(autocommit=False)
        other = self.connect(autocommit=False)
        # Not found as a leftover: as if it had ended its transaction and begun another since.
        with mock.patch.object(postgres.pg_others, "find_lasting", return_value=[]):
            self.execute("INSERT INTO parent (name) VALUES ('early')", connection)
            self.execute("INSERT INTO child (parent) VALUES (1)", other)
            self.execute("INSERT INTO parent (name) VALUES ('mine')")
            self.resetter.reset()
            connection.commit()
            self.assertEqual(self.value("SELECT count(*) FROM parent"), 2)
            self.resetter.reset()
            self.assertEqual(self.value("SELECT count(*) FROM parent"), 1)
            other.commit()
            self.resetter.reset()
        self.assert_baseline()
        self.resetter.reset()
        self.assert_baseline()

    def test_note_that_an_older_transaction_wrote_over_is_kept_until_both_have_ended(self):
        """A note tells who wrote last, not who ends last."""
        older, later = self.connect(autocommit=False), self.connect(autocommit=False)
        with mock.patch.object(postgres.pg_others, "find_lasting", return_value=[]):
            self.execute("SELECT txid_current()", older)
            self.execute("INSERT INTO child (parent) VALUES (1)", later)
            self.execute("INSERT INTO child (parent) VALUES (1)", older)
            older.commit()
            self.resetter.reset()
            self.assertEqual(self.value("SELECT count(*) FROM child"), 0)
            later.commit()
            self.assertEqual(self.value("SELECT count(*) FROM child"), 1)
            self.resetter.reset()
        self.assert_baseline()

    def test_transaction_that_has_not_written_yet_is_undone_by_the_next_reset(self):
        connection = self.connect(autocommit=False)
        with mock.patch.object(postgres.pg_others, "find_lasting", return_value=[]):
            self.execute("SELECT txid_current()", connection)
            self.execute("INSERT INTO parent (name) VALUES ('mine')")
            self.resetter.reset()
            self.execute("INSERT INTO child (parent) VALUES (1)", connection)
            connection.commit()
            self.resetter.reset()
        self.assert_baseline()

    def test_transaction_of_another_database_keeps_nothing_back(self):
        self.connect()
        other = self.connect(dbname="postgres", autocommit=False)
        self.execute("SELECT txid_current()", other)
        self.execute("UPDATE parent SET name = 'x'")
        self.resetter.reset()
        self.assert_baseline()
        # Else the row that was brought back would count as written since, and be brought back again.
        row = "SELECT xmin FROM parent"
        before = self.value(row)
        self.execute("INSERT INTO parent (name) VALUES ('y')")
        self.resetter.reset()
        self.assert_baseline()
        self.assertEqual(self.value(row), before)

    def test_resets_of_several_threads_of_one_process(self):
        """Each on its own database object; the resets of one are not meant to be made in parallel."""
        errors = []

        def work():
            try:
                for number in range(20):
                    connection = self.database.connect()
                    with contextlib.closing(connection), connection.cursor() as cursor:
                        cursor.execute("INSERT INTO parent (name) VALUES (%s)", (f"{threading.get_ident()} {number}",))
            except psycopg2.Error as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(errors, [])
        self.assertEqual(self.value("SELECT count(*) FROM parent"), 81)
        self.resetter.reset()
        self.assert_baseline()


class NewcomerTests(ResetCase):
    """A connection that is opened while a reset is under way, which began when there was none but the shared one."""

    def test_rows_of_a_newcomer_are_undone_by_the_next_reset(self):
        self.execute("SET containertest.resetting = on; SET check_function_bodies = off")  # no DDL of a test's
        self.execute("""
            ALTER FUNCTION containertest.set_back(containertest.sequences[], oid[]) RENAME TO real_set_back;
            CREATE FUNCTION containertest.set_back(containertest.sequences[], oid[]) RETURNS boolean
            LANGUAGE plpgsql AS $$ BEGIN
                FOR i IN 1..6000 LOOP
                    EXIT WHEN EXISTS (SELECT FROM public.child);
                    PERFORM pg_sleep(0.01);
                END LOOP;
                RETURN containertest.real_set_back($1, $2);
            END $$
        """)
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        newcomer = threading.Thread(target=self.come)
        newcomer.start()
        self.resetter.reset()
        newcomer.join(60)
        self.execute("SET containertest.resetting = on")
        self.execute("""
            DROP FUNCTION containertest.set_back;
            ALTER FUNCTION containertest.real_set_back RENAME TO set_back;
        """)
        with self.in_place():
            self.resetter.reset()
        self.assertEqual(self.value("SELECT count(*) FROM child"), 0)

    def come(self):
        """Write when the reset is under way, watching for it from another database."""
        under_way = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        with self.database.admin() as cursor:
            eventually(lambda: cursor.execute(under_way, (self.database.name,)) or cursor.rowcount)
        with contextlib.closing(self.database.connect()) as connection:
            self.execute("INSERT INTO child (parent) VALUES (1)", connection)


class AmountTests(ResetCase):
    schema = SCHEMA

    def test_many_small_resets_are_tidied_and_stay_right(self):
        with mock.patch.object(postgres, "TIDY_AFTER", 200):
            for number in range(12):
                self.execute(
                    f"INSERT INTO audit (line) SELECT i FROM generate_series(1, 60) i;UPDATE node SET name = '{number}'"
                )
                with self.in_place():
                    self.resetter.reset()
                self.assert_baseline()

    def test_tables_that_grew_are_made_small_again(self):
        size = "SELECT pg_relation_size('audit')"
        before = self.value(size)
        self.execute("INSERT INTO audit (line) SELECT repeat('x', 100) FROM generate_series(1, 20000) i")
        self.assertGreater(self.value(size), 1_000_000)
        self.resetter.reset()
        self.assertLessEqual(self.value(size), max(before, 8192))
        self.assert_baseline()

    def test_tidying_leaves_other_databases_and_readers_alone(self):
        reader = self.connect()
        self.execute("INSERT INTO audit (line) SELECT i FROM generate_series(1, 6000) i")
        self.resetter.reset()
        self.assertEqual(self.value("SELECT count(*) FROM audit", reader), 1)
        self.execute("INSERT INTO audit (line) VALUES ('x')", reader)
        self.resetter.reset()
        self.assert_baseline()

    def test_values_that_an_idle_session_has_taken_ahead_are_not_used_after_a_reset(self):
        other = self.connect()
        for _ in range(3):
            self.assertEqual(self.value("SELECT nextval('cached')", other), 1)
            self.assertEqual(self.value("SELECT nextval('cached')"), 11)
            with self.in_place():
                self.resetter.reset()

    def test_many_marks_are_no_trouble(self):
        self.execute("DO $$ BEGIN FOR i IN 1..5000 LOOP INSERT INTO no_key VALUES (i); END LOOP; END $$")
        with self.in_place():
            self.resetter.reset()
        self.assert_baseline()

    def test_many_tables_written_at_once(self):
        self.execute(
            "DO $$ DECLARE t text; BEGIN FOR t IN SELECT name FROM containertest.tracked WHERE name NOT LIKE '%always%'"
            " LOOP EXECUTE format('DELETE FROM %s WHERE false', t); END LOOP; END $$"
        )
        with self.in_place():
            self.resetter.reset()
        self.assert_baseline()


class WholeDatabaseTests(ResetCase):
    """What CREATE DATABASE ... TEMPLATE does not copy."""

    SETTINGS = """
        ALTER DATABASE {0} SET search_path = shop, "$user", public;
        ALTER DATABASE {0} SET my.setting = 'a ''b'' \\c, d';
        ALTER DATABASE {0} SET work_mem = '3MB';
        ALTER DATABASE {0} SET DateStyle = 'German, DMY';
        ALTER ROLE app IN DATABASE {0} SET work_mem = '2MB';
        ALTER DATABASE {0} CONNECTION LIMIT 50;
        COMMENT ON DATABASE {0} IS 'it''s mine';
        REVOKE ALL ON DATABASE {0} FROM PUBLIC;
        GRANT CONNECT ON DATABASE {0} TO app WITH GRANT OPTION;
        GRANT TEMPORARY ON DATABASE {0} TO plain
    """

    def make(self, name):
        with self.database.admin() as cursor:
            drop_database(cursor, name)
            cursor.execute(f"CREATE DATABASE {name} OWNER app")
            for statement in self.SETTINGS.format(name).split(";"):
                cursor.execute(statement)
        self.addCleanup(self.drop, name)

    def drop(self, name):
        with self.database.admin() as cursor:
            drop_database(cursor, name)

    def test_clone_has_all_of_it(self):
        self.make("ct_whole")
        self.addCleanup(self.drop, "ct_whole_clone")
        with self.database.admin() as cursor:
            clone_database(cursor, "ct_whole", "ct_whole_clone")
            original, clone = read_properties(cursor, "ct_whole"), read_properties(cursor, "ct_whole_clone")
        self.assertEqual(original, clone)
        self.assertEqual(clone.owner, "app")
        with contextlib.closing(server().connect("ct_whole_clone")) as connection, connection.cursor() as cursor:
            for setting, value in (("search_path", 'shop, "$user", public'), ("my.setting", "a 'b' \\c, d")):
                cursor.execute(f"SHOW {setting}")
                self.assertEqual(cursor.fetchone(), (value,))

    def test_clone_of_a_database_without_any_has_none(self):
        for name in ("ct_plain", "ct_plain_clone"):
            self.addCleanup(self.drop, name)
        with self.database.admin() as cursor:
            cursor.execute("CREATE DATABASE ct_plain")
            clone_database(cursor, "ct_plain", "ct_plain_clone")
            plain = read_properties(cursor, "ct_plain")
            self.assertEqual(read_properties(cursor, "ct_plain_clone"), plain)
        self.assertEqual((plain.acl, plain.comment, plain.settings), (None, None, ()))

    def test_reset_brings_all_of_it_back(self):
        with self.database.admin() as cursor:
            for statement in self.SETTINGS.format(self.database.name).split(";"):
                cursor.execute(statement)
        self.assertEqual(self.value("SHOW work_mem", self.connect()), "3MB")
        self.resetter.reset()
        self.assert_baseline()
        self.assertEqual(self.value("SHOW work_mem"), self.value("SHOW work_mem", self.connect(dbname="postgres")))

    def test_reset_brings_it_back_after_ddl_too(self):
        with self.database.admin() as cursor:
            for statement in self.SETTINGS.format(self.database.name).split(";"):
                cursor.execute(statement)
        self.execute("CREATE TABLE t (i int)")
        self.resetter.reset()
        self.assert_baseline()

    def test_database_that_a_test_drops_is_cloned_anew(self):
        self.database.close()
        self.drop(self.database.name)
        self.resetter.reset()
        self.assert_baseline()

    def manager(self, migration):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "migration.sql")
        path.write_text(migration)
        return ContainerManager(Postgres(username=USER), None, migrations=path, backend="local").start()

    def test_process_has_what_migrations_set_for_the_database(self):
        manager = self.manager("""
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET my.setting = mine', current_database());
                EXECUTE format('GRANT CREATE ON DATABASE %I TO app', current_database());
            END $$
        """)
        with contextlib.closing(manager.postgres.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW my.setting")
            self.assertEqual(cursor.fetchone(), ("mine",))
            cursor.execute("SELECT has_database_privilege('app', current_database(), 'CREATE')")
            self.assertEqual(cursor.fetchone(), (True,))

    def test_template_of_a_snapshot_is_gone_when_another_process_takes_the_name(self):
        manager = self.manager("CREATE TABLE one (i int)")
        manager.postgres.connection.cursor().execute("CREATE TABLE two (i int)")
        manager.snapshot()
        stack, running = manager.stack, manager.postgres
        cursor = running.connection.cursor()
        self.assertEqual(len(own_databases(cursor, running.name)), 2)
        running.close()
        with databases.administering(running.lease) as admin:
            databases.claim(running.lease, running.template, running.name, stack.key, admin)
        cursor = running.connection.cursor()
        self.assertEqual(own_databases(cursor, running.name), [running.name])
        cursor.execute("SELECT to_regclass('one') IS NOT NULL, to_regclass('two') IS NOT NULL")
        self.assertEqual(cursor.fetchone(), (True, False))

    def test_names_of_snapshots_templates_are_of_one_database_only(self):
        names = ["testdb", "testdb_2", "x" * 50, "x" * 50 + "_2", "ü" * 25, "ü" * 25 + "_2"]
        templates = [f"{template_stem(name)}{number}" for name in names for number in (1, 2, 21)]
        self.assertEqual(len(set(templates)), 3 * len(names))
        for template in templates:
            self.assertLessEqual(len(template.encode()), 63)
            self.assertTrue(template.startswith("ct_template_"))


class InterruptedTests(ResetCase):
    def test_reset_that_fails_halfway_is_done_again_as_a_whole(self):
        self.execute(
            "SET containertest.resetting = on;"
            "ALTER FUNCTION containertest.bring_back SET lock_timeout = '50ms'; SET containertest.resetting = off"
        )
        self.execute("INSERT INTO parent (name) VALUES ('x'); INSERT INTO child (parent) VALUES (2), (1)")
        self.execute("UPDATE parent SET name = 'y' WHERE id = 1")
        connection = self.connect(autocommit=False)
        self.execute("SELECT * FROM parent FOR UPDATE", connection)
        find, found = postgres.pg_others.find_lasting, []

        def find_later(*arguments):
            """At first nobody: as if the transaction had begun a moment later."""
            found.append(find(*arguments) if found else [])
            return found[-1]

        with mock.patch.object(postgres.pg_others, "find_lasting", find_later), self.assertWarns(ResourceWarning):
            self.resetter.reset()
        self.assertEqual([len(leftovers) for leftovers in found], [0, 1])
        self.assertEqual(self.value("SELECT count(*) FROM child"), 0)
        self.assertEqual(self.execute("SELECT id, name FROM parent"), [(1, "first")])
        self.assertEqual(self.value("INSERT INTO parent (name) VALUES ('x') RETURNING id"), 2)


class AuditedTests(ResetCase):
    """A user's event trigger, which writes down all DDL, doesn't see what a reset does."""

    schema = """
        CREATE SEQUENCE ahead CACHE 5;
        CREATE TABLE ddl_log (tag text);
        CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO public.ddl_log VALUES (TG_TAG); END $$;
        CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION log_ddl();
    """

    def test_reset_of_a_sequence_is_not_logged(self):
        self.execute("SELECT nextval('ahead')")
        self.resetter.reset()
        self.assert_baseline()

    def test_snapshot_of_a_sequence_is_not_logged(self):
        self.execute("SELECT nextval('ahead')")
        before = Baseline(self.database)
        self.snapshot()
        self.assertEqual(self.value("SELECT count(*) FROM ddl_log"), 0)
        self.execute("SELECT nextval('ahead')")
        self.resetter.reset()
        self.assertEqual(before.difference(), "")


class OddNamesTests(ResetCase):
    """A table with a column of the name that our statements give to its rows."""

    schema = "CREATE TABLE t (containertest_row text, i int); INSERT INTO t VALUES (NULL, 1), ('x', 2)"

    def test_rows_are_brought_back(self):
        with self.in_place():
            self.execute("DELETE FROM t WHERE i = 2; INSERT INTO t VALUES ('y', 3)")
            self.resetter.reset()
        self.assert_baseline()


class FailureTests(ResetCase):
    def test_lost_template_is_a_reset_error_that_names_it(self):
        template = self.database.template
        with self.database.admin() as cursor:
            cursor.execute(f"ALTER DATABASE {template} RENAME TO {template}_away")
        try:
            self.execute("CREATE TABLE t (i int)")
            with self.assertRaisesRegex(ResetError, template):
                self.resetter.reset()
        finally:
            with self.database.admin() as cursor:
                cursor.execute(f"ALTER DATABASE {template}_away RENAME TO {template}")
        self.resetter.reset()
        self.assert_baseline()

    def test_session_in_the_template_delays_a_clone_and_is_waited_for(self):
        connection = self.connect(dbname=self.database.template)
        self.execute("CREATE TABLE t (i int)")
        timer = threading.Timer(1, connection.close)
        timer.start()
        self.resetter.reset()
        timer.join()
        self.assert_baseline()

    def test_server_without_room_for_more_locks_is_asked_again(self):
        look, asked = postgres.PostgresReset._look, []

        def crowded(*arguments):
            asked.append(1)
            if len(asked) < 3:
                raise psycopg2.errors.OutOfMemory("out of shared memory")
            return look(*arguments)

        self.execute("INSERT INTO parent (name) VALUES ('x')")
        with self.in_place(), mock.patch.object(postgres.PostgresReset, "_look", crowded):
            self.resetter.reset()
        self.assert_baseline()

    def test_database_that_is_not_new_is_cloned_first(self):
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        with self.assertLogs("containertest", "DEBUG"):
            self.database.reset().reset()
        self.assert_baseline()
        type(self).resetter = self.database.reset()

    def test_marks_that_a_test_deletes_cost_a_clone(self):
        self.execute("INSERT INTO parent (name) VALUES ('x'); TRUNCATE containertest.marks")
        self.resetter.reset()
        self.assert_baseline()

    def test_schema_of_ours_that_a_test_drops_costs_a_clone(self):
        self.execute("INSERT INTO parent (name) VALUES ('x'); DROP SCHEMA containertest CASCADE")
        self.resetter.reset()
        self.assert_baseline()

    def test_function_of_ours_that_a_test_replaces_costs_a_clone(self):
        self.execute(
            "CREATE OR REPLACE FUNCTION containertest.mark() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NULL; END'"
        )
        self.execute("INSERT INTO parent (name) VALUES ('x')")
        self.resetter.reset()
        self.assert_baseline()

    def test_baseline_is_the_same_for_a_second_clone(self):
        second = Baseline(self.database)
        self.assertEqual(second.full, self.baseline.full)
        self.assertEqual(self.role, USER)


if __name__ == "__main__":
    unittest.main()
