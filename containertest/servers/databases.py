"""The databases that processes clone from a template, and what is done to databases of either kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from containertest.errors import BackendUnavailable
from containertest.processes import alive, myself
from containertest.services import postgres
from containertest.spec import Endpoint

if TYPE_CHECKING:
    import psycopg2.extensions

    from containertest.servers.leases import Lease

__all__ = [
    "administering",
    "claim",
    "clone",
    "create",
    "drop",
    "drop_own",
    "end_sessions",
    "give_up",
    "own_name",
    "rename",
    "suffix",
]


def claim(lease: Lease, source: str, wanted: str, purpose: str, admin: Any) -> str:
    """Clone a database for this process from ``source``: ``wanted``, or ``wanted_2``, ``wanted_3``, ….

    One that a dead process of the run had is dropped and its name taken; so is the one that this process has
    for the same purpose already.

    :param purpose: tells apart several databases of one process.
    :param admin: a connection of `administering`.
    :raises BackendUnavailable: if the role may not create databases.
    """
    name = _reserve(lease, wanted, [*myself(), purpose])
    clone(name, source, admin)
    return name


def clone(name: str, source: str, admin: Any) -> None:
    """Make the database ``name`` a fresh copy of ``source``, with the settings and grants that belong to it."""
    from containertest.reset.pg_clone import clone_database
    from containertest.sql.own import own_cursor

    with _explained(admin), own_cursor(admin) as cursor:
        drop_own(admin, name)
        clone_database(cursor, source, name)


def own_name(lease: Lease, wanted: str, purpose: str) -> str | None:
    """Reserve the name ``wanted`` for a database of this process; None if a living process has it for another purpose.

    On a server that others use too, the name has a suffix, and is therefore never the one that migrations name.
    """
    owner = [*myself(), purpose]
    name = next(_names(wanted, suffix(lease)))
    with lease.session.state() as state:
        databases = state["servers"][lease.key]["databases"]
        if databases.get(name, owner) != owner and alive(databases[name]):
            return None
        databases[name] = owner
    return name


def _reserve(lease: Lease, wanted: str, owner: list[str]) -> str:
    with lease.session.state() as state:
        databases = state["servers"][lease.key]["databases"]

        def is_free(name: str) -> bool:
            return databases.get(name, owner) == owner or not alive(databases[name])

        name = next(filter(is_free, _names(wanted, suffix(lease))))
        databases[name] = owner
        return name


def _names(wanted: str, suffix: str) -> Iterator[str]:
    from containertest.reset.pg_clone import LONGEST

    for number in count(1):
        end = suffix if number == 1 else f"{suffix}_{number}"
        # PostgreSQL would cut the end off, and make the same name of several.
        yield wanted.encode()[: LONGEST - len(end)].decode(errors="ignore") + end


def suffix(lease: Lease) -> str:
    """On a server that others use too, what tells this run's databases from theirs."""
    return f"_ct{hashlib.sha256(lease.session.id.encode()).hexdigest()[:8]}" if lease.is_external else ""


def put_aside(lease: Lease, name: str, test: str) -> str:
    """Rename the database ``name`` after the failed ``test``, and have it and its server stay after the run.

    :return: its new name.
    """
    with lease.session.state() as state:
        number = len(state["kept"]) + 1
        kept = f"failed_{number}_{_plain(test.rpartition('.')[2])[:40]}{suffix(lease)}"
        state["kept"].append(kept)
        # On a server of others, too, `prune` has to find it.
        state["servers"][lease.key]["databases"][kept] = [*myself(), "kept"]
    with administering(lease) as admin:
        end_sessions(admin, name)
        rename(admin, name, kept)
    return kept


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)


def give_up(lease: Lease, name: str) -> None:
    """Drop the database ``name`` and let others have the name."""
    with administering(lease) as admin:
        drop_own(admin, name)
    with lease.session.state() as state:
        state["servers"].get(lease.key, {"databases": {}})["databases"].pop(name, None)


def drop(admin: psycopg2.extensions.connection, name: str) -> None:
    """Drop the database ``name``, if there is one, whoever is connected to it."""
    from containertest.reset.pg_clone import drop_database
    from containertest.sql.own import own_cursor

    with _explained(admin), own_cursor(admin) as cursor:
        drop_database(cursor, name)


def drop_own(admin: psycopg2.extensions.connection, name: str) -> None:
    """Drop a process' database ``name``, and the template databases that its levels may have left."""
    for database in _own(admin, name):
        drop(admin, database)


def drop_for_good(endpoint: Endpoint, admin: psycopg2.extensions.connection, name: str) -> None:
    """Drop the database ``name`` of a run that is over, with all that keeps a database from being dropped."""
    from containertest.reset.pg_clone import end_creation, own_databases
    from containertest.sql.own import own_cursor

    with own_cursor(admin) as cursor:
        end_creation(cursor, name)
        found = own_databases(cursor, name)
        cursor.execute("SELECT database, gid FROM pg_prepared_xacts WHERE database = ANY(%s)", (found,))
        prepared = cursor.fetchall()
    for database, gid in prepared:
        with closing(postgres.connect(endpoint, database)) as connection:
            connection.autocommit = True
            with own_cursor(connection) as cursor:
                cursor.execute("ROLLBACK PREPARED %s", (gid,))
    for database in found:
        drop(admin, database)


def _own(admin: psycopg2.extensions.connection, name: str) -> list[str]:
    """Which databases of those that a process with the database ``name`` may have there are."""
    from containertest.reset.pg_clone import own_databases
    from containertest.sql.own import own_cursor

    with own_cursor(admin) as cursor:
        return own_databases(cursor, name)


def end_sessions(admin: psycopg2.extensions.connection, name: str) -> None:
    """End the connections that a migration tool left to its database: they would keep it from being cloned."""
    from containertest.sql.own import own_cursor

    with own_cursor(admin) as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def rename(admin: psycopg2.extensions.connection, name: str, new: str) -> None:
    """Give the database ``name``, to which nobody may be connected, another one."""
    _run(admin, "ALTER DATABASE {} RENAME TO {}", name, new)


def create(admin: psycopg2.extensions.connection, name: str) -> None:
    from containertest.reset.pg_clone import strategy
    from containertest.sql.own import own_cursor

    with own_cursor(admin) as cursor:
        how = strategy(cursor)
    _run(admin, f"CREATE DATABASE {{}}{how}", name)


def _run(admin: psycopg2.extensions.connection, statement: str, *names: str) -> None:
    from psycopg2 import sql

    from containertest.sql.own import own_cursor

    with _explained(admin), own_cursor(admin) as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def _explained(admin: psycopg2.extensions.connection) -> Iterator[None]:
    import psycopg2.errors

    try:
        yield
    except psycopg2.errors.InsufficientPrivilege as error:
        raise BackendUnavailable(
            f"The role {admin.info.user!r} may not create databases, and tests never run in a database that is not "
            f"their own.\nLet it: ALTER ROLE {admin.info.user} CREATEDB; ({str(error).strip()})"
        ) from error
    except psycopg2.errors.DiskFull as error:
        raise BackendUnavailable(
            f"There is no room left for a database on PostgreSQL's disk: {str(error).strip()}\n"
            "Make room there; servers on local have their data in TMPDIR."
        ) from error


@contextmanager
def administering(lease: Lease) -> Iterator[psycopg2.extensions.connection]:
    """An autocommit connection to a database that is nobody's own; closed at the end."""
    connection, lease.spare = lease.spare or postgres.connect(lease.endpoint), None
    with closing(connection):
        connection.autocommit = True
        yield connection
