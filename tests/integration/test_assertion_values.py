"""What assertions do with values and keys of any kind: rows and keys are found, or the error says what is wrong."""

from __future__ import annotations

import datetime
import decimal
import math
import unittest
import uuid

from psycopg2 import extras

from tests.integration.assertion_case import Assertions


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
