"""Servers as local processes, from programs that are on this machine or in the extra ``embedded``.

Each server has a folder of its own (`local_folder`), which is all that it leaves when it is killed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from containertest.backends.base import Handle, Owner, Server
from containertest.backends.cache import cache_candidates, is_own
from containertest.backends.local_access import server_user
from containertest.backends.local_copies import copies_candidates
from containertest.backends.local_folder import DataFolder, end_lost, of_session
from containertest.backends.local_processes import runs_from
from containertest.backends.local_programs import Programs, find
from containertest.backends.local_server import HOST, Launch, LocalServer
from containertest.errors import BackendUnavailable
from containertest.spec import Endpoint, ServerSpec

__all__ = ["LocalBackend", "clear_caches", "prune"]


class LocalBackend:
    """Runs servers as processes of this machine; as root, those that refuse root as another user."""

    name = "local"

    def __init__(self) -> None:
        self._found: dict[str, Programs] = {}

    def check(self, spec: ServerSpec) -> str:
        """See `Backend.check`.

        :raises ConfigError: if the setting for the programs names something that has them not.
        """
        user = server_user(spec.local.as_root)
        programs = self._programs(spec)
        DataFolder.choose("", user)
        return f"{spec.title} {programs}" + (f" as user {user.name}" if user else "")

    def start(self, spec: ServerSpec, owner: Owner) -> Server:
        owner.turn()
        user = server_user(spec.local.as_root)
        programs = self._programs(spec).reachable_by(user, spec.title, spec.local.setting)
        folder = DataFolder.choose(owner.session, user)
        server = LocalServer(_handle(spec, folder), Endpoint(HOST, 0))
        owner.record(dict(server.handle))
        try:
            Launch(spec, owner, programs, user, folder, server).begin()
        except BaseException as error:
            server.stop()
            if not isinstance(error, OSError):
                raise
            raise BackendUnavailable(
                f"{spec.title} can't be started in {folder.path}: {error}.\n"
                "If the disk is full, make room or set TMPDIR to another folder."
            ) from error
        owner.waiting()
        return server

    def attach(self, handle: Handle, endpoint: Endpoint) -> Server:
        return LocalServer(handle, endpoint)

    def remove(self, session: str, handles: Mapping[str, Handle]) -> None:
        """See `Backend.remove`.

        :raises OSError: if something of the run is still there; the rest is removed all the same.
        """
        errors = []
        known = [handle for handle in handles.values() if "folder" in handle]
        folders = [(LocalServer(handle, Endpoint(HOST, 0)).folder, handle) for handle in known]
        for folder, handle in (*folders, *((folder, {}) for folder in of_session(session))):
            try:
                folder.remove(handle.get("process"), handle.get("inode"))
            except OSError as error:
                errors.append(error)
        try:
            end_lost(session)
        except OSError as error:
            errors.append(error)
        if errors:
            raise errors[0]

    def _programs(self, spec: ServerSpec) -> Programs:
        """What was found; looked for once, since each look runs programs."""
        key = f"{spec.service} {spec.local.chosen}"
        if key not in self._found:
            self._found[key] = find(spec.local, spec.title)
        return self._found[key]


def prune() -> list[str]:
    """Remove what is kept for later runs.

    :return: a line for each folder.
    """
    return [f"removed: cache {folder}" for folder in clear_caches()]


def clear_caches() -> list[Path]:
    """Remove what is kept for later runs: prepared data and copies of programs; return the folders removed.

    Harmless while runs are going on: they make again what they miss. But a server that runs from a copy needs its
    libraries to the end.
    """
    copies = [path for path in copies_candidates() if not runs_from(path)] if os.geteuid() == 0 else []
    folders = [path for path in dict.fromkeys((*cache_candidates(), *copies)) if is_own(path)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return folders


def _handle(spec: ServerSpec, folder: DataFolder) -> Handle:
    return {
        "id": folder.path.name,
        "backend": "local",
        "service": spec.service,
        "session": folder.session,
        "folder": str(folder.path),
        "process": None,
        "inode": None,
    }
