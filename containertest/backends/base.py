"""What a backend is: it runs servers described by `ServerSpec`, and removes them again.

Each backend is one module of this package with a class that fits `Backend`. Which one is taken is decided by
`containertest.backends.choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from containertest.spec import Endpoint, ServerSpec

__all__ = ["Backend", "Handle", "Owner", "Server"]

#: What finds a server again from another process: plain JSON, no password. "ready" is added when it got ready.
Handle = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """The run that a server belongs to.

    :param session: the run's name: letters, digits, dashes, and an underscore at most, see `containertest.identity`.
    :param folder: the run's private folder (mode 0700).
    :param record: writes a handle into the run's state. A backend calls it *before* it creates anything that
        outlives the process (a data folder, a process, a container), so that whenever this process is killed
        the guard knows what to look for. Calling it again with the same ``handle["id"]`` replaces the entry.
    :param turn: is called by a backend before it starts the server, if another one may have to be first; may wait.
    :param waiting: is called by a backend when this process has nothing more to do for the start but to wait.
    """

    session: str
    folder: Path
    record: Callable[[Handle], None]
    turn: Callable[[], object] = lambda: None
    waiting: Callable[[], object] = lambda: None


class Server(Protocol):
    """A server that was started, or attached to."""

    @property
    def backend(self) -> str:
        """The backend's name."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers, and the user and password that it takes now."""

    @property
    def handle(self) -> Handle: ...

    def alive(self) -> bool:
        """Whether it still runs. Asks the engine or the kernel, not the server."""

    def logs(self, tail: int | None = None) -> str:
        """Its log, or the last ``tail`` lines; also after it has ended. Never raises."""

    def stop(self) -> None:
        """End it at once and remove everything of it; does nothing the second time."""


class Backend(Protocol):
    """Where servers run."""

    name: str

    def check(self, spec: ServerSpec) -> str:
        """Say in a few words what would be used ("Docker 28.2, image postgres:16-alpine").

        :raises BackendUnavailable: if this backend can't run ``spec`` here; the message is a sentence that says
            what was looked at, then a line with the remedy.
        """

    def start(self, spec: ServerSpec, owner: Owner) -> Server:
        """Start a server without waiting until it is ready. A failed start leaves nothing behind."""

    def attach(self, handle: Handle, endpoint: Endpoint) -> Server:
        """A server that another process of this run started. Talks to nobody yet."""

    def remove(self, session: str, handles: Mapping[str, Handle]) -> None:
        """Remove all that belongs to ``session``, whether in ``handles`` or found otherwise; used by the guard.

        Called when no process of the run lives any more, or by ``prune``. May be called again; never raises
        for what is gone already.
        """
