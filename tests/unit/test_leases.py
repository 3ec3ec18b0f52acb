"""Who gets which server of a run; the backend and its servers are fakes."""

from __future__ import annotations

import dataclasses
import itertools
import os
import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from containertest import backends
from containertest.backends.base import Handle, Owner
from containertest.errors import BackendUnavailable, ServerDied, StartupTimeout
from containertest.processes import myself
from containertest.servers import databases, death, leases, templates
from containertest.services import postgres, redis
from containertest.services.common import Met
from containertest.session import read_state
from containertest.settings import Settings
from containertest.spec import Endpoint, ServerSpec
from tests.unit.test_session import TemporaryFolderCase

DEAD = ["1", "never"]


class FakeServer:
    backend = "fake"

    def __init__(self, world: World, handle: Handle) -> None:
        self.world = world
        self.handle = handle
        self.endpoint = Endpoint("127.0.0.1", handle["port"], password="s3cret", database="0", near=world.near)

    def alive(self) -> bool:
        return self.handle["port"] in self.world.running

    def logs(self, tail: int | None = None) -> str:
        return "the last words"

    def stop(self) -> None:
        self.world.running.discard(self.handle["port"])


class World:
    """A backend, its servers by their ports, and whether they answer."""

    name = "fake"

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.ports = itertools.count(1)
        self.refusals = 0
        self.near: str | None = None

    def check(self, spec: ServerSpec) -> str:
        return "fake"

    def start(self, spec: ServerSpec, owner: Owner) -> FakeServer:
        handle = {"id": f"id-{(port := next(self.ports))}", "port": port}
        owner.record(handle)
        self.running.add(port)
        return FakeServer(self, handle)

    def attach(self, handle: Handle, endpoint: Endpoint) -> FakeServer:
        return FakeServer(self, {"port": endpoint.port, **handle})

    def meet(self, endpoint: Endpoint, password: str | None, title: str) -> Met:
        self.probe(endpoint)
        return Met(dataclasses.replace(endpoint, password=password), "16.1", None)

    def probe(self, endpoint: Endpoint) -> None:
        self.refusals -= 1
        if self.refusals >= 0 or endpoint.port not in self.running:
            raise OSError("connection refused")


class LeaseCase(TemporaryFolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        service = SimpleNamespace(meet=self.world.meet)
        for patch in (
            mock.patch.object(backends, "get", return_value=self.world),
            mock.patch.object(backends, "choose", return_value=self.world),
            mock.patch.dict(leases.SERVICES, {"postgres": service, "redis": service}),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.session = self.join()
        spec = postgres.spec(postgres.Postgres(), Settings(), "s3cret")
        self.spec = dataclasses.replace(spec, probe=self.world.probe)

    def shared(self, timeout: float = 60) -> leases.Lease:
        return leases.shared(self.session, self.spec, "auto", timeout)

    def exclusive(self) -> leases.Lease:
        return leases.exclusive(self.session, self.spec, "auto", 60, "purpose")

    @property
    def servers(self) -> dict[str, Any]:
        servers: dict[str, Any] = read_state(self.session.folder)["servers"]
        return servers


class SharedTests(LeaseCase):
    def test_first_one_starts_it_and_the_others_attach(self) -> None:
        first, second = self.shared(), self.shared()
        self.assertEqual((first.ours, second.ours), (True, False))
        self.assertEqual(first.endpoint, second.endpoint)
        self.assertEqual(second.version, "16.1")
        self.assertEqual(list(read_state(self.session.folder)["handles"]), ["id-1"])

    def test_shorter_way_is_kept_if_it_leads_there(self) -> None:
        self.world.near = "192.0.2.1:1"
        self.assertEqual(self.shared().endpoint.near, "192.0.2.1:1")
        self.assertEqual(self.shared().endpoint.nearest(), Endpoint("192.0.2.1", 1, None, "s3cret", "0"))

    def test_shorter_way_that_leads_nowhere_is_forgotten(self) -> None:
        self.world.near = "192.0.2.1:4321"
        self.assertIsNone(self.shared().endpoint.near)
        self.assertEqual(self.shared().endpoint.nearest(), Endpoint("127.0.0.1", 1, None, "s3cret", "0"))

    def test_dead_one_is_forgotten_and_started_anew(self) -> None:
        self.shared()
        self.world.running.clear()
        again = self.shared()
        self.assertTrue(again.ours)
        self.assertEqual(list(read_state(self.session.folder)["handles"]), ["id-2"])

    def test_attaching_goes_on_when_a_connection_is_refused_at_first(self) -> None:
        self.shared()
        self.world.refusals = 3
        self.assertFalse(self.shared().ours)

    def test_server_that_never_answers_is_an_error_of_ours(self) -> None:
        self.shared()
        self.world.refusals = 10**6
        with self.assertRaisesRegex(StartupTimeout, "connection refused"):
            self.shared(timeout=0.05)
        self.assertIn(leases.key_of(self.spec), self.servers)

    def test_failed_start_leaves_neither_server_nor_note(self) -> None:
        self.world.refusals = 10**6
        with self.assertRaises(StartupTimeout):
            self.shared(timeout=0.05)
        state = read_state(self.session.folder)
        self.assertEqual((state["servers"], state["handles"], self.world.running), ({}, {}, set()))

    def test_silent_engine_hides_no_error_and_leaves_the_server_to_the_guard(self) -> None:
        self.world.refusals = 10**6
        silent = BackendUnavailable("no engine answers")
        with mock.patch.object(FakeServer, "stop", side_effect=silent), self.assertLogs("containertest") as logged:
            with self.assertRaises(StartupTimeout):
                self.shared(timeout=0.05)
        self.assertIn("no engine answers", logged.output[0])
        state = read_state(self.session.folder)
        self.assertEqual((state["servers"], list(state["handles"])), ({}, ["id-1"]))

    def test_who_attaches_is_noted_and_who_has_died_is_not_kept(self) -> None:
        lease = self.shared()
        with self.session.state() as state:
            state["servers"][lease.key]["users"] = [DEAD, myself(os.getppid())]
        self.shared()
        self.assertEqual(self.servers[lease.key]["users"], [myself(os.getppid()), myself()])

    def test_password_is_not_in_the_repr(self) -> None:
        self.assertNotIn("s3cret", repr(self.shared()))


class ReleaseTests(LeaseCase):
    def also_used_by(self, user: list[str]) -> None:
        with self.session.state() as state:
            state["servers"][leases.key_of(self.spec)]["users"].append(user)

    def test_server_that_only_this_process_uses_goes(self) -> None:
        lease = self.shared()
        self.also_used_by(DEAD)
        leases.release(lease)
        self.assertEqual((self.servers, self.world.running), ({}, set()))

    def test_server_that_another_process_uses_stays(self) -> None:
        lease = self.shared()
        self.also_used_by(myself(os.getppid()))
        leases.release(lease)
        self.assertEqual(self.world.running, {1})


class ExclusiveTests(LeaseCase):
    def test_process_gets_its_own_again(self) -> None:
        self.assertEqual(self.exclusive().endpoint, self.exclusive().endpoint)

    def test_server_of_a_living_process_is_not_taken(self) -> None:
        first = self.exclusive()
        with self.session.state() as state:
            state["servers"][first.key]["users"] = [myself(os.getppid())]
        with mock.patch.object(leases, "myself", return_value=["2", "other"]):
            self.assertNotEqual(self.exclusive().endpoint, first.endpoint)

    def test_server_of_a_dead_process_is_taken(self) -> None:
        first = self.exclusive()
        with self.session.state() as state:
            state["servers"][first.key]["users"] = [DEAD]
        self.assertEqual(self.exclusive().endpoint, first.endpoint)
        self.assertEqual(self.servers[first.key]["users"], [myself()])

    def test_server_that_a_dead_process_left_without_an_answer_is_replaced(self) -> None:
        first = self.exclusive()
        self.world.refusals = 10**6
        with mock.patch.object(death, "DYING", 0.05), mock.patch.object(leases, "_started") as started:
            self.exclusive()
        self.assertEqual((started.call_count, self.servers, self.world.running), (1, {}, set()))
        self.assertEqual(first.endpoint.port, 1)


class ExternalRedisTests(LeaseCase):
    """Database 0, or the one of the URL, holds somebody's data: it is never lent, whatever goes wrong."""

    def setUp(self) -> None:
        super().setUp()
        self.spec = dataclasses.replace(redis.spec(redis.Redis(), Settings(), ""), probe=self.world.probe)
        patch = mock.patch.multiple(World, name="external")
        patch.start()
        self.addCleanup(patch.stop)
        patch = mock.patch.multiple(FakeServer, backend="external")
        patch.start()
        self.addCleanup(patch.stop)
        patch = mock.patch.object(leases, "hold", return_value=None)
        patch.start()
        self.addCleanup(patch.stop)

    @staticmethod
    def lend(endpoint: Endpoint, session: str) -> tuple[Endpoint, None]:
        return dataclasses.replace(endpoint, database="7"), None

    def borrow(self, effect: Any) -> Any:
        return mock.patch.object(leases, "borrow_logical_database", side_effect=effect)

    def test_process_gets_the_borrowed_database(self) -> None:
        with self.borrow(self.lend):
            self.assertEqual(self.exclusive().endpoint.database, "7")
        self.assertEqual(self.exclusive().endpoint.database, "7")

    def test_process_killed_while_it_borrows_hands_nothing_on(self) -> None:
        class Killed(BaseException):
            pass

        with (
            self.borrow(Killed),
            mock.patch.object(leases, "_forget"),
            mock.patch.object(leases, "myself", return_value=DEAD),
            self.assertRaises(Killed),
        ):
            self.exclusive()
        self.assertTrue(self.servers, "the guard must know the server to give back what was lent")
        with self.borrow(self.lend):
            self.assertEqual(self.exclusive().endpoint.database, "7")

    def test_server_stays_known_when_nothing_could_be_borrowed(self) -> None:
        with self.borrow(BackendUnavailable("none is empty")), self.assertRaises(BackendUnavailable):
            self.exclusive()
        self.assertEqual([entry["backend"] for entry in self.servers.values()], ["external"])


class DeathTests(LeaseCase):
    def test_answering_server_is_not_dead(self) -> None:
        self.assertIsNone(death.died(self.shared(), "PostgreSQL", self.world.probe))

    def test_dead_server_is_told_with_its_log(self) -> None:
        lease = self.shared()
        self.world.running.clear()
        error = death.died(lease, "PostgreSQL", self.world.probe)
        self.assertIsInstance(error, ServerDied)
        self.assertIn("PostgreSQL on fake ended while a test was using it", str(error))
        self.assertTrue(str(error).endswith("  | the last words"))

    def test_server_that_answers_again_is_not_dead(self) -> None:
        lease = self.shared()
        self.world.refusals = 3
        self.assertIsNone(death.died(lease, "PostgreSQL", self.world.probe))

    def test_server_that_lives_and_never_answers_is_not_called_dead(self) -> None:
        lease = self.shared()
        self.world.refusals = 10**6
        with mock.patch.object(death, "DYING", 0.05):
            self.assertIsNone(death.died(lease, "PostgreSQL", self.world.probe))

    def test_server_whose_port_a_new_one_of_the_run_has_taken_is_dead(self) -> None:
        lease = self.shared()
        self.world.running.clear()
        self.world.ports = itertools.count(2)
        self.shared()
        self.world.running.add(1)
        self.assertIsInstance(death.died(lease, "PostgreSQL", self.world.probe), ServerDied)

    def test_last_words_are_kept_when_another_process_removes_the_server_first(self) -> None:
        lease = self.shared()
        self.world.running.clear()
        self.shared()
        with mock.patch.object(FakeServer, "logs", return_value=""):
            error = death.died(lease, "PostgreSQL", self.world.probe)
        self.assertTrue(str(error).endswith("  | the last words"))

    def test_error_in_undoing_does_not_hide_the_first_one(self) -> None:
        def undo() -> None:
            raise OSError("second")

        with self.assertLogs("containertest", "WARNING") as logged, self.assertRaisesRegex(KeyError, "first"):
            try:
                raise KeyError("first")
            except KeyError:
                with leases.quietly("undo it"):
                    undo()
                raise
        self.assertEqual(logged.output, ["WARNING:containertest:could not undo it: second"])


class NameTests(LeaseCase):
    def reserve(self, owner: list[str], wanted: str = "testdb") -> str:
        return databases._reserve(self.lease, wanted, owner)

    def setUp(self) -> None:
        super().setUp()
        self.lease = self.shared()
        self.me = [*myself(), "purpose"]

    def test_each_owner_has_a_name_and_keeps_it(self) -> None:
        parent = [*myself(os.getppid()), "purpose"]
        self.assertEqual(self.reserve(self.me), "testdb")
        self.assertEqual(self.reserve(parent), "testdb_2")
        self.assertEqual(self.reserve([*myself(), "another"]), "testdb_3")
        self.assertEqual(self.reserve(self.me), "testdb")

    def test_name_of_a_dead_process_is_taken(self) -> None:
        self.reserve([*DEAD, "purpose"])
        self.assertEqual(self.reserve(self.me), "testdb")

    def test_names_on_a_server_of_others_tell_the_run(self) -> None:
        with mock.patch.object(FakeServer, "backend", "external"):
            self.assertRegex(self.reserve(self.me), r"^testdb_ct[0-9a-f]{8}$")

    def test_longest_names_of_many_processes_differ_in_what_postgres_heeds(self) -> None:
        with mock.patch.object(FakeServer, "backend", "external"):
            names = [self.reserve([*myself(), str(purpose)], "x" * 48 + "é") for purpose in range(12)]
        self.assertEqual(len({name.encode()[:63] for name in names}), 12)

    def test_template_of_another_version_of_the_library_is_not_taken_for_ours(self) -> None:
        ours = templates.name_to_find(None)
        with mock.patch.object(templates, "__version__", "0.0.1"):
            self.assertNotEqual(templates.name_to_find(None), ours)

    def test_kept_database_has_a_name_that_fits(self) -> None:
        with (
            mock.patch.object(databases, "administering"),
            mock.patch.object(databases, "end_sessions"),
            mock.patch.object(databases, "_run") as run,
        ):
            name = databases.put_aside(self.lease, "testdb", "module.Class.test_" + "é" * 60)
        self.assertLess(len(name.encode()), 64)
        self.assertTrue(name.startswith("failed_1_test_"))
        self.assertEqual(run.call_args.args[2:], ("testdb", name))
        self.assertEqual(read_state(self.session.folder)["kept"], [name])


if __name__ == "__main__":
    unittest.main()
