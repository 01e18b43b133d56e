"""One partition's log: append, publish, roll, read. Knows nothing of topics, producers or replicas.

An append, step by step, under the in-process lock and then the partition's ``flock``:

1. Write the batches behind the published end with one ``pwritev``. A crash leaves bytes that nobody reads; the next
   writer zeroes them.
2. Write the index entries that became due. A crash leaves entries behind the count; they are overwritten.
3. Fill the head's slot that is not in force. A crash changes nothing that anyone reads.
4. Publish by one 8-byte store of the new log end offset. From here on the records exist for every process.
5. Free the lock; wake readers, if any sleeps on the old end. A crash before leaves sleepers to their own timeout.
6. With ``durability="disk"``, join the group commit (`Flusher`) before the acknowledgement.

A roll happens inside an append, before step 1: the new segment's files appear, empty, and become the active ones
when step 4 publishes the first append into them. A crash before leaves empty files whose base offset is the log end
offset; the next writer removes them. The segment sealed by the roll before is synced first, so that recovery never
needs to look further back than the last segment but one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import weakref
from collections.abc import Sequence
from functools import partial

from eventlog.config import NEVER, TopicConfig
from eventlog.errors import (
    ClosedError,
    CorruptSegmentError,
    EventLogError,
    ReadOnlyLogError,
    StorageError,
    UnknownTopicError,
)
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import MAX_PARTS, Buffer, translate, translated
from eventlog.files.notify import wake
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.filenames import HEAD, LOCK, LOG, segment_base, segment_name
from eventlog.model import AppendResult
from eventlog.storage.active_segment import ActiveSegment, remove_segment_files
from eventlog.storage.context import LogContext
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import Head
from eventlog.storage.index_rebuild import rebuild_indexes, sealed_indexes_fit
from eventlog.storage.recovery import RecoveryReport, recover
from eventlog.storage.segment import Segment
from eventlog.storage.tail import Tail

_flock = fcntl.flock
_EXCLUSIVE, _UNLOCK = fcntl.LOCK_EX, fcntl.LOCK_UN
_END, _WRITER, _SLEEPING = L.HEAD_END, L.HEAD_WRITER, L.HEAD_SLEEPING
_pack_slot = L.END_SLOT.pack_into
_SLOT_BYTES = tuple(slot * 8 for slot in L.HEAD_SLOTS)
_new_result = partial(tuple.__new__, AppendResult)
_every_log: weakref.WeakSet[PartitionLog] = weakref.WeakSet()


class PartitionLog:
    """The files of one partition. Safe for any number of threads, processes, and forks."""

    def __init__(self, context: LogContext, directory: str, topic: str, partition: int, config: TopicConfig) -> None:
        self.directory = directory
        self.topic = topic
        self.partition = partition
        self.config = config
        self.context = context
        self.recently_used = True
        self._fs = context.fs
        self._pwritev = context.fs.pwritev
        self._mutex = threading.Lock()
        self._lock = FileLock(context.fs, os.path.join(directory, LOCK), readonly=context.readonly)
        self._lock_fd = -1
        self._token = _new_token()
        self._active: ActiveSegment | None = None
        self._closed = False
        self.has_written = False
        self._stamps_appends = config.message_timestamp_type == "LogAppendTime"
        self._has_flush_policy = config.flush_messages != NEVER or config.flush_ms != NEVER
        self._segments: dict[int, Segment] = {}
        self._bases: list[int] = []
        self.recovery: RecoveryReport | None = None
        self.head = self._attach()
        self._words = self.head.words
        self._tail = Tail(self.head.end_state(), config.index_interval_bytes)
        self._next_slot = 0
        self._flusher = Flusher(self)
        _every_log.add(self)

    # --- opening and closing ---

    def _attach(self) -> Head:
        """Map the head; make it true first unless a process of this session did so already."""
        path = os.path.join(self.directory, HEAD)
        with translated(self.directory):
            if self.context.readonly:
                head = Head.open(self._fs, path, writable=False)
                return head if head is not None and self._is_current(head) else self._recovered(head)
            self._make_directory()
            with self._lock:
                head = Head.open(self._fs, path, writable=True)
                return head if head is not None and self._is_current(head) else self._recovered(head)

    def _is_current(self, head: Head) -> bool:
        return head.session == self.context.session != 0 and head.words.item(_WRITER) != L.WRITER_POISONED

    def _recovered(self, head: Head | None) -> Head:
        if head is not None and head.words.item(_WRITER) == L.WRITER_POISONED:
            self._forget_cached_pages()
        head, self.recovery = recover(self, head)
        return head

    def _forget_cached_pages(self) -> None:
        """After a failed sync the cache may hold what the device does not: read everything back from there."""
        for base in self.segment_bases(None):
            fd = self._fs.open(os.path.join(self.directory, segment_name(base, LOG)), os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._fs.forget_cached(fd)
            finally:
                self._fs.close(fd)

    def _make_directory(self) -> None:
        try:
            self._fs.mkdir(self.directory)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise self._unknown_topic() from None

    def close(self) -> None:
        """Give back descriptors and mappings; batches that callers hold stay readable."""
        with self._mutex:
            self._closed = True
            self._release()
        self.context.open_files.discard(self)

    def try_release(self) -> bool:
        """Give back descriptors and mappings until the next use; False when an append is under way."""
        if not self._mutex.acquire(blocking=False):
            return False
        try:
            self._release()
        finally:
            self._mutex.release()
        return True

    def _release(self) -> None:
        self._token = _new_token()  # the next append takes over anew, and opens what it needs
        self._lock.close()
        self._lock_fd = -1
        if self._active is not None:
            self._active.close()
            self._active = None
        for segment in list(self._segments.values()):
            segment.forget()

    def after_fork(self) -> None:
        """In a forked child: start with free locks, own descriptors and an own identity as a writer."""
        self._mutex = threading.Lock()
        self._flusher.after_fork()
        self._release()

    # --- appending ---

    def append(self, batches: Sequence[EncodedBatch], durability: str | None = None) -> AppendResult:
        """Append the batches, all or none, and return where they landed.

        Raises LogFullError when no space is left (nothing was written; the same call succeeds later),
        UnknownTopicError when the topic was deleted, and StorageError when the device failed. An interrupt
        (KeyboardInterrupt, MemoryError) leaves the partition usable, and says in a note whether the records were
        written.
        """
        # Written in one piece and without a context manager for the flock: one record costs a few microseconds in
        # all, and each call adds tens of nanoseconds. The flock is taken inside the try, so that no interrupt can
        # come between taking it and the finally; freeing it when it was not taken is harmless.
        base = end = timestamp = -1
        try:
            with self._mutex:
                try:
                    if self._lock_fd < 0:
                        self._refuse_unless_writable()
                        self._lock_fd = self._lock.fd
                    _flock(self._lock_fd, _EXCLUSIVE)
                    words, tail = self._words, self._tail
                    if words.item(_WRITER) != self._token:
                        self._take_over()
                    if self._stamps_appends:
                        batches = self._stamped(batches)
                    base = next_offset = tail.end_offset
                    size = 0
                    parts: list[Buffer] = []
                    for batch in batches:
                        parts += batch.stamp(next_offset)
                        next_offset += batch.count
                        size += batch.size
                        timestamp = max(timestamp, batch.max_timestamp)
                    self._roll_if_due(size, next_offset, timestamp)
                    if len(parts) > MAX_PARTS:
                        parts = [b"".join(parts)]
                    position = tail.position
                    written = self._pwritev(self._active.fd, parts, position)  # type: ignore[union-attr]
                    if written != size:
                        self._write_rest(parts, written, position)
                    next_offset = base
                    for batch in batches:
                        next_offset += batch.count
                        tail.add(batch.size, next_offset, batch.base_timestamp, batch.max_timestamp)
                    if tail.due_offset_entries or tail.due_time_entries:
                        self._active.append_due(tail.state(), *tail.take_due())  # type: ignore[union-attr]
                    slot = self._next_slot
                    _pack_slot(
                        self.head.page, _SLOT_BYTES[slot], next_offset, tail.segment_base, tail.position,
                        tail.last_indexed, tail.index_entries, tail.time_entries, tail.max_timestamp,
                        tail.last_time_indexed, tail.first_timestamp,
                    )  # fmt: skip
                    end = next_offset
                    words[_END] = end
                    self._next_slot = 1 - slot
                except BaseException:
                    self._token = _new_token()  # the next append looks at the head again, and tidies up
                    raise
                finally:
                    if self._lock_fd >= 0:
                        _flock(self._lock_fd, _UNLOCK)
            if words.item(_SLEEPING) > base:
                wake(words, _END)
            if (durability or self.config.durability) == "disk":
                self._flusher.sync_to(end)
                return _new_result((base, end - 1, timestamp, True))
            if self._has_flush_policy and self._flusher.is_due(end):
                self._flusher.sync_to(end)
            return _new_result((base, end - 1, timestamp, False))
        except BaseException as error:
            self._explain(error, base, end, timestamp)
            raise

    def _take_over(self) -> None:
        """Become the writer: learn the published end, open what it lies in, and tidy up behind it."""
        self._refuse_unless_writable()
        words, state = self._words, self.head.end_state()
        if self._active is None or self._active.base_offset != state.segment_base:
            self._open_active(state.segment_base, create=False)
        assert self._active is not None
        stray = os.path.join(self.directory, segment_name(state.end_offset, LOG))
        if state.end_offset != state.segment_base and self._fs.exists(stray):
            remove_segment_files(self._fs, self.directory, state.end_offset)
            self._forget_base(state.end_offset)
        if self._fs.size(self._active.fd) < state.position:
            raise CorruptSegmentError(
                "the segment is shorter than what was published", path=self._active.path, topic=self.topic,
                partition=self.partition, position=state.position, hint="open the log again to recover it",
            )  # fmt: skip
        self._active.tidy(state)
        self._tail.load(state)
        self._next_slot = 1 - self.head.slot_in_force()
        self.has_written = True
        words[_WRITER] = self._token

    def _refuse_unless_writable(self) -> None:
        if self._closed:
            raise ClosedError("the log is closed", topic=self.topic, partition=self.partition)
        if self.context.readonly:
            raise ReadOnlyLogError(
                "the log was opened for reading only", path=self.directory, topic=self.topic,
                partition=self.partition, hint="open it where its directory can be written",
            )  # fmt: skip
        if self._words.item(_END) == L.END_DELETED:
            raise self._unknown_topic()
        if self._words.item(_WRITER) == L.WRITER_POISONED:
            raise self.poisoned_error()

    def _open_active(self, base_offset: int, *, create: bool) -> None:
        opened = ActiveSegment(self._fs, self.directory, base_offset, create=create)
        if self._active is not None:
            self._active.close()
        self._active = opened
        self.context.open_files.add(self)

    def _stamped(self, batches: Sequence[EncodedBatch]) -> list[EncodedBatch]:
        now = int(self.context.clock.time() * 1000)
        return [batch.with_append_time(now) for batch in batches]

    def _roll_if_due(self, size: int, end_offset: int, timestamp: int) -> None:
        tail, config = self._tail, self.config
        if (
            tail.position + size > config.segment_bytes
            or timestamp - tail.first_timestamp > config.segment_ms
            or end_offset - tail.segment_base > L.MAX_RELATIVE_OFFSET
        ) and tail.position:
            self._roll()

    def _roll(self) -> None:
        """Seal the active segment and begin the next one; see the module's docstring for the crash cases."""
        tail, active = self._tail, self._active
        assert active is not None
        tail.seal()
        active.append_due(tail.state(), *tail.take_due())
        active.cut_indexes(tail.state())
        bases = self.segment_bases(tail.segment_base)
        for base in bases[-2:-1]:
            self._flusher.sync_sealed(base)
        remove_segment_files(self._fs, self.directory, tail.end_offset)
        tail.begin_segment()
        self._open_active(tail.segment_base, create=True)

    def _write_rest(self, parts: list[Buffer], written: int, position: int) -> None:
        """Go on after a short write: a full disk shows itself now, and nothing was published."""
        assert self._active is not None
        rest = b"".join(parts)[written:]
        self._fs.write_all(self._active.fd, [rest], position + written)

    def _explain(self, error: BaseException, base: int, end: int, timestamp: int) -> None:
        """Translate an operating system's error; tell an interrupted caller what became of the records."""
        if isinstance(error, FileNotFoundError) and self._words.item(_END) == L.END_DELETED:
            raise self._unknown_topic() from error
        if isinstance(error, OSError) and not isinstance(error, EventLogError):
            raise translate(error, self.directory) from error
        if not isinstance(error, Exception) or isinstance(error, MemoryError):
            outcome = "were not written"
            if end >= 0 and self._words.item(_END) >= end:
                outcome = f"were written at offsets {base} to {end - 1}"
                error.append_result = AppendResult(base, end - 1, timestamp, False)  # type: ignore[attr-defined]
            error.add_note(f"eventlog: the records of this append to {self.topic}-{self.partition} {outcome}")

    def is_busy(self) -> bool:
        """Tell whether someone else, here or in another process, is writing to the partition right now."""
        if self._mutex.locked():
            return True
        if not self._lock.acquire(blocking=False):
            return True
        self._lock.release()
        return False

    # --- durability ---

    def sync(self) -> None:
        """Bring everything published so far to the device."""
        if not self.context.readonly:
            self._flusher.sync_to(self.end_offset)

    def poison(self) -> None:
        """Refuse all further writes, in every process, until the partition is reopened."""
        with self._mutex, self._lock:
            self._words[_WRITER] = L.WRITER_POISONED
            self._token = _new_token()

    def poisoned_error(self) -> StorageError:
        """Return the error that a poisoned partition answers with."""
        return StorageError(
            "an earlier sync failed, so the partition refuses writes", path=self.directory, topic=self.topic,
            partition=self.partition, hint="close the log in every process and open it again: it is verified then",
        )  # fmt: skip

    # --- reading ---

    @property
    def end_offset(self) -> int:
        """The published log end offset. Raises UnknownTopicError when the topic was deleted."""
        end: int = self._words.item(_END)
        if end == L.END_DELETED:
            raise self._unknown_topic()
        return end

    @property
    def start_offset(self) -> int:
        """The first offset that the log holds."""
        return self._words.item(L.HEAD_START)

    @property
    def durable_end_offset(self) -> int:
        """Every record before this offset is on the device."""
        return min(self._words.item(L.HEAD_DURABLE), self.end_offset)

    @property
    def size_bytes(self) -> int:
        """Bytes of all published batches."""
        state = self.head.end_state()
        sealed = [base for base in self.segment_bases(state.segment_base) if base < state.segment_base]
        paths = (os.path.join(self.directory, segment_name(base, LOG)) for base in sealed)
        return sum(map(self._fs.size_of, paths)) + state.position

    def segment(self, base_offset: int) -> Segment:
        """Return the segment of this base offset."""
        segment = self._segments.get(base_offset)
        if segment is None:
            segment = Segment(self._fs, self.directory, base_offset, self.topic, self.partition)
            self._segments[base_offset] = segment
        return segment

    def ensure_indexes(self, segment: Segment) -> None:
        """Rebuild a sealed segment's indexes, once, when they are missing, short or damaged."""
        if segment.indexes_checked:
            return
        segment.indexes_checked = True
        if not sealed_indexes_fit(segment, self.config.index_interval_bytes) and not self.context.readonly:
            following = [base for base in self.segment_bases(None) if base > segment.base_offset]
            stop = following[0] if following else None
            rebuild_indexes(segment, self.config.index_interval_bytes, sealed=True, stop_offset=stop)

    def segment_bases(self, at_least: int | None) -> list[int]:
        """Return the base offsets in order; looks at the directory again unless ``at_least`` is known already."""
        if at_least is None or not self._bases or self._bases[-1] < at_least:
            self.refresh_bases()
        return self._bases

    def refresh_bases(self) -> None:
        """Look at the directory again."""
        try:
            names = self._fs.listdir(self.directory)
        except FileNotFoundError:
            names = []
        self._bases = sorted(base for base in map(segment_base, names) if base is not None)

    def _forget_base(self, base_offset: int) -> None:
        self._bases = [base for base in self._bases if base != base_offset]
        self._segments.pop(base_offset, None)

    def _unknown_topic(self) -> UnknownTopicError:
        return UnknownTopicError("the topic does not exist (any more)", topic=self.topic, partition=self.partition)


def _new_token() -> int:
    """Return a writer's identity, for the head: whoever finds another one there looks at the head again."""
    return secrets.randbits(62) | 1


def _after_fork_in_child() -> None:
    for log in list(_every_log):
        with contextlib.suppress(OSError):
            log.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
