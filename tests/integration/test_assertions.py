"""What assertions do with names and values of any kind: rows are found, or the error says what is wrong."""

from __future__ import annotations

import datetime
import decimal
import math
import unittest
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from psycopg2 import extras, sql

from containertest import ContainerManager, IntegrationTestCase
from tests import support

NAMES = (
    "rate %",
    "100%",
    "%s",
    "%(a)s",
    "%%",
    'say "x"',
    "it's",
    "back\\slash",
    "a.b",
    "a.b.c",
    ".",
    "trailing.",
    "{}",
    "{0}",
    "naïve ✓ 表 🐘",
    "e\u0301",
    "\u202eleft",
    "line\nbreak",
    " ",
    "select",
    "UPPER",
    "x" * 63,
    "x" * 500,
    "?",
    "$1",
    ":a",
    ";--",
)


class Assertions(unittest.TestCase):
    case: ClassVar[IntegrationTestCase]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        support.require_any()
        servers = ContainerManager().start()
        cls.addClassCleanup(servers.stop)

        class Case(IntegrationTestCase):
            containers = servers

        cls.case = Case("assertRowCount")

    def setUp(self) -> None:
        super().setUp()
        self.case.reset_all()

    def run_sql(self, text: Any, *values: Any) -> None:
        with self.case.db.cursor() as cursor:
            cursor.execute(text, values or None)

    def raises(
        self, error: type[Exception], words: str, assertion: Callable[..., Any], *args: Any, **named: Any
    ) -> str:
        with self.subTest(words=words, args=args, named=named):
            with self.assertRaisesRegex(error, words) as caught:
                assertion(*args, **named)
            self.assertFalse(isinstance(caught.exception, AssertionError) and error is not AssertionError)
            return str(caught.exception)
        return ""


class NameTests(Assertions):
    def test_columns_of_any_name(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                self.run_sql(sql.SQL("CREATE TABLE t ({} int)").format(sql.Identifier(name)))
                self.run_sql("INSERT INTO t VALUES (5)")
                self.case.assertRowExists("t", **{name: 5})
                self.case.assertNoRow("t", **{name: 6})
                with self.assertRaisesRegex(AssertionError, "(?s)^t has no row with .*=6"):
                    self.case.assertRowExists("t", **{name: 6})
                with self.assertRaisesRegex(AssertionError, "(?s)^t has a row with .*=5"):
                    self.case.assertNoRow("t", **{name: 5})
                self.run_sql("DROP TABLE t")

    def test_tables_of_any_name(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                self.run_sql(sql.SQL("CREATE TABLE {} (a int, b text)").format(sql.Identifier(name)))
                self.run_sql(sql.SQL("INSERT INTO {} VALUES (5, '50%')").format(sql.Identifier(name)))
                self.case.assertRowCount(name, 1)
                self.case.assertRowCount(name, 1, "a = %s AND b LIKE '%%!%%' ESCAPE '!'", (5,))
                self.case.assertRowCount(name, 1, "b LIKE '%!%' ESCAPE '!'")
                self.case.assertRowExists(name, a=5, b="50%")
                self.case.assertNoRow(name, a=6)
                with self.assertRaisesRegex(AssertionError, "has 1 rows, not 2"):
                    self.case.assertRowCount(name, 2)
                self.run_sql(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))

    def test_dot_separates_a_schema_unless_only_the_whole_is_a_table(self) -> None:
        self.run_sql(
            'CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE "s.u" (a int); INSERT INTO "s.u" VALUES (1)'
        )
        self.run_sql('CREATE SCHEMA "s.v"; CREATE TABLE "s.v"."t %" (a int); INSERT INTO "s.v"."t %" VALUES (1), (2)')
        self.run_sql('CREATE TABLE "s.t" (a int); INSERT INTO "s.t" VALUES (1), (2), (3)')
        for name, rows in (("s.t", 0), ("s.u", 1), ("s.v.t %", 2), ("pg_catalog.pg_am", None)):
            with self.subTest(name):
                if rows is not None:
                    self.case.assertRowCount(name, rows)
                self.case.assertRowCount(name, rows or 0, "true") if rows is not None else self.case.assertRowExists(
                    name
                )

    def test_what_cannot_be_a_name_is_told(self) -> None:
        case = self.case
        self.run_sql("CREATE TABLE t (a int)")
        for name, error in (
            (None, TypeError),
            (5, TypeError),
            (b"t", TypeError),
            (sql.Identifier("t"), TypeError),
            (["t"], TypeError),
            ("", ValueError),
            ("a\0b", ValueError),
            ("\udc80", ValueError),
        ):
            self.raises(error, "the table's name", case.assertRowCount, name, 0)
            self.raises(error, "the table's name", case.assertRowExists, name)
            self.raises(error, "the table's name", case.assertNoRow, name, a=1)
            if error is ValueError:
                self.raises(error, "the name of a column", case.assertRowExists, "t", **{str(name): 1})
                self.raises(error, "the name of a column", case.assertNoRow, "t", **{str(name): 1})


class ConditionTests(Assertions):
    def setUp(self) -> None:
        super().setUp()
        self.run_sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, '50% off'), (2, 'x'), (3, NULL)")

    def test_percent_signs_with_and_without_params(self) -> None:
        for n, where, params in (
            (1, "b LIKE '%off'", ()),
            (1, "b LIKE '%off'", None),
            (1, "b LIKE '%off'", []),
            (1, "b LIKE '%off'", {}),
            (1, "a % 2 = 0", ()),
            (1, "b LIKE '%%off' AND a = %s", (1,)),
            (1, "b LIKE %s", ["%off"]),
            (2, "a < %(most)s", {"most": 3}),
            (2, "a = ANY(%s)", ([1, 3],)),
            (2, "a IN %s", ((1, 3),)),
            (3, None, (1,)),
            (1, "b = %s", ("x",)),
        ):
            with self.subTest(where, params=params):
                self.case.assertRowCount("t", n, where, params)  # type: ignore[arg-type]

    def test_params_that_do_not_fit_are_told(self) -> None:
        count = self.case.assertRowCount
        for error, words, where, params in (
            (ValueError, "does not go with params", "a = %s AND b = %s", (1,)),
            (ValueError, "does not go with params", "a = 1", (1,)),
            (ValueError, "does not go with params", "b LIKE '%off' AND a = %s", (1,)),
            (ValueError, "does not go with params", "a = %(a)s", {"b": 1}),
            (ValueError, "does not go with params", "a = %(a)s", (1,)),
            (ValueError, "does not go with params", "a = %s", {"a": 1}),
            (TypeError, "can't adapt", "a = %s", (object(),)),
            (TypeError, "params must be", "b = %s", "x"),
            (TypeError, "params must be", "a = %s", 1),
            (TypeError, "params must be", "a = %s", {1}),
            (TypeError, "params must be", "a = %s", iter([1])),
            (TypeError, "where must be", 5, ()),
            (TypeError, "where must be", b"a = 1", ()),
            (TypeError, "where must be", {"a": 1}, ()),
            (ValueError, "where is", "", ()),
            (ValueError, "where is", " ", ()),
            (ValueError, "where is", "a = 1 \0", ()),
        ):
            self.raises(error, words, count, "t", 1, where, params)

    def test_numbers_that_are_none_are_told(self) -> None:
        for n, error in (
            ("3", TypeError),
            (3.0, TypeError),
            (None, TypeError),
            (True, TypeError),
            (decimal.Decimal(3), TypeError),
            (-1, ValueError),
        ):
            self.raises(error, "^n ", self.case.assertRowCount, "t", n)
            self.raises(error, "^n ", lambda n=n: self.case.assertNumQueries(n).__enter__())


class ValueTests(Assertions):
    def setUp(self) -> None:
        super().setUp()
        self.run_sql(
            "CREATE TABLE t (i int, n numeric, f float8, s text, b bytea, d date, u uuid, o bool, js json, jb jsonb,"
            " a int[], x text[], v varchar(9)[], us uuid[])"
        )
        self.run_sql(
            "INSERT INTO t VALUES (1, 1.5, 'NaN', 'naïve ✓ \"%%s\" \\', '\\x00ff', '2026-01-02',"
            " '00000000-0000-0000-0000-000000000001', true, '{\"a\": [1, {\"b\": null}]}', '[]', '{1,2}', '{}',"
            " '{a,NULL}', '{00000000-0000-0000-0000-000000000001}')"
        )

    def test_values_of_many_types_are_found(self) -> None:
        for column, value, other in (
            ("i", 1, 2),
            ("i", None, 1),
            ("n", decimal.Decimal("1.50"), 2),
            ("f", math.nan, 1.0),
            ("s", 'naïve ✓ "%%s" \\', "%"),
            ("b", b"\0\xff", b""),
            ("d", datetime.date(2026, 1, 2), datetime.date(2026, 1, 3)),
            ("u", "00000000-0000-0000-0000-000000000001", str(uuid.uuid4())),
            ("o", True, False),
            ("js", {"a": [1, {"b": None}]}, {"a": []}),
            ("js", extras.Json({"a": [1, {"b": None}]}), extras.Json({})),
            ("jb", [], {}),
            ("jb", (), [1]),
            ("jb", "[]", "{}"),
            ("a", [1, 2], [2, 1]),
            ("x", [], ["%s"]),
            ("v", ["a", None], ["a"]),
            ("us", ["00000000-0000-0000-0000-000000000001"], []),
        ):
            with self.subTest(column, value=value):
                if value is None:
                    self.case.assertNoRow("t", **{column: value})
                    continue
                self.case.assertRowExists("t", **{column: value})
                self.case.assertNoRow("t", **{column: other})

    def test_what_cannot_be_compared_is_told(self) -> None:
        for column, value, words in (
            ("js", '{"a": 1}', "a dict or list for json"),
            ("s", 5, "operator does not exist: text = integer"),
            ("a", (1, 2), "a list for an array"),
            ("i", object(), "'i' can't be compared with .*can't adapt"),
            ("u", frozenset({1}), "Give it as a str, or register an adapter"),
            ("i", {"a": 1}, "can't adapt type 'dict'"),
        ):
            self.raises(TypeError, words, self.case.assertRowExists, "t", **{column: value})
            self.raises(TypeError, words, self.case.assertNoRow, "t", **{column: value})
        self.raises(ValueError, "NUL", self.case.assertRowExists, "t", s="\0")

    def test_long_values_are_cut_in_messages(self) -> None:
        self.run_sql("INSERT INTO t (s, b) VALUES (%s, %s)", "y" * 10_000, b"\0" * 10_000)
        for assertion, arguments, named in (
            ("assertRowExists", ("t",), {"s": "z" * 10_000}),
            ("assertNoRow", ("t",), {"s": "y" * 10_000}),
            ("assertRowCount", ("t", 9, "s <> %s", ["z" * 10_000]), {}),
        ):
            with self.subTest(assertion):
                text = self.raises(
                    AssertionError,
                    r"… \(10,002 characters\)|… \(10,004 ch",
                    getattr(self.case, assertion),
                    *arguments,
                    **named,
                )
                self.assertLess(len(text), 3000)
                self.assertNotIn("memory at", text)


class KeyTests(Assertions):
    def test_keys_of_any_content(self) -> None:
        for key in ("", " ", "a:b", "%s", "表 🐘", "a\0b", b"\xff\0", b"", "k" * 10_000, 5, 1.5, memoryview(b"m")):
            with self.subTest(key):
                self.case.redis.set(key, "x", ex=60)
                self.case.assertKeyExists(key)  # type: ignore[arg-type]
                self.case.assertKeyExpires(key, within=60)  # type: ignore[arg-type]
                text = self.raises(AssertionError, "^Redis has the key", self.case.assertNoKey, key)
                self.assertLess(len(text), 500)
                self.case.redis.delete(key)
                self.case.assertNoKey(key)  # type: ignore[arg-type]
                self.raises(AssertionError, "^Redis has no key", self.case.assertKeyExists, key)

    def test_what_cannot_be_a_key_is_told(self) -> None:
        for key, error in ((None, TypeError), (True, TypeError), (["k"], TypeError), ("\udc80", ValueError)):
            for assertion in (self.case.assertKeyExists, self.case.assertNoKey, self.case.assertKeyExpires):
                self.raises(error, "key", assertion, key)

    def test_times_that_are_none_are_told(self) -> None:
        self.case.redis.set("k", "x", ex=60)
        for within, error in (
            ("60", TypeError),
            (True, TypeError),
            (datetime.timedelta(seconds=60), TypeError),
            (-1, ValueError),
            (0, ValueError),
            (math.nan, ValueError),
            (math.inf, ValueError),
        ):
            self.raises(error, "^within ", self.case.assertKeyExpires, "k", within)


if __name__ == "__main__":
    unittest.main()
