"""Reads an SQL file as the tool that it was written for would: packed or not, in its encoding, without its way down."""

from __future__ import annotations

import re
from pathlib import Path

from psycopg2 import extensions

from containertest.errors import ContainerTestError
from containertest.files import decoded, read_bytes
from containertest.sql.packed import unpacked, what_it_is
from containertest.sql.script import ScriptError
from containertest.sql.sections import way_up
from containertest.sql.variables import filled_in

__all__ = ["read_script"]

#: By which a file says what its bytes mean, as pg_dump's do at their top.
_ENCODING = re.compile(
    rb"^[ \t]*(?:SET[ \t]+(?:SESSION[ \t]+|LOCAL[ \t]+)?(?:client_encoding[ \t]*(?:=|[ \t]TO)|NAMES)|\\encoding)"
    rb"[ \t]*'?([A-Za-z0-9_-]+)",
    re.IGNORECASE | re.MULTILINE,
)


def read_script(path: Path, error: type[ContainerTestError]) -> str:
    """The SQL of a file that is to be run; each of its lines is where it is in the file.

    :raises ContainerTestError: of the class ``error``, with what the file is and what to do, if it is no SQL.
    """
    content = read_bytes(path, error)
    try:
        content = unpacked(path, content)
    except ValueError as problem:
        raise error(f"{path}: {problem}") from problem
    if what := what_it_is(path, content):
        raise error(f"{path}: {what}")
    script = _decoded(path, content, error)
    if "\0" in script:
        line = script.count("\n", 0, script.index("\0")) + 1
        raise error(f"{path}, line {line}: a NUL byte, which SQL can't have: is it UTF-16? Save it as UTF-8.")
    try:
        return filled_in(way_up(script))
    except ScriptError as problem:
        raise error(f"{path}, {problem}") from None


def _decoded(path: Path, content: bytes, error: type[ContainerTestError]) -> str:
    names = {name.decode().upper().replace("-", "").replace("_", "") for name in _ENCODING.findall(content)}
    named = sorted(names - {"UTF8", "UNICODE", "SQLASCII", "DEFAULT"})
    if not named:
        return decoded(path, content, error)
    known = {name.replace("_", ""): codec for name, codec in extensions.encodings.items()}
    if len(names) > 1 or named[0] not in known:
        raise error(f"{path}: its encoding is {' and '.join(sorted(names))}, which can't be read. Save it as UTF-8.")
    try:
        return content.decode(known[named[0]])
    except (UnicodeDecodeError, LookupError) as problem:
        raise error(f"{path}: not {named[0]}, as it says by SET client_encoding: {problem}") from None
