"""On a Redis that others use too, tests reach nothing but their own logical database."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from typing import Any

from containertest import ContainerManager
from containertest.servers.borrowed import HOLDER, LEASES
from tests.integration import private_servers
from tests.support import clean_environment, eventually, require, run_python

#: What reaches beyond the tests' database, as somebody would send it.
REFUSED = (
    *("FLUSHALL", "flushall async", "SWAPDB 0 1", "MOVE key 0", "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "DEBUG SLEEP 0"),
    *("CONFIG SET maxmemory 1", "config rewrite", "CONFIG RESETSTAT", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH"),
    *("FUNCTION DELETE x", "ACL SETUSER x", "ACL LOG RESET", "MODULE LOAD x", "CLIENT KILL ID 1", "CLIENT PAUSE 1"),
    *("SELECT 0", "COPY a b DB 0", "COPY a b REPLACE DB 0", "SAVE", "BGSAVE", "SLOWLOG RESET", "FAILOVER"),
    *("RESET", "MIGRATE 127.0.0.1 6379 key 0 1000", "SCRIPT DEBUG SYNC"),
)
ALLOWED = (
    *("FLUSHDB", "SET key 1", "CONFIG GET maxmemory", "SCRIPT LOAD 'return 1'", "CLIENT SETNAME x", "CLIENT LIST"),
    *("COPY key other", "INFO", "ACL WHOAMI", "SLOWLOG LEN", "DBSIZE"),
)


def url() -> str:
    return "redis://:{password}@{host}:{port}/0".format(**private_servers.redis_server())


class GivenBackCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        # The server ends with this process; guards that still have something to give back would wait for it.
        self.addCleanup(self.assert_all_is_given_back)
        self.settings = {"TMPDIR": str(self.folder), "CONTAINERTEST_REDIS_URL": url()}

    def assert_all_is_given_back(self) -> None:
        self.assertTrue(eventually(lambda: not list(self.folder.iterdir())), list(self.folder.iterdir()))
        with contextlib.closing(private_servers.redis_client()) as others:
            self.assertEqual(others.hgetall(LEASES), {})


class ConfinedTests(GivenBackCase):
    """Through the manager, in a child process for its settings."""

    SCRIPT = """
    import logging, sys
    logging.basicConfig(format="%(levelname)s %(message)s")
    import redis
    from containertest import ConfigError, ContainerManager

    refused, allowed = eval(sys.argv[1]), eval(sys.argv[2])
    with ContainerManager(None) as manager:
        running = manager.redis
        assert running.backend == "external" and isinstance(running.client, redis.Redis)
        for client in (running.client, running.connect(decode_responses=True), running.connect(protocol=3),
                       running.connect(single_connection_client=True)):
            for command in (refused, [text.encode() for text in refused]):
                for words in map(type(command[0]).split, command):
                    for door in (
                        client.execute_command,
                        lambda *words: client.pipeline().execute_command(*words).execute(),
                        lambda *words: client.pipeline(transaction=False).execute_command(*words).execute(),
                    ):
                        try:
                            door(*words)
                        except ConfigError as error:
                            assert "own" in str(error), error
                        else:
                            raise AssertionError(words)
            resize = lambda: client.config_set("maxmemory", 1)
            for call in (client.flushall, client.script_flush, client.bgsave, resize):
                try:
                    call()
                except ConfigError:
                    continue
                raise AssertionError(call)
            for text in allowed:
                client.execute_command(*text.split(" ", 2))
            with client.pipeline() as pipeline:
                assert pipeline.set("a", 1).get("a").execute()[1] in (b"1", "1")
            assert client.ping()
        for elsewhere in ({"db": 0}, {"db": "0"}, {"db": running.db + 1}, {"db": 0, "single_connection_client": True}):
            try:
                running.connect(**elsewhere).flushdb()
            except ConfigError as error:
                assert "own" in str(error), error
            else:
                raise AssertionError(elsewhere)
        for same in ({"db": running.db}, {"host": "127.0.0.1"}, {"port": running.port}, {"host": "localhost"}):
            client = running.connect(**same)
            assert client.flushdb()
            try:
                client.flushall()
            except ConfigError:
                continue
            raise AssertionError(same)
        try:
            running.client.flushall()
        except ConfigError as error:
            print(error)
    """

    def test_every_door_of_our_clients_refuses_what_reaches_beyond_the_database(self) -> None:
        with contextlib.closing(private_servers.redis_client()) as others:
            others.set("theirs", "1")
            allowed = tuple(text for text in ALLOWED if "'" not in text)
            done = run_python(
                self.SCRIPT,
                repr(REFUSED),
                repr(allowed),
                CONTAINERTEST_BACKEND="external",
                **self.settings,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("flushdb", done.stdout)
            self.assertEqual(done.stderr.count("WARNING Others use the Redis"), 1, done.stderr)
            self.assertEqual(others.get("theirs"), b"1")
            others.delete("theirs")

    def test_redis_of_ones_own_refuses_nothing(self) -> None:
        require("local")
        with ContainerManager(None, backend="local") as manager:
            manager.redis.client.flushall()
            manager.redis.client.config_set("maxmemory-policy", "allkeys-lru")


class RegistryTests(GivenBackCase):
    """Runs at the same time, and somebody who empties database 0."""

    RUN = """
    import sys
    from containertest import ContainerManager
    with ContainerManager(None) as manager:
        if sys.argv[2] == "fill":
            manager.redis.client.set("mine", sys.argv[1])
        print(manager.redis.db, flush=True)
        sys.stdin.readline()
        manager.redis.client.set("mine", sys.argv[1])
        assert manager.redis.client.get("mine") == sys.argv[1].encode()
        assert manager.redis.client.dbsize() == 1
    """

    def test_database_in_use_is_not_lent_again_when_the_leases_are_lost(self) -> None:
        self.assert_each_has_its_own(end_holders=False)

    def test_nor_when_the_connections_that_hold_them_were_ended_too(self) -> None:
        self.assert_each_has_its_own(end_holders=True)

    def assert_each_has_its_own(self, end_holders: bool) -> None:
        require("local")
        environment = clean_environment(CONTAINERTEST_BACKEND="external", **self.settings)
        runs: list[Any] = []
        numbers = []
        with contextlib.closing(private_servers.redis_client()) as others:
            for number in range(3):
                run = subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(self.RUN), str(number), "fill" if number == 1 else ""],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    text=True,
                )
                self.addCleanup(run.stdout.close)
                self.addCleanup(run.kill)
                runs.append(run)
                numbers.append(run.stdout.readline().strip())
                if end_holders:
                    for client in others.client_list():
                        if client["name"] == HOLDER:
                            others.client_kill(client["addr"])
                others.flushdb()
            self.assertEqual(len({*numbers}), 3, numbers)
            for run in runs:
                run.stdin.close()
                self.assertEqual(run.wait(60), 0)
            # Also what the lost leases were of is emptied in the end.
            self.assertTrue(eventually(lambda: not others.info("keyspace")), others.info("keyspace"))

    def test_starts_that_fail_give_their_databases_back(self) -> None:
        require("local")
        script = """
        from containertest import ContainerManager, MigrationError
        import redis, os
        def broken(url):
            raise RuntimeError
        for number in range(20):
            try:
                ContainerManager(migrations=broken).start()
            except MigrationError:
                continue
            raise AssertionError
        with ContainerManager(None) as manager:
            print(manager.redis.db)
        """
        done = run_python(script, **self.settings, timeout=170)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])


if __name__ == "__main__":
    unittest.main()
