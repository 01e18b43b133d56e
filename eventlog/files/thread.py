"""Threads of the library's own, which a signal handler may start and wait for as well as anyone.

``threading.Thread`` takes locks when it starts and when it is waited for. A handler that has come in the middle of that
would wait for the frame that it has interrupted.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

_LONGEST_WAIT = 0.05  # seconds between two looks whether a thread has ended
_AT_THE_BOTTOM = {"_bootstrap", "_bootstrap_inner", "run"}  # of each thread's stack; they hold nothing


class DaemonThread:
    """A thread that runs one function, and holds up no interpreter that ends."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._function = run
        self._name = name
        self._thread: threading.Thread | None = None
        self._ident = 0
        self._has_ended = False
        self._awake = _thread.allocate_lock()
        self._awake.acquire()

    def start(self) -> None:
        """Begin. Raises RuntimeError when there can be no more threads."""
        if _is_within_threading():
            _thread.start_new_thread(self._run, ())
            return
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        self._ident = _thread.get_ident()
        try:
            self._function()
        finally:
            self._has_ended = True
            self._awake.release()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end up to ``timeout`` seconds; tell if it has come. Returns at once in that thread."""
        if self._ident == _thread.get_ident():
            return False
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._has_ended:
            left = _LONGEST_WAIT if deadline is None else min(_LONGEST_WAIT, deadline - time.monotonic())
            if left <= 0:
                return False
            if self._awake.acquire(timeout=left):
                break
        if self._thread is not None and not _is_within_threading():
            self._thread.join()  # it is about to go
        return True


def _is_within_threading() -> bool:
    """Tell whether a frame of Python's own module was interrupted, whose locks may be held."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "threading" and frame.f_code.co_name not in _AT_THE_BOTTOM:
            return True
        frame = frame.f_back
    return False
