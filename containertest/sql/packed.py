"""Files that may be packed, as the official PostgreSQL image takes them; and what a file is that is no SQL."""

from __future__ import annotations

import gzip
import importlib
import lzma
import zlib
from pathlib import Path
from typing import Any

__all__ = ["ENDINGS", "can_unpack", "unpacked", "what_it_is"]

ENDINGS = (".gz", ".xz", ".zst")

#: How a file begins that is no SQL: where, by which bytes, what it is, and what to do.
_MAGIC = (
    (0, b"PGDMP", "a dump of pg_dump in its custom format", "Make SQL of it: pg_restore -f schema.sql {}"),
    (257, b"ustar", "a tar archive, such as pg_dump --format=tar makes", "Make SQL of it: pg_restore -f schema.sql {}"),
    (0, b"\x1f\x8b", "packed by gzip", "Name it ….sql.gz, or unpack it: gunzip {}"),
    (0, b"\xfd7zXZ\0", "packed by xz", "Name it ….sql.xz, or unpack it: unxz {}"),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd", "Name it ….sql.zst, or unpack it: unzstd {}"),
    (0, b"BZh", "packed by bzip2", "Unpack it: bunzip2 {}"),
    (0, b"PK\x03\x04", "a zip archive", "Unpack it: unzip {}"),
    (0, b"SQLite format 3", "a database of SQLite", "Pass SQL: sqlite3 {} .dump, made fit for PostgreSQL"),
)


def can_unpack(path: Path) -> bool:
    """Whether this Python can unpack the file, by its name."""
    return path.suffix.lower() != ".zst" or _zstandard() is not None


def unpacked(path: Path, content: bytes) -> bytes:
    """The content of a file that was packed, by its name.

    :raises ValueError: if it is not what its name says, is cut off, or can't be unpacked here.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".gz":
            return gzip.decompress(content)
        if kind == ".xz":
            return lzma.decompress(content)
        if kind == ".zst":
            return _unpacked_zst(content)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as problem:
        raise ValueError(f"it can't be unpacked: {problem}") from problem
    return content


def _unpacked_zst(content: bytes) -> bytes:
    module = _zstandard()
    if module is None:
        raise ValueError("it can't be unpacked by this Python: pip install zstandard")
    try:
        if hasattr(module, "ZstdDecompressor") and not hasattr(module, "decompress_all"):
            decompressor = getattr(module.ZstdDecompressor(), "stream_reader", None)
            if decompressor is not None:
                return bytes(decompressor(content).read())
        return bytes(module.decompress(content))
    except Exception as problem:
        raise ValueError(f"it can't be unpacked: {problem}") from problem


def _zstandard() -> Any:
    """Python's own module (3.14 and newer), or one of those that do the same for older ones."""
    for name in ("compression.zstd", "zstandard", "backports.zstd", "pyzstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def what_it_is(path: Path, content: bytes) -> str:
    """What the file is, and what to do, if it is not text; "" if nothing speaks for that."""
    for offset, magic, what, remedy in _MAGIC:
        if content[offset : offset + len(magic)] == magic:
            return f"it is {what}, not SQL.\n{remedy.format(path)}"
    return ""
