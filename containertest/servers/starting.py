"""Gets the servers that a `Stack` wants: both at the same time, and a database of its own on one of them."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from containertest.migrations import Migrations
from containertest.servers import death, kept, leases, templates
from containertest.servers.leases import Lease, quietly
from containertest.servers.parts import PostgresPart, RedisPart
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.session import Session
from containertest.spec import ServerSpec

if TYPE_CHECKING:
    from containertest.services.postgres import Postgres
    from containertest.services.redis import Redis
    from containertest.settings import Settings

__all__ = ["Start", "Wanted"]

log = logging.getLogger("containertest")

SHARED = (
    "Others use the Redis at %s:%s too. The tests' own client refuses what reaches beyond database %s, such as "
    "FLUSHALL; clients of the application under test, and Lua scripts, are not held back."
)

#: Held while something of the whole process is changed for the time of loading.
_loading = threading.Lock()


def _after_fork() -> None:
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class Wanted:
    """What a stack is made of.

    :param key: tells the stacks of a process apart.
    :param scripts: the migrations, if there are any.
    """

    key: str
    settings: Settings
    postgres: Postgres | None
    redis: Redis | None
    scripts: Migrations | None

    @classmethod
    def of(
        cls,
        settings: Settings,
        postgres: Postgres | None,
        redis: Redis | None,
        migrations: Any,
        folders: Sequence[Path],
    ) -> Wanted:
        """What a manager with these arguments wants, whose migrations are looked for in ``folders``."""
        scripts = Migrations(migrations, folders) if migrations is not None else None
        # Where a setting comes from does not matter, with one exception: see `services.common.chosen_image`.
        sources = {name: source for name, source in settings.sources.items() if name.endswith("_image")}
        settings = replace(settings, sources=sources)
        wanted = (settings, settings.postgres_url, settings.redis_url, postgres, redis)
        secret = (postgres and postgres.password, redis and redis.password)
        text = repr((wanted, secret, scripts and scripts.digest()))
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(key, settings, postgres, redis, scripts)

    def specs(self) -> tuple[Any, Any]:
        """What to run: the specs of PostgreSQL and Redis, None for one that is not needed."""
        postgres, redis, settings = self.postgres, self.redis, self.settings
        return (
            postgres and postgres_service.spec(postgres, settings, postgres.password or secrets.token_urlsafe(16)),
            redis and redis_service.spec(redis, settings, redis.password or secrets.token_urlsafe(16)),
        )


class Start:
    """One attempt to get what is wanted; it undoes its own half when the other fails."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._settings = wanted.settings
        self._specs = wanted.specs()
        if self._settings.keep_alive:
            postgres, redis = self._specs
            template = templates.name_to_find(wanted.scripts) if postgres else ""
            kept.take_over(kept.Wanted(leases.key_of(postgres or redis), template))
        self._session = Session.join(self._settings.keep_alive)
        self._postgres_under_way = threading.Event()

    def run(self) -> tuple[PostgresPart | None, RedisPart | None]:
        postgres, redis = self._specs
        first = second = None
        future = _in_background(lambda: self._lease_redis(redis)) if redis else None
        try:
            first = self._start_postgres(postgres) if postgres else None
            second = RedisPart(future.result()) if future else None
            self._session.see_guard()
        except BaseException as error:
            # Ctrl-C does not wait for a server that is still on its way.
            _undo(first, future if isinstance(error, Exception) or (future and future.done()) else None)
            raise
        self._announce([part for part in (first, second) if part])
        return first, second

    def _lease_redis(self, spec: ServerSpec) -> Lease:
        """Get a Redis server: after PostgreSQL, which needs longer once it is on its way."""
        alone = self._wanted.postgres is None
        hooks = leases.Hooks(
            turn=(lambda: None) if alone else self._postgres_under_way.wait,
            meanwhile=lambda: _load("reset.redis") if alone else None,
        )
        settings = self._settings
        return leases.exclusive(
            self._session, spec, settings.backend, settings.startup_timeout, self._wanted.key, hooks
        )

    def _start_postgres(self, spec: ServerSpec) -> PostgresPart:
        """Get a database on the first server that has room for it; most often that is the only one."""
        for number in count(1):
            server = spec if number == 1 else replace(spec, identity=f"{spec.identity}-{number}")
            if templates.has_room(self._session, leases.key_of(server), self._wanted.scripts):
                with suppress(templates.Occupied):
                    return self._start_on(server)
        raise AssertionError

    def _start_on(self, spec: ServerSpec) -> PostgresPart:
        wanted, settings = self._wanted, self._settings
        assert wanted.postgres is not None
        needed = ("reset.postgres", "sql.runner", *(() if wanted.redis is None else ("reset.redis",)))
        hooks = leases.Hooks(meanwhile=lambda: _load(*needed), under_way=self._postgres_under_way.set)
        lease = leases.shared(self._session, spec, settings.backend, settings.startup_timeout, hooks)
        try:
            return PostgresPart(lease, wanted.scripts, wanted.postgres.dbname, wanted.key, settings.strict)
        except BaseException as error:
            doing = "its databases were made"
            dead = death.is_lost(error) and death.died(lease, spec.title, spec.probe, doing)
            if lease.ours:
                with quietly("give PostgreSQL back"):
                    leases.release(lease)
            if dead:
                raise dead from error
            raise

    def _announce(self, parts: Sequence[PostgresPart | RedisPart]) -> None:
        """Log once per run which backend was taken, and the versions."""
        text = ", ".join(f"{it.title} {it.running.version} on {it.running.backend}" for it in parts)
        with self._session.state() as state:
            if text in state["announced"]:
                return
            state["announced"].append(text)
        log.info("%s", text)
        for part in parts:
            if isinstance(part, RedisPart) and part.lease.is_external:
                it = part.running
                log.warning(SHARED, it.host, it.port, it.db)


def _undo(first: PostgresPart | None, future: Future[Lease] | None) -> None:
    """Give back what was got, after the error that counts; waits for what is on its way."""
    if first:
        with quietly("give PostgreSQL back"):
            first.give_back()
    if future and not future.exception():
        with quietly("give Redis back"):
            leases.release(future.result())


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
                # An ImportError is raised again where it is needed, the other one at the end of a failed process.
                with suppress(ImportError, RuntimeError):
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
