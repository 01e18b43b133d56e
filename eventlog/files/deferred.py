"""Calls that are made as soon as this thread has left the library.

``close`` must not fail in a signal handler. Where the handler has come in the middle of another call, whose locks this
thread holds, a thread of its own closes instead: it waits for those locks as any other thread does, and gets them when
the handler and the interrupted call have ended, by returning or by an error such as the ``SystemExit`` of the handler.
The end of the interpreter waits for it.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable

from eventlog.files.mutex import holds_any
from eventlog.files.thread import DaemonThread

_LAST_WAIT = 30.0  # seconds, at the end of the interpreter

logger = logging.getLogger("eventlog")
_pending: set[Deferred] = set()


class Deferred:
    """One call, made in a thread of its own."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._thread = DaemonThread(self._run, "eventlog-close")

    def start(self) -> None:
        """Begin, unless there can be no more threads: then the process is about to end, which frees all locks."""
        _pending.add(self)
        try:
            self._thread.start()
        except RuntimeError:
            _pending.discard(self)
            logger.warning("the end of the process has to close what a signal handler could not")

    def _run(self) -> None:
        try:
            self._call()
        except Exception:
            logger.exception("closing failed")
        finally:
            _pending.discard(self)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it is done."""
        self._thread.join(timeout)


class ClosesLater:
    """What an object keeps whose ``close`` may be called within another call of the same thread."""

    __slots__ = ("_deferred",)

    def __init__(self) -> None:
        self._deferred: Deferred | None = None

    def close(self, close: Callable[[], object], is_inside: bool = False, *, timeout: float | None = None) -> None:
        """Call ``close``; in a thread of its own where this one holds locks, or ``is_inside`` a call in the way.

        What was deferred before is waited for first, up to ``timeout`` seconds. To close once more is harmless.
        """
        deferred = self._deferred
        if not is_inside and not holds_any():
            if deferred is not None:
                deferred.join(timeout)
            close()
        elif deferred is None:
            self._deferred = deferred = Deferred(close)
            deferred.start()


def _finish() -> None:
    for deferred in list(_pending):
        deferred.join(_LAST_WAIT)


atexit.register(_finish)
os.register_at_fork(after_in_child=_pending.clear)
