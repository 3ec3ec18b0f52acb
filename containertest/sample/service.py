"""The rules of the service: what a user may be called, and what comes from the cache."""

from __future__ import annotations

from collections.abc import Sequence

from containertest.sample.cache import KeyNotFound, RedisCache
from containertest.sample.dao import UserDAO
from containertest.sample.models import User, check_email, check_name

__all__ = ["UserService"]


class UserService:
    """Users, read through a cache (cache-aside): a miss queries and stores, a write invalidates.

    Should the process die between the write and the invalidation, the old user is served until it expires.

    :param expiry: seconds that a user stays in the cache.
    """

    def __init__(self, users: UserDAO, cache: RedisCache, expiry: float = 300.0) -> None:
        self._users = users
        self._cache = cache
        self._expiry = expiry

    def create(self, email: str, name: str) -> User:
        """Add a user. :raises InvalidUser, DuplicateEmail:"""
        check_email(email)
        check_name(name)
        return self._users.create(email, name)

    def get(self, user_id: int) -> User:
        """Return a user, from the cache if it is there. :raises UserNotFound:"""
        key = _key(user_id)
        try:
            return User.from_json(self._cache.get(key))
        except KeyNotFound:
            pass
        except (KeyError, TypeError, ValueError):  # left by a version of the service that stored other things
            self._cache.delete(key)
        return User.from_json(self._cache.fill(key, lambda: self._users.get_by_id(user_id).to_json(), self._expiry))

    def get_by_email(self, email: str) -> User:
        """Return a user, always from the database. :raises InvalidUser, UserNotFound:"""
        check_email(email)
        return self._users.get_by_email(email)

    def list(self, limit: int = 20, offset: int = 0) -> Sequence[User]:
        """Return a page of users, always from the database, in the order of their ids."""
        return self._users.list(limit, offset)

    def update(self, user_id: int, email: str, name: str) -> User:
        """Change both fields. :raises InvalidUser, UserNotFound, DuplicateEmail:"""
        check_email(email)
        check_name(name)
        user = self._users.update(user_id, email, name)
        self._cache.invalidate(_key(user_id))
        return user

    def delete(self, user_id: int) -> None:
        """Remove a user. :raises UserNotFound:"""
        self._users.delete(user_id)
        self._cache.invalidate(_key(user_id))


def _key(user_id: int) -> str:
    return f"user:{user_id}"
