"""Where settings come from, which source wins, and what is said about wrong ones."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from containertest import ContainerManager
from containertest.errors import ConfigError
from containertest.services import postgres, redis
from containertest.settings import Settings

SECRET = "s3cret"


class SettingsCase(unittest.TestCase):
    """In an empty working directory and an environment without settings."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext_(tempfile.TemporaryDirectory()))
        self.enterContext_(_working_directory(self.folder))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONTAINERTEST_")}
        self.enterContext_(mock.patch.dict(os.environ, clean, clear=True))

    def enterContext_(self, context: object) -> str:
        """``enterContext``, which Python 3.10 lacks."""
        entered: str = context.__enter__()  # type: ignore[attr-defined]
        self.addCleanup(context.__exit__, None, None, None)  # type: ignore[attr-defined]
        return entered

    def environment(self, **variables: str) -> None:
        os.environ.update({f"CONTAINERTEST_{name}": value for name, value in variables.items()})

    def cfg(self, text: str) -> None:
        (self.folder / "setup.cfg").write_text(f"[containertest]\n{text}\n", encoding="utf-8")

    def refused(self, **arguments: object) -> str:
        with self.assertRaises(ConfigError) as caught:
            Settings.load(**arguments)
        return str(caught.exception)


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class PrecedenceTests(SettingsCase):
    def test_argument_wins_over_environment_over_file_over_default(self) -> None:
        self.assertEqual(Settings.load().startup_timeout, 60)
        self.cfg("startup_timeout = 10")
        self.assertEqual(Settings.load().startup_timeout, 10)
        self.environment(STARTUP_TIMEOUT="20")
        self.assertEqual(Settings.load().startup_timeout, 20)
        self.assertEqual(Settings.load(startup_timeout=30.5).startup_timeout, 30.5)

    def test_source_of_each_is_known(self) -> None:
        self.cfg("keep-alive = 5")
        self.environment(STRICT="1")
        settings = Settings.load(backend="local")
        self.assertEqual(settings.source("backend"), "argument backend")
        self.assertEqual(settings.source("strict"), "CONTAINERTEST_STRICT")
        self.assertEqual(settings.source("keep_alive"), f"keep-alive in {self.folder.resolve() / 'setup.cfg'}")
        self.assertEqual(settings.source("keep_failed"), "default")

    def test_argument_none_and_empty_variable_count_as_not_given(self) -> None:
        self.cfg("backend = local")
        self.environment(BACKEND="", POSTGRES_URL="")
        self.assertEqual(Settings.load(backend=None).backend, "local")
        self.assertIsNone(Settings.load().postgres_url)

    def test_empty_variable_switches_a_flag_of_the_file_off(self) -> None:
        self.cfg("strict = yes")
        self.environment(STRICT="")
        self.assertFalse(Settings.load().strict)

    def test_environment_is_read_on_call(self) -> None:
        self.assertEqual(Settings.load().backend, "auto")
        self.environment(BACKEND="Docker")
        self.assertEqual(Settings.load().backend, "docker")

    def test_id_of_the_run_is_not_a_setting(self) -> None:
        self.environment(SESSION="1-2")
        self.assertEqual(Settings.load(), Settings())


class ImageTests(SettingsCase):
    def images(self, postgres_image: str = postgres.DEFAULT_IMAGE) -> tuple[str, str]:
        settings = Settings.load()
        spec = postgres.spec(postgres.Postgres(postgres_image), settings, SECRET)
        return spec.container.image, spec.image_source

    def test_image_of_the_environment_wins_over_one_in_code(self) -> None:
        self.environment(POSTGRES_IMAGE="mirror/postgres:15")
        self.assertEqual(self.images("postgres:14"), ("mirror/postgres:15", "CONTAINERTEST_POSTGRES_IMAGE"))

    def test_image_of_a_file_only_replaces_the_default(self) -> None:
        self.cfg("postgres_image = mirror/postgres:15")
        self.assertEqual(self.images("postgres:14"), ("postgres:14", "Postgres(image=…)"))
        self.assertEqual(self.images()[0], "mirror/postgres:15")

    def test_default_image_is_said_to_be_the_default(self) -> None:
        self.assertEqual(self.images(), ("postgres:16-alpine", "default"))

    def test_services_have_settings_of_their_own(self) -> None:
        self.environment(REDIS_IMAGE="mirror/redis:6")
        self.assertEqual(self.images()[1], "default")
        self.assertEqual(redis.spec(redis.Redis(), Settings.load(), SECRET).container.image, "mirror/redis:6")


class WrongValueTests(SettingsCase):
    def test_message_names_variable_value_and_what_is_allowed(self) -> None:
        for variable, value, allowed in (
            ("BACKEND", "dokcer", "one of auto, docker, local, external (did you mean docker?)"),
            ("STARTUP_TIMEOUT", "soon", "a number of seconds above 0"),
            ("STARTUP_TIMEOUT", "0", "a number of seconds above 0"),
            ("KEEP_ALIVE", "-1", "a number of seconds, 0 or more"),
            ("KEEP_ALIVE", "nan", "a number of seconds, 0 or more"),
            ("KEEP_ALIVE", "inf", "a number of seconds, 0 or more"),
            ("STRICT", "maybe", "1 or 0 (or true/false, yes/no, on/off)"),
            ("REDIS_IMAGE", "redis: 7", "a name without spaces"),
        ):
            with self.subTest(variable=variable, value=value), mock.patch.dict(os.environ):
                self.environment(**{variable: value})
                self.assertEqual(self.refused(), f"CONTAINERTEST_{variable} is {value!r}, but must be {allowed}.")

    def test_wrong_argument_is_named(self) -> None:
        self.assertIn("argument startup_timeout is 'x', but must be", self.refused(startup_timeout="x"))

    def test_wrong_value_in_a_file_names_the_file(self) -> None:
        self.cfg("backend = podman")
        self.assertIn(f"backend in {self.folder.resolve() / 'setup.cfg'} is 'podman'", self.refused())

    def test_wrong_url_is_never_shown(self) -> None:
        for variable, value in (
            ("POSTGRES_URL", f"postgresql//user:{SECRET}@host"),
            ("POSTGRES_URL", f"redis://:{SECRET}@host"),
            ("POSTGRES_URL", f"postgresql://u:{SECRET}@host:99999/db"),
            ("POSTGRES_URL", f"postgresql://u:{SECRET}@"),
            ("REDIS_URL", f"http://:{SECRET}@host"),
        ):
            with self.subTest(value), mock.patch.dict(os.environ):
                self.environment(**{variable: value})
                message = self.refused()
                self.assertNotIn(SECRET, message)
                self.assertIn(f"CONTAINERTEST_{variable} is the value given (not shown", message)
                self.assertIn("://user:password@host:port/", message)

    def test_good_url_is_not_in_the_repr(self) -> None:
        self.environment(POSTGRES_URL=f"postgresql://u:{SECRET}@host/db", REDIS_URL=f"redis://:{SECRET}@host")
        settings = Settings.load()
        self.assertTrue(settings.postgres_url and settings.redis_url)
        self.assertNotIn(SECRET, repr(settings))

    def test_redis_database_in_a_url_must_be_a_number(self) -> None:
        self.environment(REDIS_URL=f"redis://:{SECRET}@host/cache")
        with self.assertRaisesRegex(ConfigError, "CONTAINERTEST_REDIS_URL names database 'cache'"):
            redis.spec(redis.Redis(), Settings.load(), "")


class UnknownSettingTests(SettingsCase):
    def test_unknown_variable_with_a_suggestion(self) -> None:
        self.environment(BACKND="docker")
        message = self.refused()
        self.assertIn("Unknown setting CONTAINERTEST_BACKND (did you mean CONTAINERTEST_BACKEND?)", message)
        self.assertIn("Known are: CONTAINERTEST_BACKEND, ", message)

    def test_unknown_key_of_a_file_with_a_suggestion(self) -> None:
        self.cfg("keep_alife = 1")
        self.assertRegex(self.refused(), r"^Unknown setting keep_alife in .*setup\.cfg \(did you mean keep_alive\?\)")

    def test_name_of_the_environment_in_a_file_suggests_the_key(self) -> None:
        self.cfg("CONTAINERTEST_BACKEND = local")
        self.assertIn("(did you mean backend?)", self.refused())

    def test_unknown_argument(self) -> None:
        self.assertIn("Unknown setting argument timeout", self.refused(timeout=1))

    def test_value_of_an_unknown_setting_is_not_shown(self) -> None:
        self.environment(POSTGRES_URI=f"postgresql://u:{SECRET}@host/db")
        self.assertNotIn(SECRET, self.refused())


class FileTests(SettingsCase):
    def toml(self, text: str) -> None:
        (self.folder / "pyproject.toml").write_text(text, encoding="utf-8")

    def test_nearest_folder_above_with_a_section_is_taken(self) -> None:
        self.cfg("backend = local")
        below = self.folder / "one" / "two"
        below.mkdir(parents=True)
        (self.folder / "one" / "setup.cfg").write_text("[metadata]\nname = other\n")
        self.enterContext_(_working_directory(below))
        self.assertEqual(Settings.load().backend, "local")

    def test_files_and_folders_above_that_are_closed_to_this_user_do_not_matter(self) -> None:
        self.cfg("backend = local")
        inner = self.folder / "closed" / "inner"
        inner.mkdir(parents=True)
        inner.joinpath("setup.cfg").write_text("[containertest]\nbackend = docker\n")
        inner.joinpath("setup.cfg").chmod(0)
        os.chdir(inner)
        self.addCleanup(os.chmod, self.folder / "closed", 0o700)
        os.chmod(self.folder / "closed", 0)
        pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                if os.getuid() == 0:
                    os.setuid(65534)
                status = 0 if Settings.load().backend == "auto" else 2
            os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_removed_working_folder_has_no_files(self) -> None:
        gone = self.folder / "gone"
        gone.mkdir()
        self.environment(STRICT="1")
        with _working_directory(gone):
            gone.rmdir()
            self.assertTrue(Settings.load().strict)
            manager = ContainerManager(migrations="schema.sql")
            with self.assertRaisesRegex(ConfigError, "migration not found: schema.sql\nLooked in:"):
                manager.start()

    def test_other_sections_do_not_matter(self) -> None:
        (self.folder / "setup.cfg").write_text("[DEFAULT]\ncolour = red\n[containertest]\nstrict = 1\n[tool]\na = %b\n")
        self.assertTrue(Settings.load().strict)

    def test_byte_order_mark_of_an_editor_on_windows_does_no_harm(self) -> None:
        self.cfg("backend = local")
        text = (self.folder / "setup.cfg").read_text(encoding="utf-8")
        (self.folder / "setup.cfg").write_text(text, encoding="utf-8-sig")
        self.assertEqual(Settings.load().backend, "local")

    @unittest.skipIf(sys.version_info < (3, 11), "Python 3.10 can't read TOML")
    def test_tool_that_is_no_table_of_pyproject_is_none_of_ours(self) -> None:
        (self.folder / "pyproject.toml").write_text('tool = "containertest"')
        self.assertEqual(Settings.load().backend, "auto")

    def test_broken_setup_cfg_is_named(self) -> None:
        (self.folder / "setup.cfg").write_text("[containertest]\nstrict = 1\nstrict = 0\n")
        self.assertRegex(self.refused(), r"setup\.cfg can't be read: .*'strict'")

    def test_setup_cfg_that_is_not_utf_8_is_named(self) -> None:
        (self.folder / "setup.cfg").write_bytes(b"[containertest]\nbackend = \xff\n")
        self.assertRegex(self.refused(), r"setup\.cfg can't be read")

    def test_pyproject_that_only_names_the_library_is_no_setting(self) -> None:
        self.toml('[project]\ndependencies = ["containertest"]\n# see [tool.containertest]\n')
        self.assertEqual(Settings.load(), Settings())

    @unittest.skipIf(sys.version_info < (3, 11), "Python 3.10 can't read TOML")
    def test_pyproject_gives_values_of_any_type(self) -> None:
        self.toml(
            '[tool.containertest]\nbackend = "local"\nstartup-timeout = 2.5\nstrict = true\nkeep_failed = false\n'
        )
        self.assertEqual(
            Settings.load(), Settings(backend="local", startup_timeout=2.5, strict=True, keep_failed=False)
        )

    @unittest.skipIf(sys.version_info < (3, 11), "Python 3.10 can't read TOML")
    def test_pyproject_section_may_be_spelled_otherwise(self) -> None:
        for text in ("[tool]\ncontainertest = {strict = true}\n", "[ tool . containertest ]\nstrict = true\n"):
            with self.subTest(text):
                self.toml(text)
                self.assertTrue(Settings.load().strict)

    @unittest.skipIf(sys.version_info < (3, 11), "Python 3.10 can't read TOML")
    def test_broken_pyproject_is_named(self) -> None:
        for content in (b"[tool.containertest]\nstrict = \n", b"[tool.containertest]\nbackend = '\xff'\n"):
            with self.subTest(content):
                (self.folder / "pyproject.toml").write_bytes(content)
                self.assertRegex(self.refused(), r"pyproject\.toml can't be read")

    def test_python_without_tomllib_says_where_to_put_the_settings(self) -> None:
        self.toml('[tool.containertest]\nbackend = "local"\n')
        with mock.patch.object(sys, "version_info", (3, 10, 13, "final", 0)):
            message = self.refused()
        self.assertIn("Python 3.10 can't read TOML", message)
        self.assertIn("setup.cfg, section [containertest]", message)

    def test_python_without_tomllib_needs_none_where_there_is_no_section(self) -> None:
        self.toml('[project]\ndependencies = ["containertest"]\n# see tool.containertest\n')
        with mock.patch.object(sys, "version_info", (3, 10, 13, "final", 0)):
            self.assertEqual(Settings.load(), Settings())

    def test_setup_cfg_wins_over_pyproject_of_the_same_folder(self) -> None:
        self.cfg("backend = local")
        self.toml('[tool.containertest]\nbackend = "docker"\n')
        self.assertEqual(Settings.load().backend, "local")


if __name__ == "__main__":
    unittest.main()
