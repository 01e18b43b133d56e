"""Sync several files at once: a device that is asked for all of them takes little longer than for one.

Only threads can wait for a device several times at once. The caller takes part, and syncs by itself what no helper has
taken: helpers make it quicker, and nothing depends on them. They end when nobody has needed them for a while, and a
forked child begins without.
"""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers

_MOST_HELPERS = 7  # more would only wait within the device
_IDLE_SECONDS = 5.0
_LONGEST_WAIT = 1.0  # seconds, between two looks whether a helper is done

Sync = Callable[[int], object]
Failed = Callable[[int, OSError], object]


class _Part:
    """What one helper does. Not an Event: an interrupted wait for one may end with another error."""

    def __init__(self) -> None:
        self.is_done = False
        self._awake = threading.Lock()
        self._awake.acquire()

    def done(self) -> None:
        """Note that the helper will take nothing more."""
        self.is_done = True
        self._awake.release()

    def wait(self) -> None:
        """Return when that is so. May be repeated."""
        while not self.is_done:
            self._awake.acquire(timeout=_LONGEST_WAIT)


class _Round:
    """The files of one call.

    A helper makes itself known before it takes a file, so that who has found nothing left knows for whom to wait.
    """

    def __init__(self, sync: Sync, fds: Sequence[int]) -> None:
        self.errors: list[tuple[int, OSError]] = []
        self.synced: list[int] = []
        self._sync = sync
        self._waiting = deque(fds)
        self._parts: list[_Part] = []

    def help(self) -> None:
        """Take part, in a thread of its own."""
        part = _Part()
        self._parts.append(part)
        try:
            self.work()
        finally:
            part.done()

    def work(self) -> None:
        """Sync what nobody has taken yet."""
        while True:
            try:
                fd = self._waiting.popleft()
            except IndexError:
                return
            try:
                self._sync(fd)
                self.synced.append(fd)
            except OSError as error:
                pass_on_handlers(error)
                self.errors.append((fd, error))

    def end(self) -> None:
        """Take back what nobody has taken, and wait for the rest, through any interrupt. May be repeated."""
        self._waiting.clear()
        interrupt: BaseException | None = None
        while True:
            try:
                for part in self._parts:
                    part.wait()
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


class _Helpers:
    """The threads, as many as were ever needed within the last seconds."""

    def __init__(self) -> None:
        self._lock = Mutex()
        self._rounds: queue.SimpleQueue[_Round] = queue.SimpleQueue()
        self._alive = 0

    def call(self, wanted: int, made: _Round) -> None:
        """Ask so many for help. An interrupt leaves a helper uncounted, at worst."""
        wanted = min(wanted, _MOST_HELPERS)
        for _ in range(wanted):
            self._rounds.put(made)
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._lock,))
            if taken:  # or else another thread makes some, or this one does further down its stack
                self._make(wanted)
        finally:
            if taken:
                self._lock.release()

    def _make(self, wanted: int) -> None:
        while self._alive < wanted and not sys.is_finalizing():
            try:
                threading.Thread(target=self._run, name="eventlog-sync", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter ends
                return
            self._alive += 1

    def _run(self) -> None:
        try:
            while True:
                self._rounds.get(timeout=_IDLE_SECONDS).help()
        except queue.Empty:
            pass
        finally:
            with self._lock:
                self._alive -= 1


_helpers = _Helpers()


def sync_at_once(sync: Sync, fds: Sequence[int], failed: Failed) -> None:
    """Call ``sync`` for each descriptor, and ``failed`` for each that could not be synced.

    When this returns, or an interrupt leaves it, no sync is under way: the descriptors may be closed.
    """
    made = _Round(sync, fds)
    try:
        try:
            _helpers.call(len(fds) - 1, made)
            made.work()
        finally:
            made.end()
        answered = {*made.synced, *(fd for fd, _ in made.errors)}
        for fd in set(fds) - answered:  # its helper came to another end, as when memory is short
            made.errors.append((fd, OSError(errno.EIO, "nobody knows whether it was synced")))
    finally:
        made.end()  # once more: an interrupt may have come before the first
        for fd, error in made.errors:
            failed(fd, error)


def _after_fork_in_child() -> None:
    global _helpers  # noqa: PLW0603  # the parent's threads are not here, and its lock may be held
    _helpers = _Helpers()


os.register_at_fork(after_in_child=_after_fork_in_child)
