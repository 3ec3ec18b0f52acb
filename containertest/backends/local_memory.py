"""Shared memory that a killed PostgreSQL leaves in the kernel, found by its data folder and removed.

A server that ends in good order removes it; after SIGKILL, or in the middle of a start, nobody does:

- one small System V segment. Its key is the inode of the data folder or a number a little above it, and it
  begins with a header that names that folder (``src/backend/port/sysv_shmem.c`` of PostgreSQL 13 and newer).
- with ``dynamic_shared_memory_type=posix``, which `initdb` uses before any configuration exists, files
  ``/dev/shm/PostgreSQL.<number>``. The number of the first one is in that header, and those of the others are in
  the first one (``src/backend/storage/ipc/dsm.c``).

Linux only: elsewhere servers are first asked to end in good order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from containertest.processes import started
from containertest.wait import poll

__all__ = ["data_folders", "posix_segments", "release"]

SYSV = Path("/proc/sysvipc/shm")
POSIX = "/dev/shm/PostgreSQL."

_MAGIC = 679834894
#: PGShmemHeader on 64 bits: magic, creator, size, free offset, number of the first POSIX segment, (a pointer,)
#: device and inode of the data folder.
_HEADER = struct.Struct("@iiQQI4x8xQQ")
#: How far above the inode a key may be, where segments of others had the keys below.
_TRIES = 64
_IPC_RMID = 0
#: Seconds that a killed process may take to be gone.
DYING = 5
_SHM_RDONLY = 0o10000


def posix_segments(pids: Iterable[int]) -> set[str]:
    """The files of shared memory that PostgreSQL processes have mapped or open; ask before you kill them."""
    found: set[str] = set()
    for pid in pids:
        found.update(line[line.index(POSIX) :] for line in _mapped(pid) if POSIX in line)
        with contextlib.suppress(OSError):
            found.update(os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
    return {path for path in found if path.startswith(POSIX) and path.removeprefix(POSIX).isdigit()}


def data_folders(pids: Iterable[int]) -> set[tuple[int, int]]:
    """Device and inode of the data folders of PostgreSQL processes, which may be gone, by the segments they use."""
    found: set[tuple[int, int]] = set()
    for pid in pids:
        # The inode of such a mapping is the segment's id, see proc(5).
        headers = [_header(int(line.split()[4])) for line in _mapped(pid) if "/SYSV" in line]
        found.update(_HEADER.unpack(header)[5:] for header in headers if header is not None)
    return found


def _mapped(pid: int) -> list[str]:
    """A line for each piece of memory of a process; none if it has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return []


def release(device: int, inode: int, posix: Iterable[str] = ()) -> None:
    """Remove what the processes of a data folder left, which are all gone; never raises.

    A segment stays when a process uses it, its creator lives, or it belongs to another data folder.

    :param device: ``st_dev`` of the data folder, and ``inode`` its ``st_ino``.
    :param posix: what `posix_segments` said.
    """
    # A killed process lets go of its memory first and is gone a little later.
    poll(lambda: not any(started(segment["cpid"]) for segment in _unused(inode)), DYING)
    firsts = [first for segment in _unused(inode) if (first := _release_sysv(segment, device, inode))]
    for path in {*posix, *firsts, *(path for first in firsts for path in _listed_in(first))}:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _unused(inode: int) -> list[dict[str, int]]:
    """The segments that no process has attached and whose key fits."""
    try:
        names, *rows = (line.split() for line in SYSV.read_text().splitlines())
    except (OSError, ValueError):
        return []
    segments = [dict(zip(names, map(int, row), strict=True)) for row in rows]
    return [one for one in segments if one["nattch"] == 0 and _above(one["key"], inode) < _TRIES]


def _above(key: int, inode: int) -> int:
    return (key - inode) & 0xFFFFFFFF


def _release_sysv(segment: dict[str, int], device: int, inode: int) -> str | None:
    """Remove a segment if it is the folder's; return the first POSIX segment that it names."""
    header = _header(segment["shmid"])
    if header is None or started(segment["cpid"]):
        return None
    magic, _, _, _, number, its_device, its_inode = _HEADER.unpack(header)
    ours = magic == _MAGIC and (its_device, its_inode) == (device, inode)
    # Its maker was killed before it wrote the header: then only the key speaks.
    if ours or (magic == 0 and _above(segment["key"], inode) == 0):
        _libc().shmctl(segment["shmid"], _IPC_RMID, None)
    return f"{POSIX}{number}" if ours and number else None


def _listed_in(first: str) -> Iterator[str]:
    """The other POSIX segments of a server: all numbers in the list of them that are such a file's."""
    try:
        content = Path(first).read_bytes()
    except OSError:
        return
    numbers = {number for (number,) in struct.iter_unpack("@I", content[: len(content) // 4 * 4])}
    yield from (path for number in numbers - {0} if os.path.exists(path := f"{POSIX}{number}"))


def _header(shmid: int) -> bytes | None:
    """The first bytes of a segment; None if it is not ours to read. A segment has at least one page."""
    libc = _libc()
    address = libc.shmat(shmid, None, _SHM_RDONLY)
    if address in (None, ctypes.c_void_p(-1).value):
        return None
    try:
        return ctypes.string_at(address, _HEADER.size)
    finally:
        libc.shmdt(ctypes.c_void_p(address))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    return libc
