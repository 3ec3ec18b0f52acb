"""Polls a check until it holds, the server dies, or time is up.

Nothing here sleeps for a fixed time and hopes: each strategy looks every 10 ms, more often at first, and every
50 ms whether the server still lives, so that a server which ends at start-up is reported at once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from containertest.errors import (
    ConfigError,
    ContainerTestError,
    StartupTimeout,
    died_at_start,
    last_lines,
    refused,
    refused_by_ours,
)

if TYPE_CHECKING:
    from containertest.spec import Endpoint

__all__ = [
    "Connection",
    "ListeningPort",
    "LogLine",
    "Refusal",
    "WaitStrategy",
    "Watched",
    "dial",
    "now",
    "poll",
    "until_ready",
]

#: Seconds between two looks, at most.
INTERVAL = 0.01
#: Seconds between two looks whether a server lives, for which an engine may have to be asked.
SIGN_OF_LIFE = 0.05
#: Seconds in which a server that we started may refuse us: an image may make its users and databases while it listens.
PATIENCE = 5.0


class Refusal(Exception):
    """A server answers, but does not let us in, as with a wrong password: waiting does not change that."""


class Watched(Protocol):
    """What a wait strategy needs of a server."""

    @property
    def backend(self) -> str: ...

    @property
    def endpoint(self) -> Endpoint: ...

    def alive(self) -> bool: ...

    def logs(self, tail: int | None = None) -> str: ...


@dataclass(frozen=True)
class WaitStrategy:
    """When a server counts as ready. ``timeout`` is in seconds; None: the manager's ``startup_timeout``."""

    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not (isinstance(self.timeout, (int, float)) and self.timeout > 0):
            raise ConfigError(f"{type(self).__name__}(timeout={self.timeout!r}) must be a number of seconds above 0.")

    def check(self, server: Watched, probe: Callable[[Endpoint], None]) -> None:
        """Return when the server is ready; raise any exception, whose text says why, when it is not yet."""
        raise ConfigError(
            f"{type(self).__name__} is not a wait strategy by itself: use Connection, LogLine or ListeningPort"
        )


@dataclass(frozen=True)
class Connection(WaitStrategy):
    """Ready when a real connection from here, with user and password, succeeds. The default."""

    def check(self, server: Watched, probe: Callable[[Endpoint], None]) -> None:
        probe(server.endpoint)


@dataclass(frozen=True)
class ListeningPort(WaitStrategy):
    """Ready when something accepts TCP connections on the port, whoever it is."""

    def check(self, server: Watched, probe: Callable[[Endpoint], None]) -> None:
        with socket.create_connection((server.endpoint.host, server.endpoint.port), timeout=1):
            pass


@dataclass(frozen=True)
class LogLine(WaitStrategy):
    """Ready when ``text`` stands in at least ``occurrences`` lines of the server's log.

    PostgreSQL's official image starts the server twice, so that its "ready to accept connections" counts only
    the second time.
    """

    text: str = ""
    occurrences: int = 1

    def __init__(self, text: str, occurrences: int = 1, timeout: float | None = None) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "occurrences", occurrences)
        object.__setattr__(self, "timeout", timeout)
        self.__post_init__()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.text, str) or not self.text:
            raise ConfigError(f"LogLine({self.text!r}) must be given a part of the line to wait for.")
        if not isinstance(self.occurrences, int) or self.occurrences < 1:
            raise ConfigError(f"LogLine(occurrences={self.occurrences!r}) must be a whole number, 1 or more.")

    def check(self, server: Watched, probe: Callable[[Endpoint], None]) -> None:
        seen = sum(self.text in line for line in server.logs().splitlines())
        if seen < self.occurrences:
            raise LookupError(f"{self.text!r} was logged {seen} times, not {self.occurrences}; case counts")


def dial(endpoint: Endpoint, timeout: float) -> socket.socket:
    """A new TCP connection; each step of making it may take ``timeout`` seconds.

    :raises OSError: if there is nobody.
    """
    # A name that is text has Python load its tables of international names, also where it is an address.
    host: Any = endpoint.host.encode() if endpoint.host.isascii() else endpoint.host
    return socket.create_connection((host, endpoint.port), timeout)


def now() -> float:
    """Seconds on the system's monotonic clock, also in tests that freeze Python's clocks (freezegun does)."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def poll(check: Callable[[], bool], timeout: float, interval: float = INTERVAL) -> bool:
    """Call ``check`` until it is true; False when ``timeout`` seconds are over.

    :param interval: seconds between two calls; less at first, when what is quick should not be waited for.
    """
    began = now()
    while not check():
        waited = now() - began
        if waited > timeout:
            return False
        time.sleep(min(interval, 0.001 + waited / 10))
    return True


def until_ready(
    server: Watched, title: str, strategy: WaitStrategy, probe: Callable[[Endpoint], None], timeout: float
) -> None:
    """Wait until ``server`` is ready by ``strategy``.

    :param title: the server's name for messages, as in "PostgreSQL".
    :param timeout: seconds, for a strategy that has none of its own.
    :raises ServerDied: as soon as the server has ended.
    :raises BackendUnavailable: as soon as a server of somebody else's refuses us.
    :raises StartupTimeout: when the time is up, or when a server of ours goes on to refuse us.
    """
    seconds = timeout if strategy.timeout is None else strategy.timeout
    reason, next_look, refused_since = "it was never looked at", 0.0, 0.0

    def ready() -> bool:
        nonlocal reason, next_look, refused_since
        try:
            strategy.check(server, probe)
        except ContainerTestError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            refused_since = (refused_since or now()) if isinstance(error, Refusal) else 0.0
            if refused_since and server.backend == "external":
                raise refused(title, f"{server.endpoint.host}:{server.endpoint.port}", reason) from error
            if now() >= next_look:
                if not server.alive():
                    raise died_at_start(title, server.logs()) from error
                next_look = now() + SIGN_OF_LIFE
            return bool(refused_since) and now() - refused_since > PATIENCE
        refused_since = 0.0
        return True

    in_time = poll(ready, seconds)
    if refused_since:
        raise refused_by_ours(title, min(seconds, PATIENCE), reason, server.logs())
    if not in_time:
        raise StartupTimeout(
            f"{title} was not ready after {seconds:g} s ({type(strategy).__name__}: {reason}).\n"
            f"If it is only slow, give it more time: {_more_time(strategy)}.\n"
            f"Its last log lines:\n{last_lines(server.logs())}"
        )


def _more_time(strategy: WaitStrategy) -> str:
    if strategy.timeout is not None:
        return f"{type(strategy).__name__}(…, timeout={2 * strategy.timeout:g}), which counts instead of the setting"
    return "CONTAINERTEST_STARTUP_TIMEOUT=120, or startup_timeout=120"
