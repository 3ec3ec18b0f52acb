"""What the services say of their servers: configuration files, URLs, identities."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

from containertest.errors import ConfigError
from containertest.services import postgres, redis
from containertest.services.postgres import Postgres
from containertest.services.redis import Redis
from containertest.settings import Settings
from containertest.spec import Endpoint, LocalPlace
from containertest.wait import Connection, LogLine

#: Passwords that break careless quoting.
PASSWORDS = ("two words", "it's", 'say "hi"', "a@b/c%d:e?f#g", "back\\slash", "pässwörd", " ", "$(id)", "100%")


def unquoted(word: str) -> str:
    """What Redis reads from a quoted word; source: ``sdssplitargs`` in Redis' sds.c."""
    assert word[0] == word[-1] == '"', word
    return word[1:-1].encode("latin-1").decode("unicode_escape").encode("latin-1").decode()


class RedisConfigTests(unittest.TestCase):
    def lines(self, password: str = "s", **options: Any) -> dict[str, str]:
        place = LocalPlace({}, (7,), Path("/tmp/with space"), "127.0.0.1", 1234, password, Path())
        spec = redis.spec(Redis(options=options), Settings(), password)
        assert spec.local.files
        self.assertEqual(spec.container.files[redis.CONFIG].count("requirepass "), 1)
        pairs = [line.partition(" ") for line in spec.local.files(place)["redis.conf"].splitlines()]
        return {name: value for name, _, value in pairs}

    def test_any_password_is_one_word(self) -> None:
        for password in PASSWORDS:
            with self.subTest(password):
                self.assertEqual(unquoted(self.lines(password)["requirepass"]), password)

    def test_line_break_in_a_password_adds_no_setting(self) -> None:
        self.assertEqual(unquoted(self.lines("a\nport 1")["requirepass"]), "a\nport 1")

    def test_folder_with_a_space_is_one_word(self) -> None:
        self.assertEqual(unquoted(self.lines()["dir"]), "/tmp/with space")

    def test_options_of_several_words_stay_words(self) -> None:
        lines = self.lines(save="60 1", maxmemory="64mb", appendonly=True)
        self.assertEqual((lines["save"], lines["maxmemory"], lines["appendonly"]), ("60 1", "64mb", "yes"))

    def test_no_dump_is_configured(self) -> None:
        self.assertEqual((self.lines()["save"], self.lines()["appendonly"]), ('""', "no"))


class PostgresCommandTests(unittest.TestCase):
    def test_options_win_over_the_fast_ones(self) -> None:
        wanted = Postgres(options={"fsync": True, "work_mem": "64MB"})
        place = LocalPlace({"postgres": Path("/pg")}, (15,), Path("/data"), "127.0.0.1", 1234, "s", Path())
        command = list(postgres.spec(wanted, Settings(), "s3cret").local.command(place))
        self.assertIn("fsync=on", command)
        self.assertIn("work_mem=64MB", command)
        self.assertIn("listen_addresses=127.0.0.1", command)

    def test_password_is_on_no_command_line(self) -> None:
        place = LocalPlace(
            {"postgres": Path("/pg"), "initdb": Path("/i")}, (15,), Path("/data"), "127.0.0.1", 1, "s3cret", Path("/pw")
        )
        spec = postgres.spec(Postgres(), Settings(), "s3cret")
        assert spec.local.initialise
        words = [*spec.local.command(place), *(word for line in spec.local.initialise(place) for word in line)]
        self.assertNotIn("s3cret", " ".join([*words, *spec.container.command]))
        redis_spec = redis.spec(Redis(), Settings(), "s3cret")
        self.assertNotIn("s3cret", " ".join(redis_spec.container.command))


class UrlTests(unittest.TestCase):
    def test_any_password_survives_a_url(self) -> None:
        for password in PASSWORDS:
            with self.subTest(password):
                endpoint = Endpoint("127.0.0.1", 5, "us er", password, "d/b")
                self.assertEqual(postgres.endpoint_of(postgres.url(endpoint, "d/b")), endpoint)
                there = Endpoint("::1", 6, None, password, "3")
                self.assertEqual(redis.endpoint_of(redis.url(there)), there)

    def test_parts_left_out_have_defaults(self) -> None:
        self.assertEqual(postgres.endpoint_of("postgresql://host"), Endpoint("host", 5432, None, None, "postgres"))
        self.assertEqual(redis.endpoint_of("redis://host"), Endpoint("host", 6379, None, None, ""))

    def test_what_the_environment_asks_of_connections_counts_for_servers_of_others(self) -> None:
        with mock.patch.dict(os.environ, {"PGSSLMODE": "verify-full", "PGHOSTADDR": "127.0.0.9"}):
            endpoint = postgres.endpoint_of("postgresql://host")
            self.assertEqual(endpoint.parameters, {"sslmode": "verify-full"})
            endpoint = postgres.endpoint_of("postgresql://host?sslmode=require")
            self.assertEqual(endpoint.parameters, {"sslmode": "require"})

    def test_url_is_one_that_the_standard_library_reads(self) -> None:
        parts = urlsplit(postgres.url(Endpoint("::1", 5, "u", "p@/", ""), "db"))
        self.assertEqual((parts.hostname, parts.port, unquote(parts.password or "")), ("::1", 5, "p@/"))


class IdentityTests(unittest.TestCase):
    def identity(self, wanted: Postgres, settings: Settings | None = None, password: str = "random") -> str:
        return postgres.spec(wanted, settings or Settings(), password).identity

    def test_random_password_does_not_count_but_a_chosen_one_does(self) -> None:
        self.assertEqual(self.identity(Postgres()), self.identity(Postgres(), password="other"))
        self.assertNotEqual(self.identity(Postgres()), self.identity(Postgres(password="x"), password="x"))

    def test_what_makes_another_server_counts(self) -> None:
        others = [
            self.identity(Postgres("postgres:15")),
            self.identity(Postgres(username="other")),
            self.identity(Postgres(options={"work_mem": "1MB"})),
            self.identity(Postgres(memory="1g")),
            self.identity(Postgres(), Settings(backend="local")),
            self.identity(Postgres(), Settings(postgres_bin="/bin")),
            self.identity(Postgres(), Settings(postgres_url="postgresql://host")),
        ]
        self.assertEqual(len({self.identity(Postgres()), *others}), 8)

    def test_database_name_and_timeout_do_not(self) -> None:
        for wanted, settings in ((Postgres(dbname="x"), Settings()), (Postgres(), Settings(startup_timeout=1))):
            self.assertEqual(self.identity(wanted, settings), self.identity(Postgres()))


class ArgumentTests(unittest.TestCase):
    def test_wrong_arguments_say_what_is_allowed(self) -> None:
        for make, words in (
            (lambda: Postgres(dbname="postgres"), "PostgreSQL's own database"),
            (lambda: Postgres(dbname=""), "must be a text of 1 to 50 bytes"),
            (lambda: Postgres(username="é" * 26), "must be a text of 1 to 50 bytes"),
            (lambda: Postgres(username=None), "must be a text of 1 to 50 bytes"),  # type: ignore[arg-type]
            (lambda: Postgres(dbname=7), "must be a text of 1 to 50 bytes"),  # type: ignore[arg-type]
            (lambda: Postgres(password=""), "must not be empty"),
            (lambda: Postgres(password="a\nb"), "line breaks"),
            (lambda: Postgres(password=b"x"), "is a bytes, but must be a text or None"),  # type: ignore[arg-type]
            (lambda: Postgres(image=""), "must be an image name"),
            (lambda: Postgres(memory=512), "is 512, but must be an amount such as '512m'"),  # type: ignore[arg-type]
            (lambda: Postgres(wait=Connection), "must be Connection"),  # type: ignore[arg-type]
            (lambda: Redis(wait="ready"), "must be Connection"),  # type: ignore[arg-type]
            (lambda: Redis(options=["save"]), "must be a dict of server settings"),  # type: ignore[arg-type]
            (lambda: Redis(password=""), "1 to 512 characters"),
            (lambda: Redis(password=7), "is an? int, but must be a text or None"),  # type: ignore[arg-type]
            (lambda: LogLine(""), "must be given a part of the line"),
            (lambda: LogLine("ready", occurrences=0), "must be a whole number, 1 or more"),
            (lambda: LogLine("ready", timeout=0), "must be a number of seconds above 0"),
            (lambda: Connection(timeout="1"), "must be a number of seconds above 0"),  # type: ignore[arg-type]
        ):
            with self.subTest(words), self.assertRaisesRegex(ConfigError, words):
                make()

    def test_options_can_not_open_the_server(self) -> None:
        for make, name in (
            (Postgres, "listen_addresses"),
            (Postgres, "Port"),
            (Postgres, "unix_socket_directories"),
            (Redis, "bind"),
            (Redis, "requirepass"),
            (Redis, "PORT"),
        ):
            with self.subTest(name), self.assertRaisesRegex(ConfigError, f"has '{name}', which is not to be set"):
                make(options={name: "x"})


if __name__ == "__main__":
    unittest.main()
