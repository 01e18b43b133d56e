"""Map files into memory as NumPy arrays, which unmap themselves when the last view of them is gone.

Python's own ``mmap`` refuses a mapping longer than its file. A log's active segment grows all the time, so a
read-only mapping reserves room ahead: bytes that are appended later appear in it by themselves, and following the
end of a log needs no new mapping. Whoever reads must stay below the file's size: past it lies SIGBUS.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

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
_libc.munmap.restype = ctypes.c_int
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class _Region:
    """One mapping. Arrays made from it keep it alive; it unmaps itself when the last of them is gone."""

    def __init__(self, address: int, length: int, *, readonly: bool) -> None:
        self._address = address
        self._length = length
        self._munmap = _libc.munmap  # module globals may be gone when the interpreter exits
        self.__array_interface__: dict[str, Any] = {
            "shape": (length,),
            "typestr": "|u1",
            "data": (address, readonly),
            "version": 3,
        }

    def __del__(self) -> None:
        self._munmap(self._address, self._length)


def _map(fd: int, length: int, protection: int) -> Bytes:
    address = _libc.mmap(None, length, protection, mmap.MAP_SHARED, fd, 0)
    if address == _FAILED or address is None:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return np.asarray(_Region(address, length, readonly=not protection & mmap.PROT_WRITE))


def map_readonly(fd: int, length: int) -> Bytes:
    """Map the first ``length`` bytes of the file, which may be more than it has yet; read-only uint8."""
    return _map(fd, length, mmap.PROT_READ)


def map_shared(fd: int, length: int) -> Bytes:
    """Map a fully allocated control file for reading and writing, shared between processes; uint8."""
    return _map(fd, length, mmap.PROT_READ | mmap.PROT_WRITE)
