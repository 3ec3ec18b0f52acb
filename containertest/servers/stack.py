"""A `Stack`: the servers, the database and the baselines that managers of the same settings share in a process."""

from __future__ import annotations

import atexit
import functools
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from containertest import leaks, libpq
from containertest.errors import BackendUnavailable, NotStarted, ResetError, ServerDied
from containertest.servers import death
from containertest.servers.levels import UNFINISHED, Level
from containertest.servers.parts import PostgresPart, RedisPart
from containertest.servers.running import RunningPostgres, RunningRedis
from containertest.servers.starting import Start, Wanted
from containertest.services import postgres as postgres_service
from containertest.wait import now, poll

if TYPE_CHECKING:
    pass

__all__ = ["Stack"]

log = logging.getLogger("containertest")

#: Seconds between two attempts to start again what has ended.
INTERVAL = 0.2

#: The stacks of this process, and the lock for making one. A child made by fork begins with none.
_stacks: dict[str, Stack] = {}
_lock = threading.RLock()
#: What a fork left of the parent's stacks. Kept, since closing their connections would end the parent's.
_of_parents: list[dict[str, Stack]] = []


def _after_fork() -> None:
    global _lock
    _of_parents.append(dict(_stacks))
    _stacks.clear()
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _end_quickly() -> None:
    """Let this process end at once after its last test.

    At its end Python looks several times through all that the imported modules hold for cycles to collect, which
    takes longer than all else (redis-py alone: 20,000 objects). Not in Python's development mode, whose warnings
    of unclosed files may come from such cycles. Source: the manual of ``gc.freeze``.
    """
    if not sys.flags.dev_mode and hasattr(gc, "freeze"):
        atexit.register(gc.freeze)


class Stack:
    """The running servers of one process for one set of settings, with their baselines."""

    def __init__(self, wanted: Wanted) -> None:
        self.key, self.settings = wanted.key, wanted.settings
        self._wanted = wanted
        #: The levels that lie on what the migrations left, from the bottom.
        self._levels: list[Level] = []
        #: Those of them, at most one, that a manager's snapshot is: for all test classes.
        self.base: list[Level] = []
        #: What is to be there at a manager's next use; None: whatever is there, as in the middle of a test.
        self._next: list[Level] | None = None
        #: Whether a test has run since the baseline was brought back.
        self._used = False
        #: The test that ran last: who to blame for what is found before the next one.
        self.culprit = ""
        #: Warns of what the test has left open.
        self.warn: Callable[[str], None] = leaks.warn
        #: Seconds to wait for the backend itself to come back, as when a Docker engine is restarted.
        self._patience = wanted.settings.startup_timeout
        #: The running services by their titles, each the same object for good: see `_Running`.
        self._handed_out: dict[str, Any] = {}
        self._postgres: PostgresPart | None = None
        self._redis: RedisPart | None = None

    def __repr__(self) -> str:
        return ", ".join(repr(part.running) for part in self._parts())

    @classmethod
    def get(cls, wanted: Wanted) -> Stack:
        """The stack that is wanted: the one that this process has already, else a new one."""
        with _lock:
            if wanted.key not in _stacks:
                stack = cls(wanted)
                stack.start()
                _end_quickly()
                _stacks[wanted.key] = stack
            stack = _stacks[wanted.key]
            stack.leave()
            return stack.ready()

    def ready(self) -> Stack:
        """This stack, with new servers if one of the old ones has ended."""
        if self._misses_one():
            with _lock:
                if self._misses_one():
                    self._start_again()
        return self

    def _misses_one(self) -> bool:
        wanted = self._wanted
        return bool((wanted.postgres and not self._postgres) or (wanted.redis and not self._redis))

    def start(self) -> None:
        """Get the servers and a database; what users have kept of earlier ones stands for these then."""
        self._postgres, self._redis = Start(self._wanted).run()
        for part in self._parts():
            running = self._handed_out.setdefault(part.title, part.running)
            part.running.takes_the_place_of(running)
            part.running = running

    @property
    def postgres(self) -> RunningPostgres:
        if self._postgres is None:
            raise NotStarted(_missing("PostgreSQL", "postgres", needed=self._wanted.postgres is not None))
        return self._postgres.running

    @property
    def redis(self) -> RunningRedis:
        if self._redis is None:
            raise NotStarted(_missing("Redis", "redis", needed=self._wanted.redis is not None))
        with self.watched():
            _ = self._redis.reset
        return self._redis.running

    def running(self) -> dict[str, RunningPostgres | RunningRedis]:
        """The running services by their names, "postgres" and "redis"."""
        found: dict[str, RunningPostgres | RunningRedis] = {}
        if self._postgres:
            found["postgres"] = self.postgres
        if self._redis:
            found["redis"] = self.redis
        return found

    def reset_database(self) -> None:
        _ = self.postgres
        if self._postgres and (resetting := self._postgres.reset):
            with self.watched():
                self._in_spite_of_a_crash(lambda: resetting.reset(self.culprit, self.warn))

    def end_leftovers(self) -> None:
        """End the connections that the test left in a transaction or holding locks, with a warning of each."""
        if self._postgres and (resetting := self._postgres.reset):
            resetting.end_leftovers(self.culprit, self.warn)

    def _in_spite_of_a_crash(self, bring_back: Callable[[], None]) -> None:
        from containertest.reset.pg_baseline import TemplateLost

        try:
            bring_back()
        except TemplateLost:
            self._new_template()
        except Exception as error:
            # One killed backend, and PostgreSQL restarts them all: that is no reason for the next test to fail.
            if not (death.is_lost(error) and self._recovers()):
                raise
            self._new_template()

    def _recovers(self) -> bool:
        """Wait until PostgreSQL answers again; False when it has ended, or does not answer in time."""
        lease, probe = self.postgres.lease, postgres_service.probe
        poll(lambda: death.answers(lease.endpoint, probe) or not lease.server.alive(), self.settings.startup_timeout)
        return death.answers(lease.endpoint, probe)

    def _new_template(self) -> None:
        """Run the migrations anew on the same server, and take a new database from them."""
        log.warning("PostgreSQL was restarted by a crash: its databases are made anew")
        with _lock:
            if self._postgres:
                self._postgres.invalidate()
            self._let_go()
            self._start_again()

    def reset_redis(self) -> None:
        _ = self.redis
        if self._redis:
            with self.watched():
                self._redis.reset.reset()

    def reset_all(self) -> None:
        """Bring whatever there is back to its baseline, Redis also when PostgreSQL has leftovers of a test."""
        self.ready()
        if self._redis and self._postgres and self._postgres.reset:
            with self.watched():
                self._redis.reset.begin()
        try:
            if self._postgres:
                self.reset_database()
        finally:
            if self._redis:
                self.reset_redis()

    def at(self, levels: Sequence[Level]) -> None:
        """Bring the servers to these levels: take away those that are not among them, reset, make the missing ones."""
        self._used, self._next = False, list(self.base)  # should this be broken off
        self.ready()
        while True:
            # What a dead server had of a snapshot is lost.
            wanted = [level for level in levels if level.load or level in self._levels]
            pairs = zip(wanted, self._levels, strict=False)
            there = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))
            if there < len(self._levels):
                self._pop(there)
            self.reset_all()
            if len(self._levels) == there:
                break  # else the server was restarted by a crash just now, and all levels are gone
        for level in wanted[there:]:
            self._make(level)
        self._next = None

    def _pop(self, depth: int) -> None:
        with self.watched():
            if self._redis:
                self._redis.reset.pop(depth)
            if self._postgres and (resetting := self._postgres.reset):
                self._in_spite_of_a_crash(lambda: resetting.pop(depth))
        del self._levels[depth:]

    def _make(self, level: Level) -> None:
        assert level.load
        self._levels.append(UNFINISHED)
        self._next = None  # its data are made by a use of the servers
        try:
            with self.watched():
                level.load()
            if UNFINISHED not in self._levels:
                self._levels.append(UNFINISHED)  # a server that ended meanwhile was replaced, and all levels with it
            self._take(level)
        except BaseException:
            self._next = list(self.base)
            raise

    def _take(self, level: Level) -> None:
        """Make what is there now the highest level, in the place of the one that is there."""
        self._levels[-1] = UNFINISHED
        with self.watched():
            for part in self._parts():
                if part.reset:
                    part.reset.push(len(self._levels))
        self._levels[-1] = level

    def snapshot(self) -> None:
        """Make what is there now the baseline, until a manager is stopped; what a test class has goes on top of it.

        In a class that has data it is a part of them.
        """
        if not self._levels:
            self.base = [Level("snapshot")]
            self._levels = list(self.base)
        level = self._levels[-1]
        try:
            self._take(level)
        except BaseException:
            if level in self.base:
                self.forget_snapshot()
            raise

    def forget_snapshot(self) -> None:
        """Have a manager's snapshot left out at the next use, as when a manager is stopped."""
        if self.base:
            self.base, self._next = [], []

    def leave(self, level: Level | None = None) -> None:
        """Others than a test come now: they shall not find what the last test has left, nor the data of its class.

        :param level: the data of the class, should no test have run.
        """
        if self._used or level in self._levels:
            self._next = list(self.base)

    def test_ended(self, level: Level) -> None:
        """Note that a test has run: what it left is for nobody to find.

        :param level: what it has added to the baseline for itself alone.
        """
        self._used = True
        if level in self._levels:
            self._next = [other for other in self._levels if other is not level]

    def add(self, level: Level) -> None:
        """Make what is there now one more level, on top of the others."""
        self._levels.append(UNFINISHED)
        self._take(level)

    def current(self) -> Stack:
        """This stack, at a baseline that is not one of somebody who has gone."""
        if self._next is not None:
            with _lock:
                if self._next is not None:
                    self.at(self._next)
        return self

    def restore(self) -> None:
        """Make what the migrations left the baseline, and bring it back."""
        self.base = []
        self.at([])

    def load_fixtures(self, paths: Sequence[str | os.PathLike[str]], folders: Sequence[Path]) -> None:
        from containertest import fixtures

        for path in paths:
            found = fixtures.find(path, folders)
            with self.watched():
                if found.suffix == ".json":
                    fixtures.load_redis(self.redis.client, found)
                else:
                    fixtures.load_sql(self.postgres.connection, found)

    def environ(self) -> dict[str, str]:
        variables: dict[str, Any] = {}
        if self._postgres:
            it = self.postgres
            variables |= libpq.put_out_of_force(it.lease.endpoint.parameters)
            variables["DATABASE_URL"] = postgres_service.url(it.lease.endpoint, it.dbname, any_client=True)
            variables |= {"PGHOST": it.host, "PGPORT": it.port, "PGUSER": it.username}
            variables |= {"PGPASSWORD": it.password, "PGDATABASE": it.dbname}
        if self._redis:
            server = self.redis
            variables |= {"REDIS_URL": server.url, "REDIS_HOST": server.host, "REDIS_PORT": server.port}
            variables |= {"REDIS_PASSWORD": server.password}
        return {name: str(value or "") for name, value in variables.items()}

    def watched(self) -> AbstractContextManager[None]:
        """Turn whatever goes wrong because a server has ended into `ServerDied`; `ready` then gets new ones."""
        return _Watched(self)

    def dead(self) -> ServerDied | None:
        """The error that says which server has ended, or None when all live.

        To be asked after any failure: code under test may have made something else of a lost connection.
        """
        for part in self._parts():
            if error := death.died(part.lease, part.title, part.probe):
                return error
        return None

    def _given_up(self, error: Exception) -> ServerDied | None:
        """Likewise of a Redis that lives but, as ``error`` says, can't be brought back to the baseline any more."""
        if not (self._redis and isinstance(error, ResetError)):
            return None
        self._redis.give_up(error, self.culprit)
        return self.dead() if self._redis.lease.given_up else None

    def keep(self, test: str) -> None:
        """Put the database aside as the failed ``test`` left it, with its server, and go on with a new one."""
        if self._postgres:
            self._postgres.keep(test)

    def hand_over(self) -> None:
        """Leave the servers to another program, which may do with the database whatever it likes.

        Nothing of ours stays in it, no connection to it is open, and it is not reset any more.
        """
        if self._postgres:
            self._postgres.hand_over()
        if self._redis:
            self._redis.close()

    def _let_go(self) -> None:
        """Forget servers of which one has ended; one that lives is found again by `start`."""
        for part in self._parts():
            with suppress(Exception):
                part.close()
            part.running.has_ended(self._start_anew)
        self._postgres = self._redis = None
        lost, self.base = self.base, []
        self._levels, self._next, self._used = [], None, False
        if lost:
            log.warning("What snapshot() had made the baseline is gone with the server: it is the migrations' again.")

    def _start_anew(self) -> None:
        """Have all servers there for somebody who uses what he kept of one that has ended."""
        self.ready()
        if self._redis:
            _ = self.redis  # brings back its baseline

    def _parts(self) -> list[PostgresPart | RedisPart]:
        return [part for part in (self._postgres, self._redis) if part]

    def _start_again(self) -> None:
        """Get new servers; wait for a Docker engine that is being restarted, but not for the same one twice."""
        deadline = now() + self._patience
        self._patience = 0.0
        while True:
            try:
                self.start()
                break
            except BackendUnavailable as error:
                if now() > deadline:
                    raise
                log.info("trying again: %s", error)
                time.sleep(INTERVAL)
        self._patience = self.settings.startup_timeout


class _Watched:
    """A plain class, since it is around each test: a generator would take four times as long."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and (dead := self._stack._given_up(error) or self._stack.dead()):
            self._stack._let_go()
            raise dead from error


def _missing(title: str, argument: str, needed: bool) -> str:
    if needed:
        return f"{title} has ended and could not be started again; the next test will try once more."
    return (
        f"{title} was asked for, but this manager was told that it is not needed "
        f"(ContainerManager({argument}=None), or a test class for the other server only).\n"
        f"Leave {argument}=None out, or use IntegrationTestCase."
    )
