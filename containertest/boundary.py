"""Where errors leave the library: what a user's test run prints of them is their message."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from containertest.errors import ContainerTestError

__all__ = ["brief"]

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("containertest")

#: By this name unittest and pytest know the modules whose frames they leave out of tracebacks.
__unittest = True


def brief(function: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let errors of this library leave the public method ``function`` without tracebacks of our and others' insides.

    The cause stays reachable as ``__context__``, which is not printed; all of it is logged at level DEBUG.
    """

    # pytest counts the positional parameters of a setUpModule: one, for the object.
    @functools.wraps(function)
    def public(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(self, *args, **kwargs)
        except ContainerTestError as error:
            log.debug("%s failed", function.__qualname__, exc_info=True)
            raise error.with_traceback(None) from (error.__cause__ if error.cause_is_shown else None)

    return public
