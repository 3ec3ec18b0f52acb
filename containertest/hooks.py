"""What a user gives us to call: it is run to its end, or refused."""

from __future__ import annotations

import contextvars
import inspect
import warnings
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from containertest.errors import ConfigError

__all__ = ["NOTHING", "finish", "none_forgotten", "refuse_unrun"]


class _Nothing:
    """What may be awaited, and does nothing."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


#: What our own hook that does nothing returns, so that an override may call it with ``await`` or without.
NOTHING = _Nothing()


def finish(returned: object, what: str) -> None:
    """Run to its end what the hook ``what`` returned, if that can be awaited, in an event loop of its own.

    Where a loop runs in this thread already, the other one gets a thread. Raises ConfigError for a generator: nobody
    would run it.
    """
    if returned is None or returned is NOTHING:
        return
    _refuse_generator(returned, what)
    if inspect.isawaitable(returned):
        _run_here_or_in_a_thread(_awaited(returned))


def refuse_unrun(returned: object, what: str) -> None:
    """Raise ConfigError if a test, or a method around it, returned what nobody runs: unittest takes it as passed."""
    _refuse_generator(returned, what)
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise ConfigError(
            f"{what} returned what must be awaited, which unittest does not do. Make it a coroutine function (async "
            "def) of a class that derives from unittest.IsolatedAsyncioTestCase, too."
        )


@contextmanager
def none_forgotten(name: str) -> Iterator[None]:
    """Raise ConfigError if the block makes a coroutine of a function ``name`` and does not await it.

    So does a method that calls the one of its base class and takes it for a plain function. Python warns of it.
    """
    forgotten = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", rf"coroutine '(.*\.)?{name}' was never awaited", RuntimeWarning)
        show = warnings.showwarning

        def noted(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if f"{name}' was never awaited" in str(message):
                forgotten.append(str(message))
            else:
                show(message, *args, **kwargs)

        warnings.showwarning = noted
        yield
    if forgotten:
        raise ConfigError(f"{forgotten[0]}: return what it returns, or make the caller a coroutine function, too.")


def _refuse_generator(returned: object, what: str) -> None:
    # A function with `yield` gives a generator, under contextlib's decorators something that holds one.
    held = getattr(returned, "gen", returned)
    if inspect.isgenerator(held) or inspect.isasyncgen(held):
        raise ConfigError(
            f"{what} returned a generator, {held.__qualname__}(), of which nothing would run. Write it without yield; "
            "what is to be undone at the end goes into a cleanup."
        )


async def _awaited(awaitable: Any) -> None:
    await awaitable


def _run_here_or_in_a_thread(coroutine: Coroutine[Any, Any, None]) -> None:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _run(coroutine)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        executor.submit(contextvars.copy_context().run, _run, coroutine).result()


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """As asyncio.run, which would leave this thread without the event loop that it had."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        try:
            loop.run_until_complete(_cancel_the_others())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _cancel_the_others() -> None:
    import asyncio

    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
