"""What a process of a run gets: a server, and on it a database of its own.

All is noted in the run's state before it exists, so that the guard finds it whatever happens in between. An
entry of ``state["servers"]`` is a `dict` with the server's endpoint, its handle's id, its template databases
(name -> valid?), and who has which database.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from containertest import backends
from containertest.backends.base import Backend, Handle, Owner, Server
from containertest.errors import BackendUnavailable, ServerDied, StartupTimeout
from containertest.processes import Process, alive, myself
from containertest.servers import death
from containertest.servers.borrowed import borrow_logical_database, give_back_logical_databases, hold
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.services.common import Met
from containertest.session import Session
from containertest.spec import Endpoint, ServerSpec
from containertest.wait import Connection, WaitStrategy, until_ready

__all__ = ["Hooks", "Lease", "exclusive", "key_of", "quietly", "release", "remember_baseline", "shared"]

log = logging.getLogger("containertest")


SERVICES: dict[str, Any] = {"postgres": postgres_service, "redis": redis_service}


def _nothing() -> None: ...


@dataclass(frozen=True)
class Hooks:
    """What is called while a server is got, so that several can be started at the same time.

    :param turn: before it is started; may wait.
    :param meanwhile: in a thread, while the server starts without needing this process.
    :param under_way: when it is on its way, is found running, or will not be; maybe more than once.
    """

    turn: Callable[[], object] = _nothing
    meanwhile: Callable[[], object] = _nothing
    under_way: Callable[[], object] = _nothing


NO_HOOKS = Hooks()


@dataclass
class Lease:
    """A server of the run, in the hands of this process.

    :param key: its entry in the run's state.
    :param version: as in "15.4".
    :param ours: whether this call started it.
    :param spare: a connection left from making sure that it answers, for the first who needs one; of a Redis of others
        the one that holds our logical database.
    :param baseline: what `remember_baseline` was told by the process that started it.
    :param given_up: why the server was removed, though it had not ended: completes "Redis on local …".
    """

    session: Session
    key: str
    server: Server
    endpoint: Endpoint
    version: str
    ours: bool
    baseline: str = field(default="", repr=False)
    spare: Any = field(default=None, repr=False)
    given_up: str = ""

    @property
    def is_external(self) -> bool:
        return self.server.backend == "external"


def shared(session: Session, spec: ServerSpec, wanted: str, timeout: float, hooks: Hooks = NO_HOOKS) -> Lease:
    """The run's server for ``spec``: whoever needs it first starts it, the others attach.

    :param wanted: the backend asked for.
    :param timeout: seconds until the server must be ready.
    :raises BackendUnavailable: if no backend can run it.
    :raises StartupTimeout: if it does not get ready.
    :raises ServerDied: if it ends while starting.
    """
    key = key_of(spec)
    try:
        with session.lock(key):
            return _attached(session, key, spec, timeout, hooks) or _started(session, key, spec, wanted, timeout, hooks)
    finally:
        hooks.under_way()


def key_of(spec: ServerSpec) -> str:
    """The entry of a shared server in the run's state."""
    return f"{spec.service}-{spec.identity}"


def exclusive(
    session: Session, spec: ServerSpec, wanted: str, timeout: float, purpose: str, hooks: Hooks = NO_HOOKS
) -> Lease:
    """A server for this process alone: one that a dead process of the run had, else a new one.

    :param purpose: tells apart several servers of the same spec in one process.
    """
    kind = f"{key_of(spec)}-{purpose}"
    if key := _free_server(session, kind):
        try:
            if lease := _attached(session, key, spec, min(timeout, death.DYING)):
                return lease
        except StartupTimeout:
            # It runs, but does not answer: a dead process left it paused, or in a script without an end.
            _forget(session, key, _server(session, key))
    return _started(session, f"{kind}-{'-'.join(myself())}", spec, wanted, timeout, hooks)


def _free_server(session: Session, kind: str) -> str:
    """Take an entry of this ``kind`` that only this process, or none that lives, uses; "" if there is none."""
    me = myself()
    with session.state() as state:
        for key, entry in state["servers"].items():
            if key.startswith(kind) and not _others(entry, me):
                entry["users"] = [me]
                return str(key)
    return ""


def _others(entry: dict[str, Any], me: Process) -> list[Process]:
    """The living processes besides this one that use a server."""
    return [user for user in entry["users"] if user != me and alive(user)]


def _server(session: Session, key: str) -> Server:
    with session.state() as state:
        entry = state["servers"][key]
        handle = state["handles"].get(entry["handle"], {"id": entry["handle"]})
    return backends.get(entry["backend"]).attach(handle, Endpoint(**entry["endpoint"]))


def _attached(session: Session, key: str, spec: ServerSpec, timeout: float, hooks: Hooks = NO_HOOKS) -> Lease | None:
    """The running server of entry ``key``; None (and the entry is dropped) when it is not there any more.

    :raises StartupTimeout: if it runs, but does not answer for ``timeout`` seconds.
    """
    me = myself()
    with session.state() as state:
        entry = state["servers"].get(key)
        if entry is None:
            return None
        entry["users"] = [*_others(entry, me), me]
    hooks.under_way()
    endpoint = Endpoint(**entry["endpoint"])
    server = _server(session, key)
    try:
        met = _met(server, spec, endpoint.password, Connection(), timeout)
    except ServerDied as error:
        if entry["backend"] == "external":
            # What it holds of ours is still to be given back: the entry stays.
            where = f"{spec.title} at {endpoint.host}:{endpoint.port}"
            raise BackendUnavailable(f"{where} does not answer any more.\nStart it again.") from error
        death.epitaph(session, server)
        _forget(session, key, server)
        return None
    lent = entry["backend"] == "external" and spec.service == "redis"
    connection = hold(endpoint) if lent else met.connection
    return Lease(session, key, server, endpoint, met.version, False, entry["baseline"], connection)


def remember_baseline(lease: Lease, baseline: str) -> None:
    """Note what a process that takes the server over later has to bring back before it uses it."""
    lease.baseline = baseline
    with lease.session.state() as state:
        state["servers"][lease.key]["baseline"] = baseline


def _met(server: Server, spec: ServerSpec, password: str | None, strategy: WaitStrategy, timeout: float) -> Met:
    """Wait until a server can be met; its password is the one given then."""
    met: list[Met] = []
    meet = SERVICES[spec.service].meet
    until_ready(server, spec.title, strategy, lambda it: met.append(meet(it, password, spec.title)), timeout)
    return met[0]


def _tried(endpoint: Endpoint, probe: Callable[[Endpoint], None]) -> Endpoint:
    """The endpoint, without the shorter way if that does not lead there, as where a firewall is in it."""
    leads_there = endpoint.near is None or death.answers(endpoint.nearest(), probe)
    return endpoint if leads_there else dataclasses.replace(endpoint, near=None)


def _started(session: Session, key: str, spec: ServerSpec, wanted: str, timeout: float, hooks: Hooks) -> Lease:
    backend = _backend(session, spec, wanted)

    def record(handle: Handle) -> None:
        session.record({**handle, "backend": backend.name})

    def waiting() -> None:
        threading.Thread(target=hooks.meanwhile, name="containertest-load").start()

    server = backend.start(spec, Owner(session.id, session.folder, record, hooks.turn, waiting))
    hooks.under_way()
    try:
        if not isinstance(spec.wait, Connection):
            # A log line or a port may come too early (Docker's own proxy listens first): we connect all the same.
            until_ready(server, spec.title, spec.wait, spec.probe, timeout)
        password = server.endpoint.password if backend.name == "external" else spec.password
        endpoint, version, connection = _met(server, spec, password, Connection(spec.wait.timeout), timeout)
        endpoint = _tried(endpoint, spec.probe)
        if backend.name == "external" and spec.service == "redis":
            # Noted first, for good and under a name that nobody attaches to: the guard gives back what is lent
            # to this run, but only on servers it knows, and this endpoint's database is not ours to use.
            _enter(session, f"lender-{key}", server, endpoint, version)
            endpoint, connection = borrow_logical_database(endpoint, session.id)
    except BaseException:
        with quietly(f"remove {spec.title}"):
            _forget(session, key, server)
        raise
    _enter(session, key, server, endpoint, version)
    log.debug("%s %s on %s at %s:%s", spec.title, version, backend.name, endpoint.host, endpoint.port)
    return Lease(session, key, server, endpoint, version, ours=True, spare=connection)


def _backend(session: Session, spec: ServerSpec, wanted: str) -> Backend:
    """The backend for ``spec``; chosen once per run, since to find out that an image can't be pulled takes long."""
    with session.state() as state:
        name = state["chosen"].get(key_of(spec))
    if name:
        return backends.get(name)
    backend = backends.choose(spec, wanted)
    with session.state() as state:
        state["chosen"][key_of(spec)] = backend.name
    return backend


def _enter(session: Session, key: str, server: Server, endpoint: Endpoint, version: str) -> None:
    with session.state() as state:
        state["servers"][key] = {
            "backend": server.backend,
            "handle": server.handle["id"],
            "endpoint": dataclasses.asdict(endpoint),
            "version": version,
            "users": [myself()],
            "baseline": "",
            "templates": {},
            "databases": {},
        }
        if handle := state["handles"].get(server.handle["id"]):
            # What has never got ready is nothing to prepare data for the next run from.
            handle["ready"] = True


def _forget(session: Session, key: str, server: Server) -> None:
    """Remove a server that is of no use, and what the state says of it.

    What can't be removed now, as when the engine does not answer, keeps its handle: then the guard removes it.
    """
    try:
        server.stop()
        stopped = True
    except Exception as error:
        log.warning("A server on %s could not be removed yet: %s", server.backend, error)
        stopped = False
    with session.state() as state:
        state["servers"].pop(key, None)
        if stopped:
            state["handles"].pop(server.handle["id"], None)


def release(lease: Lease) -> None:
    """Give a server back that this process started but could not use after all.

    A server that another process uses stays.
    """
    # Whoever attaches does so under this lock.
    with lease.session.lock(lease.key):
        with lease.session.state() as state:
            used = _others(state["servers"].get(lease.key, {"users": []}), myself())
        if not used:
            if lease.is_external and lease.key.startswith("redis-"):
                give_back_logical_databases(lease.endpoint, lease.session.id, lease.endpoint.database)
            _forget(lease.session, lease.key, lease.server)


@contextmanager
def quietly(doing: str) -> Iterator[None]:
    """Let what goes wrong in undoing something be logged only: the first error is the one that counts."""
    try:
        yield
    except Exception as error:
        log.warning("could not %s: %s", doing, error)
