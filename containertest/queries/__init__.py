"""Records the statements that this process sends to PostgreSQL, for ``assertNumQueries``.

No two drivers have the same hook for that, and most have none. So while a recording is on, the methods by which code
executes a statement are replaced by ones that note its text first: on the classes of the driver, so that connections,
cursors and pools that exist already are seen as well. Each driver has a module of its own here. Not seen is a method
of a psycopg 3 cursor or an asyncpg connection that was taken from it before and kept, as in ``run = cursor.execute``.

What counts is what code executes, as with Django's method of the same name: each call of ``execute``, ``executemany``,
``copy`` and the like is one statement. The BEGIN, COMMIT, ROLLBACK and RESET that a driver sends by itself don't
count; ``execute("COMMIT")`` does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from containertest.errors import ConfigError
from containertest.queries import with_asyncpg, with_psycopg, with_psycopg2
from containertest.queries.doors import Door, opened

__all__ = ["record"]

#: Modules of drivers that send statements without any Python code that could be replaced, or in a way of their own.
UNSEEN = {
    "_pg": "PyGreSQL",
    "adbc_driver_postgresql": "adbc-driver-postgresql",
    "pg._pg": "PyGreSQL",
    "pg8000": "pg8000",
    "pgdb": "PyGreSQL",
    "postgresql.driver": "py-postgresql",
    "psqlpy": "psqlpy",
    "psycopg2cffi": "psycopg2cffi",
}

# The classes of a driver are there once in a process, so what is changed in them is noted once, too: recordings
# of several threads or tasks may begin and end in any order.
_lock = threading.Lock()
_recordings: list[list[str]] = []
_changes = ExitStack()


@contextmanager
def record() -> Iterator[list[str]]:
    """Yield a list that receives the text of each statement executed in the block, by any thread.

    Raises ConfigError when a driver is loaded that can't be seen, and when a statement was executed by a cursor that
    can't be.
    """
    queries: list[str] = []
    _refuse_unseen_drivers()
    with _recorded(queries):
        before = with_psycopg2.begin(_note)
        yield queries
        with_psycopg2.refuse_used(before)
    _refuse_unseen_drivers()


@contextmanager
def _recorded(queries: list[str]) -> Iterator[None]:
    with _lock:
        if not _recordings:
            _change()
        _recordings.append(queries)
    try:
        yield
    finally:
        with _lock:
            _recordings[:] = [recording for recording in _recordings if recording is not queries]
            if not _recordings:
                _changes.close()


def _change() -> None:
    with ExitStack() as stack:
        stack.enter_context(with_psycopg2.seen(_note))
        doors: list[Door] = [*with_psycopg.doors(), *with_asyncpg.doors()]
        stack.enter_context(opened(doors, _note))
        _changes.push(stack.pop_all())


def _note(query: str) -> None:
    for recording in _recordings:
        recording.append(query)


def _refuse_unseen_drivers() -> None:
    loaded = sorted({title for module, title in UNSEEN.items() if sys.modules.get(module) is not None})
    if loaded:
        raise ConfigError(
            f"assertNumQueries can't count the statements of {' and '.join(loaded)}, which is loaded in this process: "
            "it can count those of psycopg2, psycopg 3 and asyncpg. Use one of these in the code under test, or don't "
            "import the other driver in this test run."
        )
