"""libpq's variables: that the table has them all, and what is made of those that are set."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from unittest import mock

from psycopg import pq

from containertest import libpq
from containertest.libpq import VARIABLES
from containertest.services import postgres
from containertest.spec import Endpoint

OURS = Endpoint("127.0.0.1", 5, "us er", "s3cret", "postgres")


def environment(**variables: str) -> mock._patch_dict:
    """An environment of these variables and no others of libpq."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return mock.patch.dict(os.environ, {**others, **variables}, clear=True)


class TableTests(unittest.TestCase):
    def test_it_has_each_variable_of_libpq_with_its_keyword(self) -> None:
        known = {(it.name, it.keyword) for it in VARIABLES}
        theirs = {(it.envvar.decode(), it.keyword.decode()) for it in pq.Conninfo.get_defaults() if it.envvar}
        self.assertEqual(
            theirs - known - {("PGSERVICE", "service")},
            set(),
            "a newer libpq has more variables: say in containertest/libpq.py what puts them out of force",
        )

    def test_neutral_values_are_such_that_libpq_takes(self) -> None:
        neutral = " ".join(f"{it.keyword}='{it.neutral}'" for it in VARIABLES if it.keyword)
        self.assertTrue(pq.Conninfo.parse(neutral.encode()))

    def test_file_of_the_neutral_service_is_there(self) -> None:
        self.assertIn("[containertest]", Path(libpq.SERVICE_FILE.neutral).read_text().splitlines())


class UrlTests(unittest.TestCase):
    def query(self, **variables: str) -> str:
        with environment(**variables):
            return postgres.url(OURS, "db").partition("?")[2]

    def test_clean_environment_adds_nothing(self) -> None:
        self.assertEqual(self.query(), "")
        self.assertEqual(self.query(PGHOST="elsewhere", PGPORT="1", PGUSER="x", PGPASSWORD="y", PGDATABASE="z"), "")

    def test_each_variable_in_force_has_its_parameter(self) -> None:
        for variable, value, query in (
            ("PGHOSTADDR", "127.0.0.9", "hostaddr=127.0.0.1"),
            ("PGSSLMODE", "verify-full", "sslmode=prefer"),
            ("PGREQUIRESSL", "1", "sslmode=prefer"),
            ("PGOPTIONS", "-c search_path=x", "options=%20"),
            ("PGTARGETSESSIONATTRS", "read-only", "target_session_attrs=any"),
        ):
            with self.subTest(variable):
                self.assertEqual(self.query(**{variable: value}), query)

    def test_neutral_values_are_not_in_force(self) -> None:
        with environment(PGSERVICE="prod", PGSSLMODE="require", PGTZ="Asia/Tokyo"):
            neutral = libpq.put_out_of_force({})
        self.assertEqual(self.query(**neutral), "")

    def test_what_a_service_may_set_has_its_parameter(self) -> None:
        query = self.query(PGSERVICE="prod").split("&")
        self.assertLessEqual({"hostaddr=127.0.0.1", "options=%20", "sslmode=prefer", "replication=false"}, set(query))

    def test_parameters_of_the_endpoint_win(self) -> None:
        with environment(PGSSLMODE="disable"):
            there = Endpoint("127.0.0.1", 5, "u", "p", "", {"sslmode": "verify-full"})
            self.assertTrue(postgres.url(there, "db").endswith("?sslmode=verify-full"))

    def test_name_of_a_host_has_its_address(self) -> None:
        with environment(PGHOSTADDR="127.0.0.9"):
            there = Endpoint("localhost", 5, "u", "p", "")
            self.assertRegex(postgres.url(there, "db"), r"\?hostaddr=(127\.0\.0\.1|%3A%3A1)$")


class ProgramTests(unittest.TestCase):
    def test_clean_environment_needs_nothing(self) -> None:
        with environment():
            self.assertEqual(libpq.put_out_of_force({}), {})

    def test_each_variable_that_is_set_gets_its_neutral_value(self) -> None:
        for it in VARIABLES:
            with self.subTest(it.name), environment(**{it.name: "x"}):
                self.assertEqual(libpq.put_out_of_force({})[it.name], it.neutral)

    def test_service_comes_with_the_file_it_stands_in(self) -> None:
        with environment(PGSERVICE="prod"):
            found = libpq.put_out_of_force({})
        self.assertEqual(found, {"PGSERVICE": "containertest", "PGSERVICEFILE": libpq.SERVICE_FILE.neutral})

    def test_parameters_of_a_server_of_others_become_variables(self) -> None:
        with environment(PGSSLMODE="disable"):
            found = libpq.put_out_of_force({"sslmode": "verify-full", "sslrootcert": "/ca", "keepalives": "1"})
        self.assertEqual(found, {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/ca"})


class AdmissionTests(unittest.TestCase):
    def test_how_to_get_in_is_taken_and_nothing_else(self) -> None:
        ways = {
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/ca",
            "PGPASSFILE": "/pgpass",
            "PGCHANNELBINDING": "require",
        }
        others = {"PGHOSTADDR": "127.0.0.9", "PGSERVICE": "prod", "PGOPTIONS": "-c work_mem=1", "PGTZ": "Asia/Tokyo"}
        others |= {"PGTARGETSESSIONATTRS": "any", "PGPORT": "7", "PGDATABASE": "z", "PGSSLCERT": ""}
        with environment(**ways, **others):
            found = postgres.endpoint_of("postgresql://host")
        wanted = {"sslmode": "verify-full", "sslrootcert": "/ca", "passfile": "/pgpass", "channel_binding": "require"}
        self.assertEqual(found, Endpoint("host", 5432, None, None, "postgres", wanted))

    def test_user_and_password_that_the_url_leaves_out(self) -> None:
        with environment(PGUSER="somebody", PGPASSWORD="s3cret"):
            self.assertEqual(postgres.endpoint_of("postgresql://h").username, "somebody")
            self.assertEqual(postgres.endpoint_of("postgresql://h").password, "s3cret")
            self.assertNotIn("s3cret", repr(postgres.endpoint_of("postgresql://h")))
            self.assertEqual(postgres.endpoint_of("postgresql://a:b@h").username, "a")
            self.assertEqual(postgres.endpoint_of("postgresql://a:b@h").password, "b")

    def test_the_old_way_to_require_encryption(self) -> None:
        with environment(PGREQUIRESSL="1"):
            self.assertEqual(libpq.admission(), {"sslmode": "require"})


class ConnectTests(unittest.TestCase):
    """What is handed to psycopg2, and what it finds in the environment meanwhile."""

    def arguments(self, variables: dict[str, str], **kwargs: str) -> tuple[dict[str, object], dict[str, str]]:
        seen: dict[str, str] = {}

        def connect(**arguments: object) -> dict[str, object]:
            seen.update({name: value for name, value in os.environ.items() if name.startswith("PG")})
            return arguments

        with environment(**variables), mock.patch("psycopg2.connect", connect):
            arguments: object = postgres.connect(OURS, **kwargs)
            self.assertEqual({name: os.environ[name] for name in variables}, variables)
        assert isinstance(arguments, dict)
        return arguments, seen

    def test_nothing_is_in_force(self) -> None:
        set_ = {"PGSERVICE": "prod", "PGTZ": "Asia/Tokyo", "PGHOSTADDR": "127.0.0.9", "PGOPTIONS": "-c work_mem=1"}
        arguments, seen = self.arguments(set_)
        self.assertEqual((arguments["hostaddr"], arguments["options"]), ("", " "))
        self.assertTrue({"PGSERVICE", "PGTZ"}.isdisjoint(seen))

    def test_variables_by_which_another_thread_may_connect_stay(self) -> None:
        _, seen = self.arguments({"PGHOST": "127.0.0.1", "PGUSER": "u", "PGSERVICE": "prod"})
        self.assertEqual(seen, {"PGHOST": "127.0.0.1", "PGUSER": "u"})

    def test_what_is_given_wins(self) -> None:
        arguments, _ = self.arguments({"PGOPTIONS": "-c work_mem=1", "PGSSLMODE": "require"}, options="-c geqo=off")
        self.assertEqual((arguments["options"], arguments["sslmode"]), ("-c geqo=off", "prefer"))
        arguments, seen = self.arguments({"PGSSLMODE": "require", "PGSERVICEFILE": "/f"}, service="own")
        self.assertEqual(arguments["service"], "own")
        self.assertNotIn("sslmode", arguments)
        self.assertEqual(seen["PGSERVICEFILE"], "/f")

    def test_last_of_several_threads_puts_the_variables_back(self) -> None:
        with environment(PGSERVICE="prod", PGTZ="Nowhere"):
            first, second = libpq.set_aside(), libpq.set_aside()
            first.__enter__()
            second.__enter__()
            first.__exit__(None, None, None)
            self.assertNotIn("PGSERVICE", os.environ)
            second.__exit__(None, None, None)
            self.assertEqual((os.environ["PGSERVICE"], os.environ["PGTZ"]), ("prod", "Nowhere"))

    def test_child_made_by_a_fork_meanwhile_has_the_variables(self) -> None:
        with environment(PGSERVICE="prod"), libpq.set_aside():
            child = os.fork()
            if not child:
                os._exit(os.environ.get("PGSERVICE") != "prod")
            self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_variables_are_back_after_an_error(self) -> None:
        with environment(PGSERVICE="prod"):
            with self.assertRaises(ZeroDivisionError), libpq.set_aside():
                self.assertNotIn("PGSERVICE", os.environ)
                raise ZeroDivisionError
            self.assertEqual(os.environ["PGSERVICE"], "prod")


if __name__ == "__main__":
    unittest.main()
