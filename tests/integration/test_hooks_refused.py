"""Fixtures, migrations and methods of tests that nobody would call or await: run to their end, or refused."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import traceback
import types
import unittest
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

from containertest import ConfigError, ContainerManager, MigrationError, PostgresTestCase
from tests.integration.hook_case import Hooks, migrate


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
