"""Template databases: migrations run once, in a database that bears the name which the user wants for it.

So what the migrations say of the database by its name (``GRANT … ON DATABASE``, ``ALTER DATABASE … SET``) holds; it
becomes the template by another name, which changes nothing of that, and each clone gets it too.

What migrations do to the server as a whole, such as CREATE ROLE, or to another database, other migrations would find
there. A server on which that was done belongs to its template: other migrations get a server of their own. Files that
say that they do so begin on a server without other templates; of callables it is seen afterwards.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from containertest import __version__, libpq
from containertest.errors import MigrationError
from containertest.processes import alive, myself
from containertest.servers import databases
from containertest.services import postgres
from containertest.session import Session

if TYPE_CHECKING:
    from containertest.migrations import Migrations
    from containertest.servers.leases import Lease

__all__ = ["Occupied", "generation", "has_room", "invalidate", "name_to_find", "template"]

log = logging.getLogger("containertest")

_SERVER_WIDE = Path(__file__).with_name("server_wide.sql")

#: To whom a server belongs that was changed as a whole by migrations whose template is not there: to nobody.
NOBODY = "nobody"


class Occupied(Exception):
    """The migrations need a server of their own: what they do to this one as a whole would meet what others did."""


def has_room(session: Session, key: str, migrations: Migrations | None) -> bool:
    """Whether the server of this entry in the run's state, if it is there, does not belong to other migrations."""
    name = _name(session, migrations)
    with session.state() as state:
        entry = state["servers"].get(key)
    return entry is None or _is_open_to(entry, name)


def _is_open_to(entry: dict[str, Any], name: str) -> bool:
    if entry["templates"].get(name):
        return True
    builder = entry.get("builder")
    # Nobody knows what was changed by migrations that were broken off by the death of their process.
    return entry.get("belongs", name) == name and (builder is None or alive(builder))


def template(
    lease: Lease, migrations: Migrations | None, prepare: Callable[[Any], None], admin: Any, wanted: str, purpose: str
) -> str:
    """The template database that ``migrations`` have run in: made once per run, then the same for all.

    :param prepare: called with a connection after the migrations, and ``admin`` is one of `databases.administering`.
    :param wanted: the name that the user wants for the database, and ``purpose`` as for `databases.claim`.
    :raises MigrationError: if one fails; then the database is dropped.
    :raises Occupied: if they need another server.
    """
    name = f"{_name(lease.session, migrations)}{databases.suffix(lease)}"
    if generation(lease, name):
        return name
    more = not lease.is_external and _tell_of_more(migrations, wanted)
    with lease.session.lock(f"{lease.key}-templates"):
        with lease.session.state() as state:
            entry = state["servers"][lease.key]
            if entry["templates"].get(name):
                return name
            others = any(entry["templates"].values())
            if not lease.is_external and (not _is_open_to(entry, name) or (others and more)):
                raise Occupied
            entry["templates"][name] = False
            entry["builder"] = myself()
        databases.drop(admin, name)
        building = None if lease.is_external else databases.own_name(lease, wanted, purpose)
        if building:
            databases.drop_own(admin, building)
        try:
            _make(lease, building or name, name, migrations, prepare, admin, wanted)
            if more:
                _note_owner(lease, name)
        except BaseException as error:
            # The first error counts; the server may have ended, and its databases with it.
            with suppress(Exception):
                for made in filter(None, (building, name)):
                    databases.drop(admin, made)
                _end(lease, name, "", building)
            if isinstance(error, MigrationError) and (others or not building) and not lease.is_external:
                # What others did may be in their way; or they work under one name only, as those of pg_cron do.
                log.info("trying on a server without others: %s", error)
                raise Occupied from error
            raise
        _end(lease, name, secrets.token_hex(8))
    return name


def _tell_of_more(migrations: Migrations | None, wanted: str) -> bool:
    """Whether SQL files say that they change the whole server, or another database than ``wanted``."""
    return migrations is not None and (
        migrations.change_the_server() or any(name != wanted for _, name in migrations.databases_named())
    )


def _end(lease: Lease, name: str, generation: str, unused: str | None = None) -> None:
    """Note that the template is there, unless ``generation`` is "", and that the database ``unused`` is not."""
    with lease.session.state() as state:
        entry = state["servers"][lease.key]
        entry["templates"][name] = generation or False
        entry["builder"] = None
        entry["databases"].pop(unused, None)


def _make(
    lease: Lease,
    building: str,
    name: str,
    migrations: Migrations | None,
    prepare: Callable[[Any], None],
    admin: Any,
    wanted: str,
) -> None:
    if building == name and migrations:
        _refuse_names_of_others(lease, migrations, wanted)
    databases.create(admin, building)
    # Whose database it is that has the wanted name, if it is not this one.
    others = _properties(admin, wanted) if building == name else None
    before = _server_wide(admin, lease)
    finished = False
    try:
        if migrations:
            with closing(postgres.connect(lease.endpoint, building)) as connection:
                connection.autocommit = True
                with libpq.set_aside():
                    migrations.run(connection, postgres.url(lease.endpoint, building))
        finished = True
    finally:
        with suppress(Exception):  # the first error counts
            if _server_wide(admin, lease) != before:
                _note_owner(lease, name if finished else NOBODY)
        if others is not None:
            _give_back(lease, others, admin, wanted)
    # A connection of its own: migrations may have left settings, roles or an open transaction on theirs.
    with closing(postgres.connect(lease.endpoint, building)) as connection:
        connection.autocommit = True
        prepare(connection)
    _finish(building, name, admin)


def _finish(building: str, name: str, admin: Any) -> None:
    from psycopg2.errors import ObjectInUse

    databases.end_sessions(admin, building)
    if building == name:
        return
    try:
        databases.rename(admin, building, name)
    except ObjectInUse as error:
        raise MigrationError(
            f"The migrations have left something that goes on using their database: {str(error).strip()}\n"
            "Commit or roll back what they PREPARE, and stop what connects again and again."
        ) from error


def _note_owner(lease: Lease, owner: str) -> None:
    """Note to whom the server belongs from now on."""
    with lease.session.state() as state:
        state["servers"][lease.key]["belongs"] = owner


def _server_wide(admin: Any, lease: Lease) -> str:
    """What of the server as a whole migrations may change, as a digest; "" on a server of others."""
    from containertest.sql.own import own_cursor

    if lease.is_external:
        return ""
    with own_cursor(admin) as cursor:
        cursor.execute(_SERVER_WIDE.read_text(encoding="utf-8"))
        return str(cursor.fetchall()[0][0])


def _refuse_names_of_others(lease: Lease, migrations: Migrations, wanted: str) -> None:
    """Look whether SQL files name a database that is not theirs; where that is so, they are not run here."""
    for place, name in migrations.databases_named():
        if not lease.is_external and name == wanted:
            raise Occupied
        if lease.is_external:
            raise MigrationError(
                f"{place}: this names the database {name!r}, but on a server of others the tests have a database of "
                "another name, and no other one is touched.\nLet the statement ask for the name: DO $$ BEGIN EXECUTE "
                "format('GRANT … ON DATABASE %I TO …', current_database()); END $$;"
            )


def _properties(admin: Any, name: str) -> Any:
    """What belongs to the database ``name`` as a whole, if there is one."""
    from containertest.reset.pg_clone import read_properties
    from containertest.sql.own import own_cursor

    with own_cursor(admin) as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        return read_properties(cursor, name) if cursor.rowcount else None


def _give_back(lease: Lease, before: Any, admin: Any, name: str) -> None:
    """Undo what a callable did to another database, whose name it meant for its own.

    :raises Occupied: if it did; on a server of others MigrationError.
    """
    from containertest.reset.pg_clone import write_properties
    from containertest.sql.own import own_cursor

    if _properties(admin, name) == before:
        return
    with own_cursor(admin) as cursor:
        write_properties(cursor, name, before)
    if not lease.is_external:
        raise Occupied
    raise MigrationError(
        f"A migration has changed the database {name!r}, which is not the tests' own; that was undone.\n"
        "On a server of others the tests have a database of another name: let it ask for current_database()."
    )


def name_to_find(migrations: Migrations | None) -> str | None:
    """How the name of the template database begins that an earlier run made of the same ``migrations``.

    None if there is a callable among them: what it would do today can't be told from its code.
    """
    return (
        _named("" if migrations is None else migrations.digest()) if migrations is None or migrations.reusable else None
    )


def _name(session: Session, migrations: Migrations | None) -> str:
    if name := name_to_find(migrations):
        return name
    assert migrations is not None
    # Found by the processes of this run only.
    with session.state() as state:
        return _named(migrations.digest() + "-".join(state["root"]))


def _named(content: str) -> str:
    # Another version of this library may prepare its templates otherwise.
    return f"ct_template_{hashlib.sha256(f'{__version__} {content}'.encode()).hexdigest()[:12]}"


def generation(lease: Lease, name: str) -> str:
    """What tells a template database from one of the same name that is made later; "" if there is none."""
    with lease.session.state() as state:
        templates = state["servers"].get(lease.key, {"templates": {}})["templates"]
        return str(templates.get(name) or "")


def invalidate(lease: Lease, name: str, generation: str) -> None:
    """Have a template database of this generation made anew by the next one who needs it."""
    with lease.session.state() as state:
        templates = state["servers"].get(lease.key, {"templates": {}})["templates"]
        if templates.get(name) == generation:
            templates[name] = False
            if state["servers"][lease.key].get("belongs") == name:
                # What they have made of the server as a whole is still there.
                state["servers"][lease.key]["belongs"] = NOBODY
