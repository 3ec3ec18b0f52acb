"""What is around one test: the baseline before it, the examples within it, a look at what it left open after it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from containertest import leaks
from containertest.boundary import brief
from containertest.servers.levels import Level

if TYPE_CHECKING:
    from containertest.servers.stack import Stack

__all__ = ["Frame"]

#: By this name unittest and pytest know the modules whose frames they leave out of tracebacks.
__unittest = True


class Frame:
    """One run of a test on ``stack``, which is at the baseline: from here on this test is to blame for what is found.

    :param test: its id, for messages.
    :param method: its function, whose place a warning names.
    :param outer: whether a runner has begun it before ``TestCase.run``, and will end it later: see pytest_plugin.py.
    """

    def __init__(self, stack: Stack, test: str, method: Callable[..., Any] | None, *, outer: bool) -> None:
        self.stack = stack
        self.outer = outer
        #: Whether a part of the test has failed.
        self.failed = False
        #: Whether fixtures of the runner may have written for this test.
        self.prepared = False
        self._method = method
        self._in_examples = False
        #: What ``setUp`` and fixtures have written for the examples of this test.
        self._level = Level(test)
        stack.culprit = test
        stack.warn = functools.partial(leaks.warn, test=method)

    def begin_example(self, prepared: bool) -> None:
        """Bring back what was there before the first example of hypothesis.

        :param prepared: whether ``setUp`` may have written for this test; if nobody has, that is the baseline.
        """
        if self._in_examples:
            self.stack.reset_all()
        elif prepared or self.prepared:
            self.stack.add(self._level)
        self._in_examples = True

    @brief
    def look(self) -> None:
        """Warn of what the test has left open, while it can still fail for that.

        :raises ResourceWarning: if the filters make an error of it.
        :raises ResetError: if the setting "strict" does.
        """
        try:
            if self.stack.settings.strict:
                self.stack.reset_all()
            else:
                self.stack.end_leftovers()
        except ResourceWarning as leak:
            raise leak.with_traceback(None) from None

    def end(self) -> None:
        """Note that the test is over, with all that belongs to it. What is found later can fail it no more."""
        self.stack.test_ended(self._level)
        self.stack.warn = functools.partial(leaks.show, test=self._method)
