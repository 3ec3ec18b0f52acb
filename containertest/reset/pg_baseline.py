"""A database's current baseline: the template's, or that of a snapshot; and how to get it without the database."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2 import sql

from containertest.errors import ResetError
from containertest.reset import pg_database, pg_prepare
from containertest.reset.pg_clone import snapshot_templates
from containertest.reset.pg_database import Database
from containertest.wait import poll

#: Seconds to wait for a moment in which nobody else writes.
PATIENCE = 5.0

#: How often a database is cloned anew when somebody writes to the clone before we have looked at it.
ATTEMPTS = 5

LOG = logging.getLogger("containertest")


class TemplateLost(ResetError):
    """The template database has lost its unlogged data, in a crash of the server: it must be made anew."""


@dataclass(frozen=True)
class Level:
    """What makes a baseline: a template database, and the rows and sequences of a snapshot to lay over its clone."""

    template: str
    snapshot: tuple[str, bytes] | None = None


class Baseline:
    """What ``PostgresReset`` remembers between two resets.

    There are up to three levels: what the migrations left, what a base snapshot made of it, and on that a snapshot
    that is taken back more often, of a test class's data.

    ``horizon`` is the transaction id since which rows are no part of the baseline, ``noted`` the one since which
    notes on who wrote are to be minded, ``seen`` the next one to be given out as long as nobody writes ("0": unknown),
    ``oid`` the database's.
    """

    def __init__(self, database: Database) -> None:
        self.oid = self.horizon = self.noted = self.seen = "0"
        self._database = database
        self._template_horizon = "0"
        self._base = self._level = self._migrated = Level(database.template)
        #: Whether a change of the level was broken off: then nobody knows what there is in the database.
        self._torn = False
        if not self._begin():
            self.clone("it is not new")

    def is_over(self, *, everything: bool) -> bool:
        """Whether what `forget_snapshot` goes back to is the template that the database was cloned from."""
        wanted = self._migrated if everything else self._base
        return self._level.template == wanted.template and not self._torn

    def cursor(self) -> Any:
        """A plain cursor of the shared connection, whatever factory a test has set."""
        return pg_database.cursor(self._database)

    def call(self, call: str, *arguments: str) -> list[str]:
        """Call a function of the schema ``containertest`` and return the words of its answer."""
        with self.cursor() as cursor:
            cursor.execute(sql.SQL(f"SELECT containertest.{call}").format(*map(sql.Literal, arguments)))
            answer: str | None = cursor.fetchone()[0]
        return (answer or "").split()

    def moved_on(self, seen: str, horizon: str, noted: str) -> None:
        """Note that the database was brought back and what the function ``reset`` said about it."""
        self.seen, self.horizon, self.noted = seen, horizon, noted
        if self._level.snapshot is None:
            self._template_horizon = horizon

    def write_properties(self) -> None:
        """Bring back what belongs to the database as a whole."""
        pg_database.write_properties(self._database, self._level.template)

    def clone(self, reason: str) -> None:
        """Replace the database by a new clone of the current baseline; ``ResetError`` if that fails."""
        template = self._level.template
        LOG.debug("database %s: cloned anew (%s)", self._database.name, reason.strip())
        try:
            usable = self._clone()
        except psycopg2.Error as error:
            raise ResetError(
                f"The database {self._database.name!r} could not be cloned anew from {template!r}: {error}"
            ) from error
        if not usable:
            raise TemplateLost(
                f"The database {self._database.name!r} was cloned anew from {template!r}, but is not new. Either "
                "something goes on writing to it (a thread or process that a test has left: end it before the test "
                "ends), or the template's unlogged tables are empty, as after a crash of the server: start a new one."
            )
        self._torn = False

    def _clone(self) -> bool:
        for _ in range(ATTEMPTS):
            since = pg_database.replace(self._database, self._level.template)
            if self._begin() and self._lay_snapshot():
                return True
        # Somebody is faster than we are, each time. The next reset, or the snapshot, undoes what has been written.
        return self._begin(since) and poll(self._lay_snapshot, PATIENCE)

    @contextlib.contextmanager
    def changing(self, former: Level | None = None) -> Iterator[None]:
        """Around a change of the level: if it is broken off, as by Ctrl-C, ``former`` or the base is to be made anew.

        That is done by `mend`.
        """
        try:
            yield
        except BaseException:
            self._level = former or self._base
            self._torn = True
            raise

    def mend(self) -> None:
        """Clone the database anew if a change of the level was broken off."""
        if self._torn:
            for name in snapshot_templates(self._database.name):
                self._drop_template(name)
            self.clone("a snapshot was broken off")

    def snapshot(self, *, base: bool) -> None:
        """Make what is there now the baseline; with ``base`` the one that `forget_snapshot` goes back to."""
        former, former_base = self._level, self._base
        with self.changing(former):
            word, *rest = ["clone"] if self._torn else self._take_snapshot()
            if word == "clone":
                self._snapshot_by_template()
            elif word == "done":
                self.seen, self.horizon, self.noted = "0", rest[0], rest[0]
                self._keep_snapshot()
            if base and word != "busy":
                self._base = self._level
        if word == "busy":
            raise ResetError(
                f"No snapshot could be made of the database {self._database.name!r}: something goes on writing to it, "
                "and what is there now can't be told from that. End the thread or process that does before snapshot(), "
                "or before setUpTestData() ends."
            )
        for level in (former, former_base):
            self._drop_template(level.template)

    def _take_snapshot(self) -> list[str]:
        answer = ["busy"]

        def taken() -> bool:
            answer[:] = self.call(
                "snapshot({}, {}, {}, {})", self.oid, self.horizon, self.noted, str(pg_prepare.MOST_ROWS)
            )
            return answer[0] != "busy"

        poll(taken, PATIENCE)
        return answer

    def forget_snapshot(self, *, everything: bool) -> None:
        """Make the template of the base, or with ``everything`` of the migrations, the current baseline.

        The shared connection has to be in no transaction. A reset has to follow, and `lay_base` after it.
        """
        if everything:
            self._set_base(self._migrated)
        if self._torn:
            self._level = self._base
            self.mend()
        if self._level is self._base:
            return
        former, self._level = self._level, replace(self._base, snapshot=None)
        if former.template != self._base.template:
            self._drop_template(former.template)
            self.clone("the snapshot had DDL")
        elif former.snapshot is not None:
            self.seen, self.horizon = "0", self._template_horizon
            try:
                self.call("forget_snapshot()")
            except psycopg2.Error as error:
                self.clone(str(error))

    def lay_base(self) -> None:
        """Lay the rows of the base over its template's, which are there."""
        if self._level is self._base or self._base.snapshot is None:
            return
        self._level = self._base
        try:
            if not self._lay_snapshot():
                self.clone("somebody was writing")
        except psycopg2.Error as error:
            self.clone(str(error))

    def _set_base(self, level: Level) -> None:
        former, self._base = self._base, level
        self._drop_template(former.template)

    def _drop_template(self, name: str) -> None:
        """Drop the template database of a snapshot, unless a baseline still needs it."""
        if name not in (self._migrated.template, self._base.template, self._level.template):
            pg_database.drop_template(self._database, name)

    def _begin(self, since: str = "") -> bool:
        """Take what there is for the baseline; False when something has been written there already.

        With ``since``, the horizon before it was cloned, what has been written is undone by the next reset.
        """
        with self.cursor() as cursor:
            cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
            self.oid = str(cursor.fetchone()[0])
        horizon = self.call("begin({}, {})", self.oid, since)
        if horizon:
            self.horizon = self.noted = self._template_horizon = horizon[0]
        self.seen = "0"
        return bool(horizon)

    def _keep_snapshot(self) -> None:
        lines = io.BytesIO()
        with self.cursor() as cursor:
            cursor.execute("SELECT containertest.describe_snapshot()")
            description = cursor.fetchone()[0]
            cursor.copy_expert("COPY containertest.snapshot_lines TO STDOUT", lines)
        self._level = replace(self._level, snapshot=(description, lines.getvalue()))

    def _lay_snapshot(self) -> bool:
        """Lay the snapshot, if there is one, over the template's rows; False if somebody has written meanwhile."""
        if self._level.snapshot is None:
            return True
        description, lines = self._level.snapshot
        with self.cursor() as cursor:
            cursor.copy_expert("COPY containertest.snapshot_lines FROM STDIN", io.BytesIO(lines))
        horizon = self.call("lay_snapshot({}, {}, {}, {})", description, self.oid, self.horizon, self.noted)
        if horizon:
            self.seen, self.horizon, self.noted = "0", horizon[0], horizon[0]
        return bool(horizon)

    def _snapshot_by_template(self) -> None:
        """Keep a snapshot that has more than rows and sequences as a template database of its own."""
        former, name = self._level, self._database.name
        in_use = self._base.template, former.template
        template = next(item for item in snapshot_templates(name) if item not in in_use)
        pg_prepare.prepare(self._database.connection)
        pg_database.make_template(self._database, template)
        self._level = Level(template)
        self._begin()
        self._torn = False
