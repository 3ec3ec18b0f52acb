"""Servers as a user asks for them: names, passwords, options, memory, ways to wait; the same on every backend."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import unittest
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import psycopg2
import redis

from containertest import ContainerManager, Postgres, Redis
from containertest.wait import Connection, ListeningPort, LogLine
from tests import support
from tests.integration.user_project import Project, module

#: What shells, URLs, SQL, redis.conf and format strings have special characters for.
PASSWORD = 'it\'s "q" p @/:%?#& \\ ü$€{}%20+`;\t|'
USERNAME = "o br %s @ü"
DBNAME = "my db/1 'x' \"y\" %s ü"

#: A program that knows the servers by its environment alone.
CLIENT = """
import os, psycopg2, redis
with psycopg2.connect("") as connection:
    print(connection.info.user, connection.info.dbname, sep="|")
environ = os.environ
server = redis.Redis(environ["REDIS_HOST"], int(environ["REDIS_PORT"]), password=environ["REDIS_PASSWORD"])
print(server.ping())
"""


class ServerTests:
    """The decorator makes a class for each backend."""

    backend = ""
    containers: ClassVar[ContainerManager]

    @classmethod
    def setUpClass(cls: Any) -> None:
        super().setUpClass()  # type: ignore[misc]
        options = {"work_mem": "7MB", "TimeZone": "Europe/Berlin", "jit": False}
        limits = {"maxmemory": "32mb", "maxmemory-policy": "allkeys-lru"}
        # PostgreSQL's image starts it twice, the first time for the image's own needs.
        times = 2 if cls.backend == "docker" else 1
        ready = LogLine("ready to accept connections", occurrences=times, timeout=90)
        cls.containers = ContainerManager(
            Postgres(username=USERNAME, password=PASSWORD, dbname=DBNAME, options=options, memory="300m", wait=ready),
            Redis(password=PASSWORD, options=limits, memory="64m", wait=ListeningPort(timeout=90)),
            backend=cls.backend,
        ).start()
        cls.addClassCleanup(cls.containers.stop)

    def show(self, setting: str) -> str:
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute(f"SHOW {setting}")
            return str(cursor.fetchone()[0])

    def test_any_password_and_name_survives_the_urls(self) -> None:
        running = self.containers.postgres
        with psycopg2.connect(running.url) as connection:
            self.assertEqual((connection.info.user, connection.info.dbname), (USERNAME, DBNAME))
        connection.close()
        with redis.Redis.from_url(self.containers.redis.url) as client:
            self.assertTrue(client.ping())
        for url in (running.url, self.containers.redis.url):
            self.assertEqual(unquote(urlsplit(url).password or ""), PASSWORD)

    def test_any_password_and_name_survives_the_environment(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT],
            env={**os.environ, **self.containers.environ(), "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stdout.splitlines(), [f"{USERNAME}|{DBNAME}", "True"], done.stderr)

    def test_connections_go_the_shortest_way_or_where_they_are_told(self) -> None:
        running = self.containers.postgres
        nearest = running.lease.endpoint.nearest()
        for connection, wanted in (
            (running.connection, nearest),
            (running.connect(), nearest),
            (running.connect(host=running.host, port=running.port), running),
        ):
            self.addCleanup(connection.close)
            self.assertEqual((connection.info.host, connection.info.port), (wanted.host, wanted.port))
        self.assertIn(f"@{running.host}:{running.port}/", running.url)

    def test_a_wrong_password_is_refused(self) -> None:
        with self.assertRaisesRegex(psycopg2.OperationalError, "password authentication failed"):
            self.containers.postgres.connect(password="wrong")
        with self.assertRaises(redis.AuthenticationError), self.containers.redis.connect(password="wrong") as client:
            client.ping()

    def test_options_of_postgresql_are_set_beside_the_fast_ones(self) -> None:
        found = [self.show(name) for name in ("work_mem", "TimeZone", "jit", "fsync", "synchronous_commit")]
        self.assertEqual(found, ["7MB", "Europe/Berlin", "off", "off", "off"])

    def test_options_of_redis_are_set_beside_the_fast_ones(self) -> None:
        found = self.containers.redis.client.config_get("maxmemory", "maxmemory-policy", "save", "appendonly")
        wanted = {"maxmemory": "33554432", "maxmemory-policy": "allkeys-lru", "save": "", "appendonly": "no"}
        self.assertEqual(found, wanted)

    def test_logs_have_what_the_servers_said(self) -> None:
        with self.assertRaises(psycopg2.Error), self.containers.postgres.connect() as connection:
            connection.cursor().execute("SELECT no_such_column")
        connection.close()
        self.assertTrue(support.eventually(lambda: "no_such_column" in self.containers.postgres.logs()))
        self.assertIn("Ready to accept connections", self.containers.redis.logs())

    def test_nobody_else_can_reach_the_ports(self) -> None:
        addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)}
        own = [address for address in addresses if not address.startswith("127.") and address != "::1"]
        for running in (self.containers.postgres, self.containers.redis):
            self.assertEqual(running.host, "127.0.0.1")
            for address in own:
                with self.subTest(address), self.assertRaises(OSError):
                    socket.create_connection((address, running.port), timeout=5).close()

    def test_tests_run_on_them_and_reset_them(self) -> None:
        self.containers.redis.client.set("key", "value")
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (id int)")
        self.containers.reset_all()
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('t')")
            self.assertEqual(cursor.fetchall(), [(None,)])
        self.assertEqual(self.containers.redis.client.dbsize(), 0)


support.on_every_backend(ServerTests)


class MemoryTests(unittest.TestCase):
    def test_memory_limit_is_the_containers(self) -> None:
        support.require("docker")
        import docker

        containers = ContainerManager(None, Redis(memory="64m", password=PASSWORD), backend="docker").start()
        self.addCleanup(containers.stop)
        client = docker.from_env()
        self.addCleanup(client.close)
        container = client.containers.get(containers.redis.lease.server.handle["id"])
        self.assertEqual(container.attrs["HostConfig"]["Memory"], 64 << 20)
        # One of the two, by the version of the kernel's control groups.
        shown = container.exec_run(
            ["sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"], stderr=False
        )
        self.assertEqual(shown.output.split(), [str(64 << 20).encode()])


class WaitTests:
    """The decorator makes a class for each backend."""

    backend = ""

    def test_each_way_to_wait_gives_servers_that_work(self) -> None:
        for postgres, server in (
            (ListeningPort(), LogLine("Ready to accept connections")),
            # The first such line of PostgreSQL's image comes too early; what we get works all the same.
            (LogLine("ready to accept connections", timeout=90), Connection(timeout=90)),
        ):
            with self.subTest(postgres):
                manager = f"ContainerManager(Postgres(wait={postgres}), Redis(wait={server}))"
                project = Project(self, test_it=module(manager))
                run = project.run(CONTAINERTEST_BACKEND=self.backend)
                self.assertEqual(run.status, 0, run.output)


support.on_every_backend(WaitTests)


if __name__ == "__main__":
    unittest.main()
