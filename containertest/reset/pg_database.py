"""A process's own database as a whole: replaced by a clone, made a template of, looked at from another one."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any, Protocol

import psycopg2

from containertest.reset import pg_clone
from containertest.reset.pg_clone import clone_database, drop_database
from containertest.sql.own import own_cursor

SUBSCRIPTIONS = """
    SELECT quote_ident(subname) FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

HORIZON = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"


class Database(Protocol):
    """A process's own database, as the manager runs it."""

    name: str
    template: str

    @property
    def connection(self) -> Any:
        """The shared psycopg2 connection, autocommit; opened again when it is closed or broken."""

    def connect(self, dbname: str | None = None, **kw: Any) -> Any:
        """A new psycopg2 connection, to ``name`` if no other database is given."""

    def close(self) -> None:
        """Close the shared connection."""


def cursor(database: Database) -> Any:
    """A cursor of ours on the shared connection, whatever factory a test has set."""
    return own_cursor(database.connection)


def administer(database: Database) -> Any:
    """A new autocommit connection to a database that is neither cloned nor dropped here."""
    try:
        connection = database.connect(dbname="postgres")
    except psycopg2.OperationalError:
        connection = database.connect(dbname="template1")
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def administering(database: Database) -> Iterator[Any]:
    """A cursor of such a connection, which is closed at the end."""
    with contextlib.closing(administer(database)) as connection:
        yield own_cursor(connection)


def missing(database: Database) -> bool:
    """Whether the database is gone."""
    with administering(database) as admin:
        admin.execute("SELECT FROM pg_database WHERE datname = %s", (database.name,))
        return not admin.rowcount


def roll_back_prepared(database: Database) -> None:
    """Roll back the database's prepared transactions."""
    with cursor(database) as own:
        own.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (gid,) in own.fetchall():
            own.execute("ROLLBACK PREPARED %s", (gid,))


def _drop_subscriptions(database: Database) -> None:
    """Drop the subscriptions, which DROP DATABASE refuses to do."""
    with cursor(database) as own:
        own.execute(SUBSCRIPTIONS)
        for (name,) in own.fetchall():
            for what in ("ALTER {} DISABLE", "ALTER {} SET (slot_name = NONE)", "DROP {}"):
                own.execute(what.format(f"SUBSCRIPTION {name}"))


def leave(database: Database) -> None:
    """Close the shared connection, after taking away what would keep the database from being dropped."""
    with contextlib.suppress(psycopg2.Error):  # broken, or gone: then DROP DATABASE has the last word
        roll_back_prepared(database)
        _drop_subscriptions(database)
    database.close()


def replace(database: Database, template: str) -> str:
    """Replace the database by a clone of ``template`` and return the horizon before that."""
    leave(database)
    with administering(database) as admin:
        drop_database(admin, database.name)
        admin.execute(HORIZON)
        horizon: str = admin.fetchone()[0]
        clone_database(admin, template, database.name)
        return horizon


def make_template(database: Database, name: str) -> None:
    """Make a template database of what there is now; all sessions are ended for it."""
    database.close()
    with administering(database) as admin:
        drop_database(admin, name)
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database.name,))
        clone_database(admin, database.name, name)


def drop_templates(database: Database, but: Collection[str]) -> None:
    """Drop the template databases of its levels, but for these."""
    with administering(database) as admin:
        for name in pg_clone.own_databases(admin, database.name):
            if name not in (database.name, *but):
                drop_database(admin, name)
