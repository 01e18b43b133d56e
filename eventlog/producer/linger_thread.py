"""The background thread that writes records which have lingered long enough."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import weakref
from typing import Protocol

from eventlog.files.thread import DaemonThread
from eventlog.producer.buffer_pool import BufferPool
from eventlog.quantities import LONGEST

logger = logging.getLogger("eventlog")
_IDLE_WAIT = 0.5  # also the bound for a record that slipped in while the thread fell asleep
_ROUNDS_UNTIL_IDLE = 2
_LAST_WAIT = 30.0  # seconds, at the end of the interpreter
_finishing: set[LingerThread] = set()


class Lingering(Protocol):
    """A producer, as its thread sees it."""

    linger_seconds: float

    def drain_lingering(self) -> float | None:
        """Write what has lingered long enough; return in how many seconds more is due, None when nothing waits."""
        ...

    def cool_down(self) -> None:
        """Give up the short ways, so that the next record signals: nothing has been sent for a while."""
        ...


class LingerThread:
    """Wakes when the oldest waiting record is due; sleeps while there is none.

    A send signals it only when it was idle, so that a busy producer pays nothing. It holds the producer weakly: one
    that nobody uses any more can go, and takes the thread with it.
    """

    def __init__(self, producer: Lingering) -> None:
        self._producer = weakref.ref(producer)
        # A lock that is free when there is something to look at. Not an Event: that one takes its own lock in Python,
        # and an interrupt of a send could leave it taken.
        self._signal = threading.Lock()
        self._stopped = False
        self._left: BufferPool | None = None  # what a producer left that was dropped without being closed
        self._thread = DaemonThread(self._run, "eventlog-linger")

    def started(self) -> LingerThread:
        """Begin. Who does not come to keep what this returns, as when it is interrupted, has to call `leave`."""
        self._thread.start()
        return self

    def signal(self) -> None:
        """Look at once."""
        if self._signal.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._signal.release()

    def stop(self, timeout: float | None = None) -> None:
        """End the thread, and wait for it up to ``timeout`` seconds unless it is the caller."""
        self.leave()
        self._thread.join(timeout)

    def leave(self) -> None:
        """End the thread; returns at once."""
        self._stopped = True
        self.signal()

    def finish(self, pool: BufferPool) -> None:
        """Write what waits in ``pool``, and end; returns at once, and takes no lock."""
        _finishing.add(self)
        self._left = pool
        self.leave()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        try:
            self._linger()
            if self._left is not None:
                self._left.drain(_LAST_WAIT, last=True)
                self._left.forget()
        except BaseException:
            logger.exception("writing the records of a producer that was dropped failed")
        finally:
            _finishing.discard(self)

    def _linger(self) -> None:
        empty_rounds = 0
        pause = 0.0
        while True:
            if self._signal.acquire(timeout=min(pause, LONGEST)):
                empty_rounds = 0  # something was sent: what comes now may come without a signal
            producer = self._producer()
            if producer is None or self._stopped:
                break
            try:
                due = producer.drain_lingering()
            except BaseException:  # also what ends other threads: the records that come later are to be written
                logger.exception("writing lingering records failed")
                due = _IDLE_WAIT
            empty_rounds = 0 if due is not None else empty_rounds + 1
            if empty_rounds == _ROUNDS_UNTIL_IDLE:
                producer.cool_down()
            pause = _IDLE_WAIT if empty_rounds > _ROUNDS_UNTIL_IDLE else due or producer.linger_seconds
            del producer
        while not self._stopped:  # its finalizer is about to say what is left
            self._signal.acquire(timeout=_IDLE_WAIT)


def join_finishing() -> None:
    """Wait until the records of all producers that were dropped are written."""
    for thread in list(_finishing):
        thread.join()


atexit.register(join_finishing)
