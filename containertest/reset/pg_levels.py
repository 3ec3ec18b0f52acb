"""The functions of pg_install.sql that make, lay and forget levels, called through a cursor of the database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from psycopg2 import sql

from containertest.reset.pg_catalog import read_sql
from containertest.sql.own import Literal


@dataclass(frozen=True)
class Level:
    """One layer of the baseline.

    :param template: the template database under it: one of its own after DDL, else that of the level below.
    :param number: what the databases that are cloned from that template call it; the template's own is 0.
    :param laid: what it and the levels between have over that template's rows, as ``containertest.levels()`` says it.
    :param horizon: since when rows were no part of the baseline, when this level was the highest.
    """

    template: str
    number: int = 0
    laid: str = ""
    horizon: str = "0"

    def same_data(self, other: Level) -> bool:
        """Whether a clone made for one can be used for the other."""
        return (self.template, self.number, self.laid) == (other.template, other.number, other.laid)


@dataclass(frozen=True)
class Begun:
    """A new clone: what there is is the baseline.

    :param oid: the database's.
    :param template_horizon: since when rows are none of the template's, and ``horizon`` since when they are no part of
        the baseline.
    """

    oid: str
    template_horizon: str
    horizon: str


def call(cursor: Any, call: str, *arguments: Any) -> str:
    """Call a function of the schema ``containertest`` and return its answer, a text; "" for none."""
    cursor.execute(sql.SQL(f"SELECT containertest.{call}").format(*map(Literal, arguments)))
    return cursor.fetchone()[0] or ""


def begin(cursor: Any, since: str = "") -> Begun | None:
    """Take what there is for the baseline; None when something has been written there already.

    With ``since``, the horizon before it was cloned, what has been written is undone by the next reset.
    """
    cursor.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    oid = str(cursor.fetchone()[0])
    horizon = call(cursor, "begin({}, {})", oid, since)
    return Begun(oid, horizon, horizon) if horizon else None


def lay(cursor: Any, level: Level, begun: Begun) -> Begun | None:
    """Lay ``level`` over the rows of its template; None if somebody has written meanwhile."""
    if not level.laid:
        return begun
    horizon = call(cursor, "lay({}, {}, {}, {}, {})", level.laid, level.number, begun.oid, begun.horizon, begun.horizon)
    return replace(begun, horizon=horizon) if horizon else None


def arrive(cursor: Any, begun: Begun) -> Begun:
    """Begin with a clone that was made ahead, and has got another name since, which changes its row of pg_database."""
    cursor.execute(read_sql("pg_arrive.sql"), {"noted": int(begun.horizon)})
    found = cursor.fetchone()
    # Who has connected and written already is undone by the next reset.
    return replace(begun, horizon=str(found[0])) if found else begun
