"""Every error that containertest raises on purpose.

::

    ContainerTestError
    ├── ConfigError          a setting, an argument or a file's content is wrong
    ├── BackendUnavailable   no Docker engine, no server program, no answer from a given URL
    ├── StartupTimeout       a server runs but did not get ready in time
    ├── ServerDied           a server ended by itself, at start-up or in the middle of a run
    ├── MigrationError       a migration failed; its template database was not kept
    ├── FixtureError         a fixture file is missing or broken; nothing of that file was kept
    ├── ResetError           the baseline could not be brought back
    └── NotStarted           a server was asked for before ``start()`` or after ``stop()``

Errors of docker, testcontainers, requests, psycopg2 and redis are translated where they are caught, with
``raise … from``. Public functions are `brief`: what a user's test run prints of an error is its message.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = [
    "BackendUnavailable",
    "ConfigError",
    "ContainerTestError",
    "FixtureError",
    "MigrationError",
    "NotStarted",
    "ResetError",
    "ServerDied",
    "StartupTimeout",
]

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("containertest")

#: By this name unittest and pytest know the modules whose frames they leave out of tracebacks.
__unittest = True

#: How many log lines an error shows of a server that failed.
LOG_LINES = 30


class ContainerTestError(Exception):
    """The base of all errors of this library.

    :cvar cause_is_shown: whether the cause comes from the user's own code, so that its traceback is of use to him.
    """

    cause_is_shown = False


class ConfigError(ContainerTestError):
    """A setting, an argument or a file has a value that is not allowed."""


class BackendUnavailable(ContainerTestError):
    """No backend can run the servers here; the message lists what was tried and a remedy for each."""


class StartupTimeout(ContainerTestError):
    """A server is running but was not ready when the time was up; the message ends with its last log lines."""


class ServerDied(ContainerTestError):
    """A server ended by itself; the message ends with its last log lines."""


class MigrationError(ContainerTestError):
    """A migration failed; the template database it was building has been dropped."""


class FixtureError(ContainerTestError):
    """A fixture file is missing or broken; nothing of that file was kept."""


class ResetError(ContainerTestError):
    """The baseline could not be brought back."""


class NotStarted(ContainerTestError):
    """A server was asked for before ``start()`` or after ``stop()``."""


def brief(function: Callable[P, T]) -> Callable[P, T]:
    """Let errors of this library leave the public ``function`` without tracebacks of our and others' insides.

    The cause stays reachable as ``__context__``, which is not printed; all of it is logged at level DEBUG.
    """

    @functools.wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except ContainerTestError as error:
            log.debug("%s failed", function.__qualname__, exc_info=True)
            raise _without_insides(error)  # noqa: B904 (it is the same error)

    return public


def _without_insides(error: ContainerTestError) -> ContainerTestError:
    if error.__cause__ is not None and not error.cause_is_shown:
        cause, error.__cause__ = error.__cause__, None
        error.__context__, error.__suppress_context__ = cause, True
    return error.with_traceback(None)


def last_lines(log: str, count: int = LOG_LINES) -> str:
    """Return the last ``count`` lines of a server's log, indented, for the end of a message."""
    lines = log.rstrip().splitlines()[-count:]
    if not lines:
        return "  (the log is empty)"
    return "\n".join(f"  | {line}" for line in lines)
