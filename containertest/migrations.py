"""Migrations: what makes the schema, once per run, in the database that becomes the template."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

from containertest import hooks
from containertest.errors import ConfigError, MigrationError
from containertest.files import locate
from containertest.sql.folder import migration_files

if TYPE_CHECKING:
    from psycopg2 import extensions


#: Ends of names of files that PostgreSQL can't run; any other may be SQL.
NOT_SQL = frozenset(
    {".py", ".pyc", ".ini", ".cfg", ".toml", ".json", ".yaml", ".yml", ".xml", ".rb", ".js", ".ts", ".sh"}
)


@dataclass(frozen=True)
class Call:
    """A step that is a callable.

    :param files: all that it reads, if its attribute ``depends_on`` says so: then that and its code tell what it does.
    """

    function: Callable[[str], object]
    files: tuple[Path, ...] | None


Step = Path | Call


class Migrations:
    """A ``.sql`` file, a folder of them, a callable that takes the database URL, or a list of these.

    Relative paths are looked for in ``folders``, in their order. Which files of a folder run, and in which order, says
    `containertest.sql.folder`.
    A callable may have an attribute ``depends_on``: the files and folders that its result depends on.
    None means no migrations. Raises ConfigError for anything else, and for what is missing.
    """

    def __init__(self, source: object, folders: Sequence[Path] = ()) -> None:
        self._steps = [step for item in _listed(source) for step in _steps(item, folders)]

    def run(self, connection: extensions.connection, url: str) -> None:
        """Run all of them, files on ``connection`` (autocommit) and callables with ``url``.

        Files run as ``psql -f`` runs them, each statement by itself: ``CREATE INDEX CONCURRENTLY`` and
        ``VACUUM`` work. What was done before an error stays: throw the database away then.
        Raises MigrationError: file, line, statement and PostgreSQL's message, or the callable and its error.
        """
        from containertest.sql.runner import run_plain

        for step in self._steps:
            if isinstance(step, Path):
                run_plain(connection, step, MigrationError)
            else:
                _call(step.function, url)

    def databases_named(self) -> Iterator[tuple[str, str]]:
        """Which databases the SQL files name in statements about a whole database: the place, and the name.

        Raises MigrationError when a file can't be read.
        """
        from containertest.sql.named import databases_named

        for step in self._steps:
            if isinstance(step, Path):
                yield from databases_named(step, MigrationError)

    def change_the_server(self) -> bool:
        """Whether SQL files say that they change the whole server, as by CREATE ROLE.

        Raises MigrationError when a file can't be read.
        """
        from containertest.sql.named import changes_the_server

        return any(isinstance(step, Path) and changes_the_server(step, MigrationError) for step in self._steps)

    def digest(self) -> str:
        """Return a hash of the content: of files their names and bytes, of callables their names and code.

        It is the same in all processes of a run. Raises MigrationError when a file can't be read any more.
        """
        content = hashlib.sha256()
        for step in self._steps:
            for part in _content(step):
                content.update(b"%d:" % len(part) + part)
        return content.hexdigest()

    @property
    def reusable(self) -> bool:
        """Whether the digest tells all: a callable may do something else tomorrow, unless it says what it reads."""
        return all(isinstance(step, Path) or step.files is not None for step in self._steps)


def _listed(source: object) -> Iterable[object]:
    if source is None:
        return []
    return source if isinstance(source, (list, tuple)) else [source]


def _steps(item: object, folders: Sequence[Path]) -> list[Step]:
    if isinstance(item, (str, os.PathLike)):
        return _files(locate(item, folders, ConfigError, "migration").absolute())
    if callable(item):
        return [Call(item, _depended_on(item, folders))]
    allowed = "a .sql file, a folder of them, a callable that takes the database URL, or a list of these"
    raise ConfigError(f"migrations: {item!r} is not {allowed}")


def _files(path: Path) -> list[Step]:
    if path.suffix.lower() in NOT_SQL and not path.is_dir():
        raise ConfigError(
            f"migrations: {path} is not SQL by its name.\nPass a .sql file, a folder of them, or a callable that takes "
            "the database URL: a function of yours that runs this."
        )
    if not path.is_dir():
        return [path]
    return [*migration_files(path)]


def _depended_on(item: object, folders: Sequence[Path]) -> tuple[Path, ...] | None:
    """The files of a callable's ``depends_on``, those of its folders included; None if it says nothing."""
    paths = getattr(item, "depends_on", None)
    if paths is None:
        return None
    if not isinstance(paths, (list, tuple)) or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise ConfigError(f"migrations: depends_on of {_name(item)} is {paths!r}, but must be a list of paths")
    found = [locate(path, folders, ConfigError, "what a migration depends on").absolute() for path in paths]
    return tuple(file for path in found for file in (sorted(_below(path)) if path.is_dir() else [path]))


def _below(folder: Path) -> Iterator[Path]:
    """All files of a folder, without what Python makes of them."""
    return (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _call(step: Callable[[str], object], url: str) -> None:
    try:
        hooks.finish(step(url), "the callable")
    except (Exception, SystemExit) as problem:  # command line tools end a failure with sys.exit
        text = f"{type(problem).__name__}: {str(problem).strip()}"
        error = MigrationError("\n".join([f"migration {_name(step)} failed: {text}", *_advice(problem, url)]))
        error.cause_is_shown = True
        raise error from problem.with_traceback(_from_the_callable_on(problem.__traceback__))


def _advice(problem: BaseException, url: str) -> list[str]:
    """What to do about an extension that the server has not; the driver's own error may be within another one."""
    import psycopg2

    from containertest.sql.extensions import extension_advice, folder_of

    def folder() -> str:
        with closing(psycopg2.connect(url)) as connection:
            return folder_of(connection)

    inner: Any = problem
    while inner is not None and not hasattr(inner, "diag"):
        inner = inner.__cause__ or inner.__context__
    return extension_advice(inner.diag, folder) if inner is not None else []


def _from_the_callable_on(traceback: TracebackType | None) -> TracebackType | None:
    """Without the frames that led to it: ours, and of the event loop that a coroutine was run in."""
    before = (__name__, hooks.__name__, "asyncio.", "concurrent.")
    while traceback and str(traceback.tb_frame.f_globals.get("__name__")).startswith(before):
        traceback = traceback.tb_next
    return traceback


def _name(step: object) -> str:
    """Return ``module.name`` of a callable, the same in a process that multiprocessing spawned."""
    if isinstance(step, functools.partial):
        return f"partial of {_name(step.func)}"
    named = step if hasattr(step, "__qualname__") else type(step)
    module = str(getattr(named, "__module__", "")).replace("__mp_main__", "__main__")
    return f"{module}.{getattr(named, '__qualname__', '')}"


def _content(step: Step) -> Iterator[bytes]:
    files: Iterable[Path] = [step] if isinstance(step, Path) else step.files or ()
    if isinstance(step, Call):
        yield _name(step.function).encode()
        yield _code(step.function).encode()
    for file in files:
        yield file.name.encode()
        try:
            yield file.read_bytes()
        except OSError as problem:
            raise MigrationError(f"{file}: can't be read: {problem.strerror}") from problem


def _code(step: object) -> str:
    """Spell out what a callable does, in words that are the same in every process."""
    if isinstance(step, functools.partial):
        return _spelled((_code(step.func), step.args, tuple(sorted(step.keywords.items()))))
    function = getattr(step, "__func__", step)
    if not hasattr(function, "__code__"):
        function = getattr(type(step), "__call__", None)  # noqa: B004
    cells = (getattr(cell, "cell_contents", None) for cell in getattr(function, "__closure__", None) or ())
    return _spelled((getattr(function, "__code__", None), getattr(function, "__defaults__", None), tuple(cells)))


def _spelled(value: Any) -> str:
    """Like repr, without addresses in memory and without the random order of sets."""
    if isinstance(value, CodeType):
        return _spelled((value.co_code, value.co_names, value.co_varnames, value.co_consts))
    if isinstance(value, (tuple, list)):
        return f"({','.join(map(_spelled, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{{{','.join(sorted(map(_spelled, value)))}}}"
    if value is None or isinstance(value, (str, bytes, int, float, complex, os.PathLike)):
        return repr(value)
    return type(value).__qualname__
