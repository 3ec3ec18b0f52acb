"""Variables and files of libpq for another server: whoever is handed ours reaches ours, in sessions like any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import psycopg2
import sqlalchemy

from containertest import ContainerManager, Postgres
from tests import support
from tests.integration.user_project import Project

#: Which server this is, where, and all that the variables could have changed of the session.
STATE = """
    SELECT concat_ws('|', pg_postmaster_start_time(), current_database(), current_user, current_setting('search_path'),
        current_setting('default_transaction_read_only'), current_setting('TimeZone'), current_setting('DateStyle'),
        current_setting('geqo'), current_setting('client_encoding'))
"""
CHILD = """
import os, sys, psycopg2
for dsn in ("", os.environ["DATABASE_URL"]):
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    cursor.execute(sys.stdin.read() if dsn == "" else "DROP TABLE IF EXISTS customers")
    if dsn == "":
        print(cursor.fetchone()[0])
    connection.commit()
"""
SPAWNED = """
import multiprocessing, sys
from containertest import ContainerManager

def look(text, results):
    with ContainerManager(redis=None) as containers, containers.postgres.connection.cursor() as cursor:
        cursor.execute(text)
        results.put(cursor.fetchone()[0])

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    look(sys.argv[1], results)
    process = spawn.Process(target=look, args=(sys.argv[1], results))
    process.start()
    print({results.get(timeout=120).split("|")[-6:] == results.get(timeout=120).split("|")[-6:]})
    process.join()
"""


class OtherServerCase(unittest.TestCase):
    """``prod`` is a service on a server of somebody else's, with a table to be lost."""

    prod: ClassVar[ContainerManager]

    @classmethod
    def setUpClass(cls) -> None:
        support.require_any()
        cls.prod = ContainerManager(Postgres(dbname="shop", password="pr0d"), redis=None).start()
        cls.addClassCleanup(cls.prod.stop)
        with cls.prod.postgres.connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS customers ()")
        cls.folder = Path(tempfile.mkdtemp(prefix="ct-libpq-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        server = cls.prod.postgres
        service = {"host": server.host, "port": server.port, "user": server.username, "password": "pr0d"}
        service |= {"dbname": "shop", "options": "-c search_path=theirs", "application_name": "theirs"}
        text = "".join(["[prod]\n", *(f"{name}={value}\n" for name, value in service.items())])
        for name in ("pg_service.conf", ".pg_service.conf"):
            (cls.folder / name).write_text(text)
        (cls.folder / ".pgpass").write_text("*:*:*:*:wrong\n")
        (cls.folder / ".pgpass").chmod(0o600)

    def tearDown(self) -> None:
        with closing(psycopg2.connect(self.prod.postgres.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('customers') IS NOT NULL")
            self.assertEqual(cursor.fetchone(), (True,), "the table on the other server is gone")

    def services(self) -> list[dict[str, str]]:
        """The ways in which a service is named."""
        return [
            {"PGSERVICE": "prod", "PGSERVICEFILE": f"{self.folder}/pg_service.conf"},
            {"PGSERVICE": "prod", "HOME": str(self.folder)},
            {"PGSERVICE": "prod", "PGSYSCONFDIR": str(self.folder)},
        ]

    def hostile(self) -> list[dict[str, str]]:
        return [
            *self.services(),
            {"PGHOST": "127.0.0.9", "PGPORT": "1", "PGUSER": "x", "PGPASSWORD": "y", "PGDATABASE": "z"},
            {"HOME": str(self.folder), "PGPASSFILE": f"{self.folder}/.pgpass"},
            {"PGHOSTADDR": "127.0.0.9"},
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "system"},
            {"PGREQUIRESSL": "1", "PGSSLNEGOTIATION": "direct", "PGSSLCERTMODE": "require"},
            {"PGGSSENCMODE": "require", "PGCHANNELBINDING": "require"},
            {"PGREQUIREAUTH": "none"},
            {"PGTARGETSESSIONATTRS": "read-only"},
            {"PGOPTIONS": "-c default_transaction_read_only=on -c search_path=theirs"},
            {"PGCLIENTENCODING": "latin1", "PGAPPNAME": "theirs", "PGCONNECT_TIMEOUT": "soon"},
            {"PGSSLMINPROTOCOLVERSION": "none", "PGSSLMAXPROTOCOLVERSION": "none", "PGMINPROTOCOLVERSION": "9"},
        ]

    def sessions(self) -> list[dict[str, str]]:
        """What no parameter of a URL goes before."""
        return [
            {"PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German", "PGGEQO": "off"},
            {"PGTZ": "Nowhere"},
            {"PGSERVICE": "undefined"},
            {"PGSERVICE": "", "PGTZ": "", "PGOPTIONS": "", "PGSSLMODE": ""},
        ]


class HandedOutTests(OtherServerCase):
    ours: ClassVar[ContainerManager]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.ours = ContainerManager(redis=None).start()
        cls.addClassCleanup(cls.ours.stop)
        cls.state = cls.state_of(cls.ours.postgres.connection)

    @staticmethod
    def state_of(connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute(STATE)
            ((state,),) = cursor.fetchall()
        return str(state)

    @contextmanager
    def each(self, variables: dict[str, str]) -> Iterator[None]:
        with self.subTest(variables), mock.patch.dict(os.environ, variables):
            yield

    def test_our_connections(self) -> None:
        for variables in (*self.hostile(), *self.sessions()):
            with self.each(variables), closing(self.ours.postgres.connect()) as connection:
                self.assertEqual(self.state_of(connection), self.state)
                self.assertEqual(connection.get_parameter_status("application_name"), "")

    def test_options_of_a_connection_are_still_the_users(self) -> None:
        for options in ("-c geqo=off -c search_path=x", "-c search_path=y"):
            with self.each({"PGOPTIONS": "-c search_path=theirs"}):
                with closing(self.ours.postgres.connect(options=options)) as connection:
                    self.assertIn(f"|{options[-1]}|", self.state_of(connection))

    def test_url(self) -> None:
        for variables in self.hostile():
            with self.each(variables):
                url = self.ours.postgres.url
                with closing(psycopg2.connect(url)) as connection:
                    self.assertEqual(self.state_of(connection), self.state)
                engine = sqlalchemy.create_engine(url.replace("postgresql", "postgresql+psycopg2", 1))
                self.addCleanup(engine.dispose)
                with engine.connect() as session:
                    self.assertEqual(session.scalar(sqlalchemy.text(STATE)), self.state)

    def test_environ(self) -> None:
        psql = shutil.which("psql")
        for variables in (*self.hostile(), *self.sessions()):
            with self.each(variables):
                environment = {**os.environ, **self.ours.environ()}
                self.assertEqual(self.run_child([sys.executable, "-c", CHILD], environment), self.state)
                if psql:
                    self.assertEqual(self.run_child([psql, "-XAt"], environment), self.state)
                    url = environment["DATABASE_URL"]
                    self.assertEqual(self.run_child([psql, "-XAt", url], environment), self.state)

    def test_environ_may_be_put_into_this_process(self) -> None:
        for variables in (*self.hostile(), *self.sessions()):
            with self.each(variables):
                os.environ.update(self.ours.environ())
                with (
                    closing(psycopg2.connect("")) as first,
                    closing(psycopg2.connect(self.ours.postgres.url)) as second,
                ):
                    self.assertEqual({self.state_of(first), self.state_of(second)}, {self.state})
                self.assertNotIn("?", self.ours.environ()["DATABASE_URL"])

    def run_child(self, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(command, env=environment, input=STATE, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()


class RunTests(OtherServerCase):
    """Whole processes that begin with such variables."""

    def test_command_reaches_our_server_and_has_none_of_the_variables(self) -> None:
        everything = {name: value for some in (*self.hostile(), *self.sessions()[:2]) for name, value in some.items()}
        for variables in (*self.services(), everything, {"PGSERVICE": "undefined"}):
            with self.subTest(variables):
                project = Project(self)
                look = project.write("look.py", CHILD + "print(sorted(n for n in os.environ if n.startswith('PG')))\n")
                project.write("state.sql", STATE)
                shell = 'exec "$0" "$1" < state.sql'
                command = ("sh", "-c", shell, sys.executable, str(look))
                run = project.run("-m", "containertest", "run", "--no-redis", "--", *command, **variables)
                self.assertEqual(run.status, 0, run.output)
                ours = "['PGDATABASE', 'PGHOST', 'PGPASSWORD', 'PGPORT', 'PGUSER']"
                self.assertEqual(run.output.splitlines()[-1], ours)
                self.assertIn('|testdb|testuser|"$user", public|off|', run.output)

    def test_variables_for_others_stay_where_no_postgresql_is_wanted(self) -> None:
        code = "import os; print(os.environ['PGSERVICE'])"
        run = Project(self).run(
            *("-m", "containertest", "run", "--no-postgres", "--", sys.executable, "-c", code), PGSERVICE="prod"
        )
        self.assertEqual((run.status, run.output.splitlines()[-1]), (0, "prod"), run.output)

    def test_spawned_process(self) -> None:
        project = Project(self, main=SPAWNED)
        run = project.run("main.py", STATE, **self.services()[0], PGTZ="Nowhere")
        self.assertEqual((run.status, run.output.splitlines()[-1:]), (0, ["{True}"]), run.output)

    def test_migrations_of_the_user_reach_our_server(self) -> None:
        project = Project(
            self,
            test_it="""
            import psycopg2
            from containertest import ContainerManager, PostgresTestCase

            def migrate(url):
                with psycopg2.connect(url) as connection, connection.cursor() as cursor:
                    cursor.execute("DROP TABLE IF EXISTS customers")
                    cursor.execute("CREATE TABLE zone AS SELECT current_setting('geqo')")

            class Tests(PostgresTestCase):
                containers = ContainerManager(redis=None, migrations=migrate)

                def test_it(self):
                    self.assertRowExists("zone", current_setting="on")
            """,
        )
        for variables in (*self.services(), *self.sessions()):
            with self.subTest(variables):
                run = project.run(**variables)
                self.assertEqual(run.status, 0, run.output)

    def test_databases_on_a_server_of_others_are_given_back(self) -> None:
        project = Project(
            self,
            test_it="""
            from containertest import PostgresTestCase

            class Tests(PostgresTestCase):
                def test_it(self):
                    self.assertRowCount("pg_namespace", 1, "nspname = %s", ("public",))
            """,
        )
        before = self.databases()
        there = {"CONTAINERTEST_POSTGRES_URL": self.prod.postgres.url, "CONTAINERTEST_BACKEND": "external"}
        run = project.run(**there, PGSERVICE="undefined", PGHOSTADDR="127.0.0.9", PGOPTIONS="-c search_path=theirs")
        self.assertEqual(run.status, 0, run.output)
        project.assert_nothing_left(self)
        self.assertEqual(self.databases(), before)

    def databases(self) -> set[str]:
        with self.prod.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            return {name for (name,) in cursor.fetchall()}


if __name__ == "__main__":
    unittest.main()
