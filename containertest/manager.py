"""`ContainerManager`: the servers, databases and baselines that tests and scripts use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from containertest import session as sessions
from containertest.boundary import brief
from containertest.errors import ConfigError, NotStarted
from containertest.files import working_folders
from containertest.services.postgres import Postgres
from containertest.services.redis import Redis
from containertest.settings import Settings

if TYPE_CHECKING:
    from containertest.servers.running import RunningPostgres, RunningRedis
    from containertest.servers.stack import Stack

__all__ = ["ContainerManager", "default_manager"]


class ContainerManager:
    """A real PostgreSQL and a real Redis for a test module, a test run or a script.

    Servers are shared: managers of the same settings in one process use the same ones, and all processes of
    a run share one PostgreSQL, on which each has a database of its own. `stop` only lets go; the servers are
    removed when the last process of the run is gone.

    :param postgres: a `Postgres`, an image name, or None when no PostgreSQL is needed.
    :param redis: a `Redis`, an image name, or None when no Redis is needed.
    :param migrations: what makes the schema: a ``.sql`` file, a folder of such files (run in name order), a
        callable that takes the database URL, or a list of these. Run once per run. Paths are relative to the
        module that makes the manager, then to the working directory.
    :param backend: "auto", "docker", "local" or "external"; the setting ``CONTAINERTEST_BACKEND``.
    :param startup_timeout: seconds; the setting ``CONTAINERTEST_STARTUP_TIMEOUT``.
    :raises ConfigError: if an argument is of a wrong type. Settings are read when it is started.
    """

    def __init__(
        self,
        postgres: Postgres | str | None = Postgres(),  # noqa: B008 (frozen)
        redis: Redis | str | None = Redis(),  # noqa: B008 (frozen)
        *,
        migrations: Any = None,
        backend: str | None = None,
        startup_timeout: float | None = None,
    ) -> None:
        self._postgres_wanted = Postgres(image=postgres) if isinstance(postgres, str) else postgres
        self._redis_wanted = Redis(image=redis) if isinstance(redis, str) else redis
        _check_type("postgres", self._postgres_wanted, Postgres)
        _check_type("redis", self._redis_wanted, Redis)
        if self._postgres_wanted is None and self._redis_wanted is None:
            raise ConfigError("ContainerManager(postgres=None, redis=None) has nothing to do: name one of them.")
        if self._postgres_wanted is None and migrations is not None:
            raise ConfigError("ContainerManager(migrations=…) needs a PostgreSQL, but postgres is None.")
        self._migrations = migrations
        self._arguments = {"backend": backend, "startup_timeout": startup_timeout}
        self._folders = [_folder_of_caller(), *working_folders()]
        self._stack: Stack | None = None
        self._pid = 0
        sessions.announce()

    def __repr__(self) -> str:
        state = "stopped" if self._stack is None else repr(self._stack)
        return f"<ContainerManager: {state}>"

    def __getstate__(self) -> dict[str, Any]:
        """A copy, also one for another process (`multiprocessing`), is not started: it joins by its own `start`."""
        return {**self.__dict__, "_stack": None, "_pid": 0}

    @brief
    def start(self) -> ContainerManager:
        """Start the servers, or join those that run already, and return the manager.

        :raises BackendUnavailable: if they can't run here.
        :raises StartupTimeout: if one does not get ready in time.
        :raises ServerDied: if one ends while starting.
        :raises MigrationError: if a migration fails.
        :raises ConfigError: if a setting is wrong.
        """
        if self._stack is None or self._pid != os.getpid():
            from containertest.servers.stack import Stack
            from containertest.servers.starting import Wanted

            settings = Settings.load(**self._arguments)
            wanted = self._postgres_wanted, self._redis_wanted, self._migrations
            self._stack = Stack.get(Wanted.of(settings, *wanted, self._folders))
            self._pid = os.getpid()
        return self

    def stop(self) -> None:
        """Let go of the servers; does nothing the second time.

        They stay for the next module of the same run, and are removed when the run's last process is gone. What
        `snapshot` made the baseline is forgotten.
        """
        if self._stack is not None and self._pid == os.getpid():
            self._stack.forget_snapshot()
        self._stack = None

    def __enter__(self) -> ContainerManager:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def started(self) -> bool:
        """Whether `start` has been called, and `stop` has not."""
        return self._stack is not None

    @property
    @brief
    def stack(self) -> Stack:
        """The running servers with their baselines, for `containertest.case`.

        In a child made by fork this is the child's own: never its parent's connections.
        """
        if self._stack is None:
            raise NotStarted(
                "The servers are not started.\nCall start() first: setUpModule, tearDownModule = "
                "containers.start, containers.stop in the test module, or `with containers:` in a script."
            )
        if self._pid != os.getpid():
            self.start()
        return self._stack.ready()

    @property
    def _current(self) -> Stack:
        """The same for everything else: what a test class loaded is not there when its tests are over."""
        return self.stack.current()

    @property
    @brief
    def postgres(self) -> RunningPostgres:
        """The running PostgreSQL.

        :raises NotStarted: before `start` and after `stop`, or if the manager was told it is not needed.
        """
        return self._current.postgres

    @property
    @brief
    def redis(self) -> RunningRedis:
        """The running Redis.

        :raises NotStarted: before `start` and after `stop`, or if the manager was told it is not needed.
        """
        return self._current.redis

    @brief
    def reset_database(self) -> None:
        """Bring this process' database back to its baseline."""
        self._current.reset_database()

    @brief
    def reset_redis(self) -> None:
        """Bring this process' Redis back to its baseline."""
        self._current.reset_redis()

    @brief
    def reset_all(self) -> None:
        """Bring both back to their baselines."""
        self._current.reset_all()

    @brief
    def load_fixtures(self, *paths: str | os.PathLike[str]) -> None:
        """Run ``.sql`` files in the database and load ``.json`` files into Redis.

        :param paths: relative to the module that made the manager, then to the working directory.
        :raises FixtureError: if a file is missing or broken; nothing of that file is kept.
        """
        self._current.load_fixtures(paths, self._folders)

    @brief
    def snapshot(self) -> None:
        """Make what is there now, in PostgreSQL and Redis, the baseline that the resets go back to, until `stop`.

        Test classes lay their data over it. Called by a class that has data, it lasts as long as they do.
        """
        self._current.snapshot()

    @brief
    def restore(self) -> None:
        """Go back to what the migrations left, and make that the baseline again."""
        self.stack.restore()

    @brief
    def environ(self) -> dict[str, str]:
        """The variables by which programs find the servers, as in ``subprocess.run(…, env={**os.environ, **e})``.

        Where this process has variables of libpq for other PostgreSQL servers, such as ``PGSERVICE`` or ``PGSSLMODE``,
        these are among them too, with values that put them out of force.
        """
        return self.stack.environ()


def _check_type(name: str, value: Any, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        raise ConfigError(
            f"ContainerManager({name}=…) is {value!r}, but must be a {wanted.__name__}, an image name or None."
        )


def _folder_of_caller() -> Path:
    """The folder of the first module up the stack that isn't of this package."""
    frame = sys._getframe(1)
    package = str(Path(__file__).parent)
    while frame.f_back and str(Path(frame.f_code.co_filename).parent) == package:
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    # A relative one, such as "<string>", is of a working folder that may have been removed.
    return file.resolve().parent if file.is_absolute() or working_folders() else Path("/")


#: The managers of test classes that name none, by what they need: (PostgreSQL?, Redis?). A process has one each.
_defaults: dict[tuple[bool, bool], ContainerManager] = {}


def default_manager(postgres: bool = True, redis: bool = True) -> ContainerManager:
    """The manager of test classes that name none: made from the settings."""
    needs = (postgres, redis)
    if needs not in _defaults:
        _defaults[needs] = ContainerManager(Postgres() if postgres else None, Redis() if redis else None)
    return _defaults[needs]
