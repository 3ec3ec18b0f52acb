"""What assertNumQueries counts; psycopg2's connections and cursors are fakes."""

from __future__ import annotations

import unittest
from typing import Any
from unittest import mock

import psycopg2
from psycopg2 import sql

from containertest import queries


class FakeCursor:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def execute(self, query: Any, vars: Any = None) -> None:
        self.sent.append(query)
        if query == "broken":
            raise psycopg2.ProgrammingError

    def executemany(self, query: Any, vars_list: Any) -> None:
        for vars in vars_list:
            self.execute(query, vars)

    def callproc(self, procname: str, parameters: Any = ()) -> None:
        self.execute(f"SELECT * FROM {procname}()")

    def copy_expert(self, statement: str, file: Any, size: int = 8192) -> None:
        self.sent.append(statement)

    def copy_from(self, file: Any, table: str, sep: str = "\t") -> None:
        self.sent.append(table)

    def copy_to(self, file: Any, table: str, sep: str = "\t") -> None:
        self.sent.append(table)


class FakeConnection:
    def __init__(self, cursor_factory: Any = FakeCursor) -> None:
        self.cursor_factory = cursor_factory

    def cursor(self, name: str | None = None, cursor_factory: Any = None) -> Any:
        return (cursor_factory or self.cursor_factory)()


class RecordTests(unittest.TestCase):
    def setUp(self) -> None:
        self.connection = FakeConnection()
        # The recorder looks for open connections by their class, and for new ones where psycopg2 makes them.
        for target, name, fake in (
            (psycopg2.extensions, "connection", FakeConnection),
            (psycopg2, "_connect", lambda dsn, connection_factory=None: (connection_factory or FakeConnection)()),
        ):
            patch = mock.patch.object(target, name, fake)
            patch.start()
            self.addCleanup(patch.stop)

    def test_statements_of_an_open_and_of_a_new_connection_are_noted(self) -> None:
        with queries.record() as noted:
            self.connection.cursor().execute("one")
            psycopg2.connect("dbname=x").cursor().execute("two")
        self.assertEqual(noted, ["one", "two"])

    def test_each_way_to_execute_counts_once(self) -> None:
        with queries.record() as noted:
            cursor = self.connection.cursor()
            cursor.executemany("INSERT", [(1,), (2,)])
            cursor.callproc("f")
            cursor.copy_expert("COPY t FROM STDIN", None)
            cursor.copy_from(None, "u")
            cursor.copy_to(None, "v")
        self.assertEqual(
            noted,
            ["INSERT", "SELECT * FROM f(…)", "COPY t FROM STDIN", "COPY u FROM STDIN", "COPY v TO STDOUT"],
        )

    def test_new_connections_cursors_of_any_class_are_noted_and_stay_of_it(self) -> None:
        class Special(FakeCursor):
            pass

        with queries.record() as noted:
            connection = psycopg2.connect("dbname=x", cursor_factory=Special)
            self.assertIsInstance(connection.cursor(), Special)
            connection.cursor().execute("one")
            self.connection.cursor(None, Special).execute("two")
            self.connection.cursor(cursor_factory=Special).execute("three")
        self.assertEqual(noted, ["one", "two", "three"])
        self.assertIs(connection.cursor_factory, Special)
        connection.cursor().execute("after")
        self.assertEqual(len(noted), 3)

    def test_connections_of_a_class_of_their_own_are_noted_and_stay_of_it(self) -> None:
        class Special(FakeCursor):
            pass

        class Own(FakeConnection):
            def cursor(self, *args: Any, **kwargs: Any) -> Any:
                kwargs.setdefault("cursor_factory", Special)
                return super().cursor(*args, **kwargs)

        before = Own()
        with queries.record() as noted:
            new = psycopg2.connect("dbname=x", connection_factory=Own)
            made = psycopg2.connect("dbname=x", connection_factory=lambda *args: Own())
            for connection in (before, new, made):
                self.assertIsInstance(connection, Own)
                self.assertIsInstance(connection.cursor(), Special)
                connection.cursor().execute("one")
        self.assertEqual(noted, ["one"] * 3)
        self.assertEqual({type(connection) for connection in (before, new, made)}, {Own})
        new.cursor().execute("after")
        self.assertEqual(len(noted), 3)

    def test_failed_statement_counts_and_the_next_one_too(self) -> None:
        with queries.record() as noted:
            cursor = self.connection.cursor()
            with self.assertRaises(psycopg2.ProgrammingError):
                cursor.execute("broken")
            cursor.execute("next")
        self.assertEqual(noted, ["broken", "next"])

    def test_bytes_and_composed_statements_are_shown_as_text(self) -> None:
        class Composed(sql.SQL):
            def as_string(self, context: Any) -> str:
                return "composed"

        with queries.record() as noted:
            self.connection.cursor().execute(b"SELECT 1")
            self.connection.cursor().execute(Composed("x"))
        self.assertEqual(noted, ["SELECT 1", "composed"])

    def test_nested_recordings_both_see_the_inner_statements(self) -> None:
        with queries.record() as outer:
            self.connection.cursor().execute("one")
            with queries.record() as inner:
                self.connection.cursor().execute("two")
            self.connection.cursor().execute("three")
        self.assertEqual(inner, ["two"])
        self.assertEqual(outer, ["one", "two", "three"])

    def test_cursor_class_of_the_connection_stays_its_base_and_comes_back(self) -> None:
        class Special(FakeCursor):
            pass

        special = FakeConnection(Special)
        with queries.record():
            self.assertIsInstance(special.cursor(), Special)
        self.assertIs(special.cursor_factory, Special)

    def test_cursor_class_set_meanwhile_is_left_alone(self) -> None:
        class Special(FakeCursor):
            pass

        with queries.record():
            self.connection.cursor_factory = Special
        self.assertIs(self.connection.cursor_factory, Special)

    def test_nothing_is_recorded_after_the_block_even_if_it_fails(self) -> None:
        with self.assertRaises(ZeroDivisionError), queries.record() as noted:
            raise ZeroDivisionError
        self.connection.cursor().execute("after")
        psycopg2.connect("dbname=x").cursor().execute("after")
        self.assertEqual(noted, [])


if __name__ == "__main__":
    unittest.main()
