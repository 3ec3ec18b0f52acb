"""Which files of a folder of migrations run, and in which order; what only looks like one is refused by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from containertest.errors import ConfigError
from containertest.sql.packed import ENDINGS, can_unpack

__all__ = ["migration_files"]

log = logging.getLogger("containertest")

#: SQL, plain or packed; capitals don't matter. The official image reads the same from its own folder of such files.
_SQL = re.compile(rf"\.(sql|psql|pgsql)({'|'.join(map(re.escape, ENDINGS))})?$", re.IGNORECASE)
#: What is no migration, whatever else is beside it.
_NO_MIGRATION = re.compile(
    r"""  (__init__|conftest)\.py | .*~ | \#.*\# | __pycache__ | [^.]*
        | (docker-compose|sqitch|atlas|flyway|dbmate|goose)\b.*
        | (?!.*\.sql\b).*\.(md|rst|txt|adoc|cfg|ini|toml|conf|env|csv|tsv|sum|lock|py[co]|mako|png|svg|html) """,
    re.VERBOSE | re.IGNORECASE,
)
#: A migration by its name, of whatever kind: a version comes first.
_VERSIONED = re.compile(r"[VRUB]?[0-9]+([._-]|$)|R__", re.IGNORECASE)
#: A file that undoes another one, when it ends so and "." stands before it; else only beside the one that it undoes.
_DOWN = re.compile(r"(?P<stem>.+)(?P<mark>[._-])(down|rollback|undo|revert)$", re.IGNORECASE)
_UP = ("up", "do", "deploy", "apply")
_DOWN_FOLDERS = {"down", "rollback", "rollbacks", "undo", "revert", "verify"}
_FLYWAY = re.compile(r"(?P<kind>[VRUB])(?P<version>[0-9._]*)__")
_CALLBACK = re.compile(r"(before|after)[A-Z]\w*")


def migration_files(folder: Path) -> list[Path]:
    """The files to run, in natural order: ``2_…`` before ``10_…``, Flyway's versions, its repeatable ones last.

    :raises ConfigError: if there is none, or if something looks like a migration that can't be run.
    """
    if (folder / "toc.dat").exists():
        raise ConfigError(
            f"migrations: {folder} is a dump of pg_dump in its directory format, which only pg_restore reads.\n"
            f"Make SQL of it: pg_restore -f schema.sql {folder}"
        )
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = [path for path in found if _SQL.search(path.name) and not path.is_dir()]
    _check_others(folder, [path for path in found if path not in files], bool(files))
    wanted = _without_downs(files)
    if not wanted:
        what = "only files that undo others" if files else "no .sql files"
        raise ConfigError(
            f"migrations: {what} in the folder {folder}\n"
            "For Alembic, Django and the like pass a callable that takes the database URL."
        )
    _check_files(wanted)
    ordered = sorted(wanted, key=_place)
    _say_order(folder, ordered)
    return ordered


def _check_others(folder: Path, others: Iterable[Path], beside_sql: bool) -> None:
    """Refuse what looks like a migration; beside SQL files a script does, since it would be left out without a word."""
    odd = sorted(path.name for path in others if _looks_like_one(path, beside_sql))
    if odd:
        raise ConfigError(
            f"migrations: the folder {folder} has what can't be run as SQL: {', '.join(odd[:5])}"
            f"{' and more' if len(odd) > 5 else ''}.\nName the files to run one by one, in a list, with callables that "
            "take the database URL for what is no SQL, or move the others out of the folder."
        )


def _looks_like_one(path: Path, beside_sql: bool) -> bool:
    if path.is_dir():
        return path.name.lower() not in _DOWN_FOLDERS and any(
            _SQL.search(inner.name) or _VERSIONED.match(inner.name)
            for inner in path.rglob("*")
            if "__pycache__" not in inner.parts
        )
    if _NO_MIGRATION.fullmatch(path.name):
        return False
    return beside_sql or bool(_VERSIONED.match(path.name)) or ".sql" in path.name.lower()


def _stem(path: Path) -> str:
    return _SQL.sub("", path.name)


def _without_downs(files: list[Path]) -> list[Path]:
    """Leave out what undoes others: it would run after what it undoes, and the schema would be empty."""
    stems = {_stem(path).lower() for path in files}
    flyway = any(_is_flyway(path, "V") for path in files)

    def is_down(path: Path) -> bool:
        if flyway and _is_flyway(path, "U"):
            return True
        found = _DOWN.fullmatch(_stem(path))
        if not found:
            return False
        stem, mark = found["stem"].lower(), found["mark"]
        return mark == "." or stem in stems or any(f"{stem}{mark}{up}" in stems for up in _UP)

    return [path for path in files if not is_down(path)]


def _is_flyway(path: Path, kind: str) -> bool:
    found = _FLYWAY.match(path.name)
    return found is not None and found["kind"] == kind


def _check_files(files: list[Path]) -> None:
    flyway = any(_is_flyway(path, "V") for path in files)
    for path in files:
        if flyway and (_is_flyway(path, "B") or _CALLBACK.match(_stem(path))):
            raise ConfigError(
                f"migrations: {path} is a baseline or a callback of Flyway, which only Flyway knows when to run.\n"
                "Pass a callable that takes the database URL and runs Flyway, or the files one by one in a list."
            )
        if not can_unpack(path):
            raise ConfigError(
                f"migrations: {path} can't be unpacked by this Python.\nRun: pip install zstandard, or unpack the file."
            )


def _place(path: Path) -> tuple[object, ...]:
    """Where a file comes: by the numbers in its name as numbers; Flyway's repeatable ones last."""
    stem = _stem(path)
    if (flyway := _FLYWAY.match(path.name)) and flyway["kind"] == "V":
        version = [int(number) for number in re.findall("[0-9]+", flyway["version"])]
        while version[-1:] == [0]:
            version.pop()  # 1.0 is 1
        return (0, "V", tuple(version), stem)
    return (_is_flyway(path, "R"), "", natural(stem), stem)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key by which 9 comes before 10."""
    parts = re.split("([0-9]+)", name)
    return tuple((text, int(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True))


def _say_order(folder: Path, ordered: list[Path]) -> None:
    plain: Callable[[Path], str] = lambda path: path.name  # noqa: E731
    if ordered != sorted(ordered, key=plain):
        names = ", ".join(path.name for path in ordered[:4])
        more = ", …" if len(ordered) > 4 else ""
        log.info("The migrations in %s run in the order of the numbers in their names: %s%s", folder, names, more)
