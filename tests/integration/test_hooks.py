"""A setUpTestData that is a coroutine function or the like is run to its end, or refused; never silently nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

from tests.integration.hook_case import Hooks, add


class SetUpTestDataTests(Hooks):
    def test_coroutine_function_is_run_once_and_is_part_of_the_baseline(self) -> None:
        class Users(self.Base):  # type: ignore[misc,name-defined]
            calls: ClassVar[list[str]] = []

            @classmethod
            async def setUpTestData(cls) -> None:
                cls.calls.append("called")
                await add(cls, "a@example.com")

            def test_1(self) -> None:
                self.assertRowExists("users", id=1, email="a@example.com")
                with self.db.cursor() as cursor:
                    cursor.execute("DELETE FROM users")

            test_2 = test_1

        self.passes(Users)
        self.assertEqual(Users.calls, ["called"])

    def test_subclass_may_await_that_of_its_base_even_ours(self) -> None:
        class Parent(self.Base):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                await super().setUpTestData()
                await add(cls, "parent@example.com")

            def test(self) -> None:
                self.assertRowCount("users", 1)

        class Child(Parent):
            @classmethod
            async def setUpTestData(cls) -> None:
                await super().setUpTestData()
                await add(cls, "child@example.com")

            def test(self) -> None:
                self.assertRowCount("users", 2)

        class Plain(Parent):
            """Not a coroutine function, but what it returns is a coroutine."""

            @classmethod
            def setUpTestData(cls) -> Any:
                return super().setUpTestData()

        for case in (Parent, Child, Plain):
            self.passes(case)

    def test_other_things_that_can_be_awaited(self) -> None:
        class Awaitable:
            def __init__(self, case: Any) -> None:
                self.case = case

            def __await__(self) -> Any:
                return add(self.case, "a@example.com").__await__()

        def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(*args: Any) -> Any:
                return function(*args)

            return wrapper

        async def gathered(cls: Any) -> None:
            await asyncio.gather(*(add(cls, email) for email in ("a@example.com",)))

        for hook in (Awaitable, lambda cls: add(cls, "a@example.com"), decorated(gathered)):

            class Users(self.Base):  # type: ignore[misc,name-defined]
                setUpTestData = classmethod(hook)

                def test(self) -> None:
                    self.assertRowCount("users", 1)

            with self.subTest(hook):
                self.passes(Users)

    def test_asynchronous_tests_after_it_and_the_thread_keeps_its_loop(self) -> None:
        class Users(self.Base, unittest.IsolatedAsyncioTestCase):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                await add(cls, "a@example.com")

            def setUp(self) -> None:
                asyncio.get_event_loop_policy().get_event_loop()

            async def test(self) -> None:
                await add(self, "b@example.com")
                self.assertRowCount("users", 2)

        self.passes(Users)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self.addCleanup(asyncio.set_event_loop, None)
        self.addCleanup(loop.close)

        class Again(Users):
            pass

        self.passes(Again)

        class Legacy(self.Base):  # type: ignore[misc,name-defined]
            setUpTestData = Users.__dict__["setUpTestData"]

            def test(self) -> None:
                asyncio.set_event_loop(loop)
                self.assertRowCount("users", 1)

            def tearDown(self) -> None:
                self.assertIs(asyncio.get_event_loop_policy().get_event_loop(), loop)

        self.passes(Legacy)

    def test_loop_that_runs_already_is_left_alone(self) -> None:
        class Users(self.Base):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                await add(cls, "a@example.com")

            def test(self) -> None:
                self.assertRowCount("users", 1)

        async def main() -> asyncio.AbstractEventLoop:
            self.passes(Users)
            return asyncio.get_running_loop()

        asyncio.run(main())

    def test_what_it_leaves_open_in_its_loop_is_closed(self) -> None:
        closed = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                closed.append("generator")

        async def forever() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                closed.append("task")

        class Users(self.Base):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                cls.task = asyncio.ensure_future(forever())
                cls.numbers = numbers()
                await anext(cls.numbers)

            def test(self) -> None:
                self.assertEqual(closed, ["task", "generator"])

        self.passes(Users)

    def test_error_in_it_is_an_error_of_the_tests(self) -> None:
        class Users(self.Base):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                await asyncio.sleep(0)
                raise KeyError("the error itself")

            def test(self) -> None:
                pass

        self.refused(Users, "KeyError: 'the error itself'")

    def test_what_has_a_yield_is_refused(self) -> None:
        def generator(cls: Any) -> Iterator[None]:
            yield

        async def asynchronous(cls: Any) -> AsyncIterator[None]:
            yield

        for hook in (
            generator,
            asynchronous,
            contextlib.contextmanager(generator),
            contextlib.asynccontextmanager(asynchronous),
        ):

            class Users(self.Base):  # type: ignore[misc,name-defined]
                setUpTestData = classmethod(hook)

                def test(self) -> None:
                    pass

            with self.subTest(hook):
                self.refused(Users, "ConfigError", "Users.setUpTestData returned a generator", "without yield")

    def test_base_whose_coroutine_is_forgotten_is_told(self) -> None:
        class Parent(self.Base):  # type: ignore[misc,name-defined]
            @classmethod
            async def setUpTestData(cls) -> None:
                await add(cls, "parent@example.com")

        class Child(Parent):
            @classmethod
            def setUpTestData(cls) -> None:  # type: ignore[override]
                super().setUpTestData()

            def test(self) -> None:
                pass

        self.refused(Child, "ConfigError", "Parent.setUpTestData", "never awaited")


if __name__ == "__main__":
    unittest.main()
