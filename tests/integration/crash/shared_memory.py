"""System V segments of PostgreSQL, read independently of the library: whose data folder are they for?"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

__all__ = ["header_of", "segments"]

#: PGShmemHeader of PostgreSQL's src/include/storage/pg_shmem.h, on 64 bits; device and inode come last.
_HEADER = struct.Struct("@iiQQI4x8xQQ")
_READ_ONLY = 0o10000


def segments() -> list[int]:
    """The ids of all segments."""
    try:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return []
    return [int(line.split()[1]) for line in lines]


def header_of(number: int) -> tuple[int, int] | None:
    """Device and inode of the data folder that a segment says it is for."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    address = libc.shmat(number, None, _READ_ONLY)
    if address in (None, ctypes.c_void_p(-1).value):
        return None
    try:
        *_, device, inode = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
    finally:
        libc.shmdt(ctypes.c_void_p(address))
    return device, inode
