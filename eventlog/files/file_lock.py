"""Locks between processes: ``flock``, which the kernel frees when its owner dies.

POSIX record locks (``lockf``) vanish when *any* descriptor of the file closes, so they are not used. A ``flock``
belongs to the open file: a forked child shares it, and would keep it held after its owner died. So each lock
closes its descriptor in the child, which frees nothing in the parent, and opens its own when first used there.

No wait is for ever: the holder may be a process that was stopped. And whoever may only read the log must not be able to
hold a lock that writers wait for: a lock's file can be read by those alone who can write it. Those are the owner, the
group and others as they may write to its directory; a file of an earlier version is closed to the rest when its owner
opens it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from eventlog.errors import ForeignFileError, LockTimeoutError
from eventlog.files.filesystem import FileSystem
from eventlog.files.lock_holder import describe_process, lock_holder
from eventlog.files.mutex import Mutex, holds_any, is_reentered, reentrant_call
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import pass_on_handlers, suppress

_Answer = TypeVar("_Answer")
_SHARED, _EXCLUSIVE = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 1e-3  # seconds: most locks are held for microseconds
_LEAST_PAUSES = 0.02  # seconds of pauses, in all, before a lock counts as held for long: its holder needs a processor

DEFAULT_LOCK_TIMEOUT = 30.0  # seconds: longer than any holder needs that goes on; as Kafka's request.timeout.ms

_OWNER_ONLY = 0o600
_READ, _WRITE = 0o444, 0o222
_OPENING_TRIES = 50  # at a file that another process has just made, and not yet opened to its group

_every_lock: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """A lock on one file, exclusive or shared, between processes. Not reentrant, and not between threads.

    A thread that would have to wait for itself, since it holds the file's lock by another object further down its
    stack, gets ReentrantCallError. ``guard`` is the mutex under which others lock the descriptor by themselves.
    """

    def __init__(self, fs: FileSystem, path: str, *, timeout: float = DEFAULT_LOCK_TIMEOUT) -> None:
        """``timeout`` is for how many seconds `acquire` waits."""
        self.path = path
        self._fs = fs
        self._timeout = timeout
        self._file: OpenFile | None = None
        self._owner = 0  # the thread that has taken it, or is about to
        self.guard: Mutex | None = None
        _every_lock.add(self)

    @property
    def fd(self) -> int:
        """The lock's own descriptor in this process, opened on first use."""
        file = self._file
        if file is None or file.is_lost():
            if file is not None:
                file.close()  # which only forgets it
            self._file = file = _opened(self._fs, self.path).kept()
        return file.fd

    def is_lost(self) -> bool:
        """Tell whether other code of this process has closed the descriptor, which may be another file's now."""
        return self._file is not None and self._file.is_lost()

    def acquire(self, *, shared: bool = False, blocking: bool = True) -> bool:
        """Take the lock; return False when ``blocking`` is off and another process holds it.

        Otherwise raises LockTimeoutError when it is not free in time.
        """
        self._owner = threading.get_ident()  # first: whatever comes in between, a lock that is held has an owner
        try:
            fcntl.flock(self.fd, _SHARED if shared else _EXCLUSIVE)
        except BlockingIOError as error:
            self._owner = 0
            pass_on_handlers(error)
        else:
            return True
        if blocking and not self.acquire_within(self._timeout, shared=shared):
            raise self.timeout_error(self._timeout)
        return blocking

    def refuse_deadlock(self) -> None:
        """Raise ReentrantCallError when this thread would wait for itself: to be asked when the lock is not free."""
        if is_reentered() and (holds_any() or any(map(self._is_held_as, list(_every_lock)))):
            raise reentrant_call()

    def _is_held_as(self, other: FileLock) -> bool:
        return other is not self and other.path == self.path and other.is_mine()

    def is_mine(self) -> bool:
        """Tell whether this thread has taken the lock, or is about to."""
        return self._owner == threading.get_ident() or (self.guard is not None and self.guard.is_mine())

    def acquire_within(self, seconds: float, *, shared: bool = False) -> bool:
        """Take the lock if that is possible within ``seconds``; its holder may be a process that was stopped.

        When everything stood still for that long, as on a virtual machine, the holder still has its turn first.
        """
        if self.acquire(shared=shared, blocking=False):
            return True
        self.refuse_deadlock()
        deadline, pause, paused = time.monotonic() + seconds, _FIRST_PAUSE, 0.0
        while time.monotonic() < deadline or paused < min(seconds, _LEAST_PAUSES):
            time.sleep(pause)
            if self.acquire(shared=shared, blocking=False):
                return True
            paused += pause
            pause = min(2 * pause, _LONGEST_PAUSE)
        return False

    def timeout_error(self, seconds: float, what: str = "the lock") -> LockTimeoutError:
        """Return the error of a wait that took too long, with the process that holds the lock, if that is known."""
        pid = lock_holder(self.path)
        holder, known = ("another process", {}) if pid is None else (describe_process(pid), {"process": pid})
        return LockTimeoutError(
            f"{holder} has held {what} for {seconds:.3g} s", path=self.path, **known,
            hint="nothing was written. Is it stopped? Let it go on, or end it, and try again",
        )  # fmt: skip

    def release(self) -> None:
        """Free the lock; harmless when it is not held."""
        file = self._file
        if file is not None and not file.is_lost():
            self._owner = 0  # between a plain store and the call that follows no handler comes
            fcntl.flock(file.fd, fcntl.LOCK_UN)

    def while_held(self, call: Callable[[], _Answer], seconds: float, too_late: Callable[[], Exception]) -> _Answer:
        """Call with the lock; raises what ``too_late`` returns when it is not free within ``seconds``.

        No context manager: those that are generators keep what they hold when an interrupt comes on the way in or out.
        """
        try:
            try:
                if not self.acquire_within(seconds):
                    raise too_late()
                return call()
            finally:
                self.release()
        except BaseException:
            self.release()  # once more: an interrupt may have come before the first
            raise

    def __enter__(self) -> FileLock:
        try:
            self.acquire()
        except BaseException:  # an interrupt may come when the lock was just taken
            self.release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def close(self) -> None:
        """Close the descriptor, which frees the lock."""
        file = self._file
        if file is not None:
            file.fd = -1
            with suppress(OSError):  # other code of this process has closed it
                next(file.closing, None)  # in place: interrupted on its way into a call, the error would keep the lock
            file.close()
            self._file = None
        self._owner = 0


def is_locked(fs: FileSystem, path: str) -> bool:
    """Tell whether anyone holds the lock of this file; False when there is no such file, or something else.

    Who may not open it learns what the system tells of it.
    """
    try:
        file = fs.opened(path, os.O_RDONLY)
    except (FileNotFoundError, ForeignFileError) as error:
        pass_on_handlers(error)
        return False
    except PermissionError as error:
        pass_on_handlers(error)
        return lock_holder(path) is not None
    try:
        fcntl.flock(file.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pass_on_handlers(error)
        return True
    finally:
        next(file.closing, None)  # in place, as above
        file.close()
    return False


def _opened(fs: FileSystem, path: str) -> OpenFile:
    """Open a lock's file, made if it is missing, and closed to those who may only read."""
    for tries_left in range(_OPENING_TRIES, -1, -1):
        try:
            file = fs.opened(path, os.O_RDWR)
            break
        except FileNotFoundError as error:
            pass_on_handlers(error)
            with suppress(FileExistsError):
                file = fs.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
                _share(file.fd, os.stat(os.path.dirname(path)).st_mode & _WRITE)
                break
        except PermissionError as error:
            pass_on_handlers(error)
            if not tries_left:
                raise
            time.sleep(_LONGEST_PAUSE)
    mode = os.fstat(file.fd).st_mode
    _share(file.fd, mode & _WRITE)
    return file


def _share(fd: int, writers: int) -> None:
    """Let those read a lock's file who may write it, and no one else; as far as it is ours."""
    found = os.fstat(fd)
    wanted = writers | writers << 1
    if found.st_mode & (_READ | _WRITE) != wanted and found.st_uid == os.geteuid():
        os.fchmod(fd, wanted)


def _close_inherited() -> None:
    for lock in list(_every_lock):
        with suppress(OSError):
            lock.close()


os.register_at_fork(after_in_child=_close_inherited)
