"""Sleep until a mapped 64-bit word changes, and wake whoever sleeps on it, across processes.

On Linux this is a futex on the low half of the word (``futex(2)``; several words at once with ``futex_waitv(2)``
from Linux 5.16). Elsewhere, and where the kernel lacks a call, the waiter polls with a growing pause.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_WAITV_NUMBER = 449  # the same on every architecture
_WAITV_MAX = 128
_FUTEX2_SIZE_U32 = 0x02
_LOW_HALF = 0 if sys.byteorder == "little" else 4
_EVERYONE = 2**31 - 1
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 2e-3

_number = _FUTEX_NUMBERS.get(platform.machine()) if sys.platform.startswith("linux") else None
_syscall = ctypes.CDLL(None, use_errno=True).syscall if _number is not None else None
if _syscall is not None:  # the same six arguments serve both calls; declared, they need no objects of their own
    _syscall.restype = ctypes.c_long
    _syscall.argtypes = [
        ctypes.c_long,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint32,
    ]


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


class _WaitEntry(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class Word(NamedTuple):
    """One word to sleep on: an array of mapped words, its place there, and the value it has now."""

    words: Words
    place: int
    expected: int


def _address(words: Words, index: int) -> int:
    return int(words.ctypes.data) + index * 8 + _LOW_HALF


def _timespec(seconds: float) -> _Timespec:
    whole = int(seconds)
    return _Timespec(whole, int((seconds - whole) * 1e9))


def wake(words: Words, index: int) -> None:
    """Wake everyone, in every process, who sleeps on this word."""
    if _syscall is not None:
        _syscall(_number, _address(words, index), _FUTEX_WAKE, _EVERYONE, None, None, 0)


def _wait_one(word: Word, seconds: float) -> int:
    """Sleep on one word; return 0 or the errno."""
    assert _syscall is not None
    address, expected = _address(word.words, word.place), word.expected & 0xFFFFFFFF
    answer = _syscall(_number, address, _FUTEX_WAIT, expected, ctypes.byref(_timespec(seconds)), None, 0)
    return 0 if answer == 0 else ctypes.get_errno()


def _wait_many(words: Sequence[Word], seconds: float) -> int:
    """Sleep on up to 128 words; return 0 or the errno."""
    assert _syscall is not None
    entries = (_WaitEntry * len(words))(
        *(_WaitEntry(w.expected & 0xFFFFFFFF, _address(w.words, w.place), _FUTEX2_SIZE_U32, 0) for w in words)
    )
    deadline = ctypes.byref(_timespec(time.monotonic() + seconds))
    clock = ctypes.c_void_p(time.CLOCK_MONOTONIC)
    answer = _syscall(_WAITV_NUMBER, entries, len(words), 0, deadline, clock, 0)
    return 0 if answer >= 0 else ctypes.get_errno()


def _poll(words: Sequence[Word], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while all(w.words.item(w.place) == w.expected for w in words):
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE)


def wait(words: Sequence[Word], seconds: float) -> bool:
    """Sleep until one of the words differs from its expected value, someone wakes it, or the time is over.

    May return early for no reason: the caller looks again. Returns True when a word had already changed before
    the sleep began: then a flag that the caller set for its sleep may have hidden another sleeper's.
    """
    if _syscall is None or len(words) > _WAITV_MAX:
        _poll(words, seconds)
        return False
    code = _wait_one(words[0], seconds) if len(words) == 1 else _wait_many(words, seconds)
    if code == errno.ENOSYS:
        _poll(words, seconds)
    return code == errno.EAGAIN
