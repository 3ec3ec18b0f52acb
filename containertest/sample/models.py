"""What the service is about: users."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

__all__ = ["MAX_LENGTH", "InvalidUser", "User", "check_email", "check_name"]

#: Characters that an e-mail address or a name may have: the size of their columns.
MAX_LENGTH = 255

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")


class InvalidUser(ValueError):
    """An e-mail address or a name is not allowed; the message says why."""


@dataclass(frozen=True)
class User:
    """A row of ``users``. Both times have a time zone."""

    id: int
    email: str
    name: str
    created_at: datetime
    updated_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold, times in ISO 8601 and UTC."""
        times = {name: getattr(self, name).astimezone(timezone.utc) for name in ("created_at", "updated_at")}
        return {**vars(self), **{name: time.isoformat() for name, time in times.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> User:
        """Return the user that `to_json` was called on.

        :raises KeyError, TypeError, ValueError: when ``data`` come from elsewhere.
        """
        return cls(
            id=data["id"],
            email=data["email"],
            name=data["name"],
            created_at=datetime.fromisoformat(data["created_at"]),
            updated_at=datetime.fromisoformat(data["updated_at"]),
        )


def check_email(email: object) -> None:
    """Raise `InvalidUser` unless ``users`` can store it and it looks like an e-mail address."""
    text = _check_text("email", email)
    if not _EMAIL.fullmatch(text):
        raise InvalidUser("email must look like name@example.com")


def check_name(name: object) -> None:
    """Raise `InvalidUser` unless ``users`` can store it and it isn't empty."""
    _check_text("name", name)


def _check_text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidUser(f"{field} must be given, as a string")
    if not value.strip():
        raise InvalidUser(f"{field} must not be empty")
    if len(value) > MAX_LENGTH:
        raise InvalidUser(f"{field} must have at most {MAX_LENGTH} characters, not {len(value)}")
    # PostgreSQL stores no NUL, UTF-8 no surrogate; no name needs any other control character.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise InvalidUser(f"{field} must not contain control characters")
    return value
