"""What the assertions are given: each is looked at before it is used, so that a wrong one is told as such."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["condition", "count", "key", "name", "parameters", "seconds", "short"]

#: How many characters of a value a message shows.
SHOWN = 200


def name(given: object, what: str) -> str:
    """A name of a table or column, as PostgreSQL stores it; raises TypeError or ValueError if it can't be one."""
    if not isinstance(given, str):
        raise TypeError(f"{what} must be a str, as in 'users', not {_described(given)}")
    if not given or "\0" in given:
        raise ValueError(f"{what} is {short(given)}, but PostgreSQL has no empty names and none with a NUL character")
    return _encodable(given, what)


def condition(given: object) -> str | None:
    """A condition in SQL, or None for "any row"."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"where must be a condition in SQL, as in 'id > 5', or None, not {_described(given)}")
    if not given.strip() or "\0" in given:
        raise ValueError(
            f"where is {short(given)}, but must be a condition in SQL, as in 'id > 5'; leave it out for all"
        )
    return _encodable(given, "where")


def parameters(given: object) -> Sequence[Any] | Mapping[str, Any] | None:
    """What goes into a condition; None if there is nothing."""
    if given is None:
        return None
    if not isinstance(given, (list, tuple, Mapping)):
        raise TypeError(f"params must be a tuple or list for %s, or a dict for %(name)s, not {_described(given)}")
    return given or None


def count(given: object, what: str) -> int:
    """A number of rows or statements."""
    try:
        number = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(given, bool):
        raise TypeError(f"{what} must be an int, not {_described(given)}")
    if number < 0:
        raise ValueError(f"{what} is {number}, but can't be less than 0")
    return number


def key(given: Any) -> Any:
    """A key of Redis, in one of the types that redis-py takes."""
    if isinstance(given, bool) or not isinstance(given, (str, bytes, memoryview, int, float)):
        raise TypeError(f"a key of Redis must be a str or bytes, not {_described(given)}")
    return _encodable(given, "the key") if isinstance(given, str) else given


def seconds(given: object, what: str) -> float | None:
    """A time in seconds, or None for "any"."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {_described(given)}")
    if not 0 < given < float("inf"):
        raise ValueError(f"{what} is {given!r}, but must be a number of seconds, more than 0")
    return given


def short(value: object) -> str:
    """A value for a message; a long one is cut."""
    text = repr(bytes(value) if isinstance(value, memoryview) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def _described(given: object) -> str:
    return f"{short(given)} ({type(given).__name__})"


def _encodable(given: str, what: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError as problem:
        raise ValueError(f"{what} is {short(given)}, which is no text in UTF-8: {problem.reason}") from None
    return given
