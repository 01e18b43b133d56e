"""One partition's part of a transaction: written behind the published end, and published once the outcome is known.

Step by step, in the hands of who commits (``coordination/transaction_commit.py``), for all partitions at once:

1. `hold`: take the in-process lock and the ``flock``, in the order of all partitions' names, so that nobody waits in a
   circle. What an earlier transaction left unsettled here is settled first.
2. `write`: write the batches behind the published end, fill the head's slot that is not in force, and mark the
   partition as pending. A crash before the mark leaves bytes that nobody reads, as any append does; after it, whoever
   writes next, or reads at the end, settles the transaction first (`LogEnd`): the journal knows its outcome.
3. `sync_all`, where the transaction is to survive a power cut: the batches are on the device before the outcome is.
4. `publish` when the outcome is written: one store of the new log end offset. Or `take_back` when it never will be.
5. `let_go`: free both locks, and wake readers.

After a power cut, and whenever no process had the log open, heads count for nothing: recovery asks the journal about
each transactional batch behind the recovery point, and ends the log before the first of a transaction that has no
outcome.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Sequence

from eventlog.errors import EventLogError
from eventlog.files.mutex import Mutex
from eventlog.files.notify import wake
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.model import AppendResult
from eventlog.storage.head import EndState
from eventlog.storage.log_end import SLOT_BYTES
from eventlog.storage.marked_sync import MarkedSync
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.writer_files import NOBODY


class PreparedAppend:
    """Batches on their way into one partition. For one thread; a step that fails leaves the rest to `let_go`."""

    def __init__(self, log: PartitionLog, batches: Sequence[EncodedBatch], sequence: int) -> None:
        """``sequence`` is the sequence number of the first record."""
        self.log = log
        self.batches = batches
        self.sequence = sequence
        self.result: AppendResult | None = None  # where they land, once written
        self._end = log.writer
        self._state = EndState()
        self._is_held = False
        self._has_written = False
        self._token = NOBODY
        self._life = 0  # the life of the log that it is published in

    @property
    def base_offset(self) -> int:
        """Where the first record lands, once written."""
        assert self.result is not None
        return self.result.base_offset

    @property
    def end_offset(self) -> int:
        """The offset behind the last record, once written."""
        assert self.result is not None
        return self.result.last_offset + 1

    def hold(self) -> None:
        """Take the partition's locks. Raises as an append does for a partition that cannot be written to."""
        (self._is_held,) = map(Mutex.take, (self._end._mutex,))  # within one bytecode: no interrupt comes in between
        try:
            self._end.lock_and_take_over()
        except OSError as error:
            pass_on_handlers(error)
            raise self._end.failure(error) from error
        self._life = self._life or self._end._life

    def write(self, transaction: int, journal_offset: int) -> None:
        """Write the batches where nobody reads them yet, and mark the partition as pending. Raises LogFullError, ..."""
        end, head = self._end, self.log.head
        self._has_written = True
        self._token, end._token = end._token, NOBODY  # whatever comes in between, the next append takes over anew
        try:
            self.result, self._state = end.write_behind(self.batches)
        except OSError as error:
            pass_on_handlers(error)
            raise self._end.failure(error) from error
        head.prepare(self._state, transaction, journal_offset)

    def begin_sync(self) -> MarkedSync:
        """Return the context for the syncs of what was written, which the following ones are given."""
        return self.log.flusher.marked()

    def sync_before(self, sync: MarkedSync) -> None:
        """Bring the segments to the device that lie before the one written last. Raises StorageError."""
        self.log.flusher.sync_before_prepared(sync, self._state)
        active = self._end._active
        if active is not None and not active.is_trusted:
            sync.look()

    def sync_names(self, sync: MarkedSync) -> None:
        """Bring the names of new segments to the device. Raises StorageError."""
        self.log.flusher.sync_names_of_prepared(sync, self._state)

    def make_sure(self, sync: MarkedSync) -> None:
        """Make sure that what was synced is on the device. Raises StorageError."""
        self.log.flusher.make_sure_of_prepared(sync)
        active = self._end._active
        if active is not None:
            active.is_trusted = True

    def publish(self, *, durable: bool, journal_offset: int, journal_life: int) -> None:
        """Publish; the records exist for every process. ``durable``: they are on the device, and so is the outcome."""
        end, head = self._end, self.log.head
        head.publish_prepared(journal_life)
        end._last_slot = SLOT_BYTES[head.slot_in_force()]
        head.words[L.HEAD_WRITER] = end._token = self._token
        if durable:
            head.set_recovery_point(self._state, journal_offset)

    def take_back(self) -> None:
        """Clear away what was written: the transaction has no outcome, and never will have."""
        if self._has_written:
            if self.log.head.is_pending():  # and not poisoned
                self.log.head.words[L.HEAD_WRITER] = L.WRITER_NONE
            self._end.undo()

    def sync(self) -> None:
        """Bring what was published to the device, and the outcome. Raises StorageError."""
        self.log.flusher.sync_to(self.end_offset, self._life)

    def flush_if_due(self) -> None:
        """Do what the topic's ``flush_messages`` and ``flush_ms`` ask for."""
        if self._end._flushes and self.log.flusher.is_due(self.end_offset):
            self.sync()

    def let_go(self) -> None:
        """Free the locks, and wake who sleeps on the end. May be repeated."""
        if self._is_held:
            if self._end._lock_fd >= 0:
                fcntl.flock(self._end._lock_fd, fcntl.LOCK_UN)
            self._is_held = False  # from here on without a call, so that no interrupt comes in between
            self._end._mutex.release()

    def wake(self) -> None:
        """Wake readers that sleep on the old end."""
        words = self.log.head.words
        if self.result is not None and words.item(L.HEAD_SLEEPING) > self.result.base_offset:
            wake(words, L.HEAD_END)


def sync_all(appends: Sequence[PreparedAppend]) -> None:
    """Bring what all of them wrote, and all before it, to the device, at once. Raises StorageError, ..."""
    with contextlib.ExitStack() as marked:
        pairs = [(append, marked.enter_context(append.begin_sync())) for append in appends]
        for append, sync in pairs:
            append.log.flusher.outcomes.write_lost(is_held=True)
            append.sync_before(sync)
        _sync_active_segments(appends)
        for append, sync in pairs:
            append.sync_names(sync)
        for append, sync in pairs:
            append.make_sure(sync)


def _sync_active_segments(appends: Sequence[PreparedAppend]) -> None:
    by_fd = {append._end._active_fd: append for append in appends}
    errors: list[tuple[EventLogError, OSError]] = []

    def failed(fd: int, error: OSError) -> None:
        errors.append((by_fd[fd].log.flusher.failure(error), error))

    if by_fd:
        appends[0].log.context.fs.sync_all(list(by_fd), failed)
    for translated_error, error in errors:
        raise translated_error from error
