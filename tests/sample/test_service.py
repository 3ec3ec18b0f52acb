"""The service: what comes from the cache, and what removes it from there."""

from __future__ import annotations

from collections.abc import Callable

from containertest import IntegrationTestCase
from containertest.sample.cache import RedisCache
from containertest.sample.dao import DuplicateEmail, UserDAO, UserNotFound
from containertest.sample.database import Database
from containertest.sample.models import InvalidUser, User
from containertest.sample.service import UserService
from tests.sample.support import containers, pool_of

setUpModule, tearDownModule = containers.start, containers.stop


class ServiceTestCase(IntegrationTestCase):
    containers = containers
    database: Database

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.database = pool_of(cls)

    def setUp(self) -> None:
        self.cache = RedisCache(self.redis)
        self.users = UserService(UserDAO(self.database), self.cache, expiry=60)
        self.ada = self.users.create("ada@example.com", "Ada")
        self.key = f"user:{self.ada.id}"


class CacheAsideTests(ServiceTestCase):
    def test_first_read_queries_and_stores_with_expiry(self) -> None:
        with self.assertNumQueries(1):
            self.assertEqual(self.users.get(self.ada.id), self.ada)
        self.assertKeyExpires(self.key, within=60)

    def test_second_read_queries_nothing(self) -> None:
        self.users.get(self.ada.id)
        with self.assertNumQueries(0):
            self.assertEqual(self.users.get(self.ada.id), self.ada)

    def test_unknown_user_is_not_stored(self) -> None:
        with self.assertRaises(UserNotFound):
            self.users.get(404)
        self.assertNoKey("user:404")

    def test_entry_of_another_version_is_replaced(self) -> None:
        for entry in ({"id": self.ada.id}, ["a list"], None, {**self.ada.to_json(), "created_at": "yesterday"}):
            with self.subTest(entry=entry):
                self.cache.set(self.key, entry)
                self.assertEqual(self.users.get(self.ada.id), self.ada)
                self.assertEqual(self.cache.get(self.key), self.ada.to_json())

    def test_entry_that_is_not_json_is_replaced(self) -> None:
        self.redis.set(self.key, b"\xff{")
        self.assertEqual(self.users.get(self.ada.id), self.ada)
        self.assertEqual(self.cache.get(self.key), self.ada.to_json())


class InvalidationTests(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.users.get(self.ada.id)

    def test_update_removes_the_user_from_the_cache(self) -> None:
        updated = self.users.update(self.ada.id, "ada@example.com", "Ada Lovelace")
        self.assertNoKey(self.key)
        self.assertEqual(self.users.get(self.ada.id), updated)

    def test_delete_removes_the_user_from_the_cache(self) -> None:
        self.users.delete(self.ada.id)
        self.assertNoKey(self.key)
        with self.assertRaises(UserNotFound):
            self.users.get(self.ada.id)

    def test_refused_update_keeps_the_cache(self) -> None:
        self.users.create("bob@example.com", "Bob")
        with self.assertRaises(DuplicateEmail):
            self.users.update(self.ada.id, "bob@example.com", "Ada")
        self.assertKeyExists(self.key)

    def test_update_keeps_other_users_in_the_cache(self) -> None:
        bob = self.users.create("bob@example.com", "Bob")
        self.users.get(bob.id)
        self.users.update(self.ada.id, "ada@example.com", "Ada Lovelace")
        self.assertKeyExists(f"user:{bob.id}")


class SlowDAO(UserDAO):
    """Calls ``meanwhile()`` after a user was read from the database, before the service stores it."""

    def __init__(self, database: Database, meanwhile: Callable[[], object]) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile

    def get_by_id(self, user_id: int) -> User:
        user = super().get_by_id(user_id)
        self._meanwhile()
        return user


class RaceTests(ServiceTestCase):
    """A write between a reader's query and its storing: the reader must not store the old user."""

    def read_while(self, meanwhile: Callable[[], object]) -> User:
        return UserService(SlowDAO(self.database, meanwhile), self.cache).get(self.ada.id)

    def test_reader_overtaken_by_an_update_stores_nothing(self) -> None:
        stale = self.read_while(lambda: self.users.update(self.ada.id, "ada@example.com", "Ada Lovelace"))
        self.assertEqual(stale.name, "Ada")
        self.assertEqual(self.users.get(self.ada.id).name, "Ada Lovelace")

    def test_reader_overtaken_by_a_delete_stores_nothing(self) -> None:
        self.read_while(lambda: self.users.delete(self.ada.id))
        with self.assertRaises(UserNotFound):
            self.users.get(self.ada.id)

    def test_reader_that_is_not_overtaken_stores_the_user(self) -> None:
        self.read_while(lambda: None)
        self.assertKeyExists(self.key)


class ValidationTests(ServiceTestCase):
    def test_users_that_cannot_be_stored_are_refused_before_any_query(self) -> None:
        refused = {
            "no email": (None, "Ada"),
            "email of a wrong type": (1, "Ada"),
            "email without @": ("ada", "Ada"),
            "email with two @": ("a@b@example.com", "Ada"),
            "email with a blank": ("a da@example.com", "Ada"),
            "email too long": ("a@" + "b" * 254, "Ada"),
            "no name": ("new@example.com", None),
            "empty name": ("new@example.com", " "),
            "name too long": ("new@example.com", "A" * 256),
            "name with NUL": ("new@example.com", "A\0da"),
            "name with half a surrogate pair": ("new@example.com", "A\ud83dda"),
        }
        for reason, (email, name) in refused.items():
            with self.subTest(reason), self.assertNumQueries(0), self.assertRaises(InvalidUser):
                self.users.create(email, name)
        self.assertRowCount("users", 1)

    def test_longest_values_are_stored(self) -> None:
        email, name = "a@" + "b" * 253, "松" * 255
        user = self.users.create(email, name)
        self.assertRowExists("users", id=user.id, email=email, name=name)

    def test_joined_emoji_and_other_scripts_are_names(self) -> None:
        for number, name in enumerate(["👩\u200d💻", "می\u200cخواهم", "山田\u3000太郎"]):  # noqa: RUF001
            with self.subTest(name):
                self.assertEqual(self.users.create(f"{number}@example.com", name).name, name)
