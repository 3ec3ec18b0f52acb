"""What a run borrows on servers that are not ours, and how it is given back.

On an external PostgreSQL these are the run's databases (noted in the state by `containertest.servers.databases`), on
an external Redis one logical database a process. Which logical databases are lent is written in a hash in
the server's database 0, so that runs on several machines don't take the same one; therefore database 0
itself is never lent, and only an empty one is: no data of anybody's are ever removed.
"""

from __future__ import annotations

import traceback
from contextlib import closing
from dataclasses import replace
from typing import Any

from containertest.errors import BackendUnavailable
from containertest.servers import databases
from containertest.services import postgres, redis
from containertest.session import State
from containertest.spec import Endpoint

__all__ = ["LEASES", "borrow_logical_database", "give_back", "give_back_logical_databases", "hold"]

#: Key of the hash in database 0: number of the logical database -> id of the run that has it.
LEASES = "containertest:leases"

#: The name of the connection by which a process holds its logical database.
HOLDER = "containertest-lease"

#: What is added to the run's id while it looks whether a logical database is empty.
LOOKING = " is looking"


def borrow_logical_database(endpoint: Endpoint, session: str) -> tuple[Endpoint, Any]:
    """Lease an empty logical database of the Redis server at ``endpoint`` for the run ``session``.

    :return: with a client whose one connection stays open as long as this process lives. By its name other runs know
        that the database is in use, also when somebody has emptied database 0, and the leases with it.
    :raises BackendUnavailable: if there is none.
    """
    with closing(redis.connect(replace(endpoint, database="0"))) as registry:
        in_use = _in_use(registry)
        for number in range(1, _count(registry)):
            # Only what was seen to be empty is lent by the run's name, under which `give_back` empties it.
            if number in in_use or not registry.hsetnx(LEASES, str(number), f"{session}{LOOKING}"):
                continue
            leased = replace(endpoint, database=str(number))
            holder = hold(leased)
            if holder.dbsize() == 0:
                registry.hset(LEASES, str(number), session)
                return leased, holder
            holder.close()
            registry.hdel(LEASES, str(number))
    raise BackendUnavailable(
        f"Redis at {endpoint.host}:{endpoint.port} has no logical database (1 and up) that is empty and not lent "
        f"to another test run.\nEmpty one, or look at HGETALL {LEASES} in database 0 for runs that are long gone."
    )


def hold(leased: Endpoint) -> Any:
    """A client whose one connection tells other runs that a living process uses the logical database."""
    return redis.connect(leased, client_name=HOLDER, single_connection_client=True)


def _in_use(registry: Any) -> set[int]:
    """The logical databases that any connection has selected; none where one may not look.

    Whoever is there uses the database or will: a run (by its holder, its resets' connection, its application), and
    somebody else whose database is empty just now.
    """
    try:
        clients = registry.client_list()
    except Exception:
        return set()  # managed servers may forbid it: then only the leases tell
    return {int(client["db"]) for client in clients}


def _count(client: Any) -> int:
    try:
        return int(client.config_get("databases")["databases"])
    except Exception:
        # Managed servers forbid CONFIG; 16 is Redis' default, and a number too high fails with a clear error.
        return 16


def give_back(state: State, session: str) -> list[str]:
    """Give back all that the run ``session`` has borrowed; return what did not work."""
    problems = []
    for key, entry in state.get("servers", {}).items():
        if entry.get("backend") != "external":
            continue
        try:
            _give_back(key, entry, session)
        except (AttributeError, LookupError, TypeError):
            # An entry that is damaged, or of another version: it will never be understood.
            traceback.print_exc()
        except Exception:
            problems.append(traceback.format_exc())
    return problems


def _give_back(key: str, entry: dict[str, Any], session: str) -> None:
    endpoint = Endpoint(**entry["endpoint"])
    if key.startswith("postgres-"):
        with closing(postgres.connect(endpoint)) as admin:
            admin.autocommit = True
            for name in (*entry["databases"], *entry["templates"]):
                databases.drop_for_good(endpoint, admin, name)
        return
    give_back_logical_databases(endpoint, session)


def give_back_logical_databases(endpoint: Endpoint, session: str, number: str | None = None) -> None:
    """Empty and give back the database ``number``, or all that the run ``session`` has leased."""
    with closing(redis.connect(replace(endpoint, database="0"), decode_responses=True)) as registry:
        own = endpoint.database if number is None else number
        if own and own != "0":
            # The lease may be gone, if somebody has emptied database 0.
            registry.hsetnx(LEASES, own, session)
        lent: Any = registry.hgetall(LEASES)
        for leased, owner in lent.items():
            if number not in (None, leased):
                continue
            if owner == session:
                with closing(redis.connect(replace(endpoint, database=leased))) as client:
                    client.flushdb()
            if owner in (session, f"{session}{LOOKING}"):
                registry.hdel(LEASES, leased)
