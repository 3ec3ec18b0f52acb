"""How the Docker engine is found, reached and asked, with engines that are absent, silent or made up."""

from __future__ import annotations

import os
import socket
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from testcontainers.core.config import ConnectionMode

from containertest.backends import docker_engine
from containertest.backends.docker_engine import Engine, Image, Route
from containertest.errors import BackendUnavailable
from tests.support import run_python


class NoEngineTests(unittest.TestCase):
    def test_nothing_is_imported_where_no_engine_can_be(self) -> None:
        code = """
            import sys
            from pathlib import Path
            from containertest.backends import docker_engine
            docker_engine._SOCKET = Path("/nonexistent/docker.sock")
            try:
                docker_engine.Engine().version()
            except docker_engine.BackendUnavailable as error:
                print(error)
            print([name for name in ("docker", "testcontainers", "requests") if name in sys.modules])
        """
        with tempfile.TemporaryDirectory() as home:
            unset = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
            with mock.patch.dict(os.environ, unset, clear=True):
                done = run_python(code, HOME=home)
        self.assertIn("No Docker engine answers", done.stdout)
        self.assertIn("Start Docker", done.stdout)
        self.assertTrue(done.stdout.endswith("[]\n"), done.stdout + done.stderr)

    def test_missing_socket_is_named_with_a_remedy(self) -> None:
        with self.assertRaises(BackendUnavailable) as caught:
            Engine("unix:///nonexistent/docker.sock").version()
        first, second = str(caught.exception).splitlines()
        self.assertEqual(
            first, "No Docker engine answers at unix:///nonexistent/docker.sock: No such file or directory."
        )
        self.assertIn("DOCKER_HOST", second)

    def test_forbidden_socket_leads_to_the_group(self) -> None:
        error = PermissionError(13, "Permission denied")
        self.assertIn("usermod -aG docker", docker_engine._no_engine("unix:///x", error))

    def test_silent_engine_is_given_up(self) -> None:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            path = str(Path(folder) / "docker.sock")
            listener.bind(path)
            listener.listen()
            with mock.patch.object(docker_engine, "CONNECT_TIMEOUT", 0.2):
                with self.assertRaisesRegex(BackendUnavailable, "it did not answer in time"):
                    Engine(f"unix://{path}").version()

    def test_call_without_a_limit_of_its_own_is_given_up(self) -> None:
        reader, writer = socket.socketpair()
        with reader, writer, self.assertRaisesRegex(TimeoutError, r"no answer within 0.1 s"):
            docker_engine._within(0.1, lambda: reader.recv(1))


class RouteTests(unittest.TestCase):
    """Where a server is reached: on this machine by the loopback address, elsewhere by the engine's."""

    @staticmethod
    def route(mode: ConnectionMode, host: str = "localhost", bridge: dict[str, str] | None = None) -> Route:
        api = SimpleNamespace(inspect_network=lambda name: {"IPAM": {"Config": [bridge]}})
        client: Any = SimpleNamespace(
            get_connection_mode=lambda: mode,
            host=lambda: host,
            find_host_network=lambda: "jobs",
            client=SimpleNamespace(api=api),
        )
        return docker_engine._find_route(client)

    def test_engine_of_this_machine_publishes_on_the_loopback_address(self) -> None:
        self.assertEqual(self.route(ConnectionMode.docker_host), Route("127.0.0.1", "127.0.0.1"))

    def test_remote_engine_publishes_on_every_address(self) -> None:
        self.assertEqual(self.route(ConnectionMode.docker_host, "198.51.100.7"), Route("198.51.100.7", "0.0.0.0"))

    def test_from_another_container_the_gateway_is_used_and_nothing_else_published(self) -> None:
        found = self.route(ConnectionMode.gateway_ip, bridge={"Subnet": "198.51.100.0/24", "Gateway": "198.51.100.9"})
        self.assertEqual(found, Route("198.51.100.9", "198.51.100.9"))

    def test_unnamed_gateway_is_the_first_address_of_the_bridge(self) -> None:
        found = self.route(ConnectionMode.gateway_ip, bridge={"Subnet": "198.51.100.0/24"})
        self.assertEqual(found, Route("198.51.100.1", "198.51.100.1"))

    def test_gateway_that_is_this_machine_means_the_loopback_address(self) -> None:
        found = self.route(ConnectionMode.gateway_ip, bridge={"Gateway": "127.0.0.9"})
        self.assertEqual(found, Route("127.0.0.1", "127.0.0.1"))

    def test_shared_network_needs_no_published_port(self) -> None:
        self.assertEqual(self.route(ConnectionMode.bridge_ip), Route(None, None, "jobs"))


class PullTests(unittest.TestCase):
    """With a made-up engine, since tests can't count on a registry."""

    def engine(self, *events: dict[str, Any]) -> tuple[Engine, mock.Mock]:
        from docker.errors import ImageNotFound

        api = mock.Mock()
        api.inspect_image.side_effect = [ImageNotFound("no such image"), {"Id": "sha256:1", "Config": {}}]
        api.pull.return_value = iter(events)
        client = mock.Mock()
        client.client.api = api
        engine = Engine()
        engine._pid, engine._client = os.getpid(), client
        return engine, client

    def test_missing_image_is_pulled_after_the_log_in_and_said_so(self) -> None:
        engine, client = self.engine(
            {"id": "a", "status": "Pulling fs layer"}, {"id": "a", "status": "Pull complete"}, {"status": "Done"}
        )
        with self.assertLogs("containertest", "INFO") as logged:
            self.assertEqual(engine.image("redis:7-alpine", "default"), Image("redis:7-alpine", "sha256:1"))
        client.log_in.assert_called_once_with()
        self.assertIn("Pulling the Docker image redis:7-alpine", logged.output[0])
        self.assertIn("1 of 1 layers", logged.output[-1])

    def test_error_in_the_middle_of_a_pull_is_reported(self) -> None:
        engine, _ = self.engine({"id": "a", "status": "Downloading"}, {"error": "unexpected EOF"})
        with self.assertLogs("containertest"), self.assertRaisesRegex(BackendUnavailable, "unexpected EOF") as caught:
            engine.image("redis:7-alpine", "default")
        self.assertIn("docker pull redis:7-alpine", str(caught.exception))

    def test_image_without_a_tag_is_the_latest(self) -> None:
        for image, tag in (("redis", "latest"), ("host:5000/redis", "latest"), ("redis:7", None), ("a@sha256:b", None)):
            with self.subTest(image=image):
                self.assertEqual(docker_engine._tag(image), tag)
