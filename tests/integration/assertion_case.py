"""What the tests of assertions share: servers, and an inner test whose assertions are looked at."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, ClassVar

from containertest import ContainerManager, IntegrationTestCase
from tests import support


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
