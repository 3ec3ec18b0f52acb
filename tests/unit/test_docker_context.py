"""Which Docker context is chosen; as docker's own client, whose files are made here, chooses it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from containertest import backends
from containertest.backends import docker_context
from containertest.backends.docker_engine import Engine
from containertest.backends.docker_plain import SOCKET, plain_socket
from containertest.errors import BackendUnavailable, ConfigError
from containertest.services import postgres
from containertest.settings import Settings


def make_context(folder: Path, name: str, host: str, **more: Any) -> Path:
    """Make a context as ``docker context create`` does, below ``folder``; returns where its TLS files belong."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    engine = {"Host": host, "SkipTLSVerify": False, **more}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": engine}}))
    return folder / "contexts" / "tls" / digest / "docker"


class ContextCase(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = Path(temporary.name)
        self.folder = self.home / ".docker"
        make_context(self.folder, "other", "unix:///other.sock")
        make_context(self.folder, "farm", "tcp://198.51.100.7:2376")

    def environment(self, current: str | None = None, **variables: str) -> Any:
        config = {} if current is None else {"currentContext": current}
        (self.folder / "config.json").write_text(json.dumps(config))
        return mock.patch.dict(os.environ, {"HOME": str(self.home), **variables}, clear=True)


class ChosenTests(ContextCase):
    def host(self, current: str | None = None, **variables: str) -> str | None:
        with self.environment(current, **variables):
            context = docker_context.chosen()
            return context and context.host

    def test_variable_goes_before_the_current_context(self) -> None:
        self.assertEqual(self.host(DOCKER_CONTEXT="other"), "unix:///other.sock")
        self.assertEqual(self.host("farm", DOCKER_CONTEXT="other"), "unix:///other.sock")
        self.assertEqual(self.host("farm"), "tcp://198.51.100.7:2376")
        self.assertEqual(self.host("farm", DOCKER_CONTEXT=""), "tcp://198.51.100.7:2376")

    def test_default_is_no_context(self) -> None:
        self.assertIsNone(self.host())
        self.assertIsNone(self.host("farm", DOCKER_CONTEXT="default"))
        self.assertIsNone(self.host("default", DOCKER_CONTEXT=""))

    def test_docker_host_goes_before_it_unless_it_is_empty(self) -> None:
        self.assertIsNone(self.host("farm", DOCKER_CONTEXT="nosuch", DOCKER_HOST="unix:///x"))
        self.assertEqual(self.host(DOCKER_CONTEXT="other", DOCKER_HOST=""), "unix:///other.sock")

    def test_host_of_testcontainers_goes_before_it(self) -> None:
        (self.home / ".testcontainers.properties").write_text("tc.host=tcp://198.51.100.1:1\n")
        self.assertIsNone(self.host(DOCKER_CONTEXT="other"))

    def test_folder_of_docker_may_be_another_and_need_no_config(self) -> None:
        folder = self.home / "elsewhere"
        make_context(folder, "there", "tcp://198.51.100.8:1")
        self.assertEqual(self.host(DOCKER_CONTEXT="there", DOCKER_CONFIG=str(folder)), "tcp://198.51.100.8:1")
        (self.folder / "config.json").unlink()
        with mock.patch.dict(os.environ, {"HOME": str(self.home), "DOCKER_CONTEXT": "farm"}, clear=True):
            self.assertEqual(str(docker_context.chosen()).split()[0], "tcp://198.51.100.7:2376")

    def test_one_that_does_not_exist_is_an_error_with_those_that_do(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.host(DOCKER_CONTEXT="nosuch")
        for words in ("no Docker context 'nosuch'", "DOCKER_CONTEXT", str(self.folder), "default, farm, other"):
            self.assertIn(words, str(caught.exception))
        with self.assertRaisesRegex(BackendUnavailable, "no Docker context 'gone' .currentContext in .*config.json"):
            self.host("gone")

    def test_files_that_are_broken_name_no_context(self) -> None:
        for content in ("", "[]", "{", '{"currentContext": 7}', '{"currentContext": null}'):
            with self.subTest(content), self.environment():
                (self.folder / "config.json").write_text(content)
                self.assertIsNone(docker_context.chosen())

    def test_tls_files_are_handed_to_dockers_library(self) -> None:
        tls = make_context(self.folder, "safe", "tcp://198.51.100.9:2376")
        tls.mkdir(parents=True)
        (tls / "ca.pem").touch()
        with self.environment(DOCKER_CONTEXT="safe"):
            context = docker_context.chosen()
            assert context is not None
            self.assertEqual(context.variables()["DOCKER_CERT_PATH"], str(tls))
            self.assertEqual(context.variables()["DOCKER_TLS_VERIFY"], "1")


class EngineTests(ContextCase):
    """What becomes of it."""

    def test_socket_of_a_context_is_asked_plainly(self) -> None:
        with self.environment(DOCKER_CONTEXT="other"):
            self.assertEqual(plain_socket(None), "/other.sock")
        with self.environment("other"):
            self.assertEqual(plain_socket(None), "/other.sock")
        with self.environment("other", DOCKER_CONTEXT="default"):
            self.assertEqual(plain_socket(None), str(SOCKET))
        with self.environment("other", DOCKER_CONTEXT="farm"):
            self.assertIsNone(plain_socket(None))

    def test_context_is_named_where_no_engine_answers(self) -> None:
        make_context(self.folder, "gone", "tcp://127.0.0.1:1")
        for name, host in (("other", "unix:///other.sock"), ("gone", "tcp://127.0.0.1:1")):
            with self.subTest(name), self.environment(DOCKER_CONTEXT=name):
                with self.assertRaises(BackendUnavailable) as caught:
                    Engine().version()
                words = f"No Docker engine answers at {host} (the Docker context '{name}', by DOCKER_CONTEXT)"
                self.assertIn(words, str(caught.exception))

    def test_one_that_does_not_exist_is_no_reason_for_another_backend(self) -> None:
        spec = postgres.spec(postgres.Postgres(), Settings(), "s3cret")
        with self.environment(DOCKER_CONTEXT="nosuch"):
            with self.assertRaisesRegex(ConfigError, "no Docker context 'nosuch'"):
                backends.choose(spec, "auto")


if __name__ == "__main__":
    unittest.main()
