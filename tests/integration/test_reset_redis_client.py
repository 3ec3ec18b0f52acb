"""The client object that tests share is after a reset what it was before, and still the same object."""

from __future__ import annotations

import contextlib
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from containertest.reset.redis import RedisReset
from tests.integration import private_servers
from tests.integration.test_reset_redis import ServerCase


def _callback(client: redis.Redis) -> None:
    client.set_response_callback("GET", lambda reply, **_: f"got {reply!r}")
    client.set_response_callback("new.command", str)


def _callback_removed(client: redis.Redis) -> None:
    del client.response_callbacks["INFO"]


def _callbacks_replaced(client: redis.Redis) -> None:
    client.response_callbacks = {}


def _patched_method(client: redis.Redis) -> None:
    client.get = mock.Mock(return_value=b"patched")  # type: ignore[method-assign]


def _patched_pool(client: redis.Redis) -> None:
    client.connection_pool.get_connection = mock.Mock(side_effect=redis.ConnectionError)


def _decoding(client: redis.Redis) -> None:
    client.connection_pool.connection_kwargs["decode_responses"] = True
    client.connection_pool.disconnect()


def _another_database(client: redis.Redis) -> None:
    client.connection_pool.connection_kwargs["db"] = 3
    client.connection_pool.disconnect()
    client.set("there", "x")


def _wrong_password(client: redis.Redis) -> None:
    client.connection_pool.connection_kwargs["password"] = "wrong"
    client.connection_pool.disconnect()


def _setting_added(client: redis.Redis) -> None:
    client.connection_pool.connection_kwargs["client_name"] = "somebody"


def _retry(client: redis.Redis) -> None:
    client.set_retry(Retry(NoBackoff(), 7))


def _another_pool(client: redis.Redis) -> None:
    client.connection_pool = redis.ConnectionPool(host="127.0.0.1", port=1)


def _no_room(client: redis.Redis) -> None:
    client.connection_pool.max_connections = 1


def _auto_close(client: redis.Redis) -> None:
    client.auto_close_connection_pool = False


def _attribute(client: redis.Redis) -> None:
    client.something = "left"  # type: ignore[attr-defined]


def _closed(client: redis.Redis) -> None:
    client.close()
    client.connection_pool.reset()


DIRT = [value for name, value in list(globals().items()) if getattr(value, "__module__", "") == __name__]


def seen(client: redis.Redis) -> dict[str, Any]:
    """Return what a test sees of a client, and of the connections that it opens."""
    client.set("kept", "x")
    client.hset("hash", "a", "1")
    pool = client.connection_pool
    return {
        "values": (client.get("kept"), client.hgetall("hash")),
        "connection": [client.client_info()[name] for name in ("db", "name", "user")],
        "retries": pool.make_connection().retry._retries,
        "callbacks": dict(client.response_callbacks),
        "attributes": dict(vars(client)),
        "pool": (pool, pool.max_connections, pool.connection_class, dict(pool.connection_kwargs)),
    }


class SharedClientTests(ServerCase):
    def check(self, reset: RedisReset, dirt: Callable[[redis.Redis], None], before: dict[str, Any]) -> None:
        dirt(self.client)
        reset.reset()
        self.assertEqual(self.client.dbsize(), 0)
        after = seen(self.client)
        different = {name: (after[name], before[name]) for name in before if after[name] != before[name]}
        self.assertEqual(different, {})

    def test_what_a_test_does_to_it_is_undone(self) -> None:
        before = seen(self.client)
        reset = RedisReset(self.client)
        for dirt in DIRT:
            if dirt is not seen:
                with self.subTest(dirt.__name__):
                    self.check(reset, dirt, before)

    def test_what_a_test_does_to_it_is_undone_where_only_a_database_is_ours(self) -> None:
        self.client = self.new_client(db=4)
        before = seen(self.client)
        reset = RedisReset(self.client, whole_server=False)
        self.check(reset, _callback, before)
        self.check(reset, _wrong_password, before)

    def test_snapshot_that_is_interrupted_takes_none_of_it_where_only_a_database_is_ours(self) -> None:
        self.client = self.new_client(db=4)
        before = seen(self.client)
        reset = RedisReset(self.client, whole_server=False)
        _callback(self.client)
        broken = mock.patch("containertest.reset.redis_database.read_keys", side_effect=KeyboardInterrupt)
        with broken, self.assertRaises(KeyboardInterrupt):
            reset.push(1)
        reset.reset()
        self.assertEqual(seen(self.client), before)

    def test_what_a_class_does_to_it_stays_for_its_tests_only(self) -> None:
        reset = RedisReset(self.client)
        self.client.set_response_callback("GET", lambda reply, **_: "of the class")
        reset.push(1)
        _callback(self.client)
        reset.reset()
        self.assertEqual(self.client.get("kept"), "of the class")
        reset.pop(0)
        self.assertIsNone(self.client.get("kept"))

    def test_connections_that_tests_do_not_give_back_leave_room_for_others(self) -> None:
        """A subscriber keeps a connection of the pool, which has so many and no more."""
        self.client.connection_pool.max_connections = 3
        reset = RedisReset(self.client)
        held = []
        for _ in range(5):
            held.append(self.client.pubsub())
            held[-1].subscribe("channel")
            reset.reset()
        for pubsub in held:
            with contextlib.suppress(redis.ConnectionError):
                pubsub.close()
        self.assertIsNone(self.client.get("kept"))

    def test_client_of_one_connection_stays_usable(self) -> None:
        client = private_servers.redis_client(single_connection_client=True)
        self.addCleanup(client.close)
        reset = RedisReset(client)
        for dirt in (_callback, _setting_added, _closed):
            with self.subTest(dirt.__name__):
                dirt(client)
                reset.reset()
                self.assertEqual((client.get("kept"), client.client_getname()), (None, None))
                self.assertIsNotNone(client.connection)


if __name__ == "__main__":
    unittest.main()
