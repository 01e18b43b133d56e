"""The writer of a partition in one process: append, publish, roll.

An append, step by step, under the in-process lock and then the partition's ``flock``:

1. Write the batches behind the published end with one ``pwritev``. A crash leaves bytes that nobody reads; the next
   writer zeroes them.
2. Write the index entries that became due. A crash leaves entries behind the count; they are overwritten.
3. Fill the head's slot that is not in force. A crash changes nothing that anyone reads.
4. Publish by one 8-byte store of the new log end offset. From here on the records exist for every process.
5. Free the lock; wake readers, if any sleeps on the old end. A crash before leaves sleepers to their own timeout.
6. With ``durability="disk"``, join the group commit (`Flusher`) before the acknowledgement.

A roll happens inside an append, before step 1: the new segment's files appear, empty, and become the active ones
when step 4 publishes the first append into them. A crash before leaves files whose base offset is the log end offset,
with nothing published in them; the next writer removes them. The segment sealed by the roll before is synced first, and
the outcomes of its transactions, so that recovery never needs to look further back than the last segment but one.
"""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import crc32c

from eventlog.errors import EventLogError
from eventlog.files.filesystem import MAX_PARTS, translate
from eventlog.files.mutex import reentrant_call
from eventlog.files.notify import wake
from eventlog.files.signal_handlers import is_from_handler, pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import BatchFields, EncodedBatch, joined
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.model import AppendResult
from eventlog.storage.lock_wait import wait_for_lock
from eventlog.storage.log_end import OTHER_SLOT, LogEnd, add_all
from eventlog.storage.writer_files import NOBODY

_flock = fcntl.flock
_monotonic = time.monotonic
_AT_ONCE, _UNLOCK = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
_END, _WRITER, _SLEEPING = L.HEAD_END, L.HEAD_WRITER, L.HEAD_SLEEPING
_pack_start, _pack_crc = L.START.pack, L.CRC.pack
_crc = crc32c.crc32c
_pack_slot = L.END_SLOT.pack_into
_LENGTH_START, _MAGIC, _MAX_RELATIVE_OFFSET = L.LENGTH_START, L.MAGIC, L.MAX_RELATIVE_OFFSET
_new_result = partial(tuple.__new__, AppendResult)


class _RepeatedError(Exception):
    """The records were written before; an append ends with this, before it has written anything."""

    def __init__(self, earlier: AppendResult, life: int) -> None:
        super().__init__()
        self.earlier = earlier
        self.life = life


class LogWriter(LogEnd):
    """Appends to one partition, in turn with the other threads and processes that do."""

    __slots__ = ()

    # --- appending ---

    def append(
        self,
        batches: Sequence[EncodedBatch],
        durability: str | None = None,
        stamp: ProducerStamp | None = None,
        *,
        is_own: bool = False,
        patience: float | None = None,
    ) -> AppendResult:
        """Append the batches, all or none, and return where they landed; raises as `append_batch` does.

        ``stamp`` is that of the first one: records that were written before are not written again, and the result
        tells where they lie. ``is_own`` says that this process made the producer's id, and that it appends by nothing
        but this writer. ``patience`` is for how many seconds to wait for another process's lock, less than the log's
        ``lock_timeout_ms``. Raises OutOfOrderSequenceError when records are missing before these, ProducerFencedError
        when the epoch is over.
        """
        several = batches if len(batches) > 1 else None
        if stamp is None:
            return self.append_batch(batches[0], durability, several, None, patience)
        records = batches[0].records if several is None else sum(batch.records for batch in batches)
        try:
            return self.append_batch(batches[0], durability, several, (stamp, records, is_own), patience)
        except _RepeatedError as repeated:
            base, last, timestamp, _ = repeated.earlier
            if timestamp < 0:  # the batch itself cannot be read any more
                timestamp = max(batch.max_timestamp for batch in batches)
            return self._acknowledged(base, last + 1, timestamp, durability, repeated.life)

    def forget_producer(self, producer_id: int) -> None:
        """Note that a producer of this process ends, whose id it made."""
        self._sequences.forget(producer_id)

    def append_batch(  # noqa: C901, PLR0915  # see the comment on its shape below
        self,
        fields: BatchFields,
        durability: str | None = None,
        several: Sequence[EncodedBatch] | None = None,
        stamped: tuple[ProducerStamp, int, bool] | None = None,
        patience: float | None = None,
    ) -> AppendResult:
        """Append one batch, given as the fields of an `EncodedBatch`; or ``several`` at once, all or none.

        Raises LogFullError when no space is left (nothing was written; the same call succeeds later),
        UnknownTopicError when the topic was deleted, LogMovedError, LockTimeoutError when another process holds the
        lock for too long (nothing was written either), and StorageError when the device failed. An interrupt
        (KeyboardInterrupt, MemoryError) leaves the partition usable, and says in a note whether the records were
        written.
        """
        # In one piece and without a context manager for the flock: a record costs two microseconds in all, half of
        # them in the kernel, and every call or object adds tens of nanoseconds. The flock is taken inside the try,
        # so that no interrupt comes between taking it and the finally; freeing it untaken is harmless. The mutex knows
        # its owner, and is taken there as well: who has to wait for it looks whether that can ever end.
        base = end = published = timestamp = -1
        began = _monotonic()
        mutex = self._mutex
        if mutex._is_owned():  # by this thread, in an append that a signal handler has interrupted
            raise reentrant_call()
        try:
            try:
                if not mutex.acquire(False):
                    mutex.wait()
            except BaseException:
                if mutex._is_owned():
                    mutex.release()
                raise
            try:
                try:
                    if self._lock_fd < 0:
                        self._open_lock()
                    try:
                        _flock(self._lock_fd, _AT_ONCE)
                    except BlockingIOError as error:
                        self._wait_in_turn(error, began, patience)
                    if began >= self._look_at:
                        self.look()
                    words, tail = self._words, self._tail
                    if words.item(_WRITER) != self._token:
                        self._take_over()
                    if self._stamps_appends:
                        several = self.stamped(several or [EncodedBatch(*fields)])
                    self._log.recently_used = True
                    if stamped is not None:
                        earlier = self._sequences.admit(*stamped, tail.end_offset)
                        if earlier is not None:
                            raise _RepeatedError(earlier, self._life)
                    base, position = tail.end_offset, tail.position
                    if several is None:
                        parts, checksum, size, count, timestamp = fields
                        prefix = _pack_start(base, size - _LENGTH_START, 0, _MAGIC)
                        prefix += _pack_crc(_crc(prefix, checksum ^ self._home))
                        data: Any = prefix + parts if type(parts) is bytes else [prefix, *parts]
                    else:
                        data, size, count, timestamp = joined(several, base, self._home)
                        data = data if len(data) <= MAX_PARTS else [b"".join(data)]
                    if (
                        position + size > self._segment_bytes
                        or timestamp - tail.first_timestamp > self._segment_ms
                        or base + count - tail.segment_base > _MAX_RELATIVE_OFFSET
                    ) and position:
                        self._roll()
                        position = 0
                    if type(data) is bytes:
                        written = self._pwrite(self._active_fd, data, position)
                    else:
                        written = self._pwritev(self._active_fd, data, position)
                    if written != size:
                        self._write_rest(data, written, position)
                    end = base + count
                    if several is not None:
                        add_all(tail, several)
                    elif position - tail.last_indexed >= self._index_interval or timestamp > tail.max_timestamp:
                        tail.add(size, end, timestamp)
                    else:  # all that is left of `Tail.add` when there is nothing to note
                        tail.position = position + size
                        tail.end_offset = end
                    if tail.due_offset_entries:
                        self._active.append_due(tail.state(), *tail.take_due())  # type: ignore[union-attr]
                    self._last_slot = slot = self._last_slot ^ OTHER_SLOT
                    _pack_slot(
                        self._page, slot, end, tail.segment_base, tail.position, tail.index_checksum,
                        tail.last_indexed, tail.time_checksum, tail.index_entries, tail.time_entries,
                        tail.max_timestamp, tail.last_time_indexed, tail.first_timestamp,
                    )  # fmt: skip
                    words[_END] = published = end  # no interrupt comes between the two
                    life = self._life
                    if stamped is not None:
                        self._sequences.published = end
                except BaseException:
                    self._token = NOBODY  # the next append looks at the head again, and tidies up
                    if base >= 0:
                        self.undo()
                    raise
                finally:
                    if self._lock_fd >= 0:
                        _flock(self._lock_fd, _UNLOCK)
            finally:
                mutex.release()
            if words.item(_SLEEPING) > base:
                wake(words, _END)
            if durability != "disk" and not self._flushes:
                return _new_result((base, end - 1, timestamp, False))
            return self._acknowledge(base, end, timestamp, durability, life)
        except BaseException as error:
            self._explain(error, base, published, timestamp)
            raise

    def _wait_in_turn(self, error: BlockingIOError, began: float, patience: float | None) -> None:
        """Wait for the ``flock``, and look again afterwards: much may have happened."""
        pass_on_handlers(error)
        most = self._log.context.lock_timeout
        wait_for_lock(self._log, self._lock_fd, began, most if patience is None else min(patience, most))
        self._look_at = 0.0

    def _acknowledged(self, base: int, end: int, timestamp: int, durability: str | None, life: int) -> AppendResult:
        """Acknowledge records that were written before: by now they may have to be flushed."""
        try:
            return self._acknowledge(base, end, timestamp, durability, life)
        except BaseException as error:
            self._explain(error, base, end, timestamp)
            raise

    def _acknowledge(self, base: int, end: int, timestamp: int, durability: str | None, life: int) -> AppendResult:
        """Flush first, if the caller or the topic asks for it; the records were published in this ``life``."""
        on_disk = (durability or self._log.config.durability) == "disk"
        if on_disk or self._flusher.is_due(end):
            self._flusher.sync_to(end, life)
        return _new_result((base, end - 1, timestamp, on_disk))

    def failure(self, error: OSError) -> EventLogError:
        """Return what an operating system's error means; after one of a closed descriptor, the next call opens it."""
        if error.errno == errno.EBADF:
            self.try_release()
        return translate(error, self._log.directory)

    def _explain(self, error: BaseException, base: int, end: int, timestamp: int) -> None:
        """Translate an operating system's error; say, in its ``append_result``, if the records are written even so."""
        is_from_outside = is_from_handler(error)
        if isinstance(error, FileNotFoundError) and not is_from_outside and self._log.is_gone():
            raise self._log.gone() from error
        written = AppendResult(base, end - 1, timestamp, False) if end >= 0 else None
        if written is not None:
            error.append_result = written  # type: ignore[attr-defined]
        if isinstance(error, OSError) and not isinstance(error, EventLogError) and not is_from_outside:
            translated = self.failure(error)
            translated.append_result = written  # type: ignore[attr-defined]
            raise translated from error
        if not isinstance(error, Exception) or isinstance(error, MemoryError) or is_from_outside:
            outcome = "were not written" if written is None else f"were written at offsets {base} to {end - 1}"
            error.add_note(f"eventlog: the records of this append to {self._log.topic}-{self._log.partition} {outcome}")
