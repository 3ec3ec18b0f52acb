"""The command line with real servers: ``run``, ``doctor`` and ``prune`` as a user starts them."""

from __future__ import annotations

import configparser
import signal
import subprocess
import sys
import unittest

from tests.integration.runs import PROJECT, Runs
from tests.support import TOP, eventually, on_every_backend, require, start

CONTAINERTEST = ("-m", "containertest")

#: A command that uses all that it is told about the servers.
USE_ALL = """
import os, time, psycopg2, redis
connection = psycopg2.connect(os.environ["DATABASE_URL"])
connection.autocommit = True
assert connection.info.dbname == os.environ["PGDATABASE"]
psycopg2.connect("").close()  # libpq's own variables
with connection.cursor() as cursor:
    deadline = time.monotonic() + 60
    connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    while cursor.execute(connected) or cursor.fetchone() != (1,):  # a closed connection takes a moment to go
        assert time.monotonic() < deadline, "somebody else is connected"
    cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'containertest'")
    assert cursor.fetchall() == [], "something is in the database"
    cursor.execute("SELECT evtname FROM pg_event_trigger")
    assert cursor.fetchall() == [], "something watches the database"
    cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal OR tgname ~ 'containertest'")
    assert cursor.fetchall() == [], "something watches the tables"
client = redis.Redis.from_url(os.environ["REDIS_URL"])
same = redis.Redis(os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"]), password=os.environ["REDIS_PASSWORD"])
client.set("key", "value")
assert same.get("key") == b"value"
assert os.environ["DB"] == os.environ["PGUSER"] + "@" + os.environ["PGHOST"] + ":" + os.environ["PGPORT"]
assert os.environ["BRACES"] == "{}"
raise SystemExit(7)
"""

#: A command that says when it is ready, and which signals it gets.
WAIT = """
import signal
expected = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_BLOCK, expected)
print("ready", flush=True)
number = signal.sigwait(expected)
print(signal.Signals(number).name, flush=True)
raise SystemExit(5 if number == signal.SIGTERM else 0)
"""


@on_every_backend
class RunCommand(Runs):
    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return start(self, [sys.executable, *CONTAINERTEST, "run", *arguments], env=self.environment(), cwd=PROJECT)

    def test_command_gets_all_it_needs_and_its_status_is_returned(self) -> None:
        templates = ("--env", "DB={postgres.username}@{postgres.host}:{postgres.port}", "--env", "BRACES={{}}")
        options = (*templates, "--migrations", "schema.sql")
        self.run_child(*CONTAINERTEST, "run", *options, "--", sys.executable, "-c", USE_ALL, status=7)

    def test_killed_command_gives_the_status_of_a_shell(self) -> None:
        done = self.run_child(*CONTAINERTEST, "run", "--no-redis", "sh", "-c", "kill -9 $$", status=128 + 9)
        self.assertNotIn("Traceback", done.stderr)

    def test_signals_reach_the_command_and_its_status_comes_back(self) -> None:
        for number, status in ((signal.SIGTERM, 5), (signal.SIGINT, 0), (signal.SIGUSR1, 0)):
            with self.subTest(number.name):
                process = self.start("--no-redis", "--", sys.executable, "-c", WAIT)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(number)
                output, errors = process.communicate(timeout=60)
                self.assertEqual((output, process.returncode), (f"{number.name}\n", status), errors)

    def test_without_a_command_it_shows_the_urls_until_a_signal_comes(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number.name):
                process = self.start("--env", "MINE={redis.port}")
                lines = [process.stdout.readline() for _ in range(12)]
                shown = dict(line.rstrip("\n").split("=", 1) for line in lines[:-1])
                self.assertEqual(lines[-1], "Press Ctrl-C to end.\n")
                self.assertEqual(shown["MINE"], shown["REDIS_PORT"])
                self.assertIn(f"@{shown['PGHOST']}:{shown['PGPORT']}/{shown['PGDATABASE']}", shown["DATABASE_URL"])
                process.send_signal(number)
                _, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, errors)
                self.assertNotIn("Traceback", errors)
                self.assertTrue(eventually(lambda: not self.runs()))

    def test_tests_of_the_command_share_its_servers(self) -> None:
        code = (
            "import os, recorder\n"
            "with recorder.new_manager() as manager:\n"
            "    assert str(manager.postgres.port) == os.environ['PGPORT']\n"
            "    assert manager.postgres.dbname != os.environ['PGDATABASE']\n"
            "    assert str(manager.redis.port) != os.environ['REDIS_PORT']\n"
        )
        self.run_child(*CONTAINERTEST, "run", "--", sys.executable, "-c", code)
        given = self.environment()
        given.pop("CONTAINERTEST_BACKEND")
        # The same where the backend is named on the command line only.
        subprocess.run(
            [sys.executable, *CONTAINERTEST, "run", "--backend", self.backend, "--", sys.executable, "-c", code],
            env=given,
            cwd=PROJECT,
            check=True,
            timeout=300,
        )

    def test_migrations_run_before_the_command(self) -> None:
        code = "import psycopg2; psycopg2.connect('').cursor().execute('SELECT * FROM work')"
        run = ("run", "--no-redis", "--migrations", "schema.sql", "--", sys.executable, "-c", code)
        self.run_child(*CONTAINERTEST, *run)


class Doctor(Runs, unittest.TestCase):
    backend = "auto"
    NOTHING = {
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "CONTAINERTEST_POSTGRES_BIN": "/nonexistent",
        "CONTAINERTEST_REDIS_BIN": "/nonexistent",
    }

    def test_it_says_why_no_backend_works(self) -> None:
        done = self.run_child(*CONTAINERTEST, "doctor", status=1, **self.NOTHING)
        self.assertEqual(done.stdout.count("NO BACKEND WORKS"), 2)
        for word in ("docker    no:", "/nonexistent/docker.sock", "local     no:", "CONTAINERTEST_POSTGRES_BIN"):
            self.assertIn(word, done.stdout)
        self.assertEqual(done.stderr, "")

    def test_one_server_that_works_is_not_enough(self) -> None:
        require("local")
        variables = {**self.NOTHING, "CONTAINERTEST_REDIS_BIN": ""}
        done = self.run_child(*CONTAINERTEST, "doctor", status=1, **variables)
        self.assertEqual((done.stdout.count("taken: local"), done.stdout.count("NO BACKEND WORKS")), (1, 1))

    def test_nothing_in_the_path_is_told_with_a_remedy(self) -> None:
        variables = {"DOCKER_HOST": self.NOTHING["DOCKER_HOST"], "PATH": ""}
        done = self.run_child(*CONTAINERTEST, "doctor", status=None, **variables)
        self.assertIn(done.returncode, (0, 1))
        self.assertNotIn("Traceback", done.stderr)

    def test_local_programs_are_enough(self) -> None:
        require("local")
        done = self.run_child(*CONTAINERTEST, "doctor", DOCKER_HOST=self.NOTHING["DOCKER_HOST"])
        self.assertEqual(done.stdout.count("taken: local"), 2)

    def test_reader_that_has_gone_is_no_error(self) -> None:
        with subprocess.Popen(
            [sys.executable, *CONTAINERTEST, "doctor"],
            env=self.environment(**self.NOTHING),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            process.stdout.close()
            self.assertEqual(process.stderr.read(), "")
        self.assertEqual(process.returncode, 1)


class ConsoleScript(Runs, unittest.TestCase):
    backend = "auto"

    def test_it_is_the_same_program(self) -> None:
        settings = configparser.ConfigParser()
        settings.read(TOP / "setup.cfg")
        (script,) = settings["options.entry_points"]["console_scripts"].strip().splitlines()
        name, _, target = script.partition(" = ")
        module, _, function = target.partition(":")
        # What pip writes into the script.
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        shown = self.run_child("-c", code, "--help").stdout
        self.assertEqual(name, "containertest")
        self.assertEqual(shown, self.run_child(*CONTAINERTEST, "--help").stdout)
