"""What a run has left: processes, containers, volumes, networks, folders and shared memory, found from outside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.crash.shared_memory import header_of, segments
from tests.support import found

__all__ = ["Evidence", "processes"]

#: In the environment of every process of a run under test; the value is the run's folder.
MARK = "CT_CRASH_RUN"


def processes(folder: Path) -> dict[int, str]:
    """The processes of a run in ``folder``: pid -> command. Environment, working directory or arguments tell them."""
    ours = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if _belongs(entry, command, str(folder)) and not _is_dead(entry):
                    ours[int(entry.name)] = command
    return ours


def _belongs(entry: Path, command: str, folder: str) -> bool:
    if folder in command:
        return True
    with contextlib.suppress(OSError):
        if f"{MARK}={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
            return True
    with contextlib.suppress(OSError):
        return os.readlink(entry / "cwd").startswith(folder)
    return False


def _is_dead(entry: Path) -> bool:
    return (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0] in "ZX"


class Evidence:
    """Counts what the run in ``folder`` has left.

    :param temporary: the run's TMPDIR, in ``folder``.
    :param engine: docker's low-level client, or None for a run without Docker.
    """

    def __init__(self, folder: Path, temporary: Path, engine: Any) -> None:
        self.folder = folder
        self.temporary = temporary
        self.engine = engine
        self._volumes: set[str] = set()
        self._networks: set[str] = set()
        self._data: set[tuple[int, int]] = set()
        self._posix: set[str] = set()

    def note(self) -> None:
        """Look at the run while it lives, for what can't be told to be its own later."""
        for info in self._each(lambda identity: self.engine.inspect_container(identity)):
            self._volumes |= {mount["Name"] for mount in info["Mounts"] if mount["Type"] == "volume"}
            self._networks |= set(info["NetworkSettings"]["Networks"]) - {"bridge", "host", "none"}
        for data in found(self.temporary, "containertest-data-*/data"):
            with contextlib.suppress(OSError):
                self._data.add((data.stat().st_dev, data.stat().st_ino))
        for pid in processes(self.folder):
            with contextlib.suppress(OSError):
                maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
                self._posix |= {line.split()[5] for line in maps if "/dev/shm/" in line}

    def logs(self) -> str:
        """What the run's containers have said."""
        return "".join(log.decode(errors="replace") for log in self._each(lambda it: self.engine.logs(it)))

    def _each(self, ask: Callable[[str], Any]) -> Iterator[Any]:
        from docker.errors import NotFound

        for container in self.containers():
            # The engine lists a container a moment before and after it can be asked about.
            with contextlib.suppress(NotFound):
                yield ask(container["Id"])

    def containers(self) -> list[Any]:
        if self.engine is None:
            return []
        labelled = self.engine.containers(all=True, filters={"label": "containertest.folder"})
        return [it for it in labelled if it["Labels"]["containertest.folder"].startswith(f"{self.temporary}/")]

    def left(self) -> list[str]:
        """A line for each thing that is there."""
        return sorted({*self._left_running(), *self._left_lying()})

    def _left_running(self) -> Iterator[str]:
        for pid, command in processes(self.folder).items():
            yield f"process {pid}: {command[:200]}"
        for container in self.containers():
            yield f"container {container['Names'][0]}: {container['Status']}"

    def _left_lying(self) -> Iterator[str]:
        for path in self.temporary.iterdir():
            yield f"folder {path}: {sorted(item.name for item in found(path, '*'))}"
        if self.engine is not None:
            volumes = {it["Name"] for it in self.engine.volumes()["Volumes"] or ()}
            networks = {it["Name"] for it in self.engine.networks()}
            yield from (f"volume {name}" for name in self._volumes & volumes)
            yield from (f"network {name}" for name in self._networks & networks)
        yield from (f"memory {path}" for path in self._posix if Path(path).exists())
        for number in segments():
            if header_of(number) in self._data:
                yield f"System V segment {number}"
