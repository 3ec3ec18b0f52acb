"""What assertions do with names and conditions of any kind: rows are found, or the error says what is wrong."""

from __future__ import annotations

import decimal
import unittest

from psycopg2 import sql

from tests.integration.assertion_case import Assertions

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


if __name__ == "__main__":
    unittest.main()
