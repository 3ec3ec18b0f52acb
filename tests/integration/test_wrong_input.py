"""What a user sees who does something wrong: a short message that says what to do, and nothing left behind.

Each test runs ``python -m unittest`` in a project of its own, as a user would.
"""

from __future__ import annotations

import re
import secrets
import unittest

from containertest.errors import LOG_LINES
from tests import support
from tests.integration import broken_images
from tests.integration.fake_servers import OldPostgres, OldRedis, serve
from tests.integration.user_project import Project, Run, module

NO_ENGINE = "unix:///nonexistent/docker.sock"
#: Lines that a message may have, without those of a server's log.
LONGEST = 15


class Sees:
    """What these tests have in common."""

    def see(self, run: Run, *words: str, errors: int = 1) -> None:
        """Each error has one of our messages, is short, shows no insides and says ``words``."""
        self.assertNotEqual(run.status, 0, run.output)
        self.assertEqual(len(run.errors), errors, run.output)
        for lines in run.errors:
            text = "\n".join(lines)
            self.assertRegex(text, r"(?m)^containertest\.errors\.\w+: ")
            message = text[text.index("containertest.errors.") :].splitlines()
            log = [line for line in message if line.startswith("  | ")]
            self.assertLessEqual(len(message) - len(log), LONGEST, run.output)
            self.assertLessEqual(len(log), LOG_LINES, run.output)
            for file in re.findall(r'File "(.*?)"', text):
                self.assertRegex(file, r"/ct-project-\w+/[^/]+\.py$|/containertest/(case|boundary)\.py$", run.output)
            for word in words:
                self.assertIn(word, text)

    def run_module(self, *managers: str, **variables: str) -> Run:
        """Run a project with a test module for each of ``managers``, by default one for the default settings."""
        modules = {f"test_{number}": module(it) for number, it in enumerate(managers or ["ContainerManager()"])}
        project = Project(self, **modules)
        return project.run(**variables)

    def see_each(self, wrong: dict[str, str], *words: str, **variables: str) -> None:
        """Managers that are wrong, each in a module of its own, with what is said of each; ``words`` of all."""
        run = self.run_module(*wrong, **variables)
        self.see(run, *words, errors=len(wrong))
        for lines, said in zip(run.errors, wrong.values(), strict=True):
            self.assertIn(said, "\n".join(lines))


class SettingTests(Sees, unittest.TestCase):
    def test_unknown_setting(self) -> None:
        self.see(self.run_module(CONTAINERTEST_BAKEND="local"), "CONTAINERTEST_BAKEND", "mean CONTAINERTEST_BACKEND?")

    def test_wrong_value_of_each_setting_names_the_setting_and_what_is_allowed(self) -> None:
        for name, value, allowed in (
            ("BACKEND", "podman", "one of auto, docker, local, external"),
            ("STARTUP_TIMEOUT", "soon", "a number of seconds above 0"),
            ("KEEP_ALIVE", "-1", "a number of seconds, 0 or more"),
            ("KEEP_FAILED", "maybe", "1 or 0"),
            ("STRICT", "2", "1 or 0"),
            ("POSTGRES_URL", "localhost:5432", "postgresql://user:password@host:port"),
            ("REDIS_URL", "http://localhost", "redis://user:password@host:port"),
            ("POSTGRES_IMAGE", "postgres 16", "a name without spaces"),
            ("REDIS_IMAGE", "redis 7", "a name without spaces"),
        ):
            with self.subTest(name):
                run = self.run_module(**{f"CONTAINERTEST_{name}": value})
                self.see(run, f"ConfigError: CONTAINERTEST_{name} is ", f"must be {allowed}")

    def test_wrong_setting_in_a_file_names_the_file(self) -> None:
        for file, text in (
            ("setup.cfg", "[containertest]\nkeep_allive = 600\n"),
            ("setup.cfg", "[containertest]\nbackend = podman\n"),
            ("setup.cfg", "[containertest\n"),
        ):
            with self.subTest(text):
                project = Project(self, test_it=module())
                project.write(file, text)
                self.see(project.run(), f"{project.folder}/{file}")

    def test_programs_that_are_not_there(self) -> None:
        for name, programs in (("POSTGRES", "postgres and initdb"), ("REDIS", "redis-server")):
            with self.subTest(name):
                variable = f"CONTAINERTEST_{name}_BIN"
                run = self.run_module(CONTAINERTEST_BACKEND="local", **{variable: "/nowhere"})
                self.see(run, f"{variable} is '/nowhere', which does not exist", f"the folder that has {programs}")

    def test_wrong_type_of_an_argument(self) -> None:
        wrong = {
            "ContainerManager(5)": "must be a Postgres, an image name or None",
            "ContainerManager(redis=Postgres())": "must be a Redis, an image name or None",
            "ContainerManager('')": "Postgres(image=…) is '', but must be an image name",
            "ContainerManager(Postgres(password=7))": "Postgres(password=…) is a int",
            "ContainerManager(redis=Redis(options=['save']))": "a dict of server settings",
            "ContainerManager(Postgres(wait=Connection))": "Connection(), LogLine(text) or ListeningPort()",
            "ContainerManager(Postgres(options={'port': 5433}))": "which .port, .url and environ() tell",
            "ContainerManager(Postgres(username='pg_tester'))": "PostgreSQL refuses",
        }
        # Raised while a module is imported: unittest shows the import, too.
        errors = self.run_module(*wrong).errors
        for lines, words in zip(errors, wrong.values(), strict=True):
            self.assertTrue(lines[-1].startswith("containertest.errors.ConfigError: "), lines)
            self.assertIn(words, lines[-1])

    def test_wrong_value_of_an_argument_that_is_a_setting(self) -> None:
        wrong = {
            "ContainerManager(backend='dokcer')": "did you mean docker?",
            "ContainerManager(backend=7)": "must be one of auto",
            "ContainerManager(startup_timeout=0)": "a number of seconds above 0",
            "ContainerManager(startup_timeout='soon')": "a number of seconds above 0",
            "ContainerManager(migrations=5)": "a .sql file, a folder of them, a callable",
            "ContainerManager(migrations='migrations')": "Looked in:\n",
        }
        self.see_each(wrong, "ConfigError: ")


class NoServerTests(Sees, unittest.TestCase):
    def test_no_docker_engine(self) -> None:
        run = self.run_module(CONTAINERTEST_BACKEND="docker", DOCKER_HOST=NO_ENGINE)
        self.see(run, f"No Docker engine answers at {NO_ENGINE}", "Start Docker", "DOCKER_HOST")

    def test_neither_an_engine_nor_programs(self) -> None:
        hide = {"PATH": "/nonexistent", "DOCKER_HOST": NO_ENGINE}
        project = Project(self, test_it=NO_PROGRAMS + module())
        run = project.run(**hide)
        self.see(run, "Tried:\n- docker: ", "\n- local: ", "Start Docker", "apt-get install", "containertest[embedded]")

    def test_no_postgresql_programs(self) -> None:
        project = Project(self, test_it=NO_PROGRAMS + module())
        run = project.run(CONTAINERTEST_BACKEND="local", PATH="/nonexistent")
        self.see(run, "No local PostgreSQL was found", "apt-get install postgresql", "CONTAINERTEST_POSTGRES_BIN")

    def test_local_programs_that_are_too_old(self) -> None:
        for title, programs, says in (
            ("POSTGRES", ("postgres", "initdb"), "postgres (PostgreSQL) 9.6.24"),
            ("REDIS", ("redis-server",), "Redis server v=5.0.14 sha=00000000:0"),
        ):
            with self.subTest(title):
                project = Project(self, test_it=module())
                for name in programs:
                    project.write(f"bin/{name}", f"#!/bin/sh\necho '{says}'\n").chmod(0o755)
                variable = f"CONTAINERTEST_{title}_BIN"
                run = project.run(CONTAINERTEST_BACKEND="local", **{variable: str(project.folder / "bin")})
                self.see(run, "or newer is needed", "apt-get install", f"set {variable}")

    def test_external_server_that_is_too_old(self) -> None:
        for name, handler, scheme, version in (
            ("POSTGRES", OldPostgres, "postgresql", "9.6.24"),
            ("REDIS", OldRedis, "redis", "5.0.14"),
        ):
            with self.subTest(name):
                variable, other = f"CONTAINERTEST_{name}_URL", "redis" if name == "POSTGRES" else "postgres"
                port = serve(self, handler)
                run = self.run_module(
                    f"ContainerManager({other}=None)", **{variable: f"{scheme}://user:secret@127.0.0.1:{port}/0"}
                )
                self.see(run, f"is version {version}, but", f"a newer server in {variable}")

    def test_external_server_that_is_not_there(self) -> None:
        for name, scheme in (("POSTGRES", "postgresql"), ("REDIS", "redis")):
            with self.subTest(name):
                other = "redis" if name == "POSTGRES" else "postgres"
                variable, secret = f"CONTAINERTEST_{name}_URL", secrets.token_hex(8)
                run = self.run_module(
                    f"ContainerManager({other}=None)", **{variable: f"{scheme}://user:{secret}@127.0.0.1:1/0"}
                )
                self.see(run, f"at 127.0.0.1:1 ({variable}) can't be used", "Is it running")
                self.assertNotIn(secret, run.output)

    def test_backend_external_without_a_url(self) -> None:
        self.see(self.run_module(CONTAINERTEST_BACKEND="external"), "Set CONTAINERTEST_POSTGRES_URL")


#: Hides the programs of this machine in the usual places and in wheels; PATH is for the caller.
NO_PROGRAMS = """
from containertest.services import programs
programs._POSTGRES = programs._REDIS = ()
programs._wheel = lambda *names: iter(())
"""


class NotStartedTests(Sees, unittest.TestCase):
    def test_servers_of_a_manager_that_is_not_started(self) -> None:
        project = Project(self, test_it=NOT_STARTED)
        run = project.run()
        self.see(run, "NotStarted: The servers are not started.", "Call start() first", errors=4)

    def test_server_that_was_said_not_to_be_needed(self) -> None:
        support.require_any()
        run = self.run_module("ContainerManager(redis=None)")
        self.see(run, "Redis was asked for", "ContainerManager(redis=None)")


NOT_STARTED = """
import unittest
from containertest import ContainerManager, IntegrationTestCase

containers = ContainerManager()

class Users(IntegrationTestCase):
    containers = containers

class Tests(unittest.TestCase):
    def test_postgres(self):
        containers.postgres

    def test_environ(self):
        containers.environ()

    def test_redis_after_stop(self):
        containers.stop()
        containers.redis

    def test_connection_of_a_class(self):
        Users.db.cursor()
"""

FIXTURES = """
from containertest import IntegrationTestCase

class Missing(IntegrationTestCase):
    fixtures = ["fixtures/user.sql"]

    def test_it(self):
        pass

class MissingInTest(IntegrationTestCase):
    def test_it(self):
        self.load_fixtures("fixtures/user.sql")
"""

BROKEN_SQL = "CREATE TABLE users (id int);\n\nINSERT INTO users\n    VALUES (1), ('one');\n"

BROKEN_CALLABLE = """
import psycopg2

def migrate(url):
    psycopg2.connect(url).cursor().execute("CREATE TALBE users (id int)")

"""


class OnEveryBackend(Sees):
    """What goes wrong with servers that work."""

    backend = ""

    def seen(self, project: Project, *words: str, errors: int = 1) -> None:
        run = project.run(CONTAINERTEST_BACKEND=self.backend)
        self.see(run, *words, errors=errors)

    def test_missing_fixture_names_the_folders_and_one_like_it(self) -> None:
        project = Project(self, test_it=FIXTURES)
        file = project.write("fixtures/users.sql", "SELECT 1")
        self.seen(project, "fixture not found: fixtures/user.sql", f"  {project.folder}\n", f"mean {file}?", errors=2)

    def test_broken_fixture_names_file_line_statement_and_what_postgresql_says(self) -> None:
        project = Project(self, test_it=FIXTURES)
        file = project.write("fixtures/user.sql", BROKEN_SQL)
        self.seen(project, f"{file}, line 4: ERROR: invalid input syntax", "    4 |     VALUES", "^", errors=2)

    def test_broken_migration_names_file_line_statement_and_what_postgresql_says(self) -> None:
        project = Project(self, test_it=module("ContainerManager(migrations='schema.sql')"))
        file = project.write("schema.sql", BROKEN_SQL)
        self.seen(project, f"MigrationError: {file}, line 4: ERROR: invalid input", "    4 |     VALUES", "^")

    def test_broken_migration_in_python_is_shown_with_the_users_own_traceback(self) -> None:
        project = Project(self, test_it=BROKEN_CALLABLE + module("ContainerManager(migrations=migrate)"))
        self.seen(
            project, "in migrate\n", 'migration test_it.migrate failed: SyntaxError: syntax error at or near "TALBE"'
        )

    def test_unknown_option_of_a_server(self) -> None:
        wrong = {
            "ContainerManager(Postgres(options={'shared_bufers': '1GB'}), None)": "shared_bufers",
            "ContainerManager(None, Redis(options={'maxmemry': '64mb'}))": "maxmemry",
        }
        words = "ended while it was starting", "Look at its options", "\n  | "
        self.see_each(wrong, *words, CONTAINERTEST_BACKEND=self.backend)

    def test_server_that_never_gets_ready_shows_its_log_and_what_it_was_waited_for(self) -> None:
        wait = "LogLine('I am ready', timeout=2)"
        wrong = {
            f"ContainerManager(Postgres(wait={wait}), None)": "PostgreSQL was not ready after 2 s",
            f"ContainerManager(None, Redis(wait={wait}))": "Redis was not ready after 2 s",
        }
        words = "'I am ready' was logged 0 times", "Its last log lines:\n  | "
        self.see_each(wrong, *words, CONTAINERTEST_BACKEND=self.backend)


support.on_every_backend(OnEveryBackend)


class DockerTests(Sees, unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        support.require("docker")

    def see_images(self, postgres: str, redis: str, *words: str, **variables: str) -> None:
        """What is said where PostgreSQL, and in another module Redis, has such an image."""
        wrong = {f"ContainerManager({postgres!r}, None)": "Postgre", f"ContainerManager(None, {redis!r})": "Redis"}
        unset = {"CONTAINERTEST_POSTGRES_IMAGE": "", "CONTAINERTEST_REDIS_IMAGE": ""}
        self.see_each(wrong, *words, **unset, **variables, CONTAINERTEST_BACKEND="docker")

    def test_wrong_image_name_in_the_environment(self) -> None:
        image = "localhost:1/nosuch/postgres:16"
        run = self.run_module(CONTAINERTEST_BACKEND="docker", CONTAINERTEST_POSTGRES_IMAGE=image)
        words = f"could not get the image '{image}'", "correct CONTAINERTEST_POSTGRES_IMAGE", f"docker pull {image}"
        self.see(run, *words)

    def test_wrong_image_name_in_code(self) -> None:
        words = "could not get the image", "(image=…)", "docker pull"
        self.see_images("localhost:1/nosuch/postgres:16", "Redis::7", *words)

    def test_image_that_exits_at_once(self) -> None:
        image = broken_images.build(self, "echo This is no server.; exit 3")
        self.see_images(image, image, "ended while it was starting", "  | This is no server.")

    def test_image_that_never_gets_ready(self) -> None:
        image = broken_images.build(self, "echo This is no server.; exec sleep 3600")
        words = "was not ready after 3 s", "CONTAINERTEST_STARTUP_TIMEOUT=120", "  | This is no server."
        self.see_images(image, image, *words, CONTAINERTEST_STARTUP_TIMEOUT="3")

    def test_amount_of_memory_that_docker_does_not_know(self) -> None:
        run = self.run_module("ContainerManager(Postgres(memory='lots'))", CONTAINERTEST_BACKEND="docker")
        self.see(run, "memory='lots' of PostgreSQL", "as in memory='512m'")

    def test_memory_without_a_unit_is_told_to_be_bytes(self) -> None:
        run = self.run_module("ContainerManager(Postgres(memory='10'))", CONTAINERTEST_BACKEND="docker")
        self.see(run, "memory='10' of PostgreSQL is 10 bytes", "as in memory='512m'")


class EnvironmentTests(unittest.TestCase):
    def test_variables_for_other_postgresql_servers_are_not_used_for_ours(self) -> None:
        support.require("local")
        for name, value in (
            ("PGHOSTADDR", "127.0.0.2"),
            ("PGSSLMODE", "verify-full"),
            ("PGGSSENCMODE", "require"),
            ("PGCHANNELBINDING", "require"),
            ("PGTARGETSESSIONATTRS", "read-only"),
        ):
            with self.subTest(name, value=value):
                project = Project(self, test_it=POSTGRES_ONLY)
                variables = {name: value, "CONTAINERTEST_STARTUP_TIMEOUT": "30", "CONTAINERTEST_BACKEND": "local"}
                run = project.run(**variables)
                self.assertEqual(run.status, 0, run.output)

    def test_run_that_can_have_no_guard_leaves_no_folder(self) -> None:
        project = Project(self, test_it="import sys\nsys.executable = ''\n" + module())
        run = project.run()
        self.assertIn("may not run its own Python, ''", run.output)
        self.assertEqual(list(project.temporary.iterdir()), [])


POSTGRES_ONLY = """
from containertest import PostgresTestCase

class Tests(PostgresTestCase):
    def test_it(self):
        self.assertRowCount("pg_namespace", 1, "nspname = %s", ("public",))
"""


if __name__ == "__main__":
    unittest.main()
