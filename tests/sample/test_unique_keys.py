"""Tests that make every key and address their own.

They need no clean state, so they hold on servers that others use at the same time: a staging system, or
threads of one process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from containertest import IntegrationTestCase
from containertest.sample.cache import RedisCache
from containertest.sample.dao import DuplicateEmail, UserDAO
from containertest.sample.database import Database
from containertest.sample.service import UserService
from tests.sample.support import containers, pool_of

setUpModule, tearDownModule = containers.start, containers.stop


class UniqueKeyTests(IntegrationTestCase):
    containers = containers
    database: Database

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.database = pool_of(cls)

    def setUp(self) -> None:
        self.prefix = self.unique_key("users") + ":"
        self.users = UserService(UserDAO(self.database), RedisCache(self.redis, self.prefix))
        self.leave_something_behind()

    def leave_something_behind(self) -> None:
        """Stand for the other users of the servers: no test may count on an empty table or Redis."""
        self.users.create(self.unique_email(), "Somebody else")
        self.redis.set(self.unique_key(), "something else")

    def unique_email(self) -> str:
        return self.unique_key("user") + "@example.com"

    def test_unique_keys_differ_and_begin_with_their_prefix(self) -> None:
        keys = {self.unique_key("job") for _ in range(1000)}
        self.assertEqual(len(keys), 1000)
        self.assertTrue(all(key.startswith("job:") for key in keys))

    def test_user_is_found_among_others(self) -> None:
        email = self.unique_email()
        user = self.users.create(email, "Ada")
        self.assertEqual(self.users.get_by_email(email), user)
        self.assertRowCount("users", 1, "email = %s", (email,))

    def test_duplicate_email_is_refused_among_others(self) -> None:
        email = self.unique_email()
        self.users.create(email, "Ada")
        with self.assertRaises(DuplicateEmail):
            self.users.create(email, "Another Ada")

    def test_cached_user_lies_under_the_prefix_of_this_test(self) -> None:
        user = self.users.create(self.unique_email(), "Ada")
        self.users.get(user.id)
        self.assertKeyExists(f"{self.prefix}user:{user.id}")
        self.assertNoKey(f"user:{user.id}")

    def test_counters_of_eight_threads_do_not_mix(self) -> None:
        def count(key: str) -> list[int]:
            return [self.redis.incr(key) for _ in range(20)]

        keys = [self.unique_key("counter") for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            counted = list(pool.map(count, keys))
        self.assertEqual(counted, [list(range(1, 21))] * 8)
