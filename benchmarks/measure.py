"""Measure alternatives side by side: in turns, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


def nothing() -> None:
    """Do nothing."""


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Stay on one processor in the block, with the servers that are started in it, where the system lets one.

    Else a message takes twice as long to a server's process that the system happens to have put on another processor:
    it is mostly this that would be compared.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Alternative:
    """One way to do a thing: ``before`` is done before each time, untimed; of ``run`` the time is taken.

    ``every``: only in every so many-th round, for what takes long.
    """

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = nothing
    every: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """The shortest time, in seconds: what it costs when nothing else disturbs."""
        return min(self.seconds)

    def once(self, *, timed: bool = True) -> None:
        """Do it."""
        self.before()
        start = time.perf_counter()
        self.run()
        taken = time.perf_counter() - start
        if timed:
            self.seconds.append(taken)


def in_turns(alternatives: Sequence[Alternative], rounds: int, *, mixed: bool = False) -> dict[str, Alternative]:
    """Run each once per round, after some rounds without noting the time; return them by name.

    What takes long is done last in its round, and then the others once without noting the time: PostgreSQL drops all
    its sessions' caches after TRUNCATE of many tables, which is not what a suite without TRUNCATE would see.
    ``mixed``: in another order each time, since the first after something else is the slowest.
    """
    usual = [alternative for alternative in alternatives if alternative.every == 1]
    for number in range(-3, rounds):
        for alternative in random.sample(usual, len(usual)) if mixed else usual:
            alternative.once(timed=number >= 0)
        long = [other for other in alternatives if other.every > 1 and number % other.every == 0]
        for alternative in long:
            alternative.once(timed=number >= 0)
        for alternative in usual if long else ():
            alternative.once(timed=False)
    return {alternative.name: alternative for alternative in alternatives}


def duration(seconds: float) -> str:
    """Return a duration with the unit that fits: "87 µs", "1.24 ms", "2.31 s"."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    unit, value = ("ms", seconds * 1e3) if seconds < 1 else ("s", seconds)
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as aligned columns: the first to the left, the others to the right."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_aligned(line, widths)) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
