"""Bring a partition's records to the device, for many waiting threads and processes at once.

Group commit, step by step:

1. Whoever needs offset e on the device looks at the head: if the durable end is past e already, it is done.
2. While another thread of this process flushes, it sleeps until that one is done: then those wake whose records are
   on the device now, and one of the others, whose flush serves all who still sleep.
3. If no recovery is under way, it reads the published end s, and syncs every segment from the durable end's to that of
   s, then the directories if a segment is new; the first time also those above them, up to the log's own, since whoever
   made them may have died before syncing them. All records before s were written before the sync began, whoever wrote
   them.
4. If the log's life (``head.py``) is still the one in which s was read, so that s is of that life, and no sync has
   failed in it, it notes s in the head as that life's durable end and recovery point. A crash before leaves an older
   one: recovery scans more. A recovery between the look and the store begins another life, of which the store changes
   nothing.
5. Who waits is served by the durable end of the life in which its records were published, and by no other.

A failed sync is never tried again: the kernel may have dropped the pages and call the file clean. The partition is
poisoned in the head, for every process, until it is reopened, checked and written once more:

1. The life in which the error was reported is noted as failed, by one store and without a lock. From here on no sync of
   this life counts. A crash before, while the error was on its way, is no worse than one before the sync.
2. Under the partition's lock, unless a recovery has begun by then, the writer's word refuses further appends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from bisect import bisect_left
from collections import deque
from types import TracebackType

from eventlog.errors import EventLogError, StorageError
from eventlog.files.filesystem import translate
from eventlog.files.mutex import Mutex, refuse_deadlock
from eventlog.files.open_file import OpenFile
from eventlog.files.signal_handlers import is_from_handler, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import INDEX, LOG, TIME_INDEX, segment_name
from eventlog.storage.head import EndState
from eventlog.storage.marked_sync import MarkedSync
from eventlog.storage.outcomes import Outcomes
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.sync_marks import GROUP, HOLDER, SyncMarks
from eventlog.storage.writer_lives import ended_error

_LONGEST_WAIT = 0.02  # seconds: whoever synced may have failed, or been interrupted, before it woke the others
_NEVER_REACHED_THE_DEVICE = (errno.EMFILE, errno.ENFILE, errno.EBADF)  # no file was open, so no sync failed
_LEVELS = 4  # directories: the partition's, the topic's, the one of all topics, the log's


class Flusher:
    """The group commit of one partition in one process."""

    def __init__(self, log: PartitionFiles) -> None:
        self._log = log
        self._fs = log.context.fs
        self._syncing = Mutex()
        self._sleepers: deque[tuple[int, threading.Lock]] = deque()  # the end each needs, and what wakes it
        self._file: OpenFile | None = None  # and the base offset of the segment that it is open for
        self._open_for = -1
        self._is_trusted = False
        self._life = 0  # the one that the descriptor is for, and what follows
        self.outcomes = Outcomes(log)
        self._marks = SyncMarks(log.head, log.context.slots)
        self._names_synced = -1, 0  # base offset of the newest segment whose name is on the device, and in which life
        self._journal_offset: int | None = None  # what `journal_offset` answered last
        self._last_flush = log.context.clock.monotonic()
        self._failing = _Failing(self)

    def after_fork(self) -> None:
        """Start with a free lock and no descriptor in a forked child."""
        self._close_descriptor()
        self._syncing = Mutex()
        self._sleepers.clear()

    def sync_to(self, end_offset: int, life: int) -> None:
        """Return once every record before ``end_offset`` that was published in this life of the log is on the device.

        Raises StorageError when the device failed; the partition then refuses writes. Also when the life is over before
        all of it is known to be on the device: others may have got these offsets. ReentrantCallError when a signal
        handler has interrupted this thread's own flush.
        """
        head = self._log.head
        while not head.was_durable(life, end_offset):
            self._syncing.refuse_reentry()
            if head.life != life:
                raise ended_error(self._log)
            if self._syncing.locked():  # it may cover these records, or else the next one does
                self._sleep(end_offset)
                continue
            # A lock and not a flag: no interrupt comes between taking it and the end of the `with` that frees it.
            with self._syncing:
                if not head.was_durable(life, end_offset):
                    self._sync(life)
                    if not head.was_durable(life, end_offset):  # an end of the life before: it was read too early
                        raise ended_error(self._log)
            if self._sleepers:
                self._wake_sleepers(head.durable_end)
        self._log.writer.flushed(life, end_offset)

    def _sleep(self, end_offset: int) -> None:
        # Each on a lock of its own: to wake all would make those run who only fall asleep again.
        awake = threading.Lock()
        awake.acquire()
        self._sleepers.append((end_offset, awake))
        if self._syncing.locked() and not awake.acquire(timeout=_LONGEST_WAIT):  # or it may have looked for sleepers
            refuse_deadlock()

    def _wake_sleepers(self, durable: int) -> None:
        """Wake whose records are on the device, but first one of the others, who flushes for all of these now."""
        served, waiting = [], []
        with contextlib.suppress(IndexError):  # once there are none, or another thread wakes the rest
            while True:
                end_offset, awake = sleeper = self._sleepers.popleft()
                if end_offset <= durable:
                    served.append(awake)
                else:
                    waiting.append(sleeper)
        self._sleepers.extend(waiting[1:])
        for awake in [awake for _, awake in waiting[:1]] + served:
            awake.release()

    def is_due(self, end_offset: int) -> bool:
        """Tell whether ``flush_messages`` or ``flush_ms`` ask for a flush now."""
        config = self._log.config
        if end_offset - self._log.head.durable_end >= config.flush_messages:
            return True
        return (self._log.context.clock.monotonic() - self._last_flush) * 1000 >= config.flush_ms

    def _sync(self, life: int) -> None:
        if life != self._life:
            self._enter(life)
        head, root = self._log.head, self._log.context.root
        root.look()  # and no more, where nothing is opened by path: an append has looked, and so has a flush
        with MarkedSync(self._log, self._marks, GROUP, life) as sync:
            sync.refuse_unless_alive()  # and no recovery is under way, which has the number, but not yet the end
            journal_offset = self.journal_offset()
            state = head.end_state()
            if head.end_offset == L.END_DELETED:
                raise self._log.gone()
            sync.refuse_unless_alive()  # now that the state is known: it is of this life
            with self._failing:
                self._sync_segments(sync, head.durable_end, state)
                self._sync_directories(sync, state.segment_base)
                if sync.has_opened:
                    root.check()  # what was opened by path just now may be of another log
                sync.make_sure()  # also that no other process was told of a device error meanwhile
            self._is_trusted = True
            self.outcomes.sync(is_held=False)
            self._last_flush = self._log.context.clock.monotonic()
            if state.end_offset > head.durable_end:
                head.set_recovery_point(state, journal_offset, life)

    def _enter(self, life: int) -> None:
        """Forget what was true in the last life: what its descriptor is told may be about that alone."""
        self._close_descriptor()
        self._journal_offset, self._life = None, life

    def journal_offset(self) -> int:
        """Return where in the journal the outcomes of all transactions stand that are not published here by now.

        To be asked before the published end. The order is what makes it true: an outcome that stood before the offset
        asked for first belongs to a part that is published by now, or is seen to be pending after that. The offset is
        on the device, since after a power cut those behind would be given out anew.

        An earlier answer stays true, and only takes recovery longer: the journal is asked anew after transactions here,
        or in a new segment. If there were none, it would be looked for in the file system every time.
        """
        head, offset = self._log.head, self._journal_offset
        if offset is None or head.is_pending() or self.outcomes.has_new():
            offset = self._journal_offset = self._log.context.journal.durable_end_offset()
        return min(offset, head.words.item(L.HEAD_JOURNAL)) if head.is_pending() else offset

    # --- for who holds the partition's lock ---

    def marked(self) -> MarkedSync:
        """Return the context for the syncs of who holds the partition's lock."""
        return MarkedSync(self._log, self._marks, HOLDER, self._log.head.life)

    def sync_before_roll(self, base_offset: int) -> None:
        """Bring the segment that was sealed last to the device, and its name. Raises StorageError."""
        with self.marked() as sync, self._failing:
            self._sync_sealed(sync, base_offset)
            self._fs.sync_directory(self._log.directory)  # so that a power cut takes names from the end only
            sync.look()
            sync.make_sure()

    def sync_before_prepared(self, sync: MarkedSync, state: EndState) -> None:
        """Bring the segments to the device that lie before the one in which a transaction's part ends.

        Raises as `sync_to` does, as do the others here.
        """
        with self._failing:
            self._sync_sealed_segments(sync, self._log.head.durable_end, state.segment_base)

    def sync_names_of_prepared(self, sync: MarkedSync, state: EndState) -> None:
        """Do the same for the names of new segments."""
        with self._failing:
            self._sync_directories(sync, state.segment_base)
        if state.segment_base > self._log.head.end_state().segment_base:
            base, life = self._names_synced
            self._names_synced = min(base, self._log.head.durable_end), life  # the roll may yet be undone

    def make_sure_of_prepared(self, sync: MarkedSync) -> None:
        """Make the descriptors trusted that were used."""
        with self._failing:
            sync.make_sure()

    def failure(self, error: OSError) -> EventLogError:
        """Return what a failed sync means to its caller, having noted it if the device may have lost something."""
        if isinstance(error, FileNotFoundError) and self._log.is_gone():
            return self._log.gone()
        if error.errno in _NEVER_REACHED_THE_DEVICE:
            return translate(error, self._log.directory)
        self._log.head.note_failure()
        return StorageError(
            f"the device failed to sync: {error.strerror or error}",
            path=self._log.directory, topic=self._log.topic, partition=self._log.partition,
            hint="records since the last durable acknowledgement may be lost; open the log again to verify it",
        )  # fmt: skip

    # --- descriptors ---

    def _sync_segments(self, sync: MarkedSync, durable: int, state: EndState) -> None:
        if durable <= state.segment_base:
            self._sync_sealed_segments(sync, durable, state.segment_base)
        fd = self._descriptor(state.segment_base)
        if not self._is_trusted:
            sync.look()
        self._fs.sync(fd)

    def _sync_sealed_segments(self, sync: MarkedSync, durable: int, segment_base: int) -> None:
        bases = self._log.segments.bases(segment_base)
        # From the segment of the last durable record on: sealed since, it has got an entry in its time index.
        first = max(0, bisect_left(bases, durable) - 1)
        for base in bases[first:]:
            if base < segment_base:
                self._sync_sealed(sync, base)

    def _descriptor(self, segment_base: int) -> int:
        """The active segment, opened once: a descriptor is told of every device error since it was opened."""
        if self._file is None or self._open_for != segment_base:
            self._close_descriptor()
            self._file = self._fs.opened(self._log.segments.path(segment_base), os.O_RDONLY).kept()
            self._open_for = segment_base
            self._log.note_open()
        if self._file.is_lost():
            self._close_descriptor()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._log.segments.path(segment_base))
        return self._file.fd

    def _close_descriptor(self) -> None:
        file, self._file, self._open_for, self._is_trusted = self._file, None, -1, False
        if file is not None:
            file.close()

    def release(self) -> None:
        """Give back the descriptor until the next flush, unless one is under way."""
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._syncing,))  # within one bytecode: no interrupt comes in between
            if taken:
                self._close_descriptor()
        finally:
            if taken:
                self._syncing.release()

    def _sync_directories(self, sync: MarkedSync, segment_base: int) -> None:
        if (segment_base, sync.life) == self._names_synced:
            return
        directory = self._log.directory
        for _ in range(_LEVELS if self._names_synced[0] < 0 else 1):
            self._fs.sync_directory(directory)
            directory = os.path.dirname(directory)
        sync.look()
        self._names_synced = segment_base, sync.life
        self._journal_offset = None

    def _sync_sealed(self, sync: MarkedSync, base_offset: int) -> None:
        """Sync a sealed segment and its indexes, which never change again."""
        self._sync_file(sync, segment_name(base_offset, LOG))
        for suffix in (INDEX, TIME_INDEX):
            with suppress(FileNotFoundError):  # it holds no truth, and whoever needs it builds it anew
                self._sync_file(sync, segment_name(base_offset, suffix))

    def _sync_file(self, sync: MarkedSync, name: str) -> None:
        with self._fs.opened(os.path.join(self._log.directory, name), os.O_RDONLY) as fd:
            sync.look()
            self._fs.sync(fd)


class _Failing:
    """A context: an operating system's error in the block becomes what it means to the caller, having been noted."""

    def __init__(self, flusher: Flusher) -> None:
        self._flusher = flusher

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, EventLogError) and not is_from_handler(error):
            raise self._flusher.failure(error) from error
