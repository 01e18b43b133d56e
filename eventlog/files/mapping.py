"""Map files into memory as NumPy arrays, which unmap themselves when the last view of them is gone.

Python's own ``mmap`` refuses a mapping longer than its file. A log's active segment grows all the time, so a
read-only mapping reserves room ahead: bytes that are appended later appear in it by themselves, and following the
end of a log needs no new mapping. Whoever reads must stay below the file's size: past it lies SIGBUS.

So Python's ``mmap`` maps nothing but the room, and the file is put in its place. Whose memory it is never changes,
and it is freed in C: no interrupt can come between, neither here nor in a finalizer.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

# Memory in whose place nothing could be put. The kernel may have freed it before it failed, and another thread have
# mapped something there since: to free it again would take that away. It takes up addresses, and no pages.
_lost: list[Bytes] = []

_MAP_FIXED = 0x10  # Linux and macOS; the module has no name for it
_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]


def map_in_place(memory: Bytes, protection: int, flags: int, fd: int) -> None:
    """Map something else where the array has its pages; whose memory it is does not change. Raises OSError."""
    address = memory.__array_interface__["data"][0]
    if _libc.mmap(address, len(memory), protection, flags | _MAP_FIXED, fd, 0) == _FAILED:
        code = ctypes.get_errno()
        _lost.append(memory)
        raise OSError(code, os.strerror(code))


def _map(fd: int, length: int, protection: int) -> Bytes:
    room = np.frombuffer(mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE, prot=protection), dtype=np.uint8)
    map_in_place(room, protection, mmap.MAP_SHARED, fd)
    return room


def map_readonly(fd: int, length: int) -> Bytes:
    """Map the first ``length`` bytes of the file, which may be more than it has yet; read-only uint8."""
    return _map(fd, length, mmap.PROT_READ)


def map_shared(fd: int, length: int) -> Bytes:
    """Map a fully allocated control file for reading and writing, shared between processes; uint8."""
    return _map(fd, length, mmap.PROT_READ | mmap.PROT_WRITE)
