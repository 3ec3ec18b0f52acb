"""What may be given as migrations, and their digest; no server."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from containertest.errors import ConfigError, MigrationError
from containertest.migrations import Migrations

CONNECTION = cast(Any, None)  # for migrations that have no SQL file


class Called:
    def __call__(self, url: str) -> None:
        raise ValueError(f"no such revision at {url}")

    def method(self, url: str) -> None:
        pass

    def other(self, url: str) -> str:
        return url


class FolderCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name: str, text: str = "SELECT 1;") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def migrations(self, source: object) -> Migrations:
        return Migrations(source, [self.folder])


class SourceTests(FolderCase):
    def test_file_of_another_language_is_refused_with_what_to_pass_instead(self) -> None:
        for name in ("migrate.py", "alembic.ini", "SCHEMA.JSON"):
            with self.subTest(name):
                self.file(name, "x")
                self.assertRegex(
                    self.refused(name), rf"{name} is not SQL by its name\.\nPass a \.sql file, .* callable"
                )

    def test_sql_may_have_any_other_name(self) -> None:
        for name in ("schema.ddl", "schema.psql", "schema"):
            self.file(name, "SELECT 1")
            self.migrations(name)

    def refused(self, source: object) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.migrations(source)
        return str(caught.exception)

    def test_missing_file_names_the_folders_and_a_similar_one(self) -> None:
        self.file("schema.sql")
        message = self.refused("shema.sql")
        self.assertIn("migration not found: shema.sql", message)
        self.assertIn(f"\n  {self.folder}\n", message)
        self.assertIn(f"Did you mean {self.folder / 'schema.sql'}?", message)

    def test_empty_path_is_not_the_folder_of_the_module(self) -> None:
        self.file("schema.sql")
        self.assertEqual(self.refused(""), "migration: '' is not the path of a file; several are named one by one.")

    def test_missing_file_in_a_list_is_found_at_once(self) -> None:
        self.file("schema.sql")
        self.assertIn("missing.sql", self.refused(["schema.sql", "missing.sql"]))

    def test_folder_without_sql_files_says_so(self) -> None:
        self.file("empty/readme.txt")
        self.file("empty/.hidden.sql")
        message = self.refused("empty")
        self.assertIn(f"no .sql files in the folder {self.folder / 'empty'}", message)
        self.assertIn("Alembic", message)

    def test_anything_else_says_what_is_allowed(self) -> None:
        for source in (7, [None], {"a": 1}, b"schema.sql"):
            with self.subTest(source):
                self.assertIn("a .sql file, a folder", self.refused(source))

    def test_none_and_an_empty_list_are_no_migrations(self) -> None:
        for source in (None, []):
            migrations = self.migrations(source)
            migrations.run(CONNECTION, "")
            self.assertTrue(migrations.reusable)

    def test_relative_paths_do_not_follow_the_working_directory(self) -> None:
        self.file("schema.sql")
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        migrations = Migrations("schema.sql", [Path()])
        os.chdir("/")
        self.assertEqual(migrations.digest(), self.migrations("schema.sql").digest())


class CallableTests(FolderCase):
    def failure(self, migration: Any) -> MigrationError:
        with self.assertRaises(MigrationError) as caught:
            self.migrations(migration).run(CONNECTION, "postgresql://host/db")
        return caught.exception

    def test_callables_get_the_url_in_the_order_of_the_list(self) -> None:
        calls: list[str] = []
        self.migrations([lambda url: calls.append(f"1 {url}"), lambda url: calls.append(f"2 {url}")]).run(
            CONNECTION, "postgresql://host/db"
        )
        self.assertEqual(calls, ["1 postgresql://host/db", "2 postgresql://host/db"])

    def test_error_names_the_callable_and_its_exception(self) -> None:
        error = self.failure(Called())
        self.assertIn(f"{__name__}.Called failed: ValueError: no such revision", str(error))
        self.assertIsInstance(error.__cause__, ValueError)

    def test_exit_of_a_command_line_tool_is_a_migration_error(self) -> None:
        error = self.failure(functools.partial(lambda code, url: sys.exit(code), 3))
        self.assertIn("SystemExit: 3", str(error))

    def test_keyboard_interrupt_is_let_through(self) -> None:
        def interrupted(url: str) -> None:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.migrations(interrupted).run(CONNECTION, "")

    def test_only_files_can_be_told_by_their_content(self) -> None:
        self.file("schema.sql")
        self.assertTrue(self.migrations(["schema.sql"]).reusable)
        self.assertFalse(self.migrations(["schema.sql", Called()]).reusable)


class DependsOnTests(FolderCase):
    """A callable says which files its result depends on."""

    def upgrade(self, *paths: object) -> Callable[[str], object]:
        def upgrade(url: str) -> None:
            pass

        upgrade.depends_on = list(paths)  # type: ignore[attr-defined]
        return upgrade

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "versions/more").mkdir(parents=True)
        self.file("versions/1.py", "one")
        self.file("versions/more/2.py", "two")
        self.file("alembic.ini")

    def test_it_can_be_told_by_their_content(self) -> None:
        self.assertTrue(self.migrations(self.upgrade("versions")).reusable)
        self.assertFalse(self.migrations([self.upgrade("versions"), Called()]).reusable)

    def test_what_is_below_a_folder_counts_but_not_what_python_makes_of_it(self) -> None:
        source = self.upgrade("alembic.ini", "versions")
        before = self.migrations(source).digest()
        (self.folder / "versions/__pycache__").mkdir()
        self.file("versions/__pycache__/1.pyc", "compiled")
        self.assertEqual(self.migrations(source).digest(), before)
        for name in ("alembic.ini", "versions/more/2.py", "versions/3.py"):
            self.file(name, "changed")
            after = self.migrations(source).digest()
            self.assertNotEqual(after, before, name)
            before = after

    def test_missing_file_is_named_with_a_similar_one(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.migrations(self.upgrade("version"))
        self.assertIn("what a migration depends on not found: version", str(caught.exception))
        self.assertIn("Did you mean", str(caught.exception))

    def test_one_path_instead_of_a_list_is_refused(self) -> None:
        upgrade = self.upgrade()
        upgrade.depends_on = "versions"  # type: ignore[attr-defined]
        with self.assertRaisesRegex(ConfigError, "depends_on of .*upgrade is 'versions', but must be a list of paths"):
            self.migrations(upgrade)


class DigestTests(FolderCase):
    def digest(self, source: object) -> str:
        return self.migrations(source).digest()

    def test_content_name_and_order_of_files_count(self) -> None:
        self.file("a.sql", "SELECT 1;")
        self.file("b.sql", "SELECT 2;")
        self.file("folder/a.sql", "SELECT 1;")
        self.file("folder/c.sql", "SELECT 1;")
        before = self.digest(["a.sql", "b.sql"])
        self.assertEqual(before, self.digest(["folder/a.sql", "b.sql"]))
        others = [self.digest(s) for s in (["b.sql", "a.sql"], "a.sql", "b.sql", "folder/c.sql", None)]
        self.assertEqual(len({before, *others}), 6)
        self.file("a.sql", "SELECT 3;")
        self.assertNotEqual(before, self.digest(["a.sql", "b.sql"]))

    def test_folder_is_its_files_in_the_order_of_the_numbers_in_their_names(self) -> None:
        for name in ("folder/10.sql", "folder/9.sql", "folder/.y.sql", "folder/z.txt"):
            self.file(name)
        self.assertEqual(self.digest("folder"), self.digest(["folder/9.sql", "folder/10.sql"]))

    def test_values_that_a_callable_closes_over_count(self) -> None:
        def made(tables: int) -> Any:
            return lambda url: print(url, tables)

        digests = [Migrations(made(tables), []).digest() for tables in (1, 1, 10)]
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])

    def test_code_of_a_callable_counts(self) -> None:
        def one(url: str) -> str:
            return url + "1"

        first = self.digest(one)

        def one(url: str) -> str:  # type: ignore[no-redef]
            return url + "2"

        self.assertNotEqual(first, self.digest(one))
        called = Called()
        sources = [
            called,
            called.method,
            called.other,
            functools.partial(one, 1),
            functools.partial(one, 2),
            print,
        ]
        self.assertEqual(len({self.digest(source) for source in sources}), len(sources))

    def test_all_processes_of_a_run_agree(self) -> None:
        script = self.file(
            "script.py",
            textwrap.dedent("""
                import functools
                from containertest.migrations import Migrations

                class Tool:
                    def __call__(self, url):
                        return url in {"a", "b", "c", "d"}

                def migrate(url, names=("x", frozenset("abc"))):
                    def inner():
                        return {name for name in names if name in {"q", "r", "s"}}
                    return lambda: (inner, {"m", "n", "o"})

                print(Migrations([migrate, Tool(), functools.partial(migrate, names=Tool())]).digest())
            """),
        )
        root = str(Path(__file__).parents[2])
        digests = set()
        for seed in ("1", "2", "3"):
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
            done = subprocess.run(
                [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
            )
            digests.add(done.stdout)
        self.assertEqual(len(digests), 1)

    def test_file_that_is_gone_is_a_migration_error(self) -> None:
        migrations = self.migrations(self.file("a.sql"))
        (self.folder / "a.sql").unlink()
        with self.assertRaisesRegex(MigrationError, r"a\.sql: can't be read: No such file"):
            migrations.digest()
        with self.assertRaisesRegex(MigrationError, r"a\.sql: can't be read: No such file"):
            migrations.run(CONNECTION, "")


if __name__ == "__main__":
    unittest.main()
