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
``raise … from``. What a user's test run prints of them is their message (see `containertest.boundary`).
"""

from __future__ import annotations

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


def died_at_start(title: str, log: str) -> ServerDied:
    """The error that says that the server ``title`` ended before it was ready."""
    return ServerDied(
        f"{title} ended while it was starting.\n"
        "Look at its options, its memory limit, and its image or program. Its last log lines:\n" + last_lines(log)
    )


def refused(title: str, where: str, reason: str) -> BackendUnavailable:
    """The error that says that a server of somebody else's does not let us in."""
    return BackendUnavailable(
        f"{title} at {where} refuses us: {reason}\n"
        "Waiting does not change that. Look at user, password, database and TLS parameters of its URL."
    )


def refused_by_ours(title: str, seconds: float, reason: str, log: str) -> StartupTimeout:
    """The error that says the same of a server that we started, after ``seconds`` in which it has not changed."""
    return StartupTimeout(
        f"{title} runs, but has refused us for {seconds:g} s: {reason}\n"
        "More time does not change that. Look at its options, and at what its image makes of users and databases.\n"
        f"Its last log lines:\n{last_lines(log)}"
    )


def last_lines(log: str, count: int = LOG_LINES) -> str:
    """Return the last ``count`` lines of a server's log, without empty ones, indented, for the end of a message."""
    lines = [line for line in log.splitlines() if line.strip()][-count:]
    if not lines:
        return "  (the log is empty)"
    return "\n".join(f"  | {line}" for line in lines)
