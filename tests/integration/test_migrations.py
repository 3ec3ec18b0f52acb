"""Migrations run on a real PostgreSQL, in a database that is thrown away when they fail."""

from __future__ import annotations

from containertest.errors import MigrationError
from containertest.migrations import Migrations

from .test_fixtures import DatabaseCase


class MigrationRunTests(DatabaseCase):
    def run_migrations(self, source: object) -> None:
        Migrations(source, [self.folder]).run(self.connection, "postgresql://here/db")

    def failure(self, text: str | bytes) -> str:
        self.file(text, "broken.sql")
        with self.assertRaises(MigrationError) as caught:
            self.run_migrations("broken.sql")
        self.cursor.execute("SELECT 1")
        return str(caught.exception)

    def test_files_of_a_folder_run_in_the_order_of_their_names(self) -> None:
        (self.folder / "schema").mkdir()
        self.file("INSERT INTO made VALUES (2);", "schema/002.sql")
        self.file("CREATE TABLE made (n serial, a int);", "schema/001.sql")
        self.run_migrations("schema")
        self.assertEqual(self.rows("SELECT n FROM made"), [(2,)])

    def test_statements_that_no_transaction_can_hold_run_as_in_psql(self) -> None:
        self.file(
            "CREATE TYPE e AS ENUM ('a'); ALTER TYPE e ADD VALUE 'b'; CREATE TABLE made (e e DEFAULT 'b');"
            "CREATE INDEX CONCURRENTLY ON made (e); VACUUM made; INSERT INTO made DEFAULT VALUES;"
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'; CALL p();"
            "BEGIN; INSERT INTO made DEFAULT VALUES; ROLLBACK;",
            "all.sql",
        )
        self.run_migrations("all.sql")
        self.assertEqual(self.rows("SELECT e FROM made"), [("b",)])

    def test_connection_without_autocommit_gets_it_for_the_run(self) -> None:
        self.connection.autocommit = False
        self.file("VACUUM t; INSERT INTO t VALUES (1);", "one.sql")
        self.run_migrations("one.sql")
        self.assertEqual(self.rows("SELECT a FROM t"), [(1,)])
        self.assertFalse(self.connection.autocommit)

    def test_callable_sees_what_the_files_before_it_made(self) -> None:
        self.file("INSERT INTO t VALUES (1);", "one.sql")
        seen = []
        self.run_migrations(["one.sql", lambda url: seen.append(self.rows("SELECT a FROM t"))])
        self.assertEqual(seen, [[(1,)]])

    def test_settings_of_a_file_do_not_reach_the_next(self) -> None:
        self.file("SELECT pg_catalog.set_config('search_path', '', false);", "1.sql")
        self.file("INSERT INTO t VALUES (1);", "2.sql")
        self.run_migrations(["1.sql", "2.sql"])
        self.assertEqual(self.rows("SELECT a FROM t"), [(1,)])

    def test_broken_statement_names_file_line_and_statement(self) -> None:
        message = self.failure("SELECT 1;\nCREATE TABLE x (\n  a nothing\n);")
        self.assertIn('broken.sql, line 3: ERROR: type "nothing" does not exist', message)
        self.assertIn("    3 |   a nothing", message)
        self.assertNotIn("fixtures", message)

    def test_broken_transaction_of_a_file_is_rolled_back(self) -> None:
        self.failure("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0; COMMIT;")
        self.assertEqual(self.rows(), [])
        self.assertIn("line 2: this transaction has no COMMIT", self.failure("\nBEGIN; INSERT INTO t VALUES (1);"))
        self.assertEqual(self.rows(), [])

    def test_vacuum_in_a_transaction_of_the_file_is_postgresqls_own_error(self) -> None:
        message = self.failure("BEGIN; VACUUM; COMMIT;")
        self.assertIn("VACUUM cannot run inside a transaction block", message)
        self.assertNotIn("fixtures", message)
