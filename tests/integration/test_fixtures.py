"""Fixture files on real servers: SQL as psql runs it, JSON into Redis."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from containertest import fixtures
from containertest.errors import FixtureError

from . import private_servers

HARD = Path(__file__).parent.parent / "testdata" / "hard.sql"


class FolderCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, text: str | bytes, name: str = "fixture.sql") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


class FindTests(FolderCase):
    def test_first_folder_that_has_the_file_wins(self) -> None:
        other = self.folder / "other"
        other.mkdir()
        (other / "a.sql").touch()
        self.assertEqual(fixtures.find("a.sql", [self.folder, other]), other / "a.sql")
        found = self.file("", "a.sql")
        self.assertEqual(fixtures.find("a.sql", [self.folder, other]), found)

    def test_absolute_path_is_taken_as_it_is(self) -> None:
        found = self.file("")
        self.assertEqual(fixtures.find(found, []), found)

    def test_missing_file_names_the_folders_and_a_similar_file(self) -> None:
        self.file("", "users.sql")
        with self.assertRaises(FixtureError) as caught:
            fixtures.find("user.sql", [Path("/nowhere"), self.folder])
        message = str(caught.exception)
        self.assertIn("user.sql", message.splitlines()[0])
        self.assertIn("\n  /nowhere\n", message)
        self.assertIn(f"\n  {self.folder}\n", message)
        self.assertIn(f"Did you mean {self.folder / 'users.sql'}?", message)

    def test_missing_file_in_a_missing_folder_names_the_folder_looked_in(self) -> None:
        with self.assertRaisesRegex(FixtureError, f"(?m)^  {self.folder}$"):
            fixtures.find("data/users.sql", [self.folder])

    def test_folder_is_no_fixture(self) -> None:
        with self.assertRaisesRegex(FixtureError, "is a folder"):
            fixtures.find(".", [self.folder])


class DatabaseCase(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.database = self.new_database("fixtures_here")
        self.connection = self.connect(self.database)
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.cursor.execute("CREATE TABLE t (a int PRIMARY KEY, b text)")

    def new_database(self, name: str) -> str:
        admin = private_servers.connect()
        admin.autocommit = True
        self.addCleanup(admin.close)
        drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        admin.cursor().execute(drop)
        admin.cursor().execute(f"CREATE DATABASE {name}")
        self.addCleanup(admin.cursor().execute, drop)
        return name

    def connect(self, database: str, **changed: Any) -> Any:
        connection = private_servers.connect(dbname=database, **changed)
        self.addCleanup(connection.close)
        return connection

    def rows(self, query: str = "SELECT a, b FROM t ORDER BY a") -> list[tuple[Any, ...]]:
        other = self.connect(self.database)
        with contextlib.closing(other), other.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def load(self, text: str | bytes) -> None:
        fixtures.load_sql(self.connection, self.file(text))

    def failure(self, text: str | bytes) -> str:
        """Load a broken file; nothing of it may be kept and the connection must be usable."""
        before = self.rows()
        with self.assertRaises(FixtureError) as caught:
            self.load(text)
        self.assertEqual(self.rows(), before)
        self.cursor.execute("SELECT 1")
        message = str(caught.exception)
        self.assertTrue(message.startswith(str(self.folder / "fixture.sql")), message)
        self.assertLessEqual(len(message.splitlines()), 15, message)
        return message


class LoadTests(DatabaseCase):
    def test_hard_file_leaves_the_same_database_as_psql(self) -> None:
        theirs = self.new_database("fixtures_psql")
        self.cursor.execute("DROP TABLE t")
        fixtures.load_sql(self.connection, HARD)
        done = private_servers.postgres_tool("psql", "-X", "-d", theirs, "-v", "ON_ERROR_STOP=1", "-f", str(HARD))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.dump(self.database), self.dump(theirs))
        self.assertIn("the last one has no semicolon", self.dump(theirs))

    def dump(self, database: str) -> str:
        dumped = private_servers.postgres_tool("pg_dump", "-d", database)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        lines = dumped.stdout.splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def test_dump_of_pg_dump_can_be_loaded(self) -> None:
        fixtures.load_sql(self.connection, HARD)
        dumped = self.dump(self.database)
        connection = self.connect(self.new_database("fixtures_copy"))
        path = self.file("\\restrict x\n" + dumped + "\n\\unrestrict x\n")
        fixtures.load_sql(connection, path)
        self.assertEqual(self.dump("fixtures_copy"), dumped)

    def test_settings_of_the_file_do_not_stay(self) -> None:
        self.cursor.execute("SET statement_timeout = 12345; SET work_mem = '5MB'")
        self.load(
            "SET statement_timeout = 0; SELECT pg_catalog.set_config('search_path', '', false);"
            "SET ROLE pg_monitor; SET work_mem TO DEFAULT; SET client_encoding = 'LATIN1';"
        )
        self.cursor.execute(
            "SELECT current_setting('statement_timeout'), current_setting('search_path'), current_user::text,"
            " current_setting('work_mem'), current_setting('client_encoding')"
        )
        self.assertEqual(self.cursor.fetchone(), ("12345ms", '"$user", public', "tester", "5MB", "UTF8"))

    def test_file_is_utf8_whatever_the_client_encoding_is(self) -> None:
        self.connection.set_client_encoding("LATIN1")
        self.load("\ufeffINSERT INTO t VALUES (1, 'é€');")
        self.assertEqual(self.rows(), [(1, "é€")])
        self.assertEqual(self.connection.get_parameter_status("client_encoding"), "LATIN1")

    def test_escape_string_that_goes_on_on_the_next_line(self) -> None:
        """The server reads it so; psql, which looks at line after line, does not."""
        self.load("INSERT INTO t VALUES (1, E'it' -- and\n '\\'s;');")
        self.assertEqual(self.rows(), [(1, "it's;")])

    def test_connection_with_a_cursor_factory_of_its_own(self) -> None:
        connection = self.connect(self.database, cursor_factory=RealDictCursor)
        fixtures.load_sql(connection, self.file("INSERT INTO t VALUES (1, 'x')"))
        self.assertEqual(self.rows(), [(1, "x")])

    def test_deferred_constraint_broken_at_the_end_keeps_nothing(self) -> None:
        self.cursor.execute("CREATE TABLE c (t int REFERENCES t DEFERRABLE INITIALLY DEFERRED)")
        message = self.failure("INSERT INTO t VALUES (1);\nINSERT INTO c VALUES (2);")
        self.assertIn("violates foreign key constraint", message)
        self.assertIn("at its end (COMMIT)", message)
        self.load("INSERT INTO c VALUES (2); INSERT INTO t VALUES (2);")


class TransactionTests(DatabaseCase):
    def test_connection_without_autocommit_gets_the_file_committed(self) -> None:
        self.connection.autocommit = False
        self.load("INSERT INTO t VALUES (1, 'x')")
        self.assertEqual(self.rows(), [(1, "x")])
        self.assertFalse(self.connection.autocommit)

    def test_open_transaction_takes_the_file_in(self) -> None:
        for autocommit in (True, False):
            with self.subTest(autocommit=autocommit):
                self.connection.autocommit = autocommit
                self.cursor.execute("BEGIN" if autocommit else "SELECT 1")
                self.load("BEGIN; INSERT INTO t VALUES (1, 'x'); COMMIT;")
                self.assertEqual(self.rows(), [])
                self.cursor.execute("SELECT count(*) FROM t")
                self.assertEqual(self.cursor.fetchone(), (1,))
                self.cursor.execute("ROLLBACK")
                self.connection.rollback()
        self.assertEqual(self.rows(), [])

    def test_broken_file_in_an_open_transaction_leaves_what_was_before(self) -> None:
        self.connection.autocommit = False
        self.cursor.execute("INSERT INTO t VALUES (1, 'before')")
        self.failure("INSERT INTO t VALUES (2, 'file'); SELECT 1/0;")
        self.connection.commit()
        self.assertEqual(self.rows(), [(1, "before")])

    def test_aborted_transaction_is_said_to_be_that(self) -> None:
        self.connection.autocommit = False
        with self.assertRaises(psycopg2.Error):
            self.cursor.execute("nonsense")
        with self.assertRaisesRegex(FixtureError, "current transaction is aborted"):
            self.load("SELECT 1")

    def test_closed_connection_is_said_to_be_that(self) -> None:
        self.connection.close()
        with self.assertRaisesRegex(FixtureError, "connection already closed"):
            self.load("SELECT 1")

    def test_commit_in_a_broken_file_keeps_nothing(self) -> None:
        self.failure("BEGIN; INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (1);")
        self.failure("BEGIN; INSERT INTO t VALUES (1); COMMIT AND CHAIN; INSERT INTO t VALUES (1); COMMIT;")

    def test_transaction_without_its_commit_is_an_error(self) -> None:
        self.assertIn("line 2: this transaction has no COMMIT", self.failure("\nBEGIN;\nINSERT INTO t VALUES (1);"))

    def test_statements_that_no_transaction_can_hold_say_so(self) -> None:
        for statement in (
            "VACUUM t;",
            "CREATE DATABASE other;",
            "CREATE INDEX CONCURRENTLY ON t (b);",
            "ROLLBACK PREPARED 'x';",
        ):
            with self.subTest(statement):
                message = self.failure(f"INSERT INTO t VALUES (1);\n{statement}")
                self.assertIn("line 2: ERROR", message)
                self.assertIn("runs in one transaction", message)
        self.assertIn("line 1: PREPARE TRANSACTION", self.failure("PREPARE TRANSACTION 'x';"))

    def test_procedure_that_commits_says_so(self) -> None:
        self.cursor.execute("CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
        self.assertIn("runs in one transaction", self.failure("CALL p();"))


class MessageTests(DatabaseCase):
    def test_syntax_error_shows_file_line_statement_and_place(self) -> None:
        message = self.failure("-- é\nSELECT 'é';\n\n  INSERT INTO t (a)\n    VALUS (1);\n")
        path = self.folder / "fixture.sql"
        self.assertEqual(
            message,
            f'{path}, line 5: ERROR: syntax error at or near "VALUS"\n'
            "    4 |   INSERT INTO t (a)\n"
            "    5 |     VALUS (1);\n"
            "      |     ^",
        )

    def test_detail_and_hint_of_postgresql_are_shown(self) -> None:
        message = self.failure("INSERT INTO t VALUES (1), (1);")
        self.assertIn("line 1: ERROR: duplicate key value violates unique constraint", message)
        self.assertIn("DETAIL: Key (a)=(1) already exists.", message)
        self.assertIn("HINT: Perhaps you meant", self.failure("SELECT t.bb, bx FROM t;"))

    def test_wrong_row_of_a_copy_names_the_line_of_the_row(self) -> None:
        message = self.failure("SELECT 1;\nCOPY t FROM stdin;\n1\ta\nx\tb\n3\tc\n\\.\n")
        self.assertIn('line 4: ERROR: invalid input syntax for type integer: "x"', message)
        self.assertIn("    4 | x b", message)

    def test_error_in_a_function_names_the_line_of_its_call(self) -> None:
        message = self.failure("SELECT 1;\nDO $$\nBEGIN\n  PERFORM nothing_like_it();\nEND $$;")
        self.assertIn("line 2: ERROR: function nothing_like_it() does not exist", message)
        self.assertIn("PL/pgSQL function inline_code_block line 3", message)

    def test_long_statement_is_shortened(self) -> None:
        values = ",\n".join(f"({number}, '{'x' * 200}')" for number in range(500))
        message = self.failure(f"INSERT INTO t VALUES {values}, (7, {'1' * 300} + nope);")
        self.assertIn("line 500: ERROR", message)
        self.assertIn("    1 | INSERT INTO t VALUES", message)
        self.assertLess(len(message), 1500)
        caret = next(line for line in message.splitlines() if line.endswith("^"))
        shown = next(line for line in message.splitlines() if line.startswith("  500 |"))
        self.assertTrue(shown[len(caret) - 1 :].startswith("nope"), message)

    def test_percent_sign_is_never_formatted(self) -> None:
        self.load("INSERT INTO t SELECT 7 % 4, '%s %(x)s %% %';")
        self.assertEqual(self.rows(), [(3, "%s %(x)s %% %")])

    def test_psql_command_names_its_line(self) -> None:
        message = self.failure("INSERT INTO t VALUES (1);\n\\connect other\n")
        self.assertIn(r", line 2: \connect is a command of psql", message)

    def test_setting_of_a_newer_server_says_what_to_do(self) -> None:
        self.assertIn("newer pg_dump", self.failure("SET setting_of_the_future = 0;"))

    def test_new_enum_value_used_in_the_same_file_says_what_to_do(self) -> None:
        self.cursor.execute("CREATE TYPE e AS ENUM ('a')")
        message = self.failure("ALTER TYPE e ADD VALUE 'b';\nSELECT 'b'::e;")
        self.assertIn("file of its own", message)

    def test_wrong_encoding_names_line_and_byte(self) -> None:
        self.assertIn("line 2: not UTF-8 (byte 0xe9)", self.failure(b"SELECT 1;\nSELECT '\xe9';"))

    def test_utf16_is_said_to_be_that(self) -> None:
        self.assertIn("not UTF-8", self.failure("SELECT 1;".encode("utf-16")))
        self.assertIn("UTF-16", self.failure("SELECT 1;".encode("utf-16-le")))

    def test_lost_connection_is_a_fixture_error(self) -> None:
        with self.assertRaises(FixtureError) as caught:
            self.load("SELECT pg_terminate_backend(pg_backend_pid());")
        self.assertIn("fixture.sql, line 1", str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, psycopg2.Error)


class RedisFixtureTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = private_servers.redis_client(decode_responses=True)
        self.client.flushall()
        self.addCleanup(self.client.close)

    def load(self, text: str | bytes) -> None:
        fixtures.load_redis(self.client, self.file(text, "keys.json"))

    def failure(self, text: str | bytes) -> str:
        with self.assertRaises(FixtureError) as caught:
            self.load(text)
        self.assertEqual(self.client.dbsize(), 0, "something was written")
        self.assertIn(str(self.folder / "keys.json"), str(caught.exception))
        return str(caught.exception)

    def test_every_type_is_written(self) -> None:
        self.load(
            '{"s": "text é", "i": 12345678901234567890, "f": 0.10, "empty": "", "l": ["a", 1, "a"],'
            ' "h": {"name": "A", "age": 7, "value": 1}, "se": {"set": ["a", 2]},'
            ' "z": {"zset": {"a": 1.5, "b": "-inf"}}}'
        )
        client = self.client
        self.assertEqual(client.mget("s", "i", "f", "empty"), ["text é", "12345678901234567890", "0.10", ""])
        self.assertEqual(client.lrange("l", 0, -1), ["a", "1", "a"])
        self.assertEqual(client.hgetall("h"), {"name": "A", "age": "7", "value": "1"})
        self.assertEqual(client.smembers("se"), {"a", "2"})
        self.assertEqual(client.zrange("z", 0, -1, withscores=True), [("b", float("-inf")), ("a", 1.5)])
        self.assertEqual(client.dbsize(), 8)

    def test_time_to_live_of_every_type(self) -> None:
        forms = {
            "value": "x", "list": ["x"], "set": ["x"], "hash": {"x": 1}, "zset": {"x": 1},
        }  # fmt: skip
        content = {kind: {kind: form, "ttl": 600} for kind, form in forms.items()}
        content["short"] = {"value": ["x"], "ttl": 0.5}
        content["of a hash"] = {"value": {"x": 1}, "ttl": 600}
        self.load(json.dumps(content))
        types = {"value": "string", "short": "list", "of a hash": "hash"}
        for key in content:
            self.assertEqual(self.client.type(key), types.get(key, key), key)
            self.assertTrue(0 < self.client.pttl(key) <= 600_000, key)
        self.assertLessEqual(self.client.pttl("short"), 500)

    def test_hash_with_fields_of_our_names_can_be_written(self) -> None:
        self.load(
            '{"a": {"hash": {"ttl": 1, "value": 2}}, "b": {"hash": {"set": "x"}, "ttl": 9},'
            ' "c": {"value": 1, "set": 2}}'
        )
        self.assertEqual(self.client.hgetall("a"), {"ttl": "1", "value": "2"})
        self.assertEqual(self.client.hgetall("b"), {"set": "x"})
        self.assertEqual(self.client.hgetall("c"), {"value": "1", "set": "2"})
        self.assertEqual([self.client.ttl(key) > 0 for key in "abc"], [False, True, False])

    def test_key_that_is_there_is_replaced_with_its_time_to_live(self) -> None:
        self.client.rpush("k", "old")
        self.client.set("s", "old", ex=600)
        self.load('{"k": ["new"], "s": "new"}')
        self.assertEqual(self.client.lrange("k", 0, -1), ["new"])
        self.assertEqual((self.client.get("s"), self.client.ttl("s")), ("new", -1))

    def test_wrong_value_names_the_key_and_writes_nothing(self) -> None:
        for value, text in (
            ("null", "no null"),
            ("true", "no true"),
            ("[]", "no empty list"),
            ("{}", "no empty hash"),
            ('{"set": []}', "no empty set"),
            ('{"set": "x"}', '"set" takes an array; for a hash with that field'),
            ('{"zset": ["x"]}', '"zset" takes an object'),
            ('{"zset": {"x": "high"}}', "score must be a number"),
            ('{"zset": {"x": 1e999}}', "score must be a number"),
            ('{"name": "A", "ttl": 60}', "could be a field or the time to live"),
            ('{"ttl": 60}', "could be a field or the time to live"),
            ('{"value": 1, "ttl": 0}', "seconds above 0"),
            ('{"value": 1, "ttl": "60"}', "seconds above 0"),
            ('{"value": 1, "ttl": null}', "seconds above 0"),
            ('[["nested"]]', "doesn't nest"),
            ('{"a": {"b": 1}}', "doesn't nest"),
            ('"\\ud800"', "surrogate"),
        ):
            with self.subTest(value):
                message = self.failure(f'{{"good": "x", "wrong é": {value}}}')
                self.assertIn('key "wrong é": ', message)
                self.assertIn(text, message)

    def test_file_that_is_no_json_object_is_refused(self) -> None:
        self.assertIn("line 2, column 6: not JSON", self.failure('{"a":\n "b",}'))
        self.assertIn("one JSON object", self.failure("[1]"))
        self.assertIn('"a" is there twice', self.failure('{"a": 1, "a": 2}'))
        self.assertIn("NaN is not JSON", self.failure('{"a": NaN}'))
        self.assertIn("not UTF-8", self.failure(b'{"a": "\xe9"}'))

    def test_byte_order_mark_and_no_keys_are_fine(self) -> None:
        self.load("\ufeff{}")
        self.assertEqual(self.client.dbsize(), 0)

    def test_redis_that_refuses_a_command_keeps_nothing(self) -> None:
        self.client.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-rpush")
        self.addCleanup(self.client.execute_command, "ACL", "DELUSER", "limited")
        limited = private_servers.redis_client(username="limited", password="pw")
        self.addCleanup(limited.close)
        with self.assertRaisesRegex(FixtureError, r"keys.json: .*(?i:permission)"):
            fixtures.load_redis(limited, self.file('{"s": "x", "l": ["x"]}', "keys.json"))
        self.assertEqual(self.client.dbsize(), 0)

    def test_redis_that_is_gone_is_a_fixture_error(self) -> None:
        gone = private_servers.redis_client(port=1)
        with self.assertRaisesRegex(FixtureError, "keys.json"):
            fixtures.load_redis(gone, self.file('{"s": "x"}', "keys.json"))


if __name__ == "__main__":
    unittest.main()
