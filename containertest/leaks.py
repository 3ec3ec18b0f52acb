"""Warnings of what a test left open: seen under every runner, and given at the place of the test that left it."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["are_errors", "show", "warn"]

_PACKAGE = __file__.removesuffix("leaks.py")
#: Python's default filters end with this one. A filter of the user's that says the same stands before them.
_HIDDEN = ("ignore", None, ResourceWarning, None, 0)


def warn(text: str, test: Callable[..., Any] | None = None) -> None:
    """Give a ``ResourceWarning``, which is shown unless the user's own filters hide it.

    :param test: the test method that is to blame, whose file and line the warning names; None: the caller.
    :raises ResourceWarning: if the filters make an error of it.
    """
    with _not_hidden_by_default():
        warnings.warn_explicit(text, ResourceWarning, *_place(test))


def show(text: str, test: Callable[..., Any] | None = None) -> None:
    """The same where the test that is to blame is over: never an error, since an innocent test would get it."""
    try:
        warn(text, test)
    except ResourceWarning:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warn(text, test)


def are_errors() -> bool:
    """Whether the filters may make an error of such a warning."""
    return any(action == "error" and issubclass(ResourceWarning, kind) for action, _, kind, *_ in warnings.filters)


def _place(test: Callable[..., Any] | None) -> tuple[str, int, str | None]:
    """File, line and module of a test, else of whoever has called this package."""
    if code := getattr(inspect.unwrap(test) if test else None, "__code__", None):
        return code.co_filename, code.co_firstlineno, getattr(test, "__module__", None)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__")


@contextmanager
def _not_hidden_by_default() -> Iterator[None]:
    with warnings.catch_warnings():
        module: Any = sys.modules["warnings"]
        if module.filters[-1:] == [_HIDDEN]:
            module.filters[-1] = ("always", *_HIDDEN[1:])
        yield
