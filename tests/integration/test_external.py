"""Servers that run already, given by a URL: what works with them, and what a user sees where they can't be used."""

from __future__ import annotations

import secrets
import unittest
from typing import ClassVar
from urllib.parse import quote, urlsplit

import psycopg2
from psycopg2 import sql

from containertest import ContainerManager, Postgres, Redis
from tests import support
from tests.integration.test_servers import PASSWORD
from tests.integration.user_project import Project, Run, module


class ExternalTests(unittest.TestCase):
    """The servers are a manager's, whose process stands for the somebody who runs them."""

    owner: ClassVar[ContainerManager]

    @classmethod
    def setUpClass(cls) -> None:
        support.require_any()
        cls.owner = ContainerManager(Postgres(password=PASSWORD), Redis(password=PASSWORD)).start()
        cls.addClassCleanup(cls.owner.stop)

    def run_on(self, postgres: str | None, redis: str | None, text: str = "") -> Run:
        """Run a project's tests on the servers at these URLs; None for "not needed"."""
        needs = ", ".join(f"{name}=None" for name, url in (("postgres", postgres), ("redis", redis)) if url is None)
        project = Project(self, test_it=text or module(f"ContainerManager({needs})"))
        urls = {"CONTAINERTEST_POSTGRES_URL": postgres or "", "CONTAINERTEST_REDIS_URL": redis or ""}
        run = project.run(**urls)
        project.assert_nothing_left(self)
        return run

    def databases(self) -> set[str]:
        with self.owner.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            return {name for (name,) in cursor.fetchall()}

    def role(self, options: str) -> str:
        """A URL with a new role's name and password; the role is dropped at the end of the test."""
        name, running = f"role_{secrets.token_hex(4)}", self.owner.postgres
        create = sql.SQL("CREATE ROLE {} LOGIN " + options + " PASSWORD {}")
        with running.connection.cursor() as cursor:
            cursor.execute(create.format(sql.Identifier(name), sql.Literal(PASSWORD)))
        self.addCleanup(self.drop, name)
        secret = quote(PASSWORD, safe="")
        return f"postgresql://{name}:{secret}@{running.host}:{running.port}/{running.dbname}"

    def drop(self, role: str) -> None:
        with self.owner.postgres.connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))

    def see(self, run: Run, *words: str) -> None:
        self.assertNotEqual(run.status, 0, run.output)
        ((*lines,),) = run.errors
        self.assertTrue(lines[0].startswith("containertest.errors.BackendUnavailable: "), run.output)
        self.assertLessEqual(len(lines), 15)
        for word in words:
            self.assertIn(word, run.output)
        self.assertNotIn(PASSWORD, run.output)
        self.assertNotIn(quote(PASSWORD, safe=""), run.output)

    def test_tests_run_on_them_and_leave_them_as_they_were(self) -> None:
        before = self.databases()
        self.owner.redis.client.set("theirs", 1)
        run = self.run_on(self.owner.postgres.url, self.owner.redis.url)
        self.assertEqual(run.status, 0, run.output)
        self.assertEqual(self.databases(), before)
        self.assertEqual(self.owner.redis.client.dbsize(), 1)

    def test_a_role_that_may_create_databases_is_enough(self) -> None:
        run = self.run_on(self.role("CREATEDB"), self.owner.redis.url)
        self.assertEqual(run.status, 0, run.output)

    def test_a_role_that_may_not_is_told_how_to_let_it(self) -> None:
        url = self.role("NOCREATEDB")
        name = urlsplit(url).username
        run = self.run_on(url, self.owner.redis.url)
        self.see(run, f"The role '{name}' may not create databases", f"ALTER ROLE {name} CREATEDB")

    def test_wrong_passwords(self) -> None:
        wrong = secrets.token_hex(8)
        port, other = self.owner.postgres.port, self.owner.redis.port
        postgres = self.run_on(f"postgresql://testuser:{wrong}@127.0.0.1:{port}/postgres", None)
        self.see(postgres, "password authentication failed", "are user, password and database right?")
        redis = self.run_on(None, f"redis://:{wrong}@127.0.0.1:{other}/0")
        self.see(redis, "invalid username-password pair", "are user, password and database right?")
        for run in (postgres, redis):
            self.assertNotIn(wrong, run.output)

    def test_database_that_is_not_there(self) -> None:
        url = self.owner.postgres.url.rpartition("/")[0] + "/nosuch"
        self.see(self.run_on(url, None), 'database "nosuch" does not exist', "are user, password and database right?")

    def test_redis_without_an_empty_database(self) -> None:
        clients = [self.owner.redis.connect(db=number) for number in range(1, 16)]
        for client in clients:
            client.set("theirs", 1)
            self.addCleanup(client.close)
            self.addCleanup(client.flushdb)
        self.see(self.run_on(None, self.owner.redis.url), "no logical database (1 and up) that is empty", "Empty one")

    def test_connections_are_gone_afterwards(self) -> None:
        self.run_on(self.owner.postgres.url, self.owner.redis.url)
        with psycopg2.connect(self.owner.postgres.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '%\\_ct%'")
            self.assertEqual(cursor.fetchone(), (0,))
        connection.close()


if __name__ == "__main__":
    unittest.main()
