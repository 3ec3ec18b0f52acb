"""The SQL of the service: rows of ``users`` in, `User` objects out."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.errors import UniqueViolation

from containertest.sample.database import Database
from containertest.sample.models import User

__all__ = ["DuplicateEmail", "UserDAO", "UserNotFound"]

COLUMNS = "id, email, name, created_at, updated_at"
INSERT = f"INSERT INTO users (email, name) VALUES (%s, %s) RETURNING {COLUMNS}"
SELECT = f"SELECT {COLUMNS} FROM users"
# now() would be the start of the transaction, which may be the one that created the user.
CHANGES = "email = %s, name = %s, updated_at = clock_timestamp()"
UPDATE = f"UPDATE users SET {CHANGES} WHERE id = %s RETURNING {COLUMNS}"
DELETE = f"DELETE FROM users WHERE id = %s RETURNING {COLUMNS}"


class UserNotFound(LookupError):
    """There is no such user."""


class DuplicateEmail(ValueError):
    """Another user has this e-mail address."""


class UserDAO:
    """Stores users. Each call is a transaction of its own.

    Every method may raise `DatabaseUnavailable`; what PostgreSQL refuses for other reasons, such as a name
    that is too long, stays a ``psycopg2.Error``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, email: str, name: str) -> User:
        """Add a user. :raises DuplicateEmail: when the address is taken."""
        return self._write(email, INSERT, email, name)[0]

    def get_by_id(self, user_id: int) -> User:
        """Return a user. :raises UserNotFound: when there is none."""
        return _only(self._run(f"{SELECT} WHERE id = %s", user_id), f"id {user_id}")

    def get_by_email(self, email: str) -> User:
        """Return a user. :raises UserNotFound: when there is none. Upper and lower case differ."""
        return _only(self._run(f"{SELECT} WHERE email = %s", email), f"e-mail address {email}")

    def update(self, user_id: int, email: str, name: str) -> User:
        """Change both fields, and ``updated_at``. :raises UserNotFound, DuplicateEmail:"""
        return _only(self._write(email, UPDATE, email, name, user_id), f"id {user_id}")

    def delete(self, user_id: int) -> None:
        """Remove a user. :raises UserNotFound: when there is none."""
        _only(self._run(DELETE, user_id), f"id {user_id}")

    def list(self, limit: int = 20, offset: int = 0) -> Sequence[User]:
        """Return at most ``limit`` users after the first ``offset`` ones, in the order of their ids."""
        return self._run(f"{SELECT} ORDER BY id LIMIT %s OFFSET %s", limit, offset)

    def _run(self, sql: str, *params: object) -> Sequence[User]:
        with self._database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(sql, params)
            return [User(*row) for row in cursor.fetchall()]

    def _write(self, email: str, sql: str, *params: object) -> Sequence[User]:
        try:
            return self._run(sql, *params)
        except UniqueViolation as error:
            raise DuplicateEmail(f"the e-mail address {email} is taken") from error


def _only(users: Sequence[User], wanted: str) -> User:
    if not users:
        raise UserNotFound(f"no user with {wanted}")
    return users[0]
