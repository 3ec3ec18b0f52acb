"""Warnings of leaks: whom they reach under which filters, and where they point to."""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Callable
from typing import Any

from containertest import leaks
from tests.support import run_python

#: What Python begins with, see the manual of the module warnings, "Default Warning Filter".
DEFAULTS = [("ignore", None, ImportWarning, None, 0), ("ignore", None, ResourceWarning, None, 0)]


def leaking() -> None:
    """A test to blame."""


class WarnTests(unittest.TestCase):
    def given(self, warn: Callable[..., None], *filters: tuple[str, type[Warning]]) -> list[warnings.WarningMessage]:
        """What is shown under Python's own filters and these, the last one first."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.filters[:] = DEFAULTS  # type: ignore[index]
            for action, kind in filters:
                warnings.simplefilter(action, kind)  # type: ignore[arg-type]
            warn("left open", leaking)
        return caught

    def test_it_is_seen_though_python_hides_its_category(self) -> None:
        for warn in (leaks.warn, leaks.show):
            for filters in ((), (("default", Warning),), (("error", DeprecationWarning),)):
                with self.subTest(warn=warn, filters=filters):
                    (found,) = self.given(warn, *filters)
                    self.assertIs(found.category, ResourceWarning)
                    self.assertEqual((found.filename, found.lineno), (__file__, leaking.__code__.co_firstlineno))

    def test_it_is_not_seen_where_the_user_hides_it(self) -> None:
        for kind in (ResourceWarning, Warning):
            for warn in (leaks.warn, leaks.show):
                self.assertEqual(self.given(warn, ("ignore", kind)), [])

    def test_it_is_an_error_only_where_the_test_can_still_fail(self) -> None:
        for kind in (ResourceWarning, Warning):
            with self.subTest(kind), self.assertRaisesRegex(ResourceWarning, "left open"):
                self.given(leaks.warn, ("error", kind))
            self.assertEqual(len(self.given(leaks.show, ("error", kind))), 1)

    def test_filters_are_as_before(self) -> None:
        before = list(warnings.filters)
        with self.assertWarns(ResourceWarning):
            leaks.warn("left open")
        self.assertEqual(warnings.filters, before)

    def test_each_leak_is_shown(self) -> None:
        done = run_python(
            """
            from containertest import leaks
            for _ in range(2):
                leaks.warn("the same")
            """
        )
        self.assertEqual(done.stderr.count("ResourceWarning: the same"), 2, done.stderr)

    def test_tests_of_any_make_can_be_named(self) -> None:
        odd: tuple[Any, ...] = (None, print, staticmethod(leaking), type("Callable", (), {"__call__": leaking})())
        for test in odd:
            with self.subTest(test=test), self.assertWarns(ResourceWarning):
                leaks.warn("left open", test)

    def test_without_a_test_it_is_whoever_has_called_the_library(self) -> None:
        with self.assertWarns(ResourceWarning) as caught:
            leaks.show("left open")
        self.assertEqual(caught.filename, __file__)

    def test_filters_that_may_make_an_error_of_it_are_known(self) -> None:
        for kind, expected in ((Warning, True), (ResourceWarning, True), (DeprecationWarning, False)):
            with self.subTest(kind), warnings.catch_warnings():
                warnings.filters[:] = DEFAULTS  # type: ignore[index]
                warnings.simplefilter("error", kind)
                self.assertEqual(leaks.are_errors(), expected)


if __name__ == "__main__":
    unittest.main()
