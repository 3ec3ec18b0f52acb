"""Hooks that are coroutine functions, generators and the like: run to their end, or refused; never silently nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import traceback
import types
import unittest
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar
from unittest import mock

import asyncpg

from containertest import ConfigError, ContainerManager, MigrationError, PostgresTestCase
from tests import support

SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, email text)"


class Hooks(unittest.TestCase):
    containers: ClassVar[ContainerManager]
    Base: ClassVar[Any]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        support.require_any()
        cls.containers = ContainerManager(redis=None, migrations=migrate).start()
        cls.addClassCleanup(cls.containers.stop)

        class Base(PostgresTestCase):
            containers = cls.containers

        cls.Base = Base

    def passes(self, case: type[unittest.TestCase]) -> None:
        result = support.run_case(case)
        self.assertEqual([text for _, text in (*result.errors, *result.failures)], [])
        self.assertGreater(result.testsRun, 0)

    def refused(self, case: type[unittest.TestCase], *words: str) -> None:
        result = support.run_case(case)
        self.assertTrue(result.errors)
        for _, text in result.errors:
            for word in words:
                self.assertIn(word, text)


async def migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    await asyncio.sleep(0)
    await connection.execute(SCHEMA)
    await connection.close()


async def add(case: Any, email: str) -> None:
    """As a user's own asynchronous code: on a connection of another driver."""
    connection = await asyncpg.connect(case.containers.postgres.url)
    try:
        await connection.execute("INSERT INTO users (email) VALUES ($1)", email)
    finally:
        await connection.close()


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


class FixtureListTests(Hooks):
    def test_what_is_no_list_of_paths_is_refused(self) -> None:
        async def later() -> list[str]:
            return ["users.sql"]

        coroutine = later()
        self.addCleanup(coroutine.close)
        for given in (
            later,
            coroutine,
            lambda: ["users.sql"],
            classmethod(lambda cls: ["users.sql"]),
            property(lambda self: ["users.sql"]),
            (path for path in ["users.sql"]),
            {"users.sql"},
            {"users.sql": 1},
            b"users.sql",
            5,
        ):

            class Users(self.Base):  # type: ignore[misc,name-defined]
                fixtures = given

                def test(self) -> None:
                    pass

            with self.subTest(given):
                self.refused(Users, "ConfigError", "Users.fixtures is", "must be a list of paths")


class MigrationTests(Hooks):
    def started(self, migrations: Any) -> ContainerManager:
        manager = ContainerManager(redis=None, migrations=migrations)
        self.addCleanup(manager.stop)
        return manager.start()

    def test_coroutine_function_is_run_to_its_end(self) -> None:
        class Migration:
            async def __call__(self, url: str) -> None:
                await migrate(url)

        for migrations in (migrate, lambda url: migrate(url), functools.partial(migrate), Migration(), [migrate]):
            with self.subTest(migrations):
                with self.started(migrations).postgres.connect() as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM users")
                    self.assertEqual(cursor.fetchone(), (0,))

    def test_loop_that_runs_already_is_left_alone(self) -> None:
        async def main() -> None:
            self.started(lambda url: migrate(url))

        asyncio.run(main())

    def test_error_in_it_names_the_migration(self) -> None:
        async def broken(url: str) -> None:
            await asyncio.sleep(0)
            raise KeyError("the error itself")

        for migrations in (broken, lambda url: broken(url)):
            with self.assertRaisesRegex(MigrationError, "failed: KeyError: 'the error itself'") as caught:
                self.started(migrations)
            cause = caught.exception.__cause__
            self.assertEqual([frame.name for frame in traceback.extract_tb(cause and cause.__traceback__)], ["broken"])

    def test_what_has_a_yield_is_refused(self) -> None:
        def generator(url: str) -> Iterator[None]:
            yield

        async def asynchronous(url: str) -> AsyncIterator[None]:
            yield

        for migrations in (generator, asynchronous, contextlib.contextmanager(generator)):
            with self.subTest(migrations), self.assertRaisesRegex(MigrationError, "returned a generator"):
                self.started(migrations)

    def test_coroutine_itself_and_depends_on_by_a_coroutine_function_are_refused(self) -> None:
        coroutine = migrate("postgresql://nowhere")
        self.addCleanup(coroutine.close)
        with self.assertRaisesRegex(ConfigError, "a callable that takes the database URL"):
            self.started(coroutine)

        async def dependent(url: str) -> None:
            pass

        dependent.depends_on = migrate  # type: ignore[attr-defined]
        with self.assertRaisesRegex(ConfigError, "depends_on of .* must be a list of paths"):
            self.started(dependent)


class CoroutinesInPlainClassesTests(Hooks):
    """unittest calls them, and awaits nothing: the test would be green."""

    def test_hooks_of_the_class_and_of_its_module_are_refused(self) -> None:
        async def hook(*_: Any) -> None:
            pass

        for name in ("setUpClass", "tearDownClass"):
            with self.subTest(name), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = type("Users", (self.Base,), {name: classmethod(hook), "test": lambda case: None})
                self.refused(made, f"ConfigError: Users.{name} is a coroutine function")
        for name in ("setUpModule", "tearDownModule"):
            module = types.ModuleType("users")
            setattr(module, name, hook)
            with self.subTest(name), mock.patch.dict(sys.modules, users=module), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's own, of the coroutine that unittest does not await
                made = type("Users", (self.Base,), {"__module__": "users", "test": lambda case: None})
                self.refused(made, f"ConfigError: users.{name} is a coroutine function")

    def test_asynchronous_set_up_that_nobody_calls_is_refused(self) -> None:
        async def hook(case: Any) -> None:
            pass

        for name in ("asyncSetUp", "asyncTearDown"):
            with self.subTest(name):
                made = type("Users", (self.Base,), {name: hook, "test": lambda case: None})
                self.refused(made, f"ConfigError: Users.{name} is never called")

    def test_manager_that_is_none_is_refused(self) -> None:
        async def containers() -> ContainerManager:
            return self.containers

        for given in (containers, [self.containers], 5):
            with self.subTest(given):
                made = type("Users", (PostgresTestCase,), {"containers": given, "test": lambda case: None})
                self.refused(made, "ConfigError: Users.containers is", "must be a ContainerManager")

    def test_tests_and_what_is_around_them_are_refused(self) -> None:
        async def coroutine(case: Any) -> None:
            case.fail("run")

        def generator(case: Any) -> Iterator[None]:
            yield

        def passed(case: Any) -> None:
            pass

        for name in ("setUp", "test", "tearDown"):
            for hook in (coroutine, generator, lambda case: coroutine(case)):
                with self.subTest(name, hook=hook):
                    self.refused(type("Users", (self.Base,), {"test": passed, name: hook}), "ConfigError: Users.")


if __name__ == "__main__":
    unittest.main()
