"""The files that a partition's writer holds open: its lock, and the active segment with its indexes.

Other processes may remove or move what they lie in, and other code of this one may close a descriptor, whose number is
another file's from then on. So the writer looks at them now and then (`look`), and before it opens one.
"""

from __future__ import annotations

import fcntl

from eventlog.errors import ClosedError, ReadOnlyLogError
from eventlog.files.filesystem import lost_descriptor
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.storage.active_segment import ActiveSegment
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.writer_lives import poisoned_error

NOBODY = -1  # no writer's identity


class WriterFiles:
    """What a process holds open in order to write to one partition."""

    # fmt: off
    __slots__ = (
        "_active", "_active_fd", "_closed", "_fs", "_lock", "_lock_fd", "_log", "_look_at", "_mutex", "_token",
        "_words",
    )
    # fmt: on

    def __init__(self, log: PartitionFiles) -> None:
        self._log = log
        self._fs = log.context.fs
        self._words = log.head.words
        self._mutex = Mutex()
        self._lock = log.lock
        self._lock.guard = self._mutex
        self._lock_fd = -1
        self._look_at = 0.0  # when to look again whether the files are still at their path
        self._token = NOBODY  # the writer's identity, for as long as its files are open
        self._active: ActiveSegment | None = None
        self._active_fd = -1
        self._closed = False

    # --- closing ---

    def close(self) -> None:
        """Give back the descriptors, and refuse further appends."""
        with self._mutex:
            self._closed = True
            self._release()

    def try_release(self) -> bool:
        """Give back the descriptors until the next append; False when one is under way."""
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._mutex,))
            if taken:
                self._release()
        finally:
            if taken:
                self._mutex.release()
        return taken

    def _release(self) -> None:
        # First forget a descriptor, then close it: its number may belong to another file the moment it is closed.
        self._token = NOBODY  # the next append takes over anew, and opens what it needs
        self._lock_fd = -1
        self._lock.close()
        self._close_active()

    def _close_active(self) -> None:
        active, self._active = self._active, None
        self._active_fd = -1
        if active is not None:
            active.close()

    # --- opening ---

    def _open_active(self, base_offset: int, *, create: bool) -> None:
        self._log.context.root.check()  # first: the indexes would be made in another log
        opened = ActiveSegment(self._fs, self._log.directory, base_offset, create=create)
        if self._log.is_gone():
            opened.close()
            raise self._log.gone()
        before = self._active
        self._active, self._active_fd = opened, opened.fd
        if before is not None:
            before.close()
        self._log.note_open()

    def _open_lock(self) -> None:
        self._refuse_unless_writable()
        self._log.context.root.check()
        lock_fd = self._lock.fd
        if self._log.is_gone():
            self._lock.close()
            raise self._log.gone()
        self._lock_fd = lock_fd

    def _refuse_if_gone(self) -> None:
        """A path may lead into another topic by now: one of the same name, made after this one was deleted."""
        if self._log.is_gone():
            raise self._log.gone()

    # --- looking ---

    def look(self) -> None:
        """Refuse to write where no one would find it: the log was removed or moved, or the partition's directory."""
        look_at = self._log.context.root.look()
        active = self._active
        if self._lock.is_lost() or (active is not None and active.is_lost()):
            self._release()
            raise lost_descriptor(self._log.directory)
        if not self._fs.is_linked(self._lock_fd):
            raise self._log.gone()
        self._look_at = look_at

    def _refuse_unless_writable(self) -> None:
        if self._words.item(L.HEAD_END) == L.END_DELETED:
            raise self._log.gone()
        if self._closed:
            raise ClosedError(
                "the log is closed", topic=self._log.topic, partition=self._log.partition, hint="open it again"
            )
        if self._log.context.readonly:
            raise ReadOnlyLogError(
                "the log was opened for reading only", path=self._log.directory, topic=self._log.topic,
                partition=self._log.partition, hint="open it where its directory can be written",
            )  # fmt: skip
        if self._log.head.has_failed():
            raise poisoned_error(self._log)

    # --- other hands ---

    def is_busy(self) -> bool:
        """Tell whether someone else, here or in another process, is writing to the partition right now."""
        # Under the mutex: or else the unlocking here would free the flock that an append here has just taken. Not
        # by waiting for it: its holder may be waiting for another process.
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._mutex,))
            if not taken:
                return True
            fd = self._lock.fd
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                pass_on_handlers(error)
                return True
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)  # harmless when it was not taken
        finally:
            if taken:
                self._mutex.release()
        return False

    def refuse_reentry(self) -> None:
        """Raise ReentrantCallError in the middle of an append of this thread."""
        self._mutex.refuse_reentry()
