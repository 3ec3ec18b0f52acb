"""What somebody has kept of `manager.postgres` and `manager.redis` stands for the servers that are there now."""

from __future__ import annotations

import unittest
from typing import Any

from containertest import ContainerManager, ServerDied
from tests.support import on_every_backend


@on_every_backend
class KeptObjects:
    backend: str

    def test_they_follow_when_servers_have_ended(self: Any) -> None:
        with ContainerManager(backend=self.backend) as manager:
            postgres, redis = manager.postgres, manager.redis
            for _ in range(2):
                before = postgres.url, redis.url
                self.end(manager)
                for shown in (repr(postgres), repr(redis)):
                    self.assertIn("which has ended; the next use starts another one", shown)
                with postgres.connect() as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT current_database()")
                    self.assertEqual(cursor.fetchone(), (postgres.dbname,))
                connection.close()
                self.assertTrue(redis.client.ping())
                self.assertNotEqual((postgres.url, redis.url), before)
                self.assertEqual((postgres.url, redis.url), (manager.postgres.url, manager.redis.url))
                self.assertIs(postgres.connection, manager.postgres.connection)
                self.assertIs(redis.client, manager.redis.client)
                self.assertIn("ready to accept connections", postgres.logs())

    def test_each_way_to_use_one_starts_another_server(self: Any) -> None:
        with ContainerManager(backend=self.backend) as manager:
            redis = manager.redis
            for use in ("port", "client"):
                with self.subTest(use):
                    self.end(manager)
                    self.assertEqual(getattr(redis, use), getattr(manager.redis, use))
                    self.assertTrue(redis.client.ping())

    def test_what_they_never_had_is_an_ordinary_error(self: Any) -> None:
        with ContainerManager(backend=self.backend) as manager:
            for ended in (False, True):
                if ended:
                    self.end(manager)
                with self.assertRaisesRegex(AttributeError, "'RunningRedis' object has no attribute 'posrt'"):
                    _ = manager.redis.posrt

    def end(self: Any, manager: ContainerManager) -> None:
        """End both servers, and have the library notice it."""
        for running in (manager.postgres, manager.redis):
            running.lease.server.stop()
        with self.assertRaises(ServerDied):
            manager.reset_all()


if __name__ == "__main__":
    unittest.main()
