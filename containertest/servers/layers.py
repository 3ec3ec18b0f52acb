"""Whose data a baseline has."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Layers"]


class Layers:
    """Whose data the baseline has besides what the migrations left: a manager's snapshot, a test class's on top of it.

    And whether those who made them have gone since: then they are to be left out before the baseline's next use.
    """

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        #: Ends what a test has left open, with a warning. To be called when the test, or its class, is over.
        self.look = look
        #: The test class whose data are there, or are being loaded; None: there are none.
        self.owner: object = None
        #: Whether a test has run since the baseline was brought back.
        self.dirty = False
        self._snapshot = self._snapshot_over = self._owner_over = self._to_clean = False

    def took_snapshot(self) -> bool:
        """Note that a manager makes a snapshot; whether it is one for all classes.

        In a class that has data it is a part of them.
        """
        base = self.owner is None
        self._snapshot = self._snapshot or base
        return base

    def manager_left(self) -> None:
        """Note that a manager was stopped, and that what is left by a snapshot is nobody's any more."""
        self._snapshot_over = self._snapshot_over or self._snapshot

    def owner_left(self, owner: object) -> None:
        """Note that the tests of this class are over."""
        self._owner_over = self._owner_over or self.owner is owner

    def hand_on(self) -> None:
        """Note that others than a test come now: they shall not find what the last test has left, nor its class."""
        if self.dirty:
            self._to_clean = True
            # Whoever runs tests one by one, without their class, does not say when its tests are over.
            self._owner_over = self._owner_over or self.owner is not None

    def are_for(self, owner: object) -> bool:
        """Whether the baseline is that of ``owner``, a test class that begins a test; None: of one without data.

        Some runners take each test by itself, and end the class after it: then its data needn't be loaded again.
        """
        if self._snapshot_over or self.owner is not owner:
            return False
        if owner is not None:
            self._owner_over = False
        return not self._owner_over

    @property
    def over(self) -> bool:
        """Whether some are to be left out before the baseline is used."""
        return self._owner_over or self._snapshot_over

    @property
    def stale(self) -> bool:
        """Whether the baseline can't be used as it is: then they are to be left out, or it has to be brought back."""
        return self.over or self._to_clean

    def cleaned(self) -> None:
        """Note that the baseline is brought back."""
        self.dirty = self._to_clean = False

    def leave_out(self, *, everything: bool) -> bool:
        """Note that a class's data are to be left out, with ``everything`` the snapshot too; whether it has to be.

        Should that fail, they are still to be left out: until `left_out`.
        """
        self.cleaned()
        self.owner, self._owner_over = None, True
        self._snapshot_over = self._snapshot_over or everything
        return self._snapshot_over

    def left_out(self) -> None:
        """Note that what was to be left out is."""
        self._snapshot = self._snapshot and not self._snapshot_over
        self._owner_over = self._snapshot_over = False

    def lose(self) -> bool:
        """Note that the servers are gone, with all data; whether there was a snapshot."""
        lost = self._snapshot
        self.__init__(self.look)  # type: ignore[misc]
        return lost
