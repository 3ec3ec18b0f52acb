"""The levels of a database's baseline: what each of them is, and how to have them without the database."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg2

from containertest.errors import ResetError
from containertest.reset import pg_database, pg_levels, pg_prepare
from containertest.reset.pg_clone import template_stem
from containertest.reset.pg_database import Database
from containertest.reset.pg_levels import Begun, Level
from containertest.reset.pg_spare import Spare
from containertest.wait import poll

#: Seconds to wait for a moment in which nobody else writes.
PATIENCE = 5.0

#: How often a database is cloned anew when somebody writes to the clone before we have looked at it.
ATTEMPTS = 5

LOG = logging.getLogger("containertest")


class TemplateLost(ResetError):
    """The template database has lost its unlogged data, in a crash of the server: it must be made anew."""


class Baseline:
    """What ``PostgresReset`` remembers between two resets.

    ``horizon`` is the transaction id since which rows are no part of the baseline, ``noted`` the one since which
    notes on who wrote are to be minded, ``seen`` the next one to be given out as long as nobody writes ("0": unknown),
    ``oid`` the database's.
    """

    def __init__(self, database: Database) -> None:
        self.oid = self.horizon = self.noted = self.seen = "0"
        self._database = database
        self._spare = Spare(database)
        #: The first one is what the migrations left.
        self._levels = [Level(database.template)]
        #: Whether a change of the levels was broken off: then nobody knows what there is in the database.
        self._torn = False
        if not self._begin():
            self.clone("it is not new")

    def cursor(self) -> Any:
        """A cursor of ours on the shared connection, whatever factory a test has set."""
        return pg_database.cursor(self._database)

    def _call(self, call: str, *arguments: Any) -> str:
        with self.cursor() as cursor:
            return pg_levels.call(cursor, call, *arguments)

    def close(self) -> None:
        """Close the connections that this has opened besides the shared one; the next use opens them again."""
        self._spare.close()

    def moved_on(self, seen: str, horizon: str, noted: str) -> None:
        """Note that the database was brought back and what the function ``reset`` said about it."""
        self.seen, self.horizon, self.noted = seen, horizon, noted

    def clone(self, reason: str) -> None:
        """Replace the database by a new clone with all levels; ``ResetError`` if that fails."""
        template = self._levels[-1].template
        LOG.debug("database %s: cloned anew (%s)", self._database.name, reason.strip())
        try:
            usable = self._clone(template)
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

    def _clone(self, template: str) -> bool:
        level = self._levels[-1]
        if begun := self._spare.take(level):
            self._began(begun)
            self._spare.cloned(level)
            return True
        for _ in range(ATTEMPTS):
            since = pg_database.replace(self._database, template)
            if self._begin() and self._lay():
                self._spare.cloned(level)
                return True
        # Somebody is faster than we are, each time. The next reset, or laying the levels, undoes what has been written.
        return self._begin(since) and poll(self._lay, PATIENCE)

    def push(self, number: int) -> None:
        """Make what is there now the level ``number``: the highest there is, or one above it."""
        former = self._levels
        with self._changing(former):
            done = self._push(number)
        if not done:
            raise ResetError(
                f"No snapshot could be made of the database {self._database.name!r}: something goes on writing to it, "
                "and what is there now can't be told from that. End the thread or process that does before snapshot(), "
                "or before setUpTestData() ends."
            )
        self._drop_unused(former)

    def _push(self, number: int) -> bool:
        level, horizon = self._levels[-1], self.horizon
        below = self._levels[:number]
        word, *rest = ["clone"] if self._torn else self._take(number)
        if word == "busy":
            return False
        if word == "clone":
            level = self._by_template()
        elif word == "done":
            self.moved_on("0", rest[0], rest[0])
            level = replace(level, number=self._number_there(number), laid=self._call("levels()"))
        if number == len(self._levels):
            below[-1] = replace(below[-1], horizon=horizon)
        self._levels = [*below, level]
        return True

    def _take(self, number: int) -> list[str]:
        answer = ["busy"]

        def taken() -> bool:
            arguments = self._number_there(number), self.oid, self.horizon, self.noted, pg_prepare.MOST_ROWS
            answer[:] = self._call("push({}, {}, {}, {}, {})", *arguments).split()
            return answer[0] != "busy"

        poll(taken, PATIENCE)
        return answer

    def pop(self, depth: int) -> None:
        """Forget the levels above ``depth``; a reset has to follow.

        Where it `pops_in_place`, the shared connection has to be in no transaction.
        """
        former = self._levels
        wanted = former[: depth + 1]
        in_place = self.pops_in_place(depth)
        with self._changing(wanted):
            self._levels = wanted
            if not in_place:
                self.clone("the level had DDL")
            elif len(wanted) < len(former):
                self._pop(depth)
        self._drop_unused(former)

    def pops_in_place(self, depth: int) -> bool:
        """Whether the levels above ``depth`` can be forgotten without a new clone."""
        return not self._torn and self._levels[depth].template == self._levels[-1].template

    def _pop(self, depth: int) -> None:
        self.seen, self.horizon = "0", self._levels[-1].horizon
        try:
            self._call("pop({})", self._number_there(depth))
        except psycopg2.Error as error:
            self.clone(str(error))

    @contextlib.contextmanager
    def _changing(self, levels: list[Level]) -> Iterator[None]:
        """Around a change of the levels: if it is broken off, as by Ctrl-C, these are to be made anew, by `mend`."""
        try:
            yield
        except BaseException:
            self._levels = levels
            self._torn = True
            raise

    def mend(self) -> bool:
        """Clone the database anew if a change of the levels was broken off; whether it was."""
        if not self._torn:
            return False
        self.clone("a change of its levels was broken off")
        self._drop_templates()
        return True

    def _number_there(self, number: int) -> int:
        """What the database calls this level: it knows those over the template, whose own is 0."""
        template = self._levels[min(number, len(self._levels) - 1)].template
        below = next(index for index, level in enumerate(self._levels) if level.template == template)
        return number - below + 1

    def _drop_unused(self, former: list[Level]) -> None:
        if not {level.template for level in former} <= {level.template for level in self._levels}:
            self._drop_templates()

    def _drop_templates(self) -> None:
        used = [level.template for level in self._levels]
        pg_database.drop_templates(self._database, [*used, *self._spare.names])

    def _begin(self, since: str = "") -> bool:
        """Take what there is for the baseline; False when something has been written there already.

        With ``since``, the horizon before it was cloned, what has been written is undone by the next reset.
        """
        with self.cursor() as cursor:
            begun = pg_levels.begin(cursor, since)
        if begun:
            self._began(begun)
        return bool(begun)

    def _began(self, begun: Begun) -> None:
        self.oid = begun.oid
        self.moved_on("0", begun.horizon, begun.horizon)
        # What is laid over the template comes later: it is fresh for all levels but the highest.
        self._levels = [replace(level, horizon=begun.template_horizon) for level in self._levels]

    def _lay(self) -> bool:
        """Lay the levels over the template's rows; False if somebody has written meanwhile."""
        with self.cursor() as cursor:
            begun = pg_levels.lay(cursor, self._levels[-1], Begun(self.oid, self._levels[-1].horizon, self.horizon))
        if begun:
            self._began(begun)
        return bool(begun)

    def _by_template(self) -> Level:
        """Keep what is more than rows and sequences as a template database of its own."""
        used = [level.template for level in self._levels]
        names = (f"{template_stem(self._database.name)}{number}" for number in count(1))
        template = next(name for name in names if name not in used)
        pg_prepare.prepare(self._database.connection)
        pg_database.make_template(self._database, template)
        self._begin()
        self._torn = False
        return Level(template)
