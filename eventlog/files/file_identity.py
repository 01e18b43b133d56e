"""Which files descriptors are open for, asked without any chance for a signal handler to run.

``os.fstat`` turns times into nanoseconds, and where CPython multiplies numbers of that size, it looks for signals.
What a handler raises there, while the finalizer of an object asks, Python takes for an error of the finalizer: it
swallows it, and what was to be closed stays open. ``statx`` tells the same, called without anything around it.
"""

from __future__ import annotations

import ctypes
import itertools
import operator
import os
import sys
from collections.abc import Iterator
from typing import Any

_EMPTY_PATH, _INODE = 0x1000, 0x100  # AT_EMPTY_PATH: the descriptor itself; STATX_INO
_Found = ctypes.c_uint64 * 32  # struct statx, the same on every architecture
_of_found = operator.itemgetter(4, 17)  # the inode; major and minor number of the device, in one word
_of_status = operator.attrgetter("st_ino", "st_dev")


def _found_statx() -> Any:
    statx = getattr(ctypes.CDLL(None), "statx", None) if sys.platform.startswith("linux") else None
    if statx is not None:
        statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
        if statx(-1, b"/", 0, _INODE, _Found()):
            return None  # the kernel has none, or a sandbox refuses it
    return statx


_statx = _found_statx()


def identities(descriptors: Iterator[int]) -> Iterator[Any]:
    """Tell of each descriptor which file it is open for: equal for the same file alone.

    Lazy, and all of it in C. Ends at a descriptor that is not open, or raises OSError there.
    """
    if _statx is None:
        return map(_of_status, map(os.fstat, descriptors))
    found = _Found()
    constants = map(itertools.repeat, (b"", _EMPTY_PATH, _INODE, found))
    succeeded = itertools.takewhile(operator.not_, map(_statx, descriptors, *constants))
    return map(operator.itemgetter(1), zip(succeeded, map(_of_found, itertools.repeat(found)), strict=False))
