"""A Docker engine of the tests' own, to be killed: it shares nothing with the one of this machine.

Its bridge is its own, and it leaves the packet filter alone: containers are then reached by the engine's proxy, on
127.0.0.1, which is how this library reaches them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from containertest.wait import poll

__all__ = ["OwnEngine", "why_not"]

DEADLINE = 120.0


def why_not() -> str:
    """Why there can be no engine of our own here; "" if there can."""
    missing = [name for name in ("dockerd", "docker", "ip") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} missing"
    return "" if os.geteuid() == 0 else "only root can start dockerd"


class OwnEngine:
    """One `dockerd`, as long as the context lasts."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ct-engine-"))
        number = secrets.randbelow(1 << 12)
        self.bridge = f"ctcrash{number:x}"
        # Of 10.192.0.0/10: rarely in use, and another part of it each time.
        self.address = f"10.{192 + number // 256 % 64}.{number % 256}.1/24"
        self.host = f"unix://{self.folder}/engine.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OwnEngine:
        try:
            self._ip("link", "add", "name", self.bridge, "type", "bridge")
            self._ip("address", "add", self.address, "dev", self.bridge)
            self._ip("link", "set", self.bridge, "up")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and whatever it has started, and remove all that it has."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        self._kill_the_rest()
        self._unmount()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, also after it was killed, and wait until it answers."""
        self._forget_the_killed()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not poll(lambda: self._answers() or self.has_ended(), DEADLINE, interval=0.1) or self.has_ended():
            raise AssertionError(f"dockerd does not start:\n{(self.folder / 'log').read_text()[-5000:]}")

    def _forget_the_killed(self) -> None:
        """Wait for the end of a containerd whose dockerd was killed; a new one takes even its zombie for alive."""
        containerd = self.folder / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(FileNotFoundError):
            pid = int(containerd.read_text())
            poll(lambda: pid not in self._processes(), DEADLINE)
        for file in (containerd, self.folder / "pid"):
            file.unlink(missing_ok=True)

    def _command(self) -> list[str]:
        return [
            "dockerd",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid",
            f"--host={self.host}",
            f"--bridge={self.bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            "--userland-proxy=true",
        ]

    def kill(self) -> None:
        """SIGKILL, as by the kernel when memory is short."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def load(self, *images: str) -> None:
        """Copy images from the engine of this machine."""
        saving = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.host, "load", "--quiet"], stdin=saving.stdout, check=True)
        if saving.stdout is not None:
            saving.stdout.close()
        if saving.wait() != 0:
            raise AssertionError(f"docker save has failed for {images}")

    def client(self) -> Any:
        import docker

        return docker.APIClient(base_url=self.host)

    def stop(self) -> None:
        """End it in good order, as for an update; it stops its containers."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(DEADLINE)

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            asking = ["docker", "--host", self.host, "version"]
            return subprocess.run(asking, capture_output=True, timeout=10, check=False).returncode == 0
        return False

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def _kill_the_rest(self) -> None:
        """Its containerd, shims and proxies, by the folder on their command line, and what runs in containers."""
        poll(lambda: not [os.kill(pid, signal.SIGKILL) for pid in self._processes()], 30, interval=0.05)

    def _processes(self) -> list[int]:
        words = [str(self.folder), *(path.name for path in (self.folder / "data" / "containers").glob("*"))]
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_text(errors="replace") + (entry / "cgroup").read_text()
                state = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
                if state not in "ZX" and int(entry.name) != os.getpid() and any(word in text for word in words):
                    found.append(int(entry.name))
        return found

    def _unmount(self) -> None:
        """What is mounted below its folder, the last first."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([mount for mount in mounts if mount.startswith(f"{self.folder}/")]):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)
