"""Read a partition's batches in order, from any offset, without a lock.

A reader trusts continuity and the CRC, nothing else: the published end is a hint that there is something to read. On
processors that reorder stores it may see the end before the bytes, so damage at a place is looked at again before it
becomes an error.
"""

from __future__ import annotations

import time
from bisect import bisect_right

from eventlog.errors import OffsetOutOfRangeError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.resync import Damage, batch_over
from eventlog.storage.scan import DamagedRange
from eventlog.storage.segment import Place, Segment
from eventlog.texts import shown

_LOOKS_AGAIN = 3
_PAUSE = 0.0005  # stores become visible within microseconds; this is ample, and rare


class LogCursor:
    """A place in a partition; ``next_offset`` is the offset of the record it returns next.

    Reads beyond the retained or published range raise OffsetOutOfRangeError, damaged ranges CorruptSegmentError.
    """

    def __init__(self, log: PartitionFiles, offset: int, *, check_crcs: bool = True) -> None:
        self.log = log
        self.next_offset = offset
        self._check = check_crcs
        self._segment: Segment | None = None
        self._position = 0
        self._base = offset  # what the batch at this position begins with: the CRC does not cover its base offset

    def seek(self, offset: int) -> None:
        """Go to ``offset``; it is looked up when the next batch is asked for."""
        self.next_offset = offset
        self._segment = None

    def next_batch(self) -> RecordBatch | None:
        """Return the batch that holds ``next_offset``, from there on, and step behind it; None at the end."""
        log = self.log
        offset = self.next_offset
        head = log.head
        end = head.words.item(L.HEAD_END)
        if offset >= end and (log.context.readonly or head.words.item(L.HEAD_WRITER) == L.WRITER_PENDING):
            log.look_again()
            end = log.head.words.item(L.HEAD_END)
        if offset >= end and self._segment is not None:
            return None
        if end == L.END_DELETED:
            log.end_offset  # noqa: B018  # raises UnknownTopicError
        segment = self._segment
        if segment is None:
            if not self._locate(end):
                return None
            segment = self._segment
            assert segment is not None
        found_segment, batch = log.found_by_time
        if batch is None or found_segment is not segment or batch.position != self._position:
            batch = self._read(segment)
        following = batch.last_offset + 1
        found = batch if batch.header_offset == offset else batch.from_offset(offset)
        self._position = batch.position + batch.size  # from here on without a call: no interrupt comes in between
        self.next_offset = self._base = following
        return found

    def _read(self, segment: Segment) -> RecordBatch:
        log = self.log
        try:
            data, size = segment.view
            if self._position + L.HEADER_BYTES > size:  # who follows the end of a log comes here with each append
                segment.refresh()
                data, size = segment.view
            batch = RecordBatch(data, self._position, size, log.topic, log.partition, segment.home, self._check)
            if batch.header_offset != self._base:
                raise BatchDamage(f"offset {batch.header_offset} where {self._base} belongs")
        except (BatchDamage, FileNotFoundError) as error:
            pass_on_handlers(error)
            batch = self._look_again()
        return batch

    def _locate(self, end: int) -> bool:
        """Find the place of ``next_offset``; False when that is the end and nothing is there yet."""
        log, offset = self.log, self.next_offset
        if not log.start_offset <= offset <= end:
            raise OffsetOutOfRangeError(
                f"offset {shown(offset)} is not within {log.start_offset} to {end}",
                topic=log.topic, partition=log.partition, offset=offset,
                hint="seek to an offset between beginning_offsets and end_offsets",
            )  # fmt: skip
        if offset == end:
            return False
        state = log.head.end_state()
        bases = log.segments.bases(state.segment_base)
        # Not behind the published segment: what lies there is of a roll that may never be published, and vanish again.
        at = bisect_right(bases, min(offset, state.segment_base)) - 1
        if at < 0:
            raise self._damage("the segment is missing", log.segments.path(log.start_offset), 0)
        segment = log.segments[bases[at]]
        active = segment.base_offset == state.segment_base
        found_segment, batch = log.found_by_time
        if batch is not None and found_segment is segment and batch.header_offset <= offset <= batch.last_offset:
            self.enter(segment, Place(batch.position, batch.header_offset))
            return True
        try:
            if not active:
                log.ensure_indexes(segment)
            place = _place_of(segment, offset, state.index_entries if active else None)
        except BatchDamage as damage:
            assert damage.position is not None and damage.base_offset is not None
            batch = self._over_damage(segment, damage.position, damage.base_offset, damage.reason)
            place = Place(batch.position, batch.header_offset)
        except FileNotFoundError as error:
            pass_on_handlers(error)
            raise self._damage("the segment is missing", segment.path, 0) from None
        self.enter(segment, place)
        return True

    def enter(self, segment: Segment, place: Place) -> None:
        """Read on at this place: a batch that holds ``next_offset`` begins there."""
        self._position, self._base = place
        self._segment = segment

    def remember(self, batch: RecordBatch) -> None:
        """Note that a search found this batch, the last one returned here, for whoever reads it next."""
        if batch.base_offset == batch.header_offset:  # whole
            self.log.found_by_time = self._segment, batch

    def _over_damage(self, segment: Segment, position: int, base_offset: int, reason: str) -> RecordBatch:
        """Return the batch that holds ``next_offset`` although the one that belongs at ``position`` is not there."""
        found = batch_over(Damage(segment, position, base_offset, self._end_of(segment), reason), self.next_offset)
        if found.batch is None:
            raise self._damage(found.damage.reason, segment.path, found.damage.position, found.next_offset)
        return found.batch

    def _end_of(self, segment: Segment) -> int:
        """Return the offset that the segment ends before."""
        ends = *self.log.segments.bases(), self.log.end_offset
        return min((end for end in ends if end > segment.base_offset), default=segment.base_offset)

    def _look_again(self) -> RecordBatch:
        """Read what was not whole at first sight: the log may have rolled, the file grown, a store been late."""
        segment = self._segment
        assert segment is not None
        for attempt in range(_LOOKS_AGAIN):
            self.log.segments.refresh()
            if self.next_offset in self.log.segments.bases(0) and self.next_offset != segment.base_offset:
                segment.forget()  # who reads a large log from end to end maps one segment at a time
                segment = self.log.segments[self.next_offset]
                self._segment, self._position, self._base = segment, 0, self.next_offset
            try:
                batch = segment.batch_at(self._position, check=self._check)
                if batch.header_offset == self._base:
                    return batch
                reason = f"offset {batch.header_offset} where {self._base} belongs"
            except BatchDamage as damage:
                reason = damage.reason
            except FileNotFoundError as error:
                pass_on_handlers(error)
                raise self._damage("the segment is missing", segment.path, self._position) from None
            if attempt:
                time.sleep(_PAUSE)
            else:
                segment.map_again()
        batch = self._over_damage(segment, self._position, self._base, reason)
        self._position = batch.position
        return batch

    def _damage(self, reason: str, path: str, position: int, following: int | None = None) -> Exception:
        """Return the error for damage at ``next_offset``, with the first offset that can be read behind it."""
        if self.log.is_gone():
            return self.log.gone()
        later = [base for base in self.log.segments.bases() if base > self.next_offset]
        next_offset = min([self.log.end_offset, *later] if following is None else [following, *later])
        damage = DamagedRange(path, position, self.next_offset, next_offset, reason)
        return damage.error(self.log.topic, self.log.partition)


def _place_of(segment: Segment, offset: int, index_entries: int | None) -> Place:
    """Find the batch that holds ``offset``; before damage is reported, in the file that is at the path now."""
    try:
        return segment.place_of(offset, index_entries)
    except BatchDamage:
        segment.map_again()
        segment.offset_index.forget()
    return segment.place_of(offset, index_entries)
