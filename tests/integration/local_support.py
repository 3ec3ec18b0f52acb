"""Helpers of the local backend's tests: specs, owners, and what is left in the kernel."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from containertest import wait
from containertest.backends import local_folder
from containertest.backends.base import Handle, Owner, Server
from containertest.backends.local import LocalBackend
from containertest.backends.local_processes import using
from containertest.services import postgres, redis
from containertest.settings import Settings
from containertest.spec import LocalSpec, ServerSpec

PASSWORD = "p'a \"ss@/%"
PATIENCE = 60


def postgres_spec(**changes: object) -> ServerSpec:
    return _changed(postgres.spec(postgres.Postgres(), Settings(), PASSWORD), changes)


def redis_spec(**changes: object) -> ServerSpec:
    return _changed(redis.spec(redis.Redis(), Settings(), PASSWORD), changes)


def _changed(spec: ServerSpec, changes: dict[str, object]) -> ServerSpec:
    local: LocalSpec = dataclasses.replace(spec.local, **changes)
    return dataclasses.replace(spec, local=local)


def segments() -> set[str]:
    """Shared memory that no process has attached, and PostgreSQL's files of it."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return {f"sysv {row[1]}" for row in rows if row[6] == "0"} | {str(path) for path in Path("/dev/shm").glob("Post*")}


class LocalTestCase(unittest.TestCase):
    """Each class has a cache of its own, each test a run whose servers are removed at the end."""

    cache: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.cache = Path(tempfile.mkdtemp(prefix="containertest-cache-"))
        cls.addClassCleanup(shutil.rmtree, cls.cache)

    def setUp(self) -> None:
        environment = mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.cache)})
        environment.start()
        self.addCleanup(environment.stop)
        self.handles: dict[str, Handle] = {}
        self.backend = LocalBackend()
        self.owner = Owner(f"test-{os.getpid()}-{id(self)}", self.cache, self.record)
        self.addCleanup(self.remove)

    def record(self, handle: Handle) -> None:
        self.handles[handle["id"]] = dict(handle)

    def remove(self) -> None:
        self.backend.remove(self.owner.session, self.handles)

    def start(self, spec: ServerSpec, owner: Owner | None = None) -> Server:
        server = self.backend.start(spec, owner or self.owner)
        wait.until_ready(server, spec.title, spec.wait, spec.probe, PATIENCE)
        return server

    def eventually(self, check: object, message: str) -> None:
        assert callable(check)
        self.assertTrue(wait.poll(check, PATIENCE), message)

    def assert_nothing_left(self, folders: list[Path] | None = None) -> None:
        for folder in folders or [Path(handle["folder"]) for handle in self.handles.values()]:
            self.assertFalse(folder.exists(), f"{folder} is still there")
            self.assertEqual(using(folder), [], f"processes of {folder}")
        self.assertEqual(list(local_folder.of_session(self.owner.session)), [])
