"""Docker contexts with a real engine: the one that is named is used, from the start to the removal by the guard."""

from __future__ import annotations

import os
import socket
import threading
import unittest
from pathlib import Path

from containertest.backends.docker_plain import SOCKET
from tests import support
from tests.integration.user_project import Project, Run
from tests.unit.test_docker_context import make_context

#: Tells by which way the engine was reached.
TEST = """
from containertest import RedisTestCase

class Tests(RedisTestCase):
    def test_it(self):
        server = self.manager().redis.lease.server
        print("REACHED", server.backend, server.handle.get("engine"))
"""


class ContextTests(unittest.TestCase):
    def setUp(self) -> None:
        support.require("docker")
        self.project = Project(self, test_it=TEST)
        self.config = self.project.folder / "docker"
        self.config.mkdir()

    def run_with(self, backend: str = "docker", **variables: str) -> Run:
        run = self.project.run(CONTAINERTEST_BACKEND=backend, DOCKER_CONFIG=str(self.config), **variables)
        self.project.assert_nothing_left(self)
        return run

    def link(self) -> Path:
        """Another path to the engine's socket."""
        link = self.project.folder / "link.sock"
        link.symlink_to(SOCKET)
        return link

    def see(self, run: Run, *words: str) -> None:
        self.assertNotEqual(run.status, 0, run.output)
        for word in words:
            self.assertIn(word, run.output)
        self.assertNotIn("REACHED", run.output)

    def test_socket_of_a_context(self) -> None:
        link = self.link()
        make_context(self.config, "other", f"unix://{link}")
        run = self.run_with(DOCKER_CONTEXT="other")
        self.assertIn(f"REACHED docker unix://{link}\n", run.output)
        run = self.run_with(DOCKER_CONTEXT="")
        self.assertIn(f"REACHED docker unix://{SOCKET}\n", run.output)

    def test_address_of_a_context(self) -> None:
        port = self.forwarded()
        make_context(self.config, "far", f"tcp://127.0.0.1:{port}")
        run = self.run_with(DOCKER_CONTEXT="far")
        self.assertIn(f"REACHED docker tcp://127.0.0.1:{port}\n", run.output)

    def test_docker_host_goes_before_it(self) -> None:
        make_context(self.config, "nowhere", "tcp://127.0.0.1:1")
        link = self.link()
        run = self.run_with(DOCKER_CONTEXT="nowhere", DOCKER_HOST=f"unix://{link}")
        self.assertIn(f"REACHED docker unix://{link}\n", run.output)

    def test_engine_that_does_not_answer_is_no_reason_to_take_another(self) -> None:
        make_context(self.config, "nowhere", "tcp://127.0.0.1:1")
        run = self.run_with(DOCKER_CONTEXT="nowhere")
        self.see(run, "No Docker engine answers at tcp://127.0.0.1:1 (the Docker context 'nowhere', by DOCKER_CONTEXT)")

    def test_context_that_does_not_exist(self) -> None:
        make_context(self.config, "other", "tcp://127.0.0.1:1")
        for backend in ("docker", "auto"):
            with self.subTest(backend):
                run = self.run_with(backend, DOCKER_CONTEXT="nosuch")
                self.see(run, "There is no Docker context 'nosuch' (DOCKER_CONTEXT)", "There are: default, other.")

    def forwarded(self) -> int:
        """A port of this machine that leads to the engine."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(os.fspath(SOCKET))
                for source, target in ((client, engine), (engine, client)):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


if __name__ == "__main__":
    unittest.main()
