"""How a run under test and the test that hits it talk: by files in one folder, looked for again and again."""

from __future__ import annotations

import os
from pathlib import Path

from containertest.wait import poll

__all__ = ["FOLDER", "PLACE", "act", "reach", "reached", "release"]

FOLDER = "CT_CRASH_MARKS"
#: Where the run stops and waits, as in "test"; or where it does something to itself, as in "test:exit".
PLACE = "CT_CRASH_PLACE"
#: Seconds until a run that nobody hits or releases gives up.
PATIENCE = 300.0


class Hit(Exception):
    """What a run raises that is told to fail."""


def reach(place: str) -> None:
    """In the run: if it is to be hit at ``place``, say that it is there, and wait; or hit itself."""
    wanted, _, deed = os.environ.get(PLACE, "").partition(":")
    if wanted == place:
        folder = Path(os.environ[FOLDER])
        (folder / f"at-{os.getpid()}").touch()
        act(deed, folder)


def act(deed: str, folder: Path) -> None:
    if deed == "raise":
        raise Hit("as the test of crashes wanted it")
    if deed == "exit":
        os._exit(7)
    if deed == "eat":
        hoard: list[bytes] = []
        while True:
            hoard.append(b"x" * (1 << 24))
    if not deed and not poll(lambda: (folder / "go").exists(), PATIENCE):
        raise TimeoutError("nobody has hit or released this run")


def reached(folder: Path) -> list[int]:
    """In the test: the processes that have come to their place."""
    return [int(path.name.removeprefix("at-")) for path in folder.glob("at-*")]


def release(folder: Path) -> None:
    """In the test: let them go on."""
    (folder / "go").touch()
