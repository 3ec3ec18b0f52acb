"""Tells a server that has ended from one that is only slow, or was lost for a moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from containertest.backends.base import Server
from containertest.errors import ServerDied, last_lines
from containertest.session import Session, write_private
from containertest.spec import Endpoint
from containertest.wait import poll

if TYPE_CHECKING:
    from containertest.servers.leases import Lease

__all__ = ["DYING", "answers", "died", "epitaph", "is_lost"]

#: Seconds in which a server that does not answer either comes back or is seen to have ended.
DYING = 5.0
IN_USE = "a test was using it"


def died(lease: Lease, title: str, probe: Callable[[Endpoint], None], doing: str = IN_USE) -> ServerDied | None:
    """The error that says that the server has ended; None when it still answers.

    A server that has just been killed may look alive for a moment: wait until it either answers or is gone.

    :param doing: completes "PostgreSQL ended while …".
    """

    def it_answers() -> bool:
        return answers(lease.endpoint, probe)

    def is_gone() -> bool:
        return _is_replaced(lease) or not lease.server.alive()

    if not _is_replaced(lease) and (
        it_answers() or not poll(lambda: is_gone() or it_answers(), DYING) or not is_gone()
    ):
        return None
    return ServerDied(
        f"{title} on {lease.server.backend} {lease.given_up or f'ended while {doing}.'}\n"
        f"The next test gets a new one. Its last log lines:\n{epitaph(lease.session, lease.server)}"
    )


def answers(endpoint: Endpoint, probe: Callable[[Endpoint], None]) -> bool:
    """Whether a server answers there right now."""
    with suppress(Exception):
        probe(endpoint)
        return True
    return False


def _is_replaced(lease: Lease) -> bool:
    """Whether another process of the run has found the server dead and started a new one, maybe on the same port."""
    with lease.session.state() as state:
        entry = state["servers"].get(lease.key)
    return not entry or bool(entry["handle"] != lease.server.handle["id"])


def epitaph(session: Session, server: Server) -> str:
    """The last log lines of a server that has ended: kept for all processes, since the first one removes it."""
    file = session.folder / f"{server.handle['id']}.ended"
    with session.lock("epitaphs"):
        if not file.exists():
            write_private(file, last_lines(server.logs()))
        return file.read_text(encoding="utf-8")


def is_lost(error: BaseException | None) -> bool:
    """Whether ``error``, or what caused it, may be the loss of a connection."""
    import psycopg2
    import redis

    lost = (psycopg2.OperationalError, psycopg2.InterfaceError, redis.ConnectionError, redis.TimeoutError, OSError)
    while error is not None:
        if isinstance(error, lost):
            return True
        error = error.__cause__ or error.__context__
    return False
