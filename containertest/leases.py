"""What a process of a run gets: a server, and on it a database of its own.

All is noted in the run's state before it exists, so that the guard finds it whatever happens in between. An
entry of ``state["servers"]`` is a `dict` with the server's endpoint, its handle's id, its template databases
(name -> valid?), and who has which database.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from containertest import backends
from containertest.backends.base import Backend, Handle, Owner, Server
from containertest.borrowed import borrow_logical_database
from containertest.errors import BackendUnavailable, ServerDied, StartupTimeout, last_lines
from containertest.processes import alive, myself
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.session import Session, write_private
from containertest.spec import Endpoint, ServerSpec
from containertest.wait import Connection, poll, until_ready

__all__ = ["Lease", "died", "exclusive", "key_of", "quietly", "release", "shared"]

log = logging.getLogger("containertest")

#: Seconds in which a server that does not answer either comes back or is seen to have ended.
DYING = 5.0
IN_USE = "a test was using it"

SERVICES: dict[str, Any] = {"postgres": postgres_service, "redis": redis_service}


@dataclass
class Lease:
    """A server of the run, in the hands of this process.

    :param key: its entry in the run's state.
    :param version: as in "15.4".
    :param ours: whether this call started it.
    """

    session: Session
    key: str
    server: Server
    endpoint: Endpoint
    version: str
    ours: bool

    @property
    def is_external(self) -> bool:
        return self.server.backend == "external"


def shared(session: Session, spec: ServerSpec, wanted: str, timeout: float) -> Lease:
    """The run's server for ``spec``: whoever needs it first starts it, the others attach.

    :param wanted: the backend asked for.
    :param timeout: seconds until the server must be ready.
    :raises BackendUnavailable: if no backend can run it.
    :raises StartupTimeout: if it does not get ready.
    :raises ServerDied: if it ends while starting.
    """
    key = key_of(spec)
    with session.lock(key):
        return _attached(session, key, spec, timeout) or _started(session, key, spec, wanted, timeout)


def key_of(spec: ServerSpec) -> str:
    """The entry of a shared server in the run's state."""
    return f"{spec.service}-{spec.identity}"


def exclusive(session: Session, spec: ServerSpec, wanted: str, timeout: float, purpose: str) -> Lease:
    """A server for this process alone: one that a dead process of the run had, else a new one.

    :param purpose: tells apart several servers of the same spec in one process.
    """
    kind = f"{key_of(spec)}-{purpose}"
    with session.state() as state:
        for key, entry in state["servers"].items():
            if key.startswith(kind) and (entry["user"] == myself() or not alive(entry["user"])):
                entry["user"] = myself()
                break
        else:
            key = ""
    with suppress(StartupTimeout):  # it is busy with what its former user has left
        if key and (lease := _attached(session, key, spec, min(timeout, DYING))):
            return lease
    return _started(session, f"{kind}-{'-'.join(myself())}", spec, wanted, timeout)


def _attached(session: Session, key: str, spec: ServerSpec, timeout: float) -> Lease | None:
    """The running server of entry ``key``; None (and the entry is dropped) when it is not there any more.

    :param timeout: seconds for a server that runs but is recovering from something.
    """
    with session.state() as state:
        entry = state["servers"].get(key)
        handle = entry and state["handles"].get(entry["handle"], {"id": entry["handle"]})
    if not entry:
        return None
    endpoint = Endpoint(**entry["endpoint"])
    server = backends.get(entry["backend"]).attach(handle, endpoint)
    try:
        until_ready(server, spec.title, Connection(), spec.probe, timeout)
    except ServerDied as error:
        if entry["backend"] == "external":
            # What it holds of ours is still to be given back: the entry stays.
            where = f"{spec.title} at {endpoint.host}:{endpoint.port}"
            raise BackendUnavailable(f"{where} does not answer any more.\nStart it again.") from error
        _epitaph(session, server)
        _forget(session, key, server)
        return None
    return Lease(session, key, server, endpoint, entry["version"], ours=False)


def _started(session: Session, key: str, spec: ServerSpec, wanted: str, timeout: float) -> Lease:
    backend = _backend(session, spec, wanted)

    def record(handle: Handle) -> None:
        session.record({**handle, "backend": backend.name})

    server = backend.start(spec, Owner(session.id, session.folder, record))
    service = SERVICES[spec.service]
    try:
        until_ready(server, spec.title, spec.wait, spec.probe, timeout)
        endpoint = service.settle(server.endpoint, spec.password) if backend.name != "external" else server.endpoint
        version = service.version(endpoint, spec.title)
        if backend.name == "external" and spec.service == "redis":
            # Noted first, for good and under a name that nobody attaches to: the guard gives back what is lent
            # to this run, but only on servers it knows, and this endpoint's database is not ours to use.
            _enter(session, f"lender-{key}", server, endpoint, version)
            endpoint = borrow_logical_database(endpoint, session.id)
    except BaseException:
        with quietly(f"remove {spec.title}"):
            _forget(session, key, server)
        raise
    _enter(session, key, server, endpoint, version)
    log.debug("%s %s on %s at %s:%s", spec.title, version, backend.name, endpoint.host, endpoint.port)
    return Lease(session, key, server, endpoint, version, ours=True)


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
            "user": myself(),
            "templates": {},
            "databases": {},
        }


def _forget(session: Session, key: str, server: Server) -> None:
    """Remove a server that is of no use, and what the state says of it."""
    server.stop()
    with session.state() as state:
        state["servers"].pop(key, None)
        state["handles"].pop(server.handle["id"], None)


def release(lease: Lease, *, only_if_unused: bool = True) -> None:
    """Give a server back that this process started but could not use after all.

    A server on which another process has a database stays.
    """
    with lease.session.state() as state:
        entry = state["servers"].get(lease.key, {})
        used = any(alive(owner) and owner[:2] != myself() for owner in entry.get("databases", {}).values())
    if not (only_if_unused and used):
        _forget(lease.session, lease.key, lease.server)


@contextmanager
def quietly(doing: str) -> Iterator[None]:
    """Let what goes wrong in undoing something be logged only: the first error is the one that counts."""
    try:
        yield
    except Exception as error:
        log.warning("could not %s: %s", doing, error)


def died(lease: Lease, title: str, probe: Callable[[Endpoint], None], doing: str = IN_USE) -> ServerDied | None:
    """The error that says that the server has ended; None when it still answers.

    A server that has just been killed may look alive for a moment: wait until it either answers or is gone.

    :param doing: completes "PostgreSQL ended while …".
    """

    def answers() -> bool:
        with suppress(Exception):
            probe(lease.endpoint)
            return True
        return False

    def is_gone() -> bool:
        return _is_replaced(lease) or not lease.server.alive()

    if not _is_replaced(lease) and (answers() or not poll(lambda: is_gone() or answers(), DYING) or not is_gone()):
        return None
    return ServerDied(
        f"{title} on {lease.server.backend} ended while {doing}.\n"
        f"The next test gets a new one. Its last log lines:\n{_epitaph(lease.session, lease.server)}"
    )


def _is_replaced(lease: Lease) -> bool:
    """Whether another process of the run has found the server dead and started a new one, maybe on the same port."""
    with lease.session.state() as state:
        entry = state["servers"].get(lease.key)
    return not entry or bool(entry["handle"] != lease.server.handle["id"])


def _epitaph(session: Session, server: Server) -> str:
    """The last log lines of a server that has ended: kept for all processes, since the first one removes it."""
    file = session.folder / f"{server.handle['id']}.ended"
    with session.lock("epitaphs"):
        if not file.exists():
            write_private(file, last_lines(server.logs()))
        return file.read_text(encoding="utf-8")
