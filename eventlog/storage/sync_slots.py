"""The numbers of the processes that sync: each has one of its own, for as long as it lives.

In each partition's head a process marks, in the words of its number, that a sync is under way (``sync_marks.py``). The
number is the first file of ``syncs/`` whose ``flock`` nobody holds; the process holds it from then on, so others can
tell a sync that takes long from one whose process is dead. The files stay, and the next process to claim a number may
never come to the partition where the last one left a mark. So each claim draws a *token*, which it writes into the file
and into its marks: a mark with another token is that of a dead process, though the number is in use.

1. Take the lock. A crash leaves the number free.
2. Write the token. Until then a mark of the last process looks alive; after a crash nobody has the lock.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable

from eventlog.errors import CorruptMetadataError
from eventlog.files.file_lock import FileLock, is_locked
from eventlog.files.filesystem import FileSystem
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import SYNCS

SHARED = L.HEAD_MOST_SYNCERS - 1  # by all processes beyond the others: it never counts as free of a sync
_TOKEN_BYTES = 2
MOST_TOKENS = 1 << 8 * _TOKEN_BYTES
_every_slot: weakref.WeakSet[SyncSlots] = weakref.WeakSet()


class SyncSlots:
    """The numbers, and the one of this process. One for each open log."""

    def __init__(self, fs: FileSystem, root: str) -> None:
        self._fs = fs
        self._directory = os.path.join(root, SYNCS)
        self._claiming = Mutex()
        self._lock: FileLock | None = None
        self._number: int | None = None
        self.token = 0  # of the number, where it is this process's own
        self._under_way: list[None] = []  # one for each sync: threads may append and pop at once
        self._is_closed = False
        _every_slot.add(self)

    def enter(self) -> int:
        """A sync of this process begins: return its number, kept until the sync is over, even if the log is closed.

        It is claimed at the first call; the shared one while that is not possible.
        """
        self._under_way.append(None)  # first: whoever closes the log from here on leaves the number alone
        number = self._number
        return self._claimed_once() if number is None else number

    def _claimed_once(self) -> int:
        try:
            with self._claiming, suppress(OSError):  # no space, no permission, too many open files
                if self._number is None:
                    self._number = self._claimed()
        except BaseException:
            self.leave()
            raise
        number = self._number
        return SHARED if number is None else number

    def _claimed(self) -> int:
        with suppress(FileExistsError):
            self._fs.mkdir(self._directory)
        for number in range(SHARED):
            lock = self._made_lock(number)
            if self._is_claimed(lock):
                self._lock = lock
                return number
            lock.close()
        return SHARED

    def _is_claimed(self, lock: FileLock) -> bool:
        """Take the lock, and write a token of its own; False when another process has it."""
        try:
            if not lock.acquire(blocking=False):
                return False
            self.token = secrets.randbelow(MOST_TOKENS)
            self._fs.pwrite(lock.fd, self.token.to_bytes(_TOKEN_BYTES, "little"), 0)
        except BaseException:
            lock.close()
            raise
        return True

    def leave(self) -> None:
        """It is over."""
        self._under_way.pop()
        if self._is_closed:
            self.close()

    def is_own(self, number: int) -> bool:
        """Tell whether this is the number of this process, and of no other."""
        return number == self._number != SHARED

    def is_shared(self, number: int) -> bool:
        """Tell whether several processes may have this number."""
        return number == SHARED

    def is_alive(self, number: int, token: int) -> bool:
        """Tell whether a process has this number now, with this token."""
        if number == SHARED:
            return True
        try:
            return is_locked(self._fs, self._path(number)) and self._has_token(number, token)
        except (OSError, CorruptMetadataError) as error:
            pass_on_handlers(error)
            return True  # for all that is known

    def _has_token(self, number: int, token: int) -> bool:
        found = self._fs.read_file(self._path(number), _TOKEN_BYTES)
        return len(found) < _TOKEN_BYTES or int.from_bytes(found, "little") == token

    def while_free(self, number: int, call: Callable[[], object]) -> None:
        """Call while nobody can claim this number; not at all when a process has it."""
        if self.is_shared(number):
            return
        lock = self._made_lock(number)
        try:
            if self._take(lock):
                call()
        finally:
            lock.close()

    def _take(self, lock: FileLock) -> bool:
        try:
            with suppress(FileExistsError):
                self._fs.mkdir(self._directory)
            return lock.acquire(blocking=False)
        except OSError as error:
            pass_on_handlers(error)
            return False

    def _made_lock(self, number: int) -> FileLock:
        return FileLock(self._fs, self._path(number))

    def _path(self, number: int) -> str:
        return os.path.join(self._directory, str(number))

    def close(self) -> None:
        """Give the number back, once no sync is under way."""
        self._is_closed = True
        if self._under_way:
            return
        lock, self._lock, self._number = self._lock, None, None
        if lock is not None:
            lock.close()

    def after_fork(self) -> None:
        """In a forked child: the number is the parent's."""
        self._claiming = Mutex()
        self._under_way.clear()
        self._lock = self._number = None  # the lock has closed itself


class NoSlots(SyncSlots):
    """Numbers for a partition that no other process has open: there is but one."""

    def __init__(self) -> None:
        super().__init__(FileSystem(), "")
        self._number = 0

    def after_fork(self) -> None:
        """Do nothing."""


def _after_fork_in_child() -> None:
    for slots in list(_every_slot):
        slots.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
