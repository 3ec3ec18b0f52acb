"""Integration tests with unittest against a real PostgreSQL and a real Redis.

Importing this package loads no driver and no Docker library, and reads no environment: each name below is
loaded from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from containertest.case import IntegrationTestCase, PostgresTestCase, RedisTestCase
    from containertest.errors import (
        BackendUnavailable,
        ConfigError,
        ContainerTestError,
        FixtureError,
        MigrationError,
        NotStarted,
        ResetError,
        ServerDied,
        StartupTimeout,
    )
    from containertest.manager import ContainerManager
    from containertest.services.postgres import Postgres
    from containertest.services.redis import Redis

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailable",
    "ConfigError",
    "ContainerManager",
    "ContainerTestError",
    "FixtureError",
    "IntegrationTestCase",
    "MigrationError",
    "NotStarted",
    "Postgres",
    "PostgresTestCase",
    "Redis",
    "RedisTestCase",
    "ResetError",
    "ServerDied",
    "StartupTimeout",
]

_MODULES = {
    "ContainerManager": "manager",
    "IntegrationTestCase": "case",
    "Postgres": "services.postgres",
    "PostgresTestCase": "case",
    "Redis": "services.redis",
    "RedisTestCase": "case",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"containertest.{_MODULES.get(name, 'errors')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
