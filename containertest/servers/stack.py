"""A `Stack`: the servers, the database and the baselines that managers of the same settings share in a process."""

from __future__ import annotations

import atexit
import functools
import gc
import hashlib
import importlib
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from containertest.errors import BackendUnavailable, ContainerTestError, NotStarted, ServerDied
from containertest.migrations import Migrations
from containertest.servers import databases, death, kept, leases
from containertest.servers.leases import Lease, quietly
from containertest.servers.parts import PostgresPart, RedisPart
from containertest.servers.running import RunningPostgres, RunningRedis
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.session import Session
from containertest.spec import ServerSpec
from containertest.wait import poll

if TYPE_CHECKING:
    from containertest.services.postgres import Postgres
    from containertest.services.redis import Redis
    from containertest.settings import Settings

__all__ = ["Stack"]

log = logging.getLogger("containertest")

#: Seconds between two attempts to start again what has ended.
INTERVAL = 0.2

#: The stacks of this process, and the lock for making one. A child made by fork begins with none.
_stacks: dict[str, Stack] = {}
_lock = threading.RLock()
#: Held while something of the whole process is changed for the time of loading.
_loading = threading.Lock()
#: What a fork left of the parent's stacks. Kept, since closing their connections would end the parent's.
_of_parents: list[dict[str, Stack]] = []


def _after_fork() -> None:
    global _lock, _loading
    _of_parents.append(dict(_stacks))
    _stacks.clear()
    _lock, _loading = threading.RLock(), threading.Lock()


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
    """The running servers of one process for one set of settings, with their baselines.

    :param key: tells the stacks of a process apart.
    """

    def __init__(
        self, key: str, settings: Settings, postgres: Postgres | None, redis: Redis | None, scripts: Migrations | None
    ) -> None:
        self.key = key
        self.settings = settings
        self._wanted = (postgres, redis)
        self._scripts = scripts
        #: Whose data are in the present baseline, besides what the migrations left: a test class, or None.
        self.loaded: object = None
        #: Whether a manager's `snapshot` is the base of it.
        self._taken = False
        #: Whether those who made them have gone since: the class's data, the snapshot.
        self._data_over, self._snapshot_over = False, False
        #: Whether a test has run since the baseline was brought back, and whether the next use has to bring it back.
        self.dirty, self._to_clean = False, False
        #: The test that ran last: who to blame for what is found before the next one.
        self.culprit = ""
        #: Seconds to wait for the backend itself to come back, as when a Docker engine is restarted.
        self._patience = settings.startup_timeout
        self._postgres: PostgresPart | None = None
        self._redis: RedisPart | None = None

    def __repr__(self) -> str:
        return ", ".join(repr(part.running) for part in self._parts())

    @classmethod
    def get(
        cls,
        settings: Settings,
        postgres: Postgres | None,
        redis: Redis | None,
        migrations: Any,
        folders: Sequence[Path],
    ) -> Stack:
        """The stack for these settings: the one that this process has already, else a new one."""
        scripts = Migrations(migrations, folders) if migrations is not None else None
        # Where a setting comes from does not matter, with one exception: see `services.common.chosen_image`.
        sources = {name: source for name, source in settings.sources.items() if name.endswith("_image")}
        settings = replace(settings, sources=sources)
        wanted = (settings, settings.postgres_url, settings.redis_url, postgres, redis)
        secret = (postgres and postgres.password, redis and redis.password)
        text = repr((wanted, secret, scripts and scripts.digest()))
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        with _lock:
            if key not in _stacks:
                stack = cls(key, settings, postgres, redis, scripts)
                stack.start()
                _end_quickly()
                _stacks[key] = stack
            return _stacks[key].joined().ready()

    def joined(self) -> Stack:
        """This stack, for a manager that is started: he shall not find what the last test of others has left."""
        self._to_clean = self._to_clean or self.dirty
        return self

    def ready(self) -> Stack:
        """This stack, with new servers if one of the old ones has ended."""
        if self._misses_one():
            with _lock:
                if self._misses_one():
                    self._start_again()
        return self

    def _misses_one(self) -> bool:
        postgres, redis = self._wanted
        return bool((postgres and not self._postgres) or (redis and not self._redis))

    def start(self) -> None:
        """Get the servers, both at the same time, and a database; undo its own half when the other fails."""
        postgres, redis = self._specs()
        if self.settings.keep_alive:
            template = databases.name_to_find(self._scripts) if postgres else ""
            kept.take_over(kept.Wanted(leases.key_of(postgres or redis), template))
        session = Session.join(self.settings.keep_alive)
        under_way = threading.Event()
        future = _in_background(lambda: self._start_redis(session, redis, under_way)) if redis else None
        try:
            if postgres:
                self._start_postgres(session, postgres, under_way)
        except Exception:
            if future and not future.exception():
                with quietly("give Redis back"):
                    leases.release(future.result())
            raise
        self._finish_redis(future)
        self._announce(session)

    def _specs(self) -> tuple[Any, Any]:
        """What to run: the specs of PostgreSQL and Redis, None for one that is not needed."""
        postgres, redis = self._wanted
        return (
            postgres and postgres_service.spec(postgres, self.settings, postgres.password or secrets.token_urlsafe(16)),
            redis and redis_service.spec(redis, self.settings, redis.password or secrets.token_urlsafe(16)),
        )

    def _finish_redis(self, future: Future[Lease] | None) -> None:
        if future is None:
            return
        try:
            self._redis = RedisPart(future.result())
        except BaseException:
            if self._postgres:
                with quietly("give PostgreSQL back"):
                    self._postgres.give_back()
                self._postgres = None
            raise

    def _start_redis(self, session: Session, spec: ServerSpec, postgres_under_way: threading.Event) -> Lease:
        """Get a Redis server: after PostgreSQL, which needs longer once it is on its way."""
        alone = self._wanted[0] is None
        hooks = leases.Hooks(
            turn=(lambda: None) if alone else postgres_under_way.wait,
            meanwhile=lambda: _load("reset.redis") if alone else None,
        )
        return leases.exclusive(session, spec, self.settings.backend, self.settings.startup_timeout, self.key, hooks)

    def _start_postgres(self, session: Session, spec: ServerSpec, under_way: threading.Event) -> None:
        wanted = self._wanted[0]
        assert wanted is not None
        needed = ("reset.postgres", "sql.runner", *(() if self._wanted[1] is None else ("reset.redis",)))
        hooks = leases.Hooks(meanwhile=lambda: _load(*needed), under_way=under_way.set)
        lease = leases.shared(session, spec, self.settings.backend, self.settings.startup_timeout, hooks)
        try:
            self._postgres = PostgresPart(lease, self._scripts, wanted.dbname, self.key, self.settings.strict)
        except BaseException as error:
            doing = "its databases were made"
            dead = death.is_lost(error) and death.died(lease, spec.title, spec.probe, doing)
            if lease.ours:
                with quietly("give PostgreSQL back"):
                    leases.release(lease)
            if dead:
                raise dead from error
            raise

    def _announce(self, session: Session) -> None:
        """Log once per run which backend was taken, and the versions."""
        running = [(part.title, part.running) for part in self._parts()]
        text = ", ".join(f"{title} {it.version} on {it.backend}" for title, it in running)
        with session.state() as state:
            if text in state["announced"]:
                return
            state["announced"].append(text)
        log.info("%s", text)

    @property
    def postgres(self) -> RunningPostgres:
        if self._postgres is None:
            raise NotStarted(_missing("PostgreSQL", "postgres", needed=self._wanted[0] is not None))
        return self._postgres.running

    @property
    def redis(self) -> RunningRedis:
        if self._redis is None:
            raise NotStarted(_missing("Redis", "redis", needed=self._wanted[1] is not None))
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
                self._in_spite_of_a_crash(lambda: resetting.reset(self.culprit))

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
        self.dirty = self._to_clean = False
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

    def snapshot(self) -> None:
        """Make what is there now the baseline, until a manager is stopped.

        The data of test classes go on top of it. In a class that has data, it is itself a part of them.
        """
        base = self.loaded is None
        self._snapshot(base=base)
        self._taken = self._taken or base

    def _snapshot(self, *, base: bool) -> None:
        with self.watched():
            for part in self._parts():
                if part.reset:
                    part.reset.snapshot(base=base)

    def load(self, owner: object, load: Callable[[], None]) -> None:
        """Have ``load()`` make the data of ``owner``, a test class, and take what is there then for its baseline."""
        self.loaded = owner
        try:
            with self.watched():
                load()
            self._snapshot(base=False)
        except BaseException:
            try:
                self.restore()
            except ContainerTestError as second:
                log.warning("%s", second)  # the first one counts
            raise
        self.loaded = owner

    def forget_snapshot(self) -> None:
        """Go back to what the migrations left when the stack is used again, if a manager made a snapshot."""
        self._snapshot_over = self._snapshot_over or self._taken

    def forget(self, owner: object) -> None:
        """Leave out the data of ``owner``, a test class whose tests are over, when the stack is used again."""
        self._data_over = self._data_over or self.loaded is owner

    def holds(self, owner: object) -> bool:
        """Whether the baseline is that of ``owner``, a test class that begins a test; None: of one without data.

        Some runners take each test by itself, and end the class after it: then its data needn't be loaded again.
        """
        if self._snapshot_over or self.loaded is not owner:
            return False
        if owner is not None:
            self._data_over = False
        return not self._data_over

    def current(self) -> Stack:
        """This stack, at a baseline that is not one of somebody who has gone."""
        if self._data_over or self._snapshot_over or self._to_clean:
            with _lock:
                if self._data_over or self._snapshot_over:
                    self.restore()
                elif self._to_clean:
                    self.reset_all()
        return self

    def restore(self, *, everything: bool = False) -> None:
        """Leave out the data of a test class; with ``everything`` also a manager's snapshot.

        What is left, at least what the migrations made, is the baseline then.
        """
        self.loaded, self._data_over = None, True  # until it is done
        self.dirty = self._to_clean = False
        self._snapshot_over = everything = everything or self._snapshot_over
        self.ready()
        with self.watched():
            if self._redis:
                self._redis.reset.restore(everything=everything)
            if self._postgres and (resetting := self._postgres.reset):
                self._in_spite_of_a_crash(lambda: resetting.restore(everything=everything))
        self._taken = self._taken and not everything
        self._data_over = self._snapshot_over = False

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
            variables |= {"DATABASE_URL": it.url, "PGHOST": it.host, "PGPORT": it.port, "PGUSER": it.username}
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
        self._postgres = self._redis = self.loaded = None
        if self._taken:
            log.warning("What snapshot() had made the baseline is gone with the server: it is the migrations' again.")
        self._taken = self._data_over = self._snapshot_over = False

    def _parts(self) -> list[PostgresPart | RedisPart]:
        return [part for part in (self._postgres, self._redis) if part]

    def _start_again(self) -> None:
        """Get new servers; wait for a Docker engine that is being restarted, but not for the same one twice."""
        deadline = time.monotonic() + self._patience
        self._patience = 0.0
        while True:
            try:
                self.start()
                break
            except BackendUnavailable as error:
                if time.monotonic() > deadline:
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
        if isinstance(error, Exception) and (dead := self._stack.dead()):
            self._stack._let_go()
            raise dead from error


def _load(*names: str) -> None:
    """Load what servers are used with, modules of ours: with the drivers, 0.2 s of work, in which other threads go on.

    They wait for a server much of the time, and each time it answers they would wait 5 ms to go on, as long as a
    thread may keep the others from running. Source: the manual of ``sys.setswitchinterval``.
    """
    with _loading:
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, 0.0005))
        try:
            for name in names:
                with suppress(ImportError):  # is raised again where it is needed
                    importlib.import_module(f"containertest.{name}")
        finally:
            sys.setswitchinterval(before)


def _in_background(call: Callable[[], Lease]) -> Future[Lease]:
    """Call it in a thread that nothing waits for when Ctrl-C ends this process in the middle of a long pull."""
    future: Future[Lease] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="containertest", daemon=True).start()
    return future


def _missing(title: str, argument: str, needed: bool) -> str:
    if needed:
        return f"{title} has ended and could not be started again; the next test will try once more."
    return (
        f"{title} was asked for, but this manager was told that it is not needed "
        f"(ContainerManager({argument}=None), or a test class for the other server only).\n"
        f"Leave {argument}=None out, or use IntegrationTestCase."
    )
