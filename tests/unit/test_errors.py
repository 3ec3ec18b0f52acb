"""Messages are short, and no repr or message has a password."""

from __future__ import annotations

import copy
import os
import pickle
import unittest
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from containertest import ContainerManager, backends, doctor
from containertest.backends.external import ExternalBackend, ExternalServer
from containertest.errors import BackendUnavailable, ConfigError, ContainerTestError, NotStarted, ServerDied, last_lines
from containertest.servers.leases import Lease
from containertest.servers.running import RunningPostgres, RunningRedis
from containertest.servers.stack import Stack
from containertest.servers.starting import Wanted
from containertest.services import postgres, redis
from containertest.services.postgres import Postgres
from containertest.services.redis import Redis
from containertest.settings import Settings
from containertest.spec import Endpoint, LocalPlace

SECRET = "s3cret"
URL = f"postgresql://user:{SECRET}@127.0.0.1:1/db"


def message(function: Callable[[], object]) -> str:
    try:
        function()
    except ContainerTestError as error:
        return str(error)
    raise AssertionError("nothing was raised")


class LengthTests(unittest.TestCase):
    def test_messages_have_at_most_15_lines_and_say_what_to_do(self) -> None:
        external = ExternalBackend()
        nobody = Endpoint("127.0.0.1", 1, "user", SECRET, "db")
        stack = Stack(Wanted("key", Settings(), None, None, None))
        for words, function in (
            ("start() first", lambda: ContainerManager().postgres),
            ("name one of them", lambda: ContainerManager(None, None)),
            ("needs a PostgreSQL", lambda: ContainerManager(None, migrations="a.sql")),
            ("must be a Redis, an image name or None", lambda: ContainerManager(redis=7)),  # type: ignore[arg-type]
            ("ContainerManager(postgres=None)", lambda: stack.postgres),
            ("one of auto, docker, local, external", lambda: Settings.load(backend="x")),
            ("Set CONTAINERTEST_POSTGRES_URL", lambda: external.check(self.spec())),
            ("Is it running", lambda: external.check(self.spec(postgres_url=URL))),
            ("Tried:\n- external: ", lambda: backends.choose(self.spec(postgres_url=URL), "auto")),
            ("is version", lambda: self.old_postgres(nobody)),
        ):
            with self.subTest(words):
                text = message(function)
                self.assertIn(words, text)
                self.assertLessEqual(len(text.splitlines()), 15, text)
                self.assertNotIn(SECRET, text)

    def spec(self, **settings: Any) -> Any:
        return postgres.spec(Postgres(), Settings(**settings), SECRET)

    def old_postgres(self, endpoint: Endpoint) -> None:
        connection = mock.Mock(server_version=120004, **{"get_parameter_status.return_value": "12.4 (Debian)"})
        with mock.patch("psycopg2.connect", return_value=connection):
            try:
                postgres.meet(endpoint, SECRET)
            finally:
                connection.close.assert_called_once_with()

    def test_log_is_cut_to_its_last_lines(self) -> None:
        log = "\n".join(f"line {number}" for number in range(100))
        self.assertEqual(len(last_lines(log).splitlines()), 30)
        self.assertTrue(last_lines(log, 1) == "  | line 99")
        self.assertEqual(last_lines("\n\n"), "  (the log is empty)")


class SecretTests(unittest.TestCase):
    def test_no_repr_shows_a_password(self) -> None:
        endpoint = Endpoint("host", 1, "user", SECRET, "db")
        settings = Settings(postgres_url=URL, redis_url=f"redis://:{SECRET}@host")
        lease = Lease(SimpleNamespace(id="1"), "k", ExternalServer(endpoint, {}), endpoint, "16.1", True)  # type: ignore[arg-type]
        number = Lease(
            SimpleNamespace(id="1"),
            "k",
            ExternalServer(endpoint, {}),
            Endpoint("h", 1, None, SECRET, "3"),
            "7",
            True,  # type: ignore[arg-type]
        )
        for shown in (
            endpoint,
            settings,
            Postgres(password=SECRET),
            Redis(password=SECRET),
            postgres.spec(Postgres(password=SECRET), settings, SECRET),
            redis.spec(Redis(password=SECRET), settings, SECRET),
            LocalPlace({}, (15,), Path("/data"), "h", 1, SECRET, Path("/pw")),
            RunningPostgres(lease, "db", "template"),
            RunningRedis(number),
            ContainerManager(Postgres(password=SECRET)),
            lease,
        ):
            with self.subTest(type(shown).__name__):
                self.assertNotIn(SECRET, repr(shown))

    def test_repr_of_a_running_server_says_where_it_is(self) -> None:
        endpoint = Endpoint("host", 5, "user", SECRET, "3")
        lease = Lease(SimpleNamespace(id="1"), "k", ExternalServer(endpoint, {}), endpoint, "16.1", True)  # type: ignore[arg-type]
        self.assertEqual(repr(RunningPostgres(lease, "db", "")), "<PostgreSQL 16.1 on external: user@host:5/db>")
        self.assertEqual(repr(RunningRedis(lease)), "<Redis 16.1 on external: host:5/3>")


class ChoiceTests(unittest.TestCase):
    """``auto``: a URL, else Docker, else local programs, else all of what was tried."""

    def choose(self, wanted: str = "auto", url: str | None = None, **problems: BackendUnavailable) -> Any:
        def load(name: str) -> Any:
            return SimpleNamespace(name=name, check=mock.Mock(side_effect=problems.get(name)))

        return backends.choose(postgres.spec(Postgres(), Settings(postgres_url=url), SECRET), wanted, load).name

    def test_order(self) -> None:
        gone = BackendUnavailable("gone")
        self.assertEqual(self.choose(url=URL), "external")
        self.assertEqual(self.choose(), "docker")
        with self.assertLogs("containertest", "INFO"):
            self.assertEqual(self.choose(docker=gone), "local")
        self.assertEqual(self.choose("local"), "local")

    def test_given_url_that_does_not_answer_is_not_replaced_by_another_server(self) -> None:
        with self.assertRaisesRegex(BackendUnavailable, "- external: gone"):
            self.choose(url=URL, external=BackendUnavailable("gone"))

    def test_backend_asked_for_by_name_is_taken_or_fails(self) -> None:
        with self.assertRaisesRegex(BackendUnavailable, "^gone$"):
            self.choose("docker", docker=BackendUnavailable("gone"))

    def test_all_that_was_tried_is_told(self) -> None:
        text = message(lambda: self.choose(docker=BackendUnavailable("no engine"), local=BackendUnavailable("no pg")))
        self.assertEqual(text, "PostgreSQL can't run here. Tried:\n- docker: no engine\n- local: no pg")

    def test_engine_without_the_image_is_worth_a_warning(self) -> None:
        surprise = BackendUnavailable("no image")
        surprise.surprising = True  # type: ignore[attr-defined]
        with self.assertLogs("containertest", "WARNING") as logged:
            self.choose(docker=surprise)
        self.assertIn("PostgreSQL does not run on docker, but on local: no image", logged.output[0])


class DoctorTests(unittest.TestCase):
    def report(self, works: tuple[str, ...], **variables: str) -> tuple[int, str]:
        def get(name: str) -> Any:
            effect = [f"{name} 1"] * 2 if name in works else BackendUnavailable("none\nget one")
            return SimpleNamespace(check=mock.Mock(side_effect=effect))

        settings = {"CONTAINERTEST_BACKEND": "auto"}
        settings |= {f"CONTAINERTEST_{name}": value for name, value in variables.items()}
        with (
            mock.patch.object(backends, "get", get),
            mock.patch.dict(os.environ, settings),
            mock.patch("builtins.print") as printed,
        ):
            status = doctor.report()
        return status, "\n".join(str(call.args[0]) for call in printed.call_args_list)

    def test_status_is_0_when_a_backend_works(self) -> None:
        status, text = self.report(("local",))
        self.assertEqual(status, 0)
        self.assertEqual(text.count("=> taken: local"), 2)
        self.assertIn("  docker    no: none\n            get one", text)

    def test_status_is_1_when_none_works(self) -> None:
        status, text = self.report(())
        self.assertEqual((status, text.count("NO BACKEND WORKS")), (1, 2))

    def test_only_the_backend_asked_for_counts(self) -> None:
        self.assertEqual(self.report(("local",), BACKEND="docker")[0], 1)

    def test_url_that_does_not_answer_is_no_working_backend(self) -> None:
        status, text = self.report(("local",), POSTGRES_URL=URL)
        self.assertEqual((status, text.count("NO BACKEND WORKS")), (1, 1))
        self.assertNotIn(SECRET, text)


class DeathMessageTests(unittest.TestCase):
    def test_server_that_can_not_be_replaced_is_not_called_unneeded(self) -> None:
        stack = Stack(Wanted("key", Settings(), Postgres(), None, None))
        self.assertIn("could not be started again", message(lambda: stack.postgres))

    def test_next_reset_tries_to_start_it_again(self) -> None:
        stack = Stack(Wanted("key", Settings(), Postgres(), None, None))
        with mock.patch.object(Stack, "start", side_effect=ServerDied("again")):
            for function in (stack.reset_all, stack.restore):
                self.assertEqual(message(function), "again")


class SharingTests(unittest.TestCase):
    def get(self, settings: Settings, **wanted: Any) -> Stack:
        return Stack.get(Wanted.of(settings, wanted.get("postgres"), wanted.get("redis", Redis()), None, []))

    def setUp(self) -> None:
        for patch in (
            mock.patch.object(Stack, "start"),
            mock.patch.dict("containertest.servers.stack._stacks", clear=True),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def test_same_settings_share_wherever_they_come_from(self) -> None:
        one = self.get(Settings(backend="local", sources={"backend": "argument backend"}))
        two = self.get(Settings(backend="local", sources={"backend": "CONTAINERTEST_BACKEND"}))
        self.assertIs(one, two)

    def test_other_settings_do_not_share(self) -> None:
        stacks = [
            self.get(Settings()),
            self.get(Settings(backend="local")),
            self.get(Settings(redis_url="redis://a")),
            self.get(Settings(redis_url="redis://b")),
            self.get(Settings(), redis=Redis(password="a")),
            self.get(Settings(), redis=Redis(password="b")),
            self.get(Settings(), redis=Redis("redis:6")),
            self.get(Settings(), postgres=Postgres()),
        ]
        self.assertEqual(len(set(map(id, stacks))), len(stacks))

    def test_server_that_was_not_wanted_is_named_with_what_to_leave_out(self) -> None:
        stack = Stack(Wanted("key", Settings(), None, Redis(), None))
        with self.assertRaisesRegex(NotStarted, "not needed .*\nLeave postgres=None out, or use IntegrationTestCase"):
            _ = stack.postgres

    def test_copy_of_a_manager_is_not_started_and_goes_to_another_process(self) -> None:
        with mock.patch.object(Stack, "ready", autospec=True, side_effect=lambda stack: stack):
            manager = ContainerManager(None).start()
            for copied in (copy.deepcopy(manager), pickle.loads(pickle.dumps(manager))):
                self.assertFalse(copied.started)
                self.assertIs(copied.start()._stack, manager._stack)

    def test_failed_start_is_tried_again_by_the_next_manager(self) -> None:
        with (
            mock.patch.object(Stack, "start", side_effect=BackendUnavailable("x")),
            self.assertRaises(BackendUnavailable),
        ):
            self.get(Settings())
        self.get(Settings())

    def test_wrong_migration_starts_nothing(self) -> None:
        with mock.patch.object(Stack, "start") as start, self.assertRaises(ConfigError):
            Stack.get(Wanted.of(Settings(), Postgres(), None, "missing.sql", []))
        start.assert_not_called()


if __name__ == "__main__":
    unittest.main()
