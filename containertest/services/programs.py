"""Where the programs of local servers are looked for (placeholder of the local backend's branch)."""

from collections.abc import Iterable
from pathlib import Path


def postgres_folders() -> Iterable[Path]:
    return []


def redis_folders() -> Iterable[Path]:
    return []
