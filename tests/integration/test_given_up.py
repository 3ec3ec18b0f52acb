"""A Redis that can't be brought back any more costs no test: the next one gets a new server, and the log says why."""

from __future__ import annotations

import functools
import os
import signal
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import redis

from containertest import ContainerManager, Redis, RedisTestCase, ResetError
from containertest.reset.redis import RedisReset
from containertest.servers import death
from tests.integration import private_servers
from tests.integration.test_death import docker_client
from tests.integration.user_project import Project
from tests.support import eventually, on_every_backend, run_case

#: Seconds, instead of the ten that a reset waits for an answer.
PATIENCE = 2.0


@on_every_backend
class GivenUp:
    """What happens after a test that has left Redis in a state from which no command leads back."""

    backend: str

    def setUp(self: Any) -> None:
        for name, value in (
            ("containertest.reset.redis.RedisReset", functools.partial(RedisReset, timeout=PATIENCE)),
            ("containertest.servers.death.DYING", PATIENCE),
        ):
            patch = mock.patch(name, value)
            patch.start()
            self.addCleanup(patch.stop)
        # Options of its own make it a server that no other test uses.
        self.manager = ContainerManager(
            postgres=None, redis=Redis(options={"maxmemory-samples": "8"}), backend=self.backend
        ).start()
        self.addCleanup(self.manager.stop)

    def pid(self: Any) -> int:
        """The pid of the server on this machine."""
        handle = self.manager.redis.lease.server.handle
        if self.backend == "local":
            return int(handle["process"][0])
        with docker_client() as api:
            return int(api.inspect_container(handle["id"])["State"]["Pid"])

    def result(self: Any, dirt: Callable[[redis.Redis], object]) -> unittest.TestResult:
        """Run a class whose second test ends with ``dirt``."""
        manager = self.manager

        class Inner(RedisTestCase):
            containers = manager

            @classmethod
            def setUpTestData(cls) -> None:
                cls.redis.set("of the class", 1)

            def check(self) -> None:
                self.assertEqual(self.redis.keys(), [b"of the class"])
                self.assertEqual(len(self.redis.acl_list()), 1)
                self.redis.set("of a test", 1)

            def test_1(self) -> None:
                self.check()

            def test_2(self) -> None:
                self.check()
                dirt(self.redis)

            def test_3(self) -> None:
                self.check()

            def test_4(self) -> None:
                self.check()

        result = run_case(Inner)
        self.assertEqual(result.testsRun, 4)
        return result

    def assert_replaced(self: Any, dirt: Callable[[redis.Redis], object], *words: str) -> None:
        before = self.pid()
        with self.assertLogs("containertest", "WARNING") as logs:
            result = self.result(dirt)
        logged = "".join(logs.output)
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)
        self.assertIn(f"Redis on {self.backend} was given up after {__name__}.", logged)
        for word in ("Inner.test_2: ", "The next test gets a new one.", "eady to accept connections", *words):
            self.assertIn(word, logged)
        self.assertEqual(logged.count(" was given up "), 1)
        self.assertNotEqual(self.pid(), before)
        # Whoever has adopted it takes its status a moment later.
        self.assertTrue(eventually(lambda: not os.path.exists(f"/proc/{before}")), "the old server is still there")

    def test_server_that_is_stopped_is_replaced(self: Any) -> None:
        self.assert_replaced(lambda _: os.kill(self.pid(), signal.SIGSTOP), "gave no answer within")

    def test_server_that_refuses_to_be_reset_is_replaced(self: Any) -> None:
        for rule in ("-acl", "-@all"):
            with self.subTest(rule), mock.patch.object(death, "poll", side_effect=AssertionError("it waits")):
                self.assert_replaced(
                    lambda client: client.execute_command("ACL", "SETUSER", "default", rule),  # noqa: B023
                    "no permissions",
                )

    def test_server_that_lets_nobody_in_is_replaced(self: Any) -> None:
        def shut(client: redis.Redis) -> None:
            client.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
            client.client_kill_filter(_type="normal", skipme=False)

        self.assert_replaced(shut, "invalid username-password pair")

    def test_reset_in_the_middle_of_a_test_fails_that_one(self: Any) -> None:
        def dirt(client: redis.Redis) -> None:
            client.execute_command("ACL", "SETUSER", "default", "-acl")
            self.manager.reset_redis()

        result = self.result(dirt)
        self.assertEqual(len(result.errors), 1, result.errors + result.failures)
        self.assertIn("ServerDied: Redis on", result.errors[0][1])


class NewServerTests(unittest.TestCase):
    def test_new_server_that_refuses_is_an_error_and_is_not_started_again_and_again(self) -> None:
        """Else each test would have a try of its own at something that can't succeed."""
        options = {"rename-command": "FLUSHALL REMOVED"}
        manager = ContainerManager(postgres=None, redis=Redis(options=options), backend="local").start()
        self.addCleanup(manager.stop)
        with self.assertRaisesRegex(ResetError, "Redis refused FLUSHALL"):
            _ = manager.redis


#: On a server that is not ours, as a user whose rights `observer` changes.
LIMITED = """
import os
import unittest

import redis

from containertest import ContainerManager, ResetError

class Tests(unittest.TestCase):
    def test_server_stays(self):
        observer = redis.Redis.from_url(os.environ["OBSERVER"])
        self.addCleanup(observer.close)
        manager = ContainerManager(postgres=None, backend="external").start()
        self.addCleanup(manager.stop)
        client = manager.redis.client
        client.set("mine", 1)
        observer.execute_command("ACL", "SETUSER", "limited", "-flushdb")
        for _ in range(2):
            with self.assertRaisesRegex(ResetError, "Redis refused FLUSHDB"):
                manager.reset_redis()
        observer.execute_command("ACL", "SETUSER", "limited", "+flushdb")
        manager.reset_redis()
        self.assertIs(manager.redis.client, client)
        self.assertEqual(client.dbsize(), 0)
"""


class ExternalTests(unittest.TestCase):
    def test_server_that_is_not_ours_stays(self) -> None:
        observer = private_servers.redis_client()
        self.addCleanup(observer.close)
        observer.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all")
        self.addCleanup(observer.acl_deluser, "limited")
        where = private_servers.redis_server()
        there = f"{where['host']}:{where['port']}"
        # A process of its own: its guard gives back what it had before the server ends.
        run = Project(self, test_it=LIMITED).run(
            CONTAINERTEST_REDIS_URL=f"redis://limited:pw@{there}", OBSERVER=f"redis://:{where['password']}@{there}"
        )
        self.assertEqual(run.status, 0, run.output)


if __name__ == "__main__":
    unittest.main()
