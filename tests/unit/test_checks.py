"""What assertions say; PostgreSQL's connection and Redis' client are fakes."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from containertest import IntegrationTestCase, checks
from tests.support import run_case


class FakeRedis:
    def __init__(self, **keys: int) -> None:
        self.keys = keys

    def pttl(self, key: str) -> int:
        return self.keys.get(key, -2)

    def dbsize(self) -> int:
        return len(self.keys)

    def scan_iter(self, count: int) -> Any:
        return iter(key.encode() for key in self.keys)


class KeyTests(unittest.TestCase):
    def test_state_and_its_words(self) -> None:
        client: Any = FakeRedis(a=1500, b=-1)
        self.assertEqual(checks.key_state(client, "a"), (True, 1500))
        self.assertEqual(checks.key_state(client, "b"), (True, -1))
        self.assertEqual(checks.key_state(client, "c"), (False, -2))
        words = [checks.expiry(left) for left in (1500, -1, -2)]
        self.assertEqual(words, ["it expires in 1.5 s", "it has no expiry", "it is not there"])

    def test_some_keys_are_shown_and_all_are_counted(self) -> None:
        many: Any = FakeRedis(**{f"k{number}": -1 for number in range(9)})
        self.assertEqual(checks.some_keys(many), "It has 9 keys, such as [b'k0', b'k1', b'k2', b'k3', b'k4'].")
        self.assertEqual(checks.some_keys(FakeRedis()), "It is empty.")  # type: ignore[arg-type]


class OnFakes(IntegrationTestCase):
    db: ClassVar[Any] = "db"
    redis: ClassVar[Any] = FakeRedis(here=-1, soon=2000)


class AssertionTests(unittest.TestCase):
    """Each assertion is run in an inner test; its message is looked at."""

    def outcome(self, name: str, /, *arguments: Any, **named: Any) -> str:
        """The message of a failed assertion; "" when it passed."""
        try:
            getattr(OnFakes(), name)(*arguments, **named)
        except AssertionError as error:
            return str(error)
        return ""

    def test_keys(self) -> None:
        for arguments, expected in (
            (("assertKeyExists", "here"), ""),
            (("assertKeyExists", "gone"), "Redis has no key 'gone'. It has 2 keys, such as [b'here', b'soon']."),
            (("assertNoKey", "gone"), ""),
            (("assertNoKey", "soon"), "Redis has the key 'soon' (it expires in 2 s)."),
            (("assertKeyExpires", "soon"), ""),
            (("assertKeyExpires", "soon", 2), ""),
            (("assertKeyExpires", "soon", 1), "Redis' key 'soon' should expire within 1 s, but it expires in 2 s."),
            (("assertKeyExpires", "here"), "Redis' key 'here' should expire, but it has no expiry."),
            (("assertKeyExpires", "gone"), "Redis has no key 'gone'. It has 2 keys, such as [b'here', b'soon']."),
        ):
            with self.subTest(arguments):
                self.assertEqual(self.outcome(*arguments), expected)

    def test_row_count(self) -> None:
        with (
            mock.patch.object(checks, "count_rows", return_value=2) as count,
            mock.patch.object(checks, "some_rows", return_value="t has:\n  {…}"),
        ):
            self.assertEqual(self.outcome("assertRowCount", "t", 2), "")
            count.assert_called_with("db", "t", None, ())
            self.assertEqual(self.outcome("assertRowCount", "t", 3), "t has 2 rows, not 3. t has:\n  {…}")
            text = self.outcome("assertRowCount", "t", 3, "id > %s", (1,), msg="three admins")
            self.assertEqual(text, "t has 2 rows where id > %s (1,), not 3. t has:\n  {…} : three admins")

    def test_rows(self) -> None:
        with (
            mock.patch.object(checks, "find_rows", return_value=[{"id": 1}]),
            mock.patch.object(checks, "some_rows", return_value="t is empty."),
        ):
            self.assertEqual(self.outcome("assertRowExists", "t", id=1), "")
            self.assertEqual(self.outcome("assertNoRow", "t", id=1), "t has a row with id=1:\n  {'id': 1}")
            checks.find_rows.return_value = []  # type: ignore[attr-defined]
            self.assertEqual(self.outcome("assertNoRow", "t", id=1), "")
            self.assertEqual(
                self.outcome("assertRowExists", "t", a="x", b=None), "t has no row with a='x', b=None. t is empty."
            )
            self.assertEqual(self.outcome("assertRowExists", "t"), "t has no row with any values. t is empty.")

    def test_columns_may_have_any_name_and_the_table_its_own(self) -> None:
        for name in ("assertRowExists", "assertNoRow"):
            found = [{"id": 1}] if name == "assertRowExists" else []
            with self.subTest(name), mock.patch.object(checks, "find_rows", return_value=found) as find:
                for arguments, named, columns in (
                    (("t",), {"table": 1, "self": 2, "tables": 3}, {"table": 1, "self": 2, "tables": 3}),
                    ((), {"table": "t", "id": 1}, {"id": 1}),
                ):
                    self.assertEqual(self.outcome(name, *arguments, **named), "")
                    find.assert_called_with("db", "t", columns)
                for arguments in ((), ("t", 1)):
                    with self.assertRaisesRegex(TypeError, rf"{name}\(table, \*\*columns\) takes one table"):
                        self.outcome(name, *arguments)

    def test_number_of_queries(self) -> None:
        class Tests(IntegrationTestCase):
            containers = mock.MagicMock()
            setUpClass = classmethod(lambda cls: None)

            def test(self) -> None:
                with self.assertNumQueries(1) as executed:
                    executed += ["SELECT 1", "SELECT 2"]

            def test_error(self) -> None:
                with self.assertNumQueries(1):
                    raise KeyError("the error itself")

        Tests.containers.stack.settings = SimpleNamespace(strict=False, keep_failed=False)
        Tests.containers.stack.watched.return_value.__exit__ = lambda *_: None
        ((_, text),) = run_case(Tests, "test").failures
        self.assertIn("2 queries were executed, not 1.\n  1. SELECT 1\n  2. SELECT 2", text)
        ((_, text),) = run_case(Tests, "test_error").errors
        self.assertIn("KeyError: 'the error itself'", text)


if __name__ == "__main__":
    unittest.main()
