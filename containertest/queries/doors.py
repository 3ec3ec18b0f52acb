"""The methods of a driver by which a statement goes out, and how they are made to tell of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

__all__ = ["Door", "opened", "text"]

Note = Callable[[str], None]


class Door(NamedTuple):
    """A method of a class, and how its call is made to tell what it executes."""

    owner: type[Any]
    name: str
    #: Takes the method and a function that notes a text; returns what stands in for the method.
    telling: Callable[[Callable[..., Any], Note], Callable[..., Any]]


@contextmanager
def opened(doors: Iterable[Door], note: Note) -> Iterator[None]:
    """Put what tells in place of the methods, for the block."""
    # Late: it loads asyncio.
    from unittest import mock

    done = set()
    with ExitStack() as stack:
        for owner, name, telling in doors:
            # Once where it is defined: classes share methods. A version of the driver may not have it at all.
            definer = next((klass for klass in owner.__mro__ if name in vars(klass)), None)
            if definer and (definer, name) not in done:
                done.add((definer, name))
                stack.enter_context(mock.patch.object(definer, name, telling(vars(definer)[name], note)))
        yield


def by_first_argument(words: str = "{}") -> Callable[[Callable[..., Any], Note], Callable[..., Any]]:
    """For a method whose first argument is the statement, or what is put into ``words`` to make one."""

    def telling(method: Callable[..., Any], note: Note) -> Callable[..., Any]:
        first = [*inspect.signature(method).parameters][1]

        @functools.wraps(method)
        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            note(words.format(text(args[0] if args else kwargs.get(first), self)))
            return method(self, *args, **kwargs)

        return told

    return telling


def text(query: Any, context: Any) -> str:
    """The text of a statement: str, bytes, or something composed, which may need a connection or a cursor for it."""
    if hasattr(query, "as_string"):
        return str(query.as_string(context))
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
