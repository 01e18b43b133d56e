"""What is told about records once their buffer's lock is free: to those who asked to be called back, and to the log."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from eventlog.files.mutex import Mutex, calls_out
from eventlog.producer.delivery import Callback, Delivery, run_callback

logger = logging.getLogger("eventlog")


class Notifications:
    """Collects under the buffer's lock, and is run without it: who is told may send, flush, or wait for a delivery."""

    __slots__ = ("_callbacks", "_lock", "_messages", "_settled")

    def __init__(self) -> None:
        self._callbacks: dict[Delivery, list[Callback]] = {}
        self._settled: deque[list[Delivery]] = deque()  # whose callbacks are still to be run
        self._messages: deque[tuple[Any, ...]] = deque()  # still to be logged
        self._lock = Mutex()

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        with self._lock:
            if delivery.done():
                return False
            kept = self._callbacks.setdefault(delivery, [])
            kept.append(callback)
            if delivery.done():  # by now, in another thread, which may have found nobody to tell
                kept.remove(callback)
                return False
            return True

    def settled(self, records: list[Delivery]) -> None:
        """Note that these records have their outcome."""
        if self._callbacks:
            self._settled.append(records)

    def warn(self, *message: Any) -> None:
        """Log a warning: nobody may ever ask for the deliveries that it is about."""
        self._messages.append(message)

    @property
    def is_done(self) -> bool:
        """Tell whether there is nothing to tell."""
        return not self._settled and not self._messages

    @calls_out
    def run(self) -> None:
        """Tell everything that there is to tell."""
        while self._messages:
            try:
                message = self._messages.popleft()
            except IndexError:
                break  # another thread was here first
            logger.warning(*message)
        while self._settled:
            if self._lock.is_mine():
                return  # a signal handler came in the middle of this, which goes on
            try:
                records = self._settled.popleft()
            except IndexError:
                return
            try:
                for record in records:
                    self._tell(record)
            except BaseException:  # an interrupt: whoever comes next tells the rest
                self._settled.appendleft(records)
                raise

    def _tell(self, record: Delivery) -> None:
        while True:
            with self._lock:
                callbacks = self._callbacks.get(record)
                if not callbacks:
                    self._callbacks.pop(record, None)
                    return
                callback = callbacks.pop(0)
            run_callback(record, callback)

    def after_fork(self) -> None:
        """In a forked child: whoever is to be told is the parent's."""
        self._lock = Mutex()
        self._callbacks.clear()
        self._settled.clear()
        self._messages.clear()
