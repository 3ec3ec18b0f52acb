"""Which databases an SQL file names in its statements about a whole database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from containertest.errors import ContainerTestError
from containertest.sql.reading import read_script
from containertest.sql.script import ScriptError, split

__all__ = ["databases_named"]

#: How such statements begin.
_ABOUT = {"ALTER", "GRANT", "REVOKE", "COMMENT", "SECURITY", "DROP"}
_NAME = re.compile(r"""\bDATABASE\s+(?:IF\s+EXISTS\s+)?(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))""", re.I)


def databases_named(path: Path, error: type[ContainerTestError]) -> Iterator[tuple[str, str]]:
    """The place of each statement, and the name as PostgreSQL knows it; nothing from where the file can't be cut."""
    try:
        for statement in split(read_script(path, error)):
            if statement.words[:1] and statement.words[0] in _ABOUT and "DATABASE" in statement.words:
                for found in _NAME.finditer(statement.text):
                    name = found["plain"].lower() if found["plain"] else found["quoted"].replace('""', '"')
                    yield f"{path}, line {statement.line}", name
    except ScriptError:
        return  # is said when it is run
