"""JSON fixtures for Redis: read and checked as a whole, then written in one MULTI."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import redis

from containertest.errors import FixtureError
from containertest.files import read_text

_TYPES = ("value", "list", "set", "hash", "zset")


@dataclass(frozen=True)
class Entry:
    """A key, the command that writes it with its arguments, and its time to live in milliseconds."""

    key: bytes
    command: tuple[bytes, ...]
    ttl: int | None


class _Number(str):
    """A number as the file spells it: 0.10 stays 0.10."""


class _WrongError(Exception):
    """What is wrong with a value; the key and the file are added where they are known."""


def load(client: redis.Redis, path: Path) -> None:
    """Write the keys of ``path`` in one MULTI. Raises FixtureError with file and key."""
    entries = parse(read_text(path, FixtureError), str(path))
    pipeline = client.pipeline(transaction=True)
    for entry in entries:
        pipeline.delete(entry.key)
        pipeline.execute_command(*entry.command)  # type: ignore[no-untyped-call]
        if entry.ttl is not None:
            pipeline.pexpire(entry.key, entry.ttl)
    try:
        pipeline.execute()
    except redis.RedisError as problem:
        raise FixtureError(f"{path}: Redis refused it: {problem}") from problem


def parse(text: str, name: str) -> list[Entry]:
    """Return what the JSON ``text`` of the file ``name`` wants written. Raises FixtureError."""
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as problem:
        where = f"{name}, line {problem.lineno}, column {problem.colno}"
        raise FixtureError(f"{where}: not JSON: {problem.msg}") from None
    except _WrongError as problem:
        raise FixtureError(f"{name}: {problem}") from None
    except RecursionError:
        raise FixtureError(
            f"{name}: nested too deep to be read. A key has plain values, or a list, set or hash of them."
        ) from None
    if not isinstance(content, dict):
        raise FixtureError(f'{name}: must be one JSON object, {{"key": value, …}}')
    return [_entry(name, key, value) for key, value in content.items()]


def _entry(name: str, key: str, value: Any) -> Entry:
    try:
        kind, content, ttl = _typed(value)
        encoded = _bytes(key)
        command, *arguments = _WRITERS[kind](content)
        return Entry(encoded, (command, encoded, *arguments), ttl)
    except _WrongError as problem:
        raise FixtureError(f"{name}, key {json.dumps(key, ensure_ascii=False)}: {problem}") from None


def _typed(value: Any) -> tuple[str, Any, int | None]:
    """Return the type, the content and the time to live; an object may be a hash or name its type."""
    if not isinstance(value, dict):
        return ("list" if isinstance(value, list) else "value"), value, None
    named = [field for field in value if field != "ttl"]
    if len(named) == 1 and named[0] in _TYPES:
        ttl = _milliseconds(value["ttl"]) if "ttl" in value else None
        return _named(named[0], value[named[0]], ttl)
    if "ttl" in value:
        raise _WrongError(
            '"ttl" could be a field or the time to live. A hash with that field: {"hash": {"ttl": …, …}}; '
            'with a time to live: {"hash": {…}, "ttl": seconds}'
        )
    return "hash", value, None


def _named(kind: str, content: Any, ttl: int | None) -> tuple[str, Any, int | None]:
    """``{"value": …}`` takes any plain value, so that each can be given a time to live."""
    if kind == "value" and isinstance(content, (list, dict)):
        return ("list" if isinstance(content, list) else "hash"), content, ttl
    return kind, content, ttl


def _string(content: Any) -> list[bytes]:
    return [b"SET", _scalar(content)]


def _list(content: Any) -> list[bytes]:
    return [b"RPUSH", *_items(content, "list")]


def _set(content: Any) -> list[bytes]:
    return [b"SADD", *_items(content, "set")]


def _hash(content: Any) -> list[bytes]:
    fields = _fields(content, "hash")
    return [b"HSET", *(part for field, value in fields for part in (_bytes(field), _scalar(value)))]


def _zset(content: Any) -> list[bytes]:
    members = _fields(content, "zset")
    return [b"ZADD", *(part for member, score in members for part in (_score(score), _bytes(member)))]


_WRITERS: dict[str, Callable[[Any], list[bytes]]] = {
    "value": _string,
    "list": _list,
    "set": _set,
    "hash": _hash,
    "zset": _zset,
}


def _items(content: Any, kind: str) -> list[bytes]:
    if not isinstance(content, list):
        raise _WrongError(f'"{kind}" takes an array; for a hash with that field: {{"hash": {{"{kind}": …}}}}')
    return [_scalar(item) for item in _filled(content, kind)]


def _fields(content: Any, kind: str) -> Any:
    if not isinstance(content, dict):
        raise _WrongError(f'"{kind}" takes an object; for a hash with that field: {{"hash": {{"{kind}": …}}}}')
    return _filled(content, kind).items()


def _filled(content: Any, kind: str) -> Any:
    if not content:
        raise _WrongError(f"Redis has no empty {kind}: leave the key out")
    return content


def _scalar(value: Any) -> bytes:
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, bool) or value is None:
        raise _WrongError(
            f'Redis has no {json.dumps(value)}: write "{json.dumps(value)}", "", 1 or 0 as your code does'
        )
    kind = "array" if isinstance(value, list) else "object"
    raise _WrongError(f"an {kind} can't be inside of a value: Redis doesn't nest. Write it as a string of JSON")


def _score(value: Any) -> bytes:
    if value in ("inf", "+inf", "-inf") or (isinstance(value, _Number) and math.isfinite(float(value))):
        return str(value).encode()
    raise _WrongError(f"a score must be a number, not {json.dumps(value)}")


def _milliseconds(value: Any) -> int:
    seconds = float(value) if isinstance(value, _Number) else math.nan
    if not 0.001 <= seconds < 1e12:
        raise _WrongError(f'"ttl" must be a number of seconds above 0, not {json.dumps(value)}')
    return round(seconds * 1000)


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _WrongError(f"half a surrogate pair in {json.dumps(text)} is no text") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _WrongError(f"{json.dumps(twice, ensure_ascii=False)} is there twice in one object")
    return content


def _constant(text: str) -> NoReturn:
    raise _WrongError(f'{text} is not JSON: write "{text}" as a string')
