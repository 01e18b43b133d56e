"""The background thread that writes records which have lingered long enough."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventlog.producer.producer import Producer

logger = logging.getLogger("eventlog")
_IDLE_WAIT = 0.5  # also the bound for a record that slipped in while the thread fell asleep
_ROUNDS_UNTIL_IDLE = 2


class LingerThread:
    """Wakes when the oldest waiting record is due; sleeps while there is none.

    A send signals it only when it was idle, so that a busy producer pays nothing. It holds the producer weakly: one
    that nobody uses any more can go, and takes the thread with it.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = weakref.ref(producer)
        # A lock that is free when there is something to look at. Not an Event: that one takes its own lock in Python,
        # and an interrupt of a send could leave it taken.
        self._signal = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="eventlog-linger", daemon=True)
        self._thread.start()

    def signal(self) -> None:
        """Look at once."""
        if self._signal.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._signal.release()

    def stop(self) -> None:
        """End the thread, and wait for it unless it is the caller."""
        self._stopped = True
        self.signal()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        empty_rounds = 0
        pause = 0.0
        while True:
            self._signal.acquire(timeout=pause)
            producer = self._producer()
            if producer is None or self._stopped:
                return
            try:
                due = producer.drain_lingering()
            except Exception:
                logger.exception("writing lingering records failed")
                due = _IDLE_WAIT
            empty_rounds = 0 if due is not None else empty_rounds + 1
            if empty_rounds == _ROUNDS_UNTIL_IDLE:
                producer.cool_down()
            pause = _IDLE_WAIT if empty_rounds > _ROUNDS_UNTIL_IDLE else due or producer.linger_seconds
            del producer
