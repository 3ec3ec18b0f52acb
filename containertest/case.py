"""The TestCase classes; the only module that knows unittest."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import unittest
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar, cast

from containertest import arguments, checks, hooks, leaks, queries, session
from containertest.boundary import brief
from containertest.errors import ConfigError, NotStarted, ServerDied
from containertest.files import working_folders
from containertest.frame import Frame
from containertest.manager import ContainerManager, default_manager
from containertest.servers.levels import Level

if TYPE_CHECKING:
    import psycopg2.extensions
    import redis

    from containertest.servers.stack import Stack

__all__ = ["IntegrationTestCase", "PostgresTestCase", "RedisTestCase"]

log = logging.getLogger("containertest")

#: By this name unittest and pytest know the modules whose frames they leave out of tracebacks.
__unittest = True

#: So many statements, and so many characters of each, are in the message of assertNumQueries.
STATEMENTS, STATEMENT = 100, 1000

T = TypeVar("T")

#: What of a test is watched besides the test itself; the asynchronous ones are those of IsolatedAsyncioTestCase.
_AROUND = ("setUp", "asyncSetUp", "tearDown", "asyncTearDown")


class _Shared(Generic[T]):
    """An attribute of test classes and of their instances that comes from the class' manager.

    Looked at on the class, it never starts a server, and is there all the same: pytest and `inspect.getmembers` look
    at all attributes.
    """

    def __init__(self, get: Callable[[ContainerManager], T], doc: str) -> None:
        self._get = get
        self.__doc__ = doc

    def __get__(self, instance: object, owner: type[_ServerTestCase]) -> T:
        try:
            return self._get(owner.manager(start=instance is not None))
        except NotStarted as error:
            if instance is not None:
                raise
            return cast(T, _NotStarted(error))


class _NotStarted:
    """What a class has of a server that is not started: who uses it gets the error."""

    def __init__(self, error: NotStarted) -> None:
        self._error = error

    @brief
    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(name) if name.startswith("_") else self._error


class _ServerTestCase(unittest.TestCase):
    """What the public classes have in common: each test begins at the baseline.

    No ``super().setUp()`` is needed: the work is done around whatever the class defines.
    """

    #: The manager; None: the default one, made from the settings.
    containers: ClassVar[ContainerManager | None] = None
    #: Files loaded once per class, before `setUpTestData`; those of base classes come first. One alone needs no list.
    fixtures: ClassVar[Sequence[str | os.PathLike[str]] | os.PathLike[str]] = ()

    _needs_postgres: ClassVar[bool] = True
    _needs_redis: ClassVar[bool] = True
    #: What `_around` and `_has_data` have found, of each class by itself.
    _names_around: ClassVar[tuple[str, ...]]
    _with_data: ClassVar[bool]
    _own_level: ClassVar[Level]
    #: What is around the test while it runs.
    _frame: Frame | None = None
    #: Whether the test runs outside of any suite, so that nobody says when its class is over.
    _alone = False
    #: Whether `_look_at_end` will be called for this class.
    _looks_at_end: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ != __name__:
            session.announce()

    # Any: an override may be a coroutine function.
    @classmethod
    def setUpTestData(cls) -> Any:
        """Override it to make data once for the whole class: they become part of its tests' baseline.

        Runs after the fixtures; has ``cls.db``, ``cls.redis`` and ``cls.load_fixtures``. A subclass that also
        wants its base class's data calls ``super().setUpTestData()``. A coroutine function is run to its end, in an
        event loop of its own: what it opens in that loop can't be used by the tests.
        """
        return hooks.NOTHING

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        stack = cls._baseline()
        cls.addClassCleanup(stack.leave, cls._level())
        stack.culprit = f"{cls.__module__}.{cls.__qualname__}.setUpClass"
        stack.warn = functools.partial(leaks.show, test=cls.setUpClass)

    @classmethod
    def manager(cls, *, start: bool = True) -> ContainerManager:
        """The manager of this class: `containers`, else the default one; started by its first use.

        Usually ``setUpModule`` has done so; some runners leave it out (unittest-parallel with ``--level test``).
        """
        manager = cls.containers or default_manager(cls._needs_postgres, cls._needs_redis)
        if isinstance(manager, (str, type)) or not hasattr(manager, "start"):
            raise ConfigError(f"{cls.__name__}.containers is {manager!r}, but must be a ContainerManager(…) or None.")
        return manager.start() if start else manager

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the test; with the fixtures of its class and module, where no suite is there to do so.

        ``unittest-parallel --level test`` calls tests so. pytest, which has its own way with these fixtures, has also
        another kind of result.
        """
        result = args[0] if args else kwargs.get("result")
        self._alone = isinstance(result, unittest.TestResult) and not getattr(result, "_testRunEntered", True)
        if not (self._alone and _has_fixtures(type(self))):
            return super().__call__(*args, **kwargs)
        # A suite leaves out the fixtures of the class that came before on the same result: here that one is over.
        alone: Any = result
        alone._previousTestClass = None
        try:
            return unittest.TestSuite([self]).run(alone)
        finally:
            alone._previousTestClass = None

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, beginning at the baseline."""
        before = self._wrap()
        try:
            return super().run(result)
        finally:
            self._unwrap(before)

    def debug(self) -> None:
        """Run the test without collecting the result, beginning at the baseline."""
        before = self._wrap()
        try:
            super().debug()
        finally:
            self._unwrap(before)

    @contextmanager
    def subTest(self, *args: Any, **params: Any) -> Iterator[None]:
        """As unittest's, which keeps what fails in it to itself: so it is watched here."""
        with super().subTest(*args, **params):
            try:
                yield
            except BaseException:
                self._explain()

    def _wrap(self) -> dict[str, Any]:
        """Put our work around the test and what goes with it, on this one instance, as long as it runs.

        :return: what was in the instance before: pytest puts the test method there, and takes it out again.
        """
        attributes = self.__dict__
        before = {name: attributes.get(name) for name in (*self._around(), self._testMethodName)}
        for name in before:
            attributes[name] = _wrapped(self, getattr(self, name), self._begin if name == "setUp" else None)
        return before

    def _unwrap(self, before: dict[str, Any]) -> None:
        for name, attribute in before.items():
            self.__dict__.pop(name, None)
            if attribute is not None:
                self.__dict__[name] = attribute
        if self._frame and not self._frame.outer:
            self._leave()

    @classmethod
    def _around(cls) -> tuple[str, ...]:
        """The names of what is to be watched besides the test: what does nothing needn't be."""
        if "_names_around" not in cls.__dict__:
            found = (name for name in _AROUND if hasattr(cls, name))
            cls._names_around = tuple(name for name in found if name == "setUp" or not _is_empty(cls, name))
        return cls._names_around

    @brief
    def setup_example(self) -> None:
        """Called by hypothesis before each example: bring back what was there before the first one.

        That is the baseline, and what ``setUp`` and pytest's fixtures have added for this test.
        """
        cls = type(self)
        if self._frame:
            self._frame.begin_example(not _is_empty(cls, "setUp") or "asyncSetUp" in cls._around())

    def _begin(self) -> None:
        """Before ``setUp``: bring the servers to the baseline, if a runner has not done so."""
        frame = self._frame or self._enter()
        if not frame.outer:
            self._watch_class(frame.stack)
            # Registered first, so run last: after tearDown and the test's own cleanups.
            if frame.stack.settings.strict or self._alone or leaks.are_errors():
                self.addCleanup(frame.look)
        if frame.stack.settings.keep_failed:
            self.addCleanup(self._keep_if_failed)

    def _enter(self, *, outer: bool = False) -> Frame:
        method = getattr(type(self), self._testMethodName, None)
        self._frame = Frame(self._baseline(), self.id(), method, outer=outer)
        return self._frame

    def _leave(self) -> None:
        if self._frame:
            self._frame.end()
        self._frame = None

    @classmethod
    def _watch_class(cls, stack: Stack) -> None:
        """Look for what is left open after the last test of the class; after the others the next reset does so."""
        if not cls.__dict__.get("_looks_at_end"):
            cls._looks_at_end = True
            cls.addClassCleanup(cls._look_at_end, stack)

    @classmethod
    def _look_at_end(cls, stack: Stack) -> None:
        cls._looks_at_end = False
        stack.end_leftovers()

    def _explain(self) -> NoReturn:
        """Raise what a part of the test has raised: note a failure, tell when its cause is the death of a server."""
        frame = self._frame
        try:
            with frame.stack.watched() if frame else nullcontext():
                raise
        except unittest.SkipTest:
            raise
        except BaseException:
            if frame:
                frame.failed = True
            raise

    def _keep_if_failed(self) -> None:
        if self._frame and self._frame.failed and not self._is_expected_to_fail():
            self.manager().stack.keep(self.id())

    def _is_expected_to_fail(self) -> bool:
        marked = (type(self), getattr(self, self._testMethodName))
        return any(getattr(item, "__unittest_expecting_failure__", False) for item in marked)

    @classmethod
    @brief
    def _baseline(cls) -> Stack:
        """Bring the servers to the baseline of this class; new ones, if they have ended."""
        try:
            return cls._bring_back()
        except ServerDied as died:
            # It ended between two tests: no test has to fail for that.
            log.warning("%s", died)
            return cls._bring_back()

    @classmethod
    def _bring_back(cls) -> Stack:
        stack = cls.manager().stack
        stack.at([*stack.base, cls._level()] if cls._has_data() else stack.base)
        return stack

    @classmethod
    def _level(cls) -> Level:
        """What this class adds to the baseline."""
        if "_own_level" not in cls.__dict__:
            cls._own_level = Level(cls.__qualname__, cls._load)
        return cls._own_level

    @classmethod
    def _load(cls) -> None:
        stack = cls.manager().stack
        for path, folders in cls._fixtures():
            stack.load_fixtures([path], folders)
        with hooks.none_forgotten("setUpTestData"):
            hooks.finish(cls.setUpTestData(), f"{cls.__name__}.setUpTestData")

    @classmethod
    def _has_data(cls) -> bool:
        if "_with_data" not in cls.__dict__:
            _refuse_what_is_not_awaited(cls)
            own = not _is_empty(cls, "setUpTestData")
            cls._with_data = own or any(klass.__dict__.get("fixtures") for klass in cls.__mro__)
        return cls._with_data

    @classmethod
    def _fixtures(cls) -> Iterator[tuple[str | os.PathLike[str], list[Path]]]:
        """Each fixture once, those of base classes first, with the folders to look in."""
        seen = set()
        for klass in reversed(cls.__mro__):
            named = klass.__dict__.get("fixtures") or ()
            for path in _listed(klass, named):
                if str(path) not in seen:
                    seen.add(str(path))
                    yield path, cls._folders(klass)

    @classmethod
    def _folders(cls, klass: type | None = None) -> list[Path]:
        """Where fixtures are looked for: beside the module of the class, then in the working directory."""
        modules = dict.fromkeys(item.__module__ for item in (klass or cls, cls))
        files = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
        return [*(Path(file).resolve().parent for file in files if file), *working_folders()]

    @classmethod
    def reset_all(cls) -> None:
        """Bring PostgreSQL and Redis back to the baseline, in the middle of a test."""
        cls.manager().reset_all()

    @classmethod
    @brief
    def load_fixtures(cls, *paths: str | os.PathLike[str]) -> None:
        """Load ``.sql`` and ``.json`` files for this test alone (in `setUpTestData`: for the class).

        :param paths: relative to the test's module, then to the working directory.
        :raises FixtureError: if a file is missing or broken; nothing of that file is kept.
        """
        cls.manager().stack.load_fixtures(paths, cls._folders())

    @classmethod
    def unique_key(cls, prefix: str = "test") -> str:
        """A key or name that no other test, worker or run uses, as in "test:9f1c…"."""
        return f"{prefix}:{uuid.uuid4().hex}"


def _refuse_what_is_not_awaited(cls: type[_ServerTestCase]) -> None:
    """Raise ConfigError for a coroutine function that unittest calls without awaiting it, or never calls."""
    module = sys.modules.get(cls.__module__)
    of_module = [(module, name) for name in ("setUpModule", "tearDownModule")]
    for owner, name in (*of_module, (cls, "setUpClass"), (cls, "tearDownClass")):
        if inspect.iscoroutinefunction(getattr(owner, name, None)):
            raise ConfigError(
                f"{getattr(owner, '__name__', '')}.{name} is a coroutine function, which unittest does not await. Make "
                "data in setUpTestData, which may be one, or call asyncio.run in it."
            )
    for name in ("asyncSetUp", "asyncTearDown"):
        if hasattr(cls, name) and not issubclass(cls, unittest.IsolatedAsyncioTestCase):
            raise ConfigError(
                f"{cls.__name__}.{name} is never called: derive the class from unittest.IsolatedAsyncioTestCase, too."
            )


def _listed(klass: type, fixtures: object) -> Sequence[Any]:
    if isinstance(fixtures, (str, os.PathLike)):
        return [fixtures]
    if not isinstance(fixtures, (list, tuple)):
        raise ConfigError(
            f"{klass.__name__}.fixtures is {arguments.short(fixtures)}, but must be a list of paths, as in "
            '["users.sql"]; what is to be called goes into setUpTestData.'
        )
    return fixtures


_NO_DATA = _ServerTestCase.__dict__["setUpTestData"].__func__


def _columns_of_any_name(assertion: Callable[..., None]) -> Callable[..., None]:
    """Let ``assertion`` be called with ``table=`` too, where no argument is positional."""

    @functools.wraps(assertion)
    def called(self: Any, /, *tables: str, **columns: Any) -> None:
        name = assertion.__name__
        if len(tables) > 1 or not (tables or "table" in columns):
            raise TypeError(f"{name}(table, **columns) takes one table and columns by name, as in {name}('t', id=1)")
        assertion(self, tables[0] if tables else columns.pop("table"), **columns)

    return called


class _WithPostgres(_ServerTestCase):
    """What a test does with PostgreSQL."""

    db: _Shared[psycopg2.extensions.connection] = _Shared(
        lambda manager: manager.postgres.connection,
        "The shared psycopg2 connection to this process' database, in autocommit mode; also as ``cls.db``.",
    )

    def connect(self, **kwargs: Any) -> psycopg2.extensions.connection:
        """Open an extra connection with psycopg2's defaults; it is closed at the end of the test.

        :param kwargs: as for ``psycopg2.connect``.
        """
        connection = self.manager().postgres.connect(**kwargs)
        self.addCleanup(connection.close)
        return connection

    @classmethod
    def reset_database(cls) -> None:
        """Bring PostgreSQL back to the baseline, in the middle of a test."""
        cls.manager().reset_database()

    def assertRowCount(
        self, table: str, n: int, where: str | None = None, params: Sequence[Any] = (), msg: str | None = None
    ) -> None:
        """Fail unless ``table`` has ``n`` rows for which the SQL condition ``where`` holds.

        :param table: the name as PostgreSQL stores it, not quoted; ``schema.table`` for one off the search path.
        :param params: for the ``%s`` in ``where``; without any, a ``%`` stands for itself.
        """
        n = arguments.count(n, "n")
        found = checks.count_rows(self.db, table, where, params)
        if found != n:
            condition = f" where {where} {arguments.short(params) if params else ''}".rstrip() if where else ""
            rows = checks.some_rows(self.db, table)
            self.fail(self._formatMessage(msg, f"{table} has {found} rows{condition}, not {n}. {rows}"))

    @_columns_of_any_name
    def assertRowExists(self, table: str, /, **columns: Any) -> None:
        """Fail unless ``table`` has a row with these values; None stands for NULL.

        ``table=`` names the table too, but a column where the table comes first without a name.
        """
        if not checks.find_rows(self.db, table, columns):
            self.fail(f"{table} has no row with {_values(columns)}. {checks.some_rows(self.db, table)}")

    @_columns_of_any_name
    def assertNoRow(self, table: str, /, **columns: Any) -> None:
        """Fail if ``table`` has a row with these values; None stands for NULL. See `assertRowExists`."""
        if rows := checks.find_rows(self.db, table, columns):
            self.fail(f"{table} has a row with {_values(columns)}:\n  {checks.shown(rows[0])}")

    @contextmanager
    def assertNumQueries(self, n: int) -> Iterator[list[str]]:
        """Fail unless the block executes ``n`` statements, on whichever connection of this process.

        Those of psycopg2, psycopg 3 and asyncpg count, and so whatever goes through SQLAlchemy or Django. Each call of
        ``execute``, ``executemany``, ``copy``, ``fetch`` (asyncpg's) and the like is one, even if it fails, and whether
        the code under test makes it, an ORM (as a SAVEPOINT) or a pool (as a ping). The BEGIN, COMMIT and ROLLBACK that
        a driver sends by itself don't count; ``execute("COMMIT")`` does. What other processes send does not.

        Yields the list of the statements.

        :raises ConfigError: if another driver for PostgreSQL is loaded, or a psycopg2 cursor that was made before the
            block is used in it: their statements can't be counted.
        """
        n = arguments.count(n, "n")
        with queries.record() as executed:
            yield executed
        if len(executed) != n:
            shown = [f"\n  {number}. {query[:STATEMENT]}" for number, query in enumerate(executed[:STATEMENTS], 1)]
            more = f"\n  … and {len(executed) - STATEMENTS} more" if len(executed) > STATEMENTS else ""
            self.fail(f"{len(executed)} queries were executed, not {n}.{''.join(shown)}{more}")


class _WithRedis(_ServerTestCase):
    """What a test does with Redis."""

    redis: _Shared[redis.Redis] = _Shared(
        lambda manager: manager.redis.client,
        "The shared client of this process' Redis, with redis-py's defaults: bytes; also as ``cls.redis``.",
    )

    @classmethod
    def reset_redis(cls) -> None:
        """Bring Redis back to the baseline, in the middle of a test."""
        cls.manager().reset_redis()

    def assertKeyExists(self, key: str | bytes) -> None:
        """Fail unless Redis has ``key``."""
        if not checks.key_state(self.redis, key)[0]:
            self.fail(f"Redis has no key {arguments.short(key)}. {checks.some_keys(self.redis)}")

    def assertNoKey(self, key: str | bytes) -> None:
        """Fail if Redis has ``key``."""
        exists, left = checks.key_state(self.redis, key)
        if exists:
            self.fail(f"Redis has the key {arguments.short(key)} ({checks.expiry(left)}).")

    def assertKeyExpires(self, key: str | bytes, within: float | None = None) -> None:
        """Fail unless ``key`` exists and has an expiry, ``within`` so many seconds from now if given."""
        within = arguments.seconds(within, "within")
        exists, left = checks.key_state(self.redis, key)
        if not exists:
            self.fail(f"Redis has no key {arguments.short(key)}. {checks.some_keys(self.redis)}")
        if left < 0 or (within is not None and left > within * 1000):
            wanted = "" if within is None else f" within {within:g} s"
            self.fail(f"Redis' key {arguments.short(key)} should expire{wanted}, but {checks.expiry(left)}.")


class IntegrationTestCase(_WithPostgres, _WithRedis):
    """A test with a real PostgreSQL (``self.db``) and a real Redis (``self.redis``)."""


class PostgresTestCase(_WithPostgres):
    """A test with a real PostgreSQL (``self.db``) alone."""

    _needs_redis = False


class RedisTestCase(_WithRedis):
    """A test with a real Redis (``self.redis``) alone."""

    _needs_postgres = False


def _is_empty(klass: type[_ServerTestCase], name: str) -> bool:
    """Whether a method is the one that does nothing, of unittest or `_ServerTestCase`."""
    method = getattr(klass, name)
    function = getattr(method, "__func__", method)
    return function.__module__.startswith("unittest.") or function is _NO_DATA


def _has_fixtures(klass: type[_ServerTestCase]) -> bool:
    """Whether a class or its module has something to be run around all of its tests."""
    for name in ("setUpClass", "tearDownClass"):
        if getattr(klass, name).__func__.__module__ not in (__name__, "unittest.case"):
            return True
    module = sys.modules.get(klass.__module__)
    return hasattr(module, "setUpModule") or hasattr(module, "tearDownModule")


def _values(columns: dict[str, Any]) -> str:
    return ", ".join(f"{name}={arguments.short(value)}" for name, value in columns.items()) or "any values"


def _wrapped(
    case: _ServerTestCase, function: Callable[..., Any], first: Callable[[], None] | None
) -> Callable[..., Any]:
    """``function`` after ``first()``, with what it raises explained; a coroutine function stays one."""
    if inspect.iscoroutinefunction(function) and isinstance(case, unittest.IsolatedAsyncioTestCase):

        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException:
                case._explain()

        return functools.update_wrapper(asynchronous, function)

    def plain(*args: Any, **kwargs: Any) -> Any:
        if first:
            first()
        try:
            returned = function(*args, **kwargs)
            if returned is not None:
                hooks.refuse_unrun(returned, f"{type(case).__name__}.{function.__name__}")
            return returned
        except BaseException:
            case._explain()

    return functools.update_wrapper(plain, function)
