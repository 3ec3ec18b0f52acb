"""What a killed run has borrowed on servers that are not ours is given back; what was there before stays."""

from __future__ import annotations

import contextlib
import os
import signal
import unittest
from typing import Any

from containertest.servers import borrowed
from containertest.spec import Endpoint
from containertest.wait import poll
from tests.integration import private_servers
from tests.integration.crash.cases import kill_all_workers, kill_guard_and_runner
from tests.integration.crash.run import DEADLINE, SUITE, WORKERS, Run


class ExternalTests(unittest.TestCase):
    """The private servers stand for somebody's."""

    def setUp(self) -> None:
        self.redis = private_servers.redis_client(db=0)
        self.addCleanup(self.redis.close)
        self.before = self.names()
        self.addCleanup(self.redis.flushall)
        # Somebody's data where a run would look first for a place of its own.
        for number in (0, 1):
            with contextlib.closing(private_servers.redis_client(db=number)) as client:
                client.set("precious", number)

    def names(self) -> set[str]:
        with contextlib.closing(private_servers.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            return {name for (name,) in cursor.fetchall()}

    def made(self, place: str = "") -> Run:
        run = Run("external", place)
        self.addCleanup(run.__exit__, None, None, None)
        postgres, redis = private_servers.postgres(), private_servers.redis_server()
        run.variables |= {
            "CONTAINERTEST_POSTGRES_URL": "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**postgres),
            "CONTAINERTEST_REDIS_URL": "redis://:{password}@{host}:{port}".format(**redis),
        }
        return run

    def left(self) -> list[str]:
        lent = [f"lease {number}: {owner}" for number, owner in self.redis.hgetall(borrowed.LEASES).items()]
        databases = [f"database {name}" for name in self.names() - self.before]
        keys = [f"{name}: {kinds}" for name, kinds in self.redis.info("keyspace").items() if name not in ("db0", "db1")]
        return lent + databases + keys

    def assert_given_back(self, run: Run) -> None:
        run.wait_until_gone()
        self.assertTrue(poll(lambda: not self.left(), DEADLINE, interval=0.05), self.left())
        for number in (0, 1):
            with contextlib.closing(private_servers.redis_client(db=number)) as client:
                self.assertEqual(client.get("precious"), b"%d" % number)

    def test_everything_is_given_back_at_a_normal_exit(self) -> None:
        run = self.made().start()
        self.assertEqual(run.wait(), 0, run.said())
        self.assert_given_back(run)

    def test_everything_is_given_back_after_a_kill(self) -> None:
        for place in ("migrations", "test"):
            with self.subTest(place):
                run = self.made(place).start()
                run.wait_until_reached()
                self.assertNotEqual(self.left(), [])
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
                self.assert_given_back(run)

    def test_everything_is_given_back_after_all_workers_were_killed(self) -> None:
        run = self.made("test").start(WORKERS)
        run.wait_until_reached(2)
        kill_all_workers(run)
        run.wait()
        self.assert_given_back(run)

    def test_next_run_gives_back_what_the_guard_could_not(self) -> None:
        run = self.made("test").start()
        run.wait_until_reached()
        kill_guard_and_runner(run)
        run.wait()
        self.assertNotEqual(self.left(), [])
        done = run.python(*SUITE, CT_CRASH_PLACE="")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_given_back(run)

    def test_other_run_keeps_what_it_has_borrowed(self) -> None:
        other = self.made("test").start()
        other.wait_until_reached()
        run = self.made("test").start()
        run.wait_until_reached()
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        run.wait_until_gone()
        other.release()
        self.assertEqual(other.wait(), 0, other.said())
        self.assert_given_back(other)

    def test_database_that_was_only_looked_at_is_not_emptied(self) -> None:
        """The run was killed between the look and the lease: number 1 has somebody's data."""
        self.redis.hset(borrowed.LEASES, "1", f"some-run{borrowed.LOOKING}")
        server: dict[str, Any] = private_servers.redis_server()
        endpoint = Endpoint(server["host"], server["port"], password=server["password"])
        state = {"servers": {"redis-x": {"backend": "external", "endpoint": vars(endpoint)}}}
        self.assertEqual(borrowed.give_back(state, "some-run"), [])
        self.assertEqual(self.redis.hgetall(borrowed.LEASES), {})
        with contextlib.closing(private_servers.redis_client(db=1)) as client:
            self.assertEqual(client.get("precious"), b"1")
