"""The levels of a baseline, from what the migrations left upwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["UNFINISHED", "Level"]


@dataclass(eq=False, frozen=True)
class Level:
    """One layer of the baseline over what the migrations left: a manager's snapshot, or a test class's data.

    :param title: for debugging.
    :param load: makes its data; None: they are what was there when it was taken, and are lost with the servers.
    """

    title: str
    load: Callable[[], None] | None = None


#: Stands for a level that is being made. Nobody wants it: one that was broken off is taken away like any other.
UNFINISHED = Level("unfinished")
