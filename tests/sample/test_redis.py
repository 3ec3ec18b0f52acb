"""Redis: the cache and the sessions of the sample application, and Redis' own data types."""

from __future__ import annotations

import time

from containertest import RedisTestCase
from containertest.sample.cache import KeyNotFound, RedisCache
from containertest.sample.sessions import SessionNotFound, SessionStore
from tests.sample.support import containers, wait_until

setUpModule, tearDownModule = containers.start, containers.stop


class CacheTests(RedisTestCase):
    containers = containers

    def setUp(self) -> None:
        self.cache = RedisCache(self.redis)

    def test_value_that_was_set_is_returned_and_expires(self) -> None:
        self.cache.set("greeting", "hello", expiry=60)
        self.assertEqual(self.cache.get("greeting"), "hello")
        self.assertKeyExpires("greeting", within=60)

    def test_json_comes_back_as_it_was(self) -> None:
        value = {"id": 1, "name": "Zoë 😀", "tags": ["a", None, True, 1.5], "nested": {"empty": {}}}
        self.cache.set("value", value, expiry=60)
        self.assertEqual(self.cache.get("value"), value)

    def test_value_is_gone_after_100_ms(self) -> None:
        start = time.monotonic()
        self.cache.set("brief", "value", expiry=0.1)
        wait_until(lambda: not self.cache.exists("brief"))
        self.assertGreater(time.monotonic() - start, 0.09)  # Redis' clock is not ours
        with self.assertRaises(KeyNotFound):
            self.cache.get("brief")

    def test_value_without_expiry_stays(self) -> None:
        self.cache.set("lasting", 1)
        self.assertKeyExists("lasting")
        self.assertEqual(self.redis.ttl("lasting"), -1)

    def test_setting_again_replaces_value_and_expiry(self) -> None:
        self.cache.set("key", "old", expiry=3600)
        self.cache.set("key", "new", expiry=60)
        self.assertEqual(self.cache.get("key"), "new")
        self.assertKeyExpires("key", within=60)

    def test_deleted_key_is_gone(self) -> None:
        self.cache.set("key", 1)
        self.assertTrue(self.cache.delete("key"))
        self.assertNoKey("key")
        with self.assertRaises(KeyNotFound):
            self.cache.get("key")

    def test_deleting_a_missing_key_says_so(self) -> None:
        self.assertFalse(self.cache.delete("missing"))

    def test_missing_key_is_not_mistaken_for_a_stored_none(self) -> None:
        self.cache.set("none", None)
        self.assertIsNone(self.cache.get("none"))
        with self.assertRaises(KeyNotFound):
            self.cache.get("missing")

    def test_exists_tells_whether_a_key_is_there(self) -> None:
        self.cache.set("key", None)
        self.assertEqual([self.cache.exists("key"), self.cache.exists("missing")], [True, False])

    def test_value_that_is_not_json_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(TypeError):
            self.cache.set("key", object())
        self.assertNoKey("key")

    def test_expiry_of_no_time_is_refused(self) -> None:
        for expiry in (0, -1, float("nan")):
            with self.subTest(expiry=expiry), self.assertRaises(ValueError):
                self.cache.set("key", 1, expiry)

    def test_prefixes_keep_caches_apart(self) -> None:
        RedisCache(self.redis, "a:").set("key", "from a")
        RedisCache(self.redis, "b:").set("key", "from b")
        self.assertEqual(RedisCache(self.redis, "a:").get("key"), "from a")
        self.assertKeyExists("b:key")

    def test_client_that_decodes_replies_will_do(self) -> None:
        client = containers.redis.connect(decode_responses=True)
        self.addCleanup(client.close)
        self.cache.set("key", ["ä"])
        self.assertEqual(RedisCache(client).get("key"), ["ä"])


class FillTests(RedisTestCase):
    """A value is loaded and stored, unless it is invalidated in the meantime."""

    containers = containers

    def setUp(self) -> None:
        self.cache = RedisCache(self.redis)

    def test_loaded_value_is_returned_and_stored(self) -> None:
        self.assertEqual(self.cache.fill("key", lambda: [1, 2], expiry=60), [1, 2])
        self.assertEqual(self.cache.get("key"), [1, 2])
        self.assertKeyExpires("key", within=60)

    def test_value_invalidated_while_it_is_loaded_is_returned_but_not_stored(self) -> None:
        def load() -> str:
            RedisCache(self.redis).invalidate("key")
            return "old"

        self.assertEqual(self.cache.fill("key", load), "old")
        self.assertNoKey("key")

    def test_failing_load_stores_nothing(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            self.cache.fill("key", lambda: 1 / 0)
        self.assertNoKey("key")

    def test_invalidated_value_is_gone(self) -> None:
        self.cache.set("key", 1)
        self.cache.invalidate("key")
        self.assertNoKey("key")


class DataTypeTests(RedisTestCase):
    """Redis without the sample application: what a first test of one's own may look like."""

    containers = containers

    def test_five_increments_count_to_five(self) -> None:
        self.assertEqual([self.redis.incr("counter") for _ in range(5)], [1, 2, 3, 4, 5])
        self.assertEqual(self.redis.get("counter"), b"5")

    def test_hash_keeps_four_fields(self) -> None:
        fields = {"id": "1", "email": "ada@example.com", "name": "Ada", "role": "admin"}
        self.assertEqual(self.redis.hset("user:1", mapping=fields), 4)
        stored = self.redis.hgetall("user:1")
        self.assertEqual({name.decode(): value.decode() for name, value in stored.items()}, fields)

    def test_list_is_a_first_in_first_out_queue(self) -> None:
        for job in ("first", "second", "third"):
            self.redis.rpush("jobs", job)
        self.assertEqual([self.redis.lpop("jobs") for _ in range(4)], [b"first", b"second", b"third", None])

    def test_every_test_starts_with_an_empty_redis(self) -> None:
        self.assertEqual(self.redis.dbsize(), 0)


class SessionTests(RedisTestCase):
    containers = containers

    def setUp(self) -> None:
        self.sessions = SessionStore(self.redis, expiry=60)

    def test_session_is_a_hash_that_expires(self) -> None:
        key = f"session:{self.sessions.create(user_id=7)}"
        self.assertEqual(self.redis.type(key), b"hash")
        self.assertEqual(self.redis.hget(key, "user_id"), b"7")
        self.assertKeyExpires(key, within=60)

    def test_session_knows_its_user(self) -> None:
        self.assertEqual(self.sessions.get(self.sessions.create(user_id=7)).user_id, 7)

    def test_use_prolongs_a_session(self) -> None:
        token = self.sessions.create(user_id=7)
        self.redis.expire(f"session:{token}", 10)
        self.sessions.get(token)
        self.assertGreater(self.redis.ttl(f"session:{token}"), 10)

    def test_logged_out_session_is_gone(self) -> None:
        token = self.sessions.create(user_id=7)
        self.sessions.delete(token)
        self.assertNoKey(f"session:{token}")
        with self.assertRaises(SessionNotFound):
            self.sessions.get(token)

    def test_unused_session_ends_by_itself(self) -> None:
        token = self.sessions.create(user_id=7)
        self.redis.pexpire(f"session:{token}", 20)
        wait_until(lambda: not self.redis.exists(f"session:{token}"))
        with self.assertRaises(SessionNotFound):
            self.sessions.get(token)

    def test_two_sessions_of_one_user_are_independent(self) -> None:
        first, second = self.sessions.create(user_id=7), self.sessions.create(user_id=7)
        self.sessions.delete(first)
        self.assertEqual(self.sessions.get(second).user_id, 7)
