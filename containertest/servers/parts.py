"""PostgreSQL and Redis as a `Stack` has them: the running service, and what brings it back to its baseline."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from containertest.errors import ResetError
from containertest.migrations import Migrations
from containertest.servers import databases, death, leases, templates
from containertest.servers.leases import Lease
from containertest.servers.running import RunningPostgres, RunningRedis
from containertest.services import postgres as postgres_service
from containertest.services import redis as redis_service
from containertest.session import write_private

if TYPE_CHECKING:
    from containertest.reset.postgres import PostgresReset
    from containertest.reset.redis import RedisReset

__all__ = ["PostgresPart", "RedisPart"]

log = logging.getLogger("containertest")


class PostgresPart:
    """A database of this process' own on the run's PostgreSQL.

    :param dbname: the name that the database shall have, if it is free.
    :param key: tells apart several databases of one process.
    :param strict: whether a test fails that leaves something in the way of a reset.
    """

    title, probe = "PostgreSQL", staticmethod(postgres_service.probe)

    def __init__(self, lease: Lease, scripts: Migrations | None, dbname: str, key: str, strict: bool) -> None:
        self.lease = lease
        self._strict = strict
        self._scripts = scripts
        self._wanted = dbname, key
        #: Name and generation of the template database.
        self._template = "", ""
        try:
            self._take_database()
        except ResetError:
            # The server was restarted by a crash, which empties unlogged tables: the template's, too.
            self.invalidate()
            self._take_database()

    def _take_database(self) -> None:
        from containertest.reset.postgres import PostgresReset, prepare_template

        with databases.administering(self.lease) as admin:
            template = templates.template(self.lease, self._scripts, prepare_template, admin, *self._wanted)
            self._template = template, templates.generation(self.lease, template)
            #: The running service.
            self.running = RunningPostgres(
                self.lease, databases.claim(self.lease, template, *self._wanted, admin), template
            )
        #: What resets the database; None when it was handed over to another program.
        self.reset: PostgresReset | None = PostgresReset(self.running, strict=self._strict)

    def invalidate(self) -> None:
        """Have the template database made anew by the next one who needs it."""
        templates.invalidate(self.lease, *self._template)

    def give_back(self) -> None:
        """Undo all of it, when something else did not work."""
        self.close()
        if self.lease.ours:
            leases.release(self.lease)
        else:
            databases.give_up(self.lease, self.running.name)

    def keep(self, test: str) -> None:
        """Put the database aside as the failed ``test`` left it, with its server, and go on with a new one."""
        if self.reset is None:
            return
        running = self.running
        running.close()
        name = databases.put_aside(self.lease, running.name, test)
        self.reset.renew()
        # No log has a password: psql, and whatever is made with libpq, finds it in the file that the URL names.
        endpoint = self.lease.endpoint
        passfile = self.lease.session.folder / "pgpass"
        write_private(passfile, postgres_service.pgpass(endpoint))
        shown = replace(endpoint, password=None, parameters={**endpoint.parameters, "passfile": str(passfile)})
        log.warning("%s failed; its database is kept: %s", test, postgres_service.url(shown, name))

    def hand_over(self) -> None:
        """Take out of the database what is ours; it is not reset any more."""
        from containertest.reset import pg_prepare

        pg_prepare.remove(self.running.connection)
        self.close()
        self.reset = None

    def close(self) -> None:
        """Close the connections that this process shares; the next use opens them again."""
        self.running.close()
        if self.reset:
            self.reset.close()


class RedisPart:
    """A Redis of this process' own."""

    title, probe = "Redis", staticmethod(redis_service.probe)

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        #: The running service; whoever is told where it is must have used `reset` first.
        self.running = RunningRedis(lease)
        self._reset: RedisReset | None = None
        self._lock = threading.RLock()

    @property
    def reset(self) -> RedisReset:
        """What resets Redis: made, and redis-py loaded for it, by its first use.

        That brings back the first baseline: a server may have had a process that died.

        :raises BeyondRepair: if that is not possible; of a new server, which is no better: plain ResetError.
        """
        with self._lock:
            if self._reset is None:
                try:
                    self._reset = self._new_reset()
                except ResetError as error:
                    if not self.lease.ours:
                        raise
                    raise ResetError(str(error)) from error
            return self._reset

    def _new_reset(self) -> RedisReset:
        from containertest.reset.redis import RedisReset

        whole, client = not self.lease.is_external, self.running.client
        reset = RedisReset(client, whole_server=whole, first=self.lease.baseline)
        if not self.lease.baseline:
            leases.remember_baseline(self.lease, reset.first_settings)
        reset.restore()
        return reset

    def give_up(self, error: ResetError, culprit: str) -> None:
        """Remove the server, if it is ours and has not ended, when ``error`` says that only a new one helps.

        :param culprit: the test that ran last.
        """
        from containertest.reset.redis_wire import BeyondRepair, Refused

        if self.lease.is_external or not isinstance(error, BeyondRepair):
            return
        if isinstance(error, Refused) or not death.died(self.lease, self.title, self.probe):
            death.epitaph(self.lease.session, self.lease.server)
            self.lease.given_up = f"was given up after {culprit or 'a test'}: {error}"
            leases.release(self.lease)

    def close(self) -> None:
        """Close the connections that this process shares; the next use opens them again."""
        with suppress(Exception):
            if self._reset:
                self._reset.close()
        self.running.close()
