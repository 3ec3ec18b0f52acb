"""Finds and ends the sessions that a test left in a transaction, or holding locks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from containertest.errors import ResetError
from containertest.reset.pg_catalog import read_sql
from containertest.wait import now

#: Seconds that a session has to end its transaction by itself. A connection that was closed a moment ago is
#: still there until its server process has seen that, and another thread may be within a short statement.
GRACE = 0.1

#: Seconds that an ended session may take to be gone.
PATIENCE = 10.0


@dataclass(frozen=True)
class Leftover:
    """A session that stands in the way, as pg_stat_activity shows it."""

    pid: int
    backend_start: datetime
    xact_start: datetime | None
    role: str
    application: str
    state: str | None
    query: str
    seconds: float
    advisory: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """What stays the same as long as it is in the same transaction."""
        return (self.pid, self.backend_start, self.xact_start)

    def __str__(self) -> str:
        what = "holding an advisory lock" if self.xact_start is None else (self.state or "in a transaction")
        application = f", application {self.application!r}" if self.application else ""
        query = " ".join(self.query.split())
        return (
            f"a connection (role {self.role!r}{application}, server process {self.pid}) was left {what} "
            f"for {self.seconds:.2f} s after the query: {query[:300]}"
        )


def find(cursor: Any) -> list[Leftover]:
    """Return the sessions that are in a transaction or hold advisory locks right now."""
    cursor.execute(read_sql("pg_others.sql"))
    return [Leftover(*row) for row in cursor.fetchall()]


def find_lasting(cursor: Any, grace: float = GRACE) -> list[Leftover]:
    """Return those that are still in the same transaction after ``grace`` seconds."""
    found = find(cursor)
    lasting = {leftover.key for leftover in found}
    deadline = now() + grace
    while lasting and now() < deadline:
        time.sleep(0.002)
        found = find(cursor)
        lasting &= {leftover.key for leftover in found}
    return [leftover for leftover in found if leftover.key in lasting]


def end(cursor: Any, leftovers: list[Leftover]) -> None:
    """End these sessions and wait until they are gone; ``ResetError`` when that isn't possible."""
    for leftover in leftovers:
        try:
            cursor.execute("SELECT pg_terminate_backend(%s)", (leftover.pid,))
        except Exception as error:
            raise ResetError(
                f"The database can't be brought back: {leftover}.\nIt could not be ended: {error}".rstrip()
                + "\nClose it in the test, or give the test's role the rights of pg_signal_backend."
            ) from error
    pids = [leftover.pid for leftover in leftovers]
    deadline = now() + PATIENCE
    while True:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s)", (pids,))
        if cursor.fetchone()[0] == 0:
            return
        if now() > deadline:
            raise ResetError(f"The database can't be brought back: {leftovers[0]}.\nIt does not end.")
        time.sleep(0.002)
