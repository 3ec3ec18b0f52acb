"""Fixture files: found beside the tests, SQL run on PostgreSQL, JSON written to Redis."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from containertest.errors import FixtureError
from containertest.files import locate

if TYPE_CHECKING:
    import redis
    from psycopg2 import extensions


def find(path: str | os.PathLike[str], folders: Sequence[Path]) -> Path:
    """Return the fixture file ``path``: absolute, or in the first of ``folders`` that has it.

    Raises FixtureError, naming the folders looked in and a file of a similar name.
    """
    found = locate(path, folders, FixtureError, "fixture")
    if found.is_dir():
        raise FixtureError(f"fixture {found} is a folder: name the files in it")
    return found


def load_sql(connection: extensions.connection, path: Path) -> None:
    """Run an SQL file as psql would run plain SQL, all of it or nothing.

    On an idle connection the file is one transaction, committed at its end; on one that is in one
    it is part of that. Raises FixtureError with file, line, statement and PostgreSQL's message and leaves the
    connection as it was.
    """
    from containertest.sql.runner import run_atomic

    run_atomic(connection, path, FixtureError)


def load_redis(client: redis.Redis, path: Path) -> None:
    """Write the keys of a JSON file in one MULTI; a key that is there is replaced.

    ``{"key": value}``: a string or a number is a string, an array a list, an object a hash. ``{"set": […]}``,
    ``{"zset": {member: score}}``, ``{"list": […]}``, ``{"hash": {…}}`` and ``{"value": …}`` name the type and
    take ``"ttl": seconds`` beside it. Raises FixtureError with file and key; nothing is written then.
    """
    from containertest.redisdata import load

    load(client, path)
