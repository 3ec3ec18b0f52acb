"""How the Docker engine is found, reached and asked, with engines that are absent, silent or made up."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from testcontainers.core.config import ConnectionMode

from containertest.backends import docker_engine, docker_messages, docker_plain, docker_route
from containertest.backends.docker_engine import Engine, Image
from containertest.backends.docker_plain import PlainApi, Refused, plain_socket
from containertest.backends.docker_route import Route
from containertest.errors import BackendUnavailable
from tests.support import run_python


class NoEngineTests(unittest.TestCase):
    def test_nothing_is_imported_where_no_engine_can_be(self) -> None:
        code = """
            import sys
            from pathlib import Path
            from containertest.backends import docker_engine, docker_plain
            docker_plain.SOCKET = Path("/nonexistent/docker.sock")
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
        self.assertIn("usermod -aG docker", docker_messages.no_engine("unix:///x", error))

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


class PlainTests(unittest.TestCase):
    """What is asked without docker's library, of a made-up engine."""

    def plain(self, *lines: str, body: str = "", lead: str = "HTTP/1.0 200 OK") -> PlainApi:
        """An engine that gives one answer; `asked` is what it was asked."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path := f"{folder.name}/docker.sock")
        listener.listen()
        self.asked = b""

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                self.asked = connection.recv(1 << 16)
                connection.sendall("\r\n".join([lead, *lines, "", body]).encode("latin-1"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        return PlainApi(path, 30)

    def test_answer_is_json(self) -> None:
        api = self.plain("Content-Length: 17", body='{"Version": "20"}')
        self.assertEqual(api.version(), {"Version": "20"})
        self.assertTrue(self.asked.startswith(b"GET /version HTTP/1.0\r\n"), self.asked)

    def test_filters_and_names_are_quoted(self) -> None:
        self.plain(body="[]").containers(all=True, filters={"name": "^/a b$"})
        self.assertIn(b"all=1&filters=%7B%22name%22%3A+%5B%22%5E%2Fa+b%24%22%5D%7D ", self.asked)

    def test_refusal_has_the_status_and_the_reason(self) -> None:
        api = self.plain(lead="HTTP/1.0 404 Not Found", body='{"message": "No such image: x"}')
        with self.assertRaisesRegex(Refused, "No such image: x") as caught:
            api.inspect_image("x")
        self.assertEqual(caught.exception.status_code, 404)

    def test_frames_of_a_log_are_joined(self) -> None:
        body = "\1\0\0\0\0\0\0\4one\n\2\0\0\0\0\0\0\4two\n"
        self.assertEqual(self.plain(body=body).logs("name", tail=5), b"one\ntwo\n")

    def test_answer_that_breaks_off_is_an_error(self) -> None:
        with self.assertRaisesRegex(OSError, "in the middle of an answer"):
            self.plain("Content-Length: 99", body="{}").version()

    def test_what_is_no_engine_is_left_to_docker(self) -> None:
        self.assertIsNone(docker_engine._plainly(f"unix://{self.plain(lead='220 smtp ready').path}"))

    def test_what_answers_with_something_else_is_left_to_docker(self) -> None:
        with mock.patch.object(docker_plain.PlainApi, "version"), mock.patch("os.path.exists", return_value=True):
            with mock.patch.object(docker_engine, "plain_socket", return_value=self.plain(body="{}").path):
                self.assertIsNone(docker_engine._plainly(None))

    def test_engine_that_speaks_in_chunks_only_is_left_to_docker(self) -> None:
        api = self.plain("Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\n\r\n")
        self.assertIsNone(docker_engine._plainly(f"unix://{api.path}"))


class PlainSocketTests(unittest.TestCase):
    """Which engines are asked plainly: whatever else testcontainers or docker heed is theirs to heed."""

    def found(self, config: str | None = None, properties: bool = False, **variables: str) -> str | None:
        with tempfile.TemporaryDirectory() as home:
            if config is not None:
                Path(home, ".docker").mkdir()
                Path(home, ".docker", "config.json").write_text(config)
            if properties:
                Path(home, ".testcontainers.properties").touch()
            with mock.patch.dict(os.environ, {"HOME": home, **variables}, clear=True):
                return plain_socket(None)

    def test_unix_sockets_are(self) -> None:
        self.assertEqual(self.found(), str(docker_plain.SOCKET))
        self.assertEqual(self.found(DOCKER_HOST="unix:///run/user/1/docker.sock"), "/run/user/1/docker.sock")
        self.assertEqual(self.found(config='{"auths": {}}', TESTCONTAINERS_RYUK_DISABLED="1"), str(docker_plain.SOCKET))
        self.assertEqual(plain_socket("unix:///x"), "/x")

    def test_home_that_can_not_be_looked_into_asks_for_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").mkdir()  # as unreadable for root as for others
            for variables in ({"HOME": f"/{'x' * 300}"}, {"DOCKER_CONFIG": folder}):
                with self.subTest(variables):
                    self.assertEqual(self.found(**variables), str(docker_plain.SOCKET))

    def test_all_else_is_not(self) -> None:
        for variable, value in (
            ("DOCKER_HOST", "tcp://198.51.100.7:2375"),
            ("DOCKER_HOST", "ssh://somebody@somewhere"),
            ("DOCKER_CONTEXT", "other"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("TESTCONTAINERS_HOST_OVERRIDE", "198.51.100.7"),
            ("TESTCONTAINERS_CONNECTION_MODE", "bridge_ip"),
            ("TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX", "mirror/"),
            ("TC_HOST", "198.51.100.7"),
        ):
            with self.subTest(variable, value=value):
                self.assertIsNone(self.found(**{variable: value}))
        self.assertIsNone(self.found(config='{"currentContext": "desktop-linux"}'))
        self.assertIsNone(self.found(properties=True))
        self.assertIsNone(plain_socket("tcp://198.51.100.7:2375"))

    def test_engine_of_a_containers_host_is_not(self) -> None:
        api = mock.Mock()
        api.inspect_network.return_value = {"IPAM": {"Config": [{"Gateway": "198.51.100.1"}]}}
        with mock.patch("os.path.exists", return_value=True):
            self.assertFalse(docker_route.is_local(api))
            api.inspect_network.return_value = {"IPAM": {"Config": [{"Gateway": "127.0.0.1"}]}}
            self.assertTrue(docker_route.is_local(api))


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
        return docker_route.find_route(client)

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

    def test_shorter_way_is_the_containers_address_in_a_network_of_this_machine(self) -> None:
        def way(**net: str) -> str | None:
            return docker_route.shorter_way({"Networks": {"bridge": net}}, 5432)

        self.assertEqual(way(IPAddress="127.0.0.7", Gateway="127.0.0.1"), "127.0.0.7:5432")
        self.assertIsNone(way(IPAddress="198.51.100.7", Gateway="198.51.100.1"), "a network of a virtual machine")
        self.assertIsNone(way(IPAddress="", Gateway=""), "a container that has ended")

    def test_shared_network_needs_no_published_port(self) -> None:
        self.assertEqual(self.route(ConnectionMode.bridge_ip), Route(None, None, "jobs"))


class PullTests(unittest.TestCase):
    """With a made-up engine, since tests can't count on a registry."""

    def engine(self, *events: dict[str, Any]) -> tuple[Engine, mock.Mock]:
        api = mock.Mock()
        api.inspect_image.side_effect = [Refused(404, "no such image"), {"Id": "sha256:1", "Config": {}}]
        api.pull.return_value = iter(events)
        client = mock.Mock()
        client.client.api = api
        engine = Engine()
        engine._pid, engine._client = os.getpid(), client
        prefix = mock.patch.object(docker_engine, "_prefix_by_testcontainers", return_value="")
        prefix.start()
        self.addCleanup(prefix.stop)
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
