"""The public names, and what importing them does not do."""

from __future__ import annotations

import inspect
import json
import typing
import unittest

import containertest
from containertest import errors
from tests.support import run_python

#: What the documentation promises: name -> parameters; * and / as Python writes them.
SIGNATURES = {
    "ContainerManager": "postgres, redis, *, migrations=None, backend=None, startup_timeout=None",
    "ContainerManager.start": "self",
    "ContainerManager.stop": "self",
    "ContainerManager.reset_database": "self",
    "ContainerManager.reset_redis": "self",
    "ContainerManager.reset_all": "self",
    "ContainerManager.load_fixtures": "self, *paths",
    "ContainerManager.snapshot": "self",
    "ContainerManager.environ": "self",
    "Postgres": "image='postgres:16-alpine', username='testuser', password=None, dbname='testdb', options, memory=None",
    "Redis": "image='redis:7-alpine', password=None, options, memory=None",
    "IntegrationTestCase.setUpTestData": "",
    "IntegrationTestCase.connect": "self, **kwargs",
    "IntegrationTestCase.reset_database": "",
    "IntegrationTestCase.reset_redis": "",
    "IntegrationTestCase.reset_all": "",
    "IntegrationTestCase.load_fixtures": "*paths",
    "IntegrationTestCase.unique_key": "prefix='test'",
    "IntegrationTestCase.assertRowCount": "self, table, n, where=None, params=()",
    "IntegrationTestCase.assertRowExists": "self, table, **columns",
    "IntegrationTestCase.assertNoRow": "self, table, **columns",
    "IntegrationTestCase.assertNumQueries": "self, n",
    "IntegrationTestCase.assertKeyExists": "self, key",
    "IntegrationTestCase.assertNoKey": "self, key",
    "IntegrationTestCase.assertKeyExpires": "self, key, within=None",
}

#: Modules that no import of ours may load: drivers, Docker's libraries, and what is slow.
HEAVY = {"asyncio", "concurrent", "docker", "psycopg2", "redis", "requests", "subprocess", "testcontainers"}


def parameters(path: str) -> list[str]:
    value: object = containertest
    for name in path.split("."):
        value = getattr(value, name)
    return [_shown(parameter) for parameter in inspect.signature(value).parameters.values()]  # type: ignore[arg-type]


def _shown(parameter: inspect.Parameter) -> str:
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    simple = parameter.default is None or isinstance(parameter.default, (str, tuple))
    return star + parameter.name + (f"={parameter.default!r}" if simple else "")


class NameTests(unittest.TestCase):
    def test_all_is_sorted_and_each_name_is_there(self) -> None:
        self.assertEqual(containertest.__all__, sorted(containertest.__all__))
        for name in containertest.__all__:
            self.assertEqual(getattr(containertest, name).__name__, name)

    def test_all_is_what_type_checkers_see(self) -> None:
        source = inspect.getsource(containertest)
        block = source.partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
        for name in containertest.__all__:
            self.assertRegex(block, rf"\b{name}\b")

    def test_every_error_is_public(self) -> None:
        own = {name for name, value in vars(errors).items() if inspect.isclass(value)}
        self.assertEqual(own, set(errors.__all__))
        self.assertLessEqual(own, set(containertest.__all__))
        self.assertTrue(all(issubclass(getattr(errors, name), errors.ContainerTestError) for name in own))

    def test_dir_has_the_public_names(self) -> None:
        self.assertLessEqual(set(containertest.__all__), set(dir(containertest)))

    def test_other_names_are_attribute_errors(self) -> None:
        with self.assertRaisesRegex(AttributeError, "module 'containertest' has no attribute 'Postgre'"):
            _ = containertest.Postgre  # type: ignore[attr-defined]

    def test_star_import_gives_all(self) -> None:
        namespace: dict[str, typing.Any] = {}
        exec("from containertest import *", namespace)
        self.assertLessEqual(set(containertest.__all__), set(namespace))

    def test_signatures_are_the_promised_ones(self) -> None:
        for path, promised in SIGNATURES.items():
            with self.subTest(path):
                wanted = [item for item in promised.split(", ") if item and item != "*"]
                found = parameters(path)
                self.assertEqual(found[: len(wanted)], wanted)
                more = found[len(wanted) :]
                self.assertTrue(all("=" in item or item == "wait" for item in more), f"{more} must be optional")

    def test_arguments_after_the_services_are_keywords(self) -> None:
        found = inspect.signature(containertest.ContainerManager).parameters.values()
        keywords = [item.name for item in found if item.kind is item.KEYWORD_ONLY]
        self.assertEqual(keywords, ["migrations", "backend", "startup_timeout"])

    def test_running_services_have_the_promised_attributes(self) -> None:
        from containertest.servers.running import RunningPostgres, RunningRedis

        postgres = "url host port username password dbname connect connection backend version logs"
        redis = "url host port password db client connect backend version logs"
        for service, names in ((RunningPostgres, postgres), (RunningRedis, redis)):
            source = "".join(inspect.getsource(item) for item in service.__mro__[:-1])
            for name in names.split():
                with self.subTest(service.__name__, name=name):
                    self.assertRegex(source, rf"self\.{name}\b.* = |def {name}\(")


class ImportTests(unittest.TestCase):
    """In a child process, since ours has loaded everything."""

    def loaded(self, code: str) -> set[str]:
        """The top-level modules that ``code`` loads beyond those of ``import unittest``."""
        done = run_python(
            f"""
            import json, sys, unittest
            before = set(sys.modules)
            {code}
            names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
            print(json.dumps(sorted(names)))
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(json.loads(done.stdout))

    def test_package_loads_no_library(self) -> None:
        self.assertFalse(self.loaded("import containertest") & (HEAVY | {"dataclasses", "logging"}))

    def test_public_classes_load_no_driver_and_no_docker_library(self) -> None:
        for code in (
            "from containertest import *",
            "from containertest import ContainerManager; ContainerManager(migrations=print)",
            "from containertest import IntegrationTestCase, Postgres, Redis\n"
            "            class Tests(IntegrationTestCase): pass",
        ):
            with self.subTest(code):
                self.assertFalse(self.loaded(code) & (HEAVY - {"subprocess"}))

    def test_guard_loads_no_driver_and_no_docker_library(self) -> None:
        self.assertFalse(self.loaded("import containertest.guard") & (HEAVY - {"subprocess", "concurrent"}))

    def test_import_reads_no_environment_and_starts_nothing(self) -> None:
        done = run_python(
            """
            import os, sys, subprocess, threading, importlib, pkgutil, unittest, logging, asyncio
            import containertest

            def refuse(event, arguments):
                if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "socket.connect", "os.putenv"):
                    raise AssertionError(f"{event} at import: {arguments}")

            class Watched(dict):
                def __getitem__(self, key):
                    name = os.fsdecode(key)
                    if name.startswith(("CONTAINERTEST", "PG", "PYTEST", "REDIS")):
                        raise AssertionError(f"{name} was read at import")
                    return super().__getitem__(key)

            sys.addaudithook(refuse)
            os.environ._data = Watched(os.environ._data)
            for name in containertest.__all__:
                getattr(containertest, name)
            for folder in containertest.__path__:
                for name in ("servers", "sql", "reset", "services", "backends"):
                    for module in pkgutil.iter_modules([f"{folder}/{name}"], f"containertest.{name}."):
                        importlib.import_module(module.name)
                for module in pkgutil.iter_modules([folder], "containertest."):
                    if module.name != "containertest.__main__":
                        importlib.import_module(module.name)
            assert threading.active_count() == 1, threading.enumerate()
            assert "CONTAINERTEST_SESSION" not in os.environ._data
            """,
            CONTAINERTEST_BACKEND="nonsense",
        )
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
