"""The end of a partition's log in the hands of its writer: taking it over, clearing up behind it, rolling.

All of it happens under the in-process lock and then the partition's ``flock``. What an append does with it, and what a
crash at each step leaves behind, is told in ``log_writer.py``.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from eventlog.config import NEVER
from eventlog.errors import CorruptSegmentError, EventLogError, LockTimeoutError
from eventlog.files.filesystem import MAX_PARTS
from eventlog.files.mutex import Mutex
from eventlog.files.notify import wake
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import EncodedBatch, joined
from eventlog.format.filenames import LOG, segment_name
from eventlog.format.record_input import clock_ms
from eventlog.model import AppendResult
from eventlog.storage.active_segment import remove_segment_files
from eventlog.storage.flusher import Flusher
from eventlog.storage.head import EndState
from eventlog.storage.lock_wait import wait_for_lock
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.producer_sequences import ProducerSequences
from eventlog.storage.tail import Tail
from eventlog.storage.writer_files import NOBODY, WriterFiles
from eventlog.storage.writer_lives import WriterLives

_Answer = TypeVar("_Answer")
_END, _WRITER = L.HEAD_END, L.HEAD_WRITER
SLOT_BYTES = tuple(slot * 8 for slot in L.HEAD_SLOTS)
OTHER_SLOT = SLOT_BYTES[0] ^ SLOT_BYTES[1]


class LogEnd(WriterFiles):
    """What a process knows and holds in order to write to one partition."""

    # fmt: off
    __slots__ = (  # a dictionary this large would slow the hot path
        "_flusher", "_flushes", "_home", "_index_interval", "_last_slot", "_life", "_page", "_pwrite", "_pwritev",
        "_segment_bytes", "_segment_ms", "_sequences", "_stamps_appends", "_tail", "has_written", "lives",
    )
    # fmt: on

    def __init__(self, log: PartitionFiles, flusher: Flusher) -> None:
        config = log.config
        super().__init__(log)
        self._flusher = flusher
        self._home = log.segments.home
        self._pwrite = log.context.fs.pwrite
        self._pwritev = log.context.fs.pwritev
        self.has_written = False
        self._index_interval = config.index_interval_bytes
        self._segment_bytes = config.segment_bytes
        self._segment_ms = config.segment_ms
        self._stamps_appends = config.message_timestamp_type == "LogAppendTime"
        self._flushes = config.durability == "disk" or config.flush_messages != NEVER or config.flush_ms != NEVER
        self._page = log.head.page
        self._tail = Tail(log.head.end_state(), config.index_interval_bytes)
        self._last_slot = SLOT_BYTES[0]  # where the end was published last
        self._sequences = ProducerSequences(log)
        self.lives = WriterLives(log)
        self._life = 0  # the one that it publishes in, as long as its token is in the head

    def after_fork(self) -> None:
        """In a forked child: start with a free lock, own descriptors and an own identity."""
        self._mutex = self._lock.guard = Mutex()
        self._sequences = ProducerSequences(self._log)  # the producers that it knew are the parent's
        self._release()

    # --- taking over ---

    def while_held(self, call: Callable[[], _Answer], *, is_held: bool) -> _Answer:
        """Call while this process holds the partition, as its writer; ``is_held`` says that the caller does already.

        No context manager: those that are generators keep what they hold when an interrupt comes on the way in or out.
        """
        if is_held:
            return call()
        with self._mutex:
            try:
                self.lock_and_take_over()
                return call()
            finally:
                if self._lock_fd >= 0:
                    fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def lock_and_take_over(self) -> None:
        """Take the ``flock``, and become the writer. The caller holds the in-process lock, and frees both."""
        began = time.monotonic()
        if self._lock_fd < 0 or self._lock.is_lost():
            self._open_lock()
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pass_on_handlers(error)
            wait_for_lock(self._log, self._lock_fd, began, self._log.context.lock_timeout)
        self.look()
        if self._words.item(_WRITER) != self._token:
            self._take_over()
        self._log.recently_used = True

    def _take_over(self) -> None:
        """Become the writer: learn the published end, open what it lies in, and tidy up behind it."""
        self._refuse_unless_writable()
        if self._log.head.is_pending():
            self._settle()
        state = self._log.head.end_state()
        # An append failed, and its new segment may have been removed and made anew; or the life is another one, and
        # what this descriptor would be told is about the last.
        if self._token == NOBODY or self._life != self._log.head.life:
            self._close_active()
        self._tidy_up(state)
        self._life = self.lives.enter(self._tail.end_offset if self.has_written else 0)
        self._tail.load(state)
        self._sequences.begin_at(state.end_offset)
        self._last_slot = SLOT_BYTES[self._log.head.slot_in_force()]
        self.has_written = True
        token = _new_token()
        self._words[_WRITER] = self._token = token

    def _settle(self) -> None:
        """Publish what a committed transaction had no more time to publish here, or forget what an aborted one wrote.

        It is known to be over: while it is being committed, its process holds the lock. A crash before the last
        store repeats this; after it, the bytes of an aborted one are like those of any writer that died.
        """
        head = self._log.head
        base = head.end_offset
        journal = self._log.context.journal
        life = journal.life()
        if journal.is_committed(*head.transaction()):
            head.publish_prepared(life)
            if self._words.item(L.HEAD_SLEEPING) > base:
                wake(self._words, _END)
        self._words[_WRITER] = L.WRITER_NONE

    def settle(self) -> bool:
        """Settle what a transaction left here whose process died; False while another has it in hand."""
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._mutex,))
            return taken and self._try_settle()
        finally:
            if taken:
                self._mutex.release()

    def _try_settle(self) -> bool:
        try:
            if self._lock_fd < 0:
                self._open_lock()
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._log.head.is_pending():
                self._take_over()
        except BlockingIOError as error:
            pass_on_handlers(error)
            return False
        finally:
            if self._lock_fd >= 0:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return True

    def undo(self) -> None:
        """Clear away what a failed append wrote, as far as the device lets us; the next one takes over anew.

        It was reported as not written. If nobody appends before the log is opened again, recovery would find a whole
        batch, and take it for one that a dead writer had no time to report.
        """
        if self._words.item(_END) != L.END_DELETED:
            with suppress(OSError, EventLogError):
                self._tidy_up(self._log.head.end_state())

    def _tidy_up(self, state: EndState) -> None:
        """Open the segment that the published end lies in, and clear away everything behind it."""
        active = self._active
        if active is None or active.base_offset != state.segment_base or active.is_lost() or not active.is_in_place():
            self._open_active(state.segment_base, create=False)
        assert self._active is not None
        stray = os.path.join(self._log.directory, segment_name(state.end_offset, LOG))
        if state.end_offset != state.segment_base and self._fs.exists(stray):
            self._refuse_if_gone()
            remove_segment_files(self._fs, self._log.directory, state.end_offset)
            self._log.segments.remove(state.end_offset)
        if self._fs.size(self._active.fd) < state.position:
            raise CorruptSegmentError(
                "the segment is shorter than what was published", path=self._active.path, topic=self._log.topic,
                partition=self._log.partition, position=state.position, hint="open the log again to recover it",
            )  # fmt: skip
        self._active.tidy(state)

    def _roll(self) -> None:
        """Seal the active segment and begin the next one; see the module's docstring for the crash cases."""
        tail, active = self._tail, self._active
        assert active is not None
        self._refuse_if_gone()
        tail.seal()
        active.append_due(tail.state(), *tail.take_due())
        active.seal_indexes(tail.state(), tail.end_offset)
        bases = self._log.segments.bases(tail.segment_base)
        for base in bases[-2:-1]:
            self._flusher.sync_before_roll(base)
            with suppress(EventLogError):  # the journal's device failed, which concerns transactions alone
                self._flusher.outcomes.sync(is_held=True)  # a power cut without them would take what follows
        remove_segment_files(self._fs, self._log.directory, tail.end_offset)
        self._sequences.sealed(tail.end_offset)
        tail.begin_segment()
        self._open_active(tail.segment_base, create=True)

    # --- writing ---

    def write_behind(self, batches: Sequence[EncodedBatch]) -> tuple[AppendResult, EndState]:
        """Write batches as `LogWriter.append_batch` does; return the end behind them, which the caller publishes."""
        if self._stamps_appends:
            batches = self.stamped(batches)
        tail = self._tail
        base = tail.end_offset
        parts, size, count, timestamp = joined(batches, base, self._home)
        is_full = (
            tail.position + size > self._segment_bytes
            or timestamp - tail.first_timestamp > self._segment_ms
            or base + count - tail.segment_base > L.MAX_RELATIVE_OFFSET
        )
        if is_full and tail.position:
            self._roll()
        assert self._active is not None
        if len(parts) > MAX_PARTS:
            parts = [b"".join(parts)]
        written = self._pwritev(self._active_fd, parts, tail.position)
        if written != size:
            self._write_rest(parts, written, tail.position)
        add_all(tail, batches)
        state = tail.state()
        if tail.due_offset_entries:
            self._active.append_due(state, *tail.take_due())
        return AppendResult(base, base + count - 1, timestamp, False), state

    def stamped(self, batches: Sequence[EncodedBatch]) -> list[EncodedBatch]:
        """Return the batches with the present time as that of all records."""
        now = clock_ms(self._log.context.clock.time())
        return [batch.with_append_time(now) for batch in batches]

    def _write_rest(self, data: bytes | list[bytes], written: int, position: int) -> None:
        """Go on after a short write: a full disk shows itself now, and nothing was published."""
        whole = data if isinstance(data, bytes) else b"".join(data)
        self._fs.write_all(self._active_fd, [whole[written:]], position + written)

    # --- failed syncs ---

    def is_poisoned(self) -> bool:
        """Tell whether a sync has failed, here or in another process."""
        return self._log.head.has_failed()

    def stop(self, *, is_held: bool) -> None:
        """After a failed sync was noted, refuse all further appends; ``is_held``: the caller holds the lock."""
        if is_held:
            self._stop()
            return
        with self._mutex:
            try:
                with self._lock:
                    self._stop()
            except LockTimeoutError:  # of a process that was stopped: what it writes when it goes on is refused as well
                self._stop()

    def poison_locked(self) -> None:
        """Note that the device has failed, and do that. For who holds the lock."""
        self._log.head.note_failure()
        self._stop()

    def _stop(self) -> None:
        if self._log.head.has_failed():  # and no recovery has begun meanwhile
            self._words[_WRITER] = L.WRITER_POISONED
            self._token = NOBODY

    def flushed(self, life: int, end_offset: int) -> None:
        """Note that all records of this life before the offset are on the device."""
        self.lives.flushed(life, end_offset)

    def refuse_lost(self) -> None:
        """Raise StorageError, once, if records that were written here may have gone with a life that is over."""
        self.lives.refuse_lost(self._tail.end_offset)


def add_all(tail: Tail, batches: Sequence[EncodedBatch]) -> None:
    """Advance over the batches."""
    for batch in batches:
        tail.add(batch.size, tail.end_offset + batch.records, batch.max_timestamp)


def _new_token() -> int:
    """Return a writer's identity, for the head: whoever finds another one there looks at the head again."""
    return secrets.randbits(62) | 1
