"""The producers of a partition in the hands of its writer: which appends are new, and which are repeated ones.

All of it happens under the partition's locks, within an append: `admit` before anything is written, and a store of the
published end behind it. The next `admit` notes what was admitted before, if it was published; without that store, after
an interrupt or a failure, it looks whether the batch is in the log. So a batch counts as written exactly if it was
published, wherever an append may end.

A producer id that this process has made itself is nobody else's: all of its batches pass by here, and nothing needs to
be read. For any other id the table must be complete: it is read from the newest snapshot and the headers of what
follows, once, and goes on with what others have appended since.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventlog.clock import wall_ms
from eventlog.errors import CorruptSegmentError, EventLogError
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format.layouts import NO_PRODUCER_ID
from eventlog.format.producer_stamp import ProducerStamp, sequence_after
from eventlog.format.record_batch import RecordBatch
from eventlog.model import AppendResult
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.producer_snapshot import LastBatch, read_snapshot, snapshot_offsets, write_snapshot
from eventlog.storage.producer_state import LONGEST_RUN, ProducerTable

_EXPIRATION_MS = 24 * 3600 * 1000  # Kafka's producer.id.expiration.ms
_MANY_BATCHES = 4096  # after reading so many, a snapshot spares the next process from doing it again
_MANY_PRODUCERS = 1000  # from here on, a table that doubles is searched for producers that were not heard of


class ProducerSequences:
    """Tells repeated batches from new ones."""

    __slots__ = ("_admitted", "_asked", "_complete_until", "_ended", "_log", "_many", "_table", "_time", "published")

    def __init__(self, log: PartitionFiles) -> None:
        self._log = log
        self._time = log.context.clock.time
        self._table = ProducerTable(log.topic, log.partition)
        # Before this offset the table holds every producer; None: it holds only those of this process.
        self._complete_until: int | None = None
        self._asked = False  # for a producer of elsewhere, since a segment was last sealed
        # Not in the table yet: the stamp of the first record, how many were published, the offset of the first, and how
        # many more were admitted last.
        self._admitted: tuple[ProducerStamp, int, int, int] | None = None
        self.published = -1  # the log end offset that the last append of a producer published
        self._ended: list[int] = []  # producers of this process that send no more
        self._many = _MANY_PRODUCERS

    def admit(self, stamp: ProducerStamp, records: int, is_own: bool, end_offset: int) -> AppendResult | None:
        """Return where the records were written before; None when they are new, and are to be written at the end.

        Raises OutOfOrderSequenceError and ProducerFencedError, see `ProducerTable.find`.
        """
        if self._admitted is not None:
            first, count, offset, last = self._admitted
            count += last
            if (  # the shortest way: a producer that goes on, with nobody else's records in between
                self.published == offset + count == end_offset
                and is_own
                and stamp.sequence == sequence_after(first.sequence, count)
                and stamp.producer_id == first.producer_id
                and stamp.epoch == first.epoch
                and count < LONGEST_RUN
            ):
                self._admitted = first, count, offset, records
                return None
            self._note(end_offset)
        if self._ended:
            self._forget_ended()
        if not is_own:
            self._learn(end_offset)
        earlier = self._table.find(stamp, records)
        if earlier is not None:
            return self._earlier(stamp, records, earlier)
        self._admitted = stamp, 0, end_offset, records
        if len(self._table.states) > self._many:
            self._forget_unused()
            self._many = max(_MANY_PRODUCERS, 2 * len(self._table.states))
        return None

    def begin_at(self, end_offset: int) -> None:
        """Note that the log ends there: what was published behind it has been lost, as by a failed sync."""
        if self.published > end_offset:
            self.published = -1
        if self._complete_until is not None and self._complete_until > end_offset:
            self._complete_until = None

    def _note(self, end_offset: int) -> None:
        """Put what was admitted into the table, as far as it was published."""
        assert self._admitted is not None
        first, count, offset, last = self._admitted
        end = offset + count
        if self.published == end + last or (end < end_offset and self._is_there(first.after(count), end)):
            count += last
        self._note_run(first, count, offset)
        self._admitted = None

    def _note_run(self, first: ProducerStamp, count: int, offset: int) -> None:
        if count:
            self._table.add(first, count, offset)
            if self._complete_until == offset:
                self._complete_until = offset + count

    def _is_there(self, stamp: ProducerStamp, offset: int) -> bool:
        """An append did not come to its end: see whether its records were published."""
        batch = self._batch_at(offset)
        return batch is not None and _is_of(batch, stamp)

    def _earlier(self, stamp: ProducerStamp, records: int, offset: int) -> AppendResult:
        """Return where repeated records lie, with the time that the log has for them, if it can be read."""
        batch = self._batch_at(offset)
        timestamp = batch.max_timestamp if batch is not None and _is_of(batch, stamp) else -1
        return AppendResult(offset, offset + records - 1, timestamp, False)

    def _batch_at(self, offset: int) -> RecordBatch | None:
        try:
            return LogCursor(self._log, offset).next_batch()
        except EventLogError as error:  # damaged, or not there any more
            pass_on_handlers(error)
            return None

    def forget(self, producer_id: int) -> None:
        """A producer of this process ends. Takes no lock: the next append sees to it."""
        self._ended.append(producer_id)

    def _forget_ended(self) -> None:
        """Forget those that ended. A complete table keeps them, for others who may have learned of their ids."""
        while self._ended:
            producer_id = self._ended.pop()
            if self._complete_until is None:
                self._table.forget(producer_id)

    # --- producers of elsewhere ---

    def _learn(self, end_offset: int) -> None:
        """Make the table complete up to the end."""
        self._asked = True
        start = self._complete_until
        if start is None:
            start = self._read_snapshot()
        count = 0
        for batch in self._batches(start, end_offset):
            count += 1
            self._note_read(batch)
        if self._complete_until is None:
            self._forget_unused()
        self._complete_until = end_offset
        if count > _MANY_BATCHES:
            self._write_snapshot(end_offset)

    def _note_read(self, batch: RecordBatch) -> None:
        if batch.producer_id != NO_PRODUCER_ID:
            stamp = ProducerStamp(batch.producer_id, batch.producer_epoch, batch.base_sequence)
            used_ms = min(batch.max_timestamp, self._now_ms())
            self._table.add(stamp, batch.last_offset - batch.base_offset + 1, batch.base_offset, used_ms)

    def _read_snapshot(self) -> int:
        """Take over the newest snapshot that counts; return the offset from which on the log is to be read."""
        own = list(self._table.items())
        table, offset = self._newest_snapshot()
        for producer_id, state in own:  # what passed by here is known best
            table.states[producer_id] = state
        self._table = table
        return max(offset, self._first_that_matters())

    def _newest_snapshot(self) -> tuple[ProducerTable, int]:
        log = self._log
        end_offset = log.head.end_offset
        for offset in snapshot_offsets(log.context.fs, log.directory):
            table = ProducerTable(log.topic, log.partition)
            last = read_snapshot(log.context.fs, log.directory, offset, table)
            if last is not None and offset <= end_offset and last == self._last_before(offset):
                return table, offset
        return ProducerTable(log.topic, log.partition), log.start_offset

    def _last_before(self, offset: int) -> LastBatch:
        batch = self._batch_at(offset - 1) if offset > self._log.start_offset else None
        return LastBatch() if batch is None else LastBatch(batch.checksum, batch.header_offset)

    def _first_that_matters(self) -> int:
        """Return the start of the first segment that has records of the last day, by their timestamps."""
        log = self._log
        state = log.head.end_state()
        horizon = self._now_ms() - _EXPIRATION_MS
        first = state.segment_base
        for base in reversed(log.segments.bases(first)):
            if base < state.segment_base:
                segment = log.segments[base]
                log.ensure_indexes(segment)
                largest = segment.time_index.largest()
                if largest is not None and largest < horizon:
                    break
                first = base
        return first

    def _batches(self, start: int, end_offset: int) -> Iterator[RecordBatch]:
        """Yield what lies from ``start`` up to ``end_offset``; damaged batches are passed by."""
        cursor = LogCursor(self._log, start)
        while cursor.next_offset < end_offset:
            try:
                batch = cursor.next_batch()
            except CorruptSegmentError as error:
                cursor.seek(end_offset if error.next_offset is None else error.next_offset)
                continue
            if batch is None:
                return
            yield batch

    # --- sealing ---

    def sealed(self, end_offset: int) -> None:
        """A segment was sealed: write a snapshot, if the table is complete and someone has use for it."""
        if self._complete_until is None:
            return
        if self._asked:
            self._note_before_sealing()
            self._learn(end_offset)
            self._write_snapshot(end_offset)
        else:
            self._complete_until = None
        self._asked = False

    def _note_before_sealing(self) -> None:
        """Note what is published; what this very append is about to write remains admitted."""
        if self._admitted is not None:
            first, count, offset, last = self._admitted
            if self.published == offset + count + last:
                count, last = count + last, 0
            self._note_run(first, count, offset)
            self._admitted = (first.after(count), 0, offset + count, last) if last else None

    def _write_snapshot(self, end_offset: int) -> None:
        log = self._log
        self._forget_unused()
        with suppress(OSError):  # whoever misses it reads the headers
            write_snapshot(log.context.fs, log.directory, self._table, end_offset, self._last_before(end_offset))

    def _forget_unused(self) -> None:
        now_ms = self._now_ms()
        self._table.forget_unused(now_ms - _EXPIRATION_MS, now_ms)

    def _now_ms(self) -> int:
        return wall_ms(self._time())


def _is_of(batch: RecordBatch, stamp: ProducerStamp) -> bool:
    return (batch.producer_id, batch.producer_epoch, batch.base_sequence) == stamp[:3]
