"""The Docker backend's own promises, on a real engine; what all backends promise is tested elsewhere."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from containertest.backends import docker_create, docker_engine, docker_removal
from containertest.backends.base import Handle, Owner, Server
from containertest.backends.docker import DockerBackend, prune
from containertest.errors import BackendUnavailable, ConfigError, ServerDied
from containertest.services import postgres, redis
from containertest.settings import Settings
from containertest.spec import ServerSpec
from containertest.wait import until_ready
from tests.support import eventually, require, run_python

PASSWORD = "s3cret-of-the-test"


class DockerCase(unittest.TestCase):
    """Each test has a run of its own, and fails if it leaves a container behind."""

    @classmethod
    def setUpClass(cls) -> None:
        require("docker")
        import docker

        cls.engine: Any = docker.from_env()
        cls.addClassCleanup(cls.engine.close)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="containertest-docker-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.session = f"test-{os.getpid()}-{self.folder.name[-8:].replace('_', '-')}"
        self.recorded: dict[str, Handle] = {}
        self.owner = Owner(self.session, self.folder, self.record)
        self.backend = DockerBackend()
        self.addCleanup(self.backend.remove, self.session, {})

    def without_the_plain_way(self) -> None:
        """Have the engine asked by docker's library, as all are that aren't behind a socket of this machine."""
        patch = mock.patch.object(docker_engine, "plain_socket", return_value=None)
        patch.start()
        self.addCleanup(patch.stop)

    def record(self, handle: Handle) -> None:
        self.recorded[handle["id"]] = handle

    def containers(self, session: str | None = None) -> list[Any]:
        wanted = {"label": f"containertest.session={session or self.session}"}
        return list(self.engine.containers.list(all=True, filters=wanted))

    def redis(self, **changes: Any) -> ServerSpec:
        spec = redis.spec(redis.Redis(), Settings.load(), PASSWORD)
        return replace(spec, container=replace(spec.container, **changes))

    def ready(self, spec: ServerSpec) -> Server:
        server = self.backend.start(spec, self.owner)
        until_ready(server, spec.title, spec.wait, spec.probe, 60)
        self.recorded.get(server.handle["id"], {})["ready"] = True  # as `containertest.servers.leases` notes it
        return server


class StartTests(DockerCase):
    def test_both_servers_start_at_the_same_time_and_answer(self) -> None:
        specs = [postgres.spec(postgres.Postgres(), Settings.load(), PASSWORD), self.redis()]
        servers: list[Server] = []
        threads = [threading.Thread(target=lambda s=spec: servers.append(self.ready(s))) for spec in specs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual([server.alive() for server in servers], [True, True])
        self.assertEqual(len(self.containers()), 2)

    def test_port_is_published_on_the_loopback_address_only(self) -> None:
        server = self.ready(self.redis())
        bindings = self.containers()[0].attrs["NetworkSettings"]["Ports"]["6379/tcp"]
        self.assertEqual(bindings, [{"HostIp": "127.0.0.1", "HostPort": str(server.endpoint.port)}])
        self.assertEqual(server.endpoint.host, "127.0.0.1")

    def test_shorter_way_is_the_containers_own_address(self) -> None:
        server = self.ready(self.redis(direct=True))
        (network,) = self.containers()[0].attrs["NetworkSettings"]["Networks"].values()
        with socket.socket() as here:
            if here.connect_ex((network["IPAddress"], 6379)):  # the engine's network is not one of this machine
                self.assertIsNone(server.endpoint.near)
            else:
                self.assertEqual(server.endpoint.near, f"{network['IPAddress']}:6379")

    def test_container_carries_the_labels_of_its_run(self) -> None:
        self.ready(self.redis())
        labels = self.containers()[0].labels
        self.assertEqual(labels["containertest"], "1")
        self.assertEqual(labels["containertest.service"], "redis")
        self.assertEqual(labels["containertest.folder"], str(self.folder))
        self.assertEqual(labels["containertest.uid"], str(os.getuid()))

    def test_handle_is_recorded_before_the_container_exists(self) -> None:
        seen: list[int] = []
        self.owner = Owner(self.session, self.folder, lambda handle: seen.append(len(self.containers())))
        self.ready(self.redis())
        self.assertEqual(seen, [0])

    def test_password_is_not_among_the_arguments(self) -> None:
        self.ready(self.redis())
        attributes = self.containers()[0].attrs
        self.assertNotIn(PASSWORD, str([attributes["Path"], attributes["Args"], attributes["Config"]]))

    def test_data_in_memory_leave_no_volume(self) -> None:
        self.ready(self.redis())
        self.assertEqual(self.containers()[0].attrs["Mounts"], [])

    def test_memory_limit_reaches_the_engine(self) -> None:
        self.ready(replace(self.redis(), memory="64m"))
        self.assertEqual(self.containers()[0].attrs["HostConfig"]["Memory"], 64 * 1024**2)

    def test_unreadable_memory_limit_is_a_config_error_and_leaves_nothing(self) -> None:
        with self.assertRaisesRegex(ConfigError, r"memory='lots' of Redis"):
            self.backend.start(replace(self.redis(), memory="lots"), self.owner)
        self.assertEqual(self.containers(), [])

    def test_container_that_ends_at_once_is_reported_with_its_log_and_removed(self) -> None:
        with self.assertRaisesRegex(ServerDied, "(?s)Redis ended .*last log lines:.*no such thing") as caught:
            self.ready(self.redis(command=("sh", "-c", "echo no such thing; exit 3")))
        self.assertLess(len(str(caught.exception).splitlines()), 15)
        self.assertTrue(eventually(lambda: not [c for c in self.containers() if c.status == "running"]))

    def test_command_that_is_not_in_the_image_is_reported_and_leaves_nothing(self) -> None:
        spec = self.redis(command=("sh",), files={})
        with mock.patch.object(docker_create, "_address", side_effect=OSError("no port")):
            with self.assertRaisesRegex(BackendUnavailable, "Docker could not start Redis from the image .*: no port"):
                self.backend.start(spec, self.owner)
        self.assertEqual(self.containers(), [])

    def test_interrupted_start_leaves_nothing(self) -> None:
        with mock.patch.object(docker_create, "_address", side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                self.backend.start(self.redis(), self.owner)
        self.assertEqual(self.containers(), [])

    def test_missing_image_names_what_named_it_and_counts_as_a_surprise(self) -> None:
        spec = replace(self.redis(image="containertest-no-such-image:1"), image_source="CONTAINERTEST_REDIS_IMAGE")
        with self.assertLogs("containertest", "WARNING") as logged:
            with self.assertRaisesRegex(
                BackendUnavailable, "(?s)no-such-image.*correct CONTAINERTEST_REDIS_IMAGE"
            ) as caught:
                self.backend.check(spec)
        self.assertIn("Pulling the Docker image containertest-no-such-image:1", logged.output[0])
        self.assertTrue(vars(caught.exception)["surprising"])

    def test_impossible_image_name_is_no_foreign_error(self) -> None:
        with self.assertRaisesRegex(BackendUnavailable, "invalid reference format"):
            self.backend.check(self.redis(image="Not:An:Image"))


class LifeTests(DockerCase):
    def test_killed_container_is_not_alive_and_keeps_its_log(self) -> None:
        server = self.ready(self.redis())
        self.containers()[0].kill()
        self.assertTrue(eventually(lambda: not server.alive()))
        self.assertIn("Ready to accept connections", server.logs())
        self.assertEqual(len(server.logs(2).splitlines()), 2)

    def test_stopping_twice_removes_once(self) -> None:
        server = self.ready(self.redis())
        server.stop()
        server.stop()
        self.assertEqual(self.containers(), [])
        self.assertFalse(server.alive())
        self.assertIn("No such container", server.logs())

    def test_attached_server_is_the_same(self) -> None:
        first = self.ready(self.redis())
        second = DockerBackend().attach(first.handle, first.endpoint)
        self.assertTrue(second.alive())
        self.assertEqual(second.logs(), first.logs())
        second.stop()
        self.assertFalse(first.alive())

    def test_attaching_loads_no_docker_library(self) -> None:
        code = """
            import sys
            from containertest.backends import get
            from containertest.spec import Endpoint
            get("docker").attach({"id": "some-container"}, Endpoint("127.0.0.1", 1))
            print([name for name in ("docker", "testcontainers", "requests") if name in sys.modules])
        """
        self.assertEqual(run_python(code).stdout, "[]\n")

    def test_forked_child_asks_on_a_connection_of_its_own(self) -> None:
        self.without_the_plain_way()
        server = self.ready(self.redis())
        used = self.backend._engine._client
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(0 if server.alive() and self.backend._engine._client is not used else 1)
            finally:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertTrue(server.alive())


class OtherWayTests(DockerCase):
    """The same by docker's library."""

    def setUp(self) -> None:
        super().setUp()
        self.without_the_plain_way()

    def test_server_lives_and_goes(self) -> None:
        server = self.ready(replace(self.redis(), memory="64m"))
        self.assertIsNone(self.backend._engine._plain)
        self.assertTrue(server.alive())
        self.assertIn("Ready to accept connections", server.logs())
        self.assertEqual(len(server.logs(tail=2).splitlines()), 2)
        bindings = self.containers()[0].attrs["NetworkSettings"]["Ports"]["6379/tcp"]
        self.assertEqual(bindings, [{"HostIp": "127.0.0.1", "HostPort": str(server.endpoint.port)}])
        server.stop()
        server.stop()
        self.assertFalse(server.alive())
        self.assertEqual(self.containers(), [])

    def test_container_that_ended_is_reported(self) -> None:
        spec = self.redis(command=("/containertest/redis.conf", "--no-such-option", "1"))
        with self.assertRaises(ServerDied):
            self.ready(spec)

    def test_run_is_removed_by_its_label(self) -> None:
        self.ready(self.redis())
        DockerBackend().remove(self.session, {})
        self.assertEqual(self.containers(), [])

    def test_image_that_is_nowhere_is_reported(self) -> None:
        with self.assertLogs("containertest"), self.assertRaisesRegex(BackendUnavailable, "could not get the image"):
            self.backend.check(self.redis(image="localhost:1/none:1"))


class RemoveTests(DockerCase):
    def test_containers_are_found_by_label_without_a_handle(self) -> None:
        self.ready(self.redis())
        self.backend.remove(self.session, {})
        self.assertEqual(self.containers(), [])

    def test_removing_again_is_fine(self) -> None:
        self.ready(self.redis())
        self.backend.remove(self.session, self.recorded)
        self.backend.remove(self.session, self.recorded)
        self.assertEqual(self.containers(), [])

    def test_other_runs_stay(self) -> None:
        other = self.session + "-other"
        self.addCleanup(self.backend.remove, other, {})
        self.owner = Owner(other, self.folder, self.record)
        server = self.ready(self.redis())
        self.backend.remove(self.session, {})
        self.assertTrue(server.alive())

    def test_container_created_after_the_first_look_is_removed_too(self) -> None:
        find, looks = docker_removal._find, []

        def find_and_create(*arguments: Any) -> set[str]:
            found = find(*arguments)
            if not looks:
                self.backend.start(self.redis(), self.owner)
            looks.append(found)
            return found

        with mock.patch.object(docker_removal, "_find", find_and_create):
            self.backend.remove(self.session, {})
        self.assertEqual(looks[0], set())
        self.assertEqual(self.containers(), [])

    def test_prune_removes_a_container_whose_run_has_lost_its_folder(self) -> None:
        lost = self.folder / "lost"
        lost.mkdir()
        self.owner = Owner(self.session, lost, self.record)
        server = self.ready(self.redis())
        self.assertNotIn(server.handle["id"], " ".join(prune()))
        lost.rmdir()
        self.assertIn(f"removed: container {server.handle['id']}", prune())
        self.assertEqual(self.containers(), [])


class SettingsTests(DockerCase):
    """What testcontainers reads at import is tested in a process of its own."""

    CHECK = """
        from containertest.backends import get
        from containertest.errors import ContainerTestError
        from containertest.services import redis
        from containertest.settings import Settings
        try:
            print(get("docker").check(redis.spec(redis.Redis(), Settings.load(), "unused")))
        except ContainerTestError as error:
            print(type(error).__name__, error)
    """

    def test_prefix_of_testcontainers_is_put_before_the_image(self) -> None:
        done = run_python(self.CHECK, TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX="mirror.invalid/")
        self.assertIn("'mirror.invalid/", done.stdout)
        self.assertIn("BackendUnavailable", done.stdout)

    def test_connection_modes_of_testcontainers_lead_to_the_server(self) -> None:
        code = (
            self.CHECK
            + """
        import tempfile
        from pathlib import Path
        from containertest.backends.base import Owner
        from containertest.wait import until_ready
        spec = redis.spec(redis.Redis(), Settings.load(), "unused")
        backend = get("docker")
        with tempfile.TemporaryDirectory() as folder:
            server = backend.start(spec, Owner("test-mode", Path(folder), lambda handle: None))
            try:
                until_ready(server, spec.title, spec.wait, spec.probe, 60)
                print("ready at", server.endpoint.host)
            finally:
                server.stop()
        """
        )
        for mode in ("docker_host", "gateway_ip", "bridge_ip"):
            with self.subTest(mode=mode):
                done = run_python(code, TESTCONTAINERS_CONNECTION_MODE=mode)
                self.assertIn("ready at", done.stdout, done.stderr)

    def test_unknown_connection_mode_is_a_config_error(self) -> None:
        done = run_python(self.CHECK, TESTCONTAINERS_CONNECTION_MODE="by_pigeon")
        self.assertIn("ConfigError", done.stdout)
        self.assertIn("bridge_ip, gateway_ip and docker_host", done.stdout)
