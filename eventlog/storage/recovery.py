"""Make a partition's head true again, from what the segments hold.

Runs when the first process of a session opens the partition, when the head is missing or damaged, and after a failed
sync. Under the partition's lock:

0. Begin a new life of the log (`Head.begin_life`): what other processes still do for the last one counts for nothing
   from here on. A crash leaves a partition to be recovered.
1. Begin at the recovery point, which says under its own checksum what was on the device; without one, at the last
   segment but one (older ones were synced when their successors were sealed). Compare the index entries before it with
   the checksum that it keeps of them, and build them anew if they do not fit: they are not synced before their segment
   is sealed.
2. Scan from there, every CRC checked. Damage with whole batches behind it is jumped over and reported; the bytes stay
   where they are, and a reader who arrives there is told which offsets are lost.
   The log ends before the first batch of a transaction that the journal does not know as committed. Segments behind it
   are set aside: a power cut has brought that batch back in place of records that were not durable.
3. Bytes behind the last whole batch, at the very end, are a torn tail: copy them to ``<segment>.torn.<position>`` and
   sync the copy, then overwrite them with zeros. A crash in between repeats this step. On a full disk, which is where
   a write tears without any crash, there is no copy: a log must open there, and no record is lost with these bytes.
   But when the recovery point says that records were on the device there, this is damage: offsets are never given
   out twice, so the log goes on behind it, in a new segment. A crash in between leaves that segment, empty.
   What an unfinished transaction wrote is overwritten without a copy: nobody was promised it.
4. After a failed sync, write what was scanned once more: the kernel may call clean what never reached the device, and
   the next sync brings it there. Write the index entries of what was scanned behind those before it.
5. Fill the head: the writer's word, which tells of a failed sync, and the session last. A crash before repeats all.

A log that may only be read is scanned in the same way into a private head, and nothing is written: an index that does
not fit is built anew in memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from eventlog.errors import LogFullError, StorageError
from eventlog.files.filesystem import translate
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.filenames import HEAD, LOG, TORN, segment_name
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.active_segment import ActiveSegment
from eventlog.storage.head import EndState, Head
from eventlog.storage.index_file import Entries, IndexFile
from eventlog.storage.index_rebuild import built_indexes, entry_is_true, index_checksums, indexes_fit
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.scan import DamagedRange, bytes_behind, scan_segment
from eventlog.storage.segment import Segment
from eventlog.storage.sync_marks import SyncMarks
from eventlog.storage.tail import Tail
from eventlog.storage.write_through import write_through

_LOG_START = 0  # nothing removes records yet: a log whose first segment begins later has lost some
_MISSING_BEFORE = "the records before this segment are missing"
_PATIENCE = 5.0  # seconds
logger = logging.getLogger("eventlog")


@attrs.frozen
class RecoveryReport:
    """What recovery found: nothing to tell when ``damaged`` and ``torn_bytes`` are empty."""

    scanned_bytes: int = 0
    torn_bytes: int = 0
    torn_copy: str | None = None
    damaged: tuple[DamagedRange, ...] = ()
    rebuilt_indexes: tuple[str, ...] = ()


def recover(log: PartitionFiles, head: Head | None) -> tuple[Head, RecoveryReport]:
    """Return a true head and what was found on the way. The caller holds the partition's lock."""
    has_failed = head is not None and head.has_failed()
    if head is None or log.context.readonly:
        return _Recovery(log, head, write_again=has_failed).run()
    marks = SyncMarks(head, log.context.slots)
    life = head.next_life(log.context.session)
    _refuse_unless_over(log, marks, life - 1)
    left = marks.all()
    head.begin_life(life)
    found = _Recovery(log, head, write_again=has_failed).run()
    marks.forget_dead(left)  # whatever they were told: it was written again, or it is another session
    return found


def _refuse_unless_over(log: PartitionFiles, marks: SyncMarks, life: int) -> None:
    """Wait for syncs that began in a life before this one: what they store would count for the new one."""
    left = marks.living(marks.wait(marks.older_than(life), _PATIENCE))
    if left:
        raise StorageError(
            f"{len(left)} syncs have been under way since before the last recovery", path=log.directory,
            topic=log.topic, partition=log.partition,
            hint="is a process stopped, or its device stuck? Let it go on, or kill it",
        )  # fmt: skip


def _with_checksums(point: EndState, segment: Segment) -> EndState:
    """Return a recovery point that is older than the checksums with those of what is there; any other as it is."""
    if point.index_checksum or point.time_checksum or not point.index_entries:
        return point
    found = index_checksums(segment, point.index_entries, point.time_entries)
    if found is None or not entry_is_true(segment, segment.offset_index.entries(point.index_entries)[-1]):
        return point
    return point._replace(index_checksum=found[0], time_checksum=found[1])


def _keep_with(index: IndexFile, count: int, last: Entries) -> None:
    """Use, in a log that may only be read, ``count`` entries: those of the file, and behind them the last ones."""
    index.keep(np.concatenate([index.entries(count - len(last)), last]))


class _Recovery:
    def __init__(self, log: PartitionFiles, head: Head | None, *, write_again: bool) -> None:
        self._log = log
        self._write_again = write_again
        self._is_committed: Callable[[RecordBatch], bool] | None = None  # asked of the journal when it is needed
        self._has_unfinished = False
        self._outcomes = L.NO_OUTCOMES  # the life of the journal in which those were found of all that is here
        self._fs = log.context.fs
        self._writes = not log.context.readonly
        self._head = head
        self._point = head.recovery_point() if head is not None else None
        self._tail = Tail(EndState(), log.config.index_interval_bytes)
        self._report = RecoveryReport()

    def run(self) -> tuple[Head, RecoveryReport]:
        bases = self._log.segments.bases()
        if self._writes:
            self._remove_temporary_files()
            if not bases:
                ActiveSegment(self._fs, self._log.directory, 0, create=True).close()
                bases = [0]
        if bases:
            self._scan(bases)
        elif self._point is not None and self._point.end_offset > _LOG_START:
            self._lose_until(self._point.end_offset, self._log.segments[_LOG_START])
        return self._finished_head(bases), self._report

    # --- steps 1 and 2 ---

    def _start(self, bases: list[int]) -> EndState:
        point = self._point
        if point is not None and point.segment_base in bases:
            segment = self._log.segments[point.segment_base]
            if segment.refresh() >= point.position:
                self._point = self._with_true_indexes(segment, _with_checksums(point, segment))
                return self._point
            return EndState(end_offset=point.segment_base, segment_base=point.segment_base)
        base = bases[max(0, len(bases) - 2)]
        return EndState(end_offset=base, segment_base=base)

    def _with_true_indexes(self, segment: Segment, point: EndState) -> EndState:
        """Build the indexes anew up to the recovery point, if they are not what it says; return it as it is then."""
        if indexes_fit(segment, point):
            return point
        self._count(rebuilt_indexes=(*self._report.rebuilt_indexes, segment.offset_index.path))
        interval = self._log.config.index_interval_bytes
        state, offsets, times = built_indexes(segment, interval, sealed=False, stop_offset=point.end_offset)
        if not self._writes:
            segment.offset_index.keep(offsets)
            segment.time_index.keep(times)
        else:
            try:
                segment.offset_index.replace(offsets)
                segment.time_index.replace(times)
            except OSError as error:
                pass_on_handlers(error)
                self._refuse_unless_full(error, segment)
                state = EndState()
        return point.with_indexes_of(state)

    def _refuse_unless_full(self, error: OSError, segment: Segment) -> None:
        """Raise the error again unless a full disk is all: then the segment goes on without what indexes it had.

        A log must open there. Looking something up takes longer; who needs the indexes of a sealed one rebuilds them.
        """
        if not isinstance(translate(error, segment.path), LogFullError):
            raise error
        logger.warning("%s: no space left for its indexes", segment.path)

    def _scan(self, bases: list[int]) -> None:
        if bases[0] > _LOG_START:
            path = self._log.segments[bases[0]].path
            self._add_damage(DamagedRange(path, 0, _LOG_START, bases[0], _MISSING_BEFORE))
        start = self._start(bases)
        self._tail.load(start)
        todo = [base for base in bases if base >= start.segment_base]
        for base, following in zip(todo, [*todo[1:], None], strict=True):
            if base != start.segment_base and not self._enter(base):
                continue
            self._scan_one(self._log.segments[base], following)
            if self._has_unfinished:
                self._set_aside_behind(base, todo)
                break
        self._end()

    def _enter(self, base: int) -> bool:
        """Go on in the next segment; False for one that the segment before has outgrown."""
        reached = self._tail.end_offset
        if base < reached:
            self._set_aside(base)
            return False
        if base > reached:
            path = self._log.segments[base].path
            self._add_damage(DamagedRange(path, 0, reached, base, _MISSING_BEFORE))
        self._tail.load(EndState(end_offset=base, segment_base=base))
        return True

    def _scan_one(self, segment: Segment, following: int | None) -> None:
        begin = self._tail.position
        for damage in scan_segment(segment, self._tail, following, self._is_unfinished):
            self._add_damage(damage)
        self._count(scanned_bytes=self._tail.position - begin)
        if self._writes and self._write_again:
            self._write_through(segment, begin)
        self._complete_indexes(segment, None if self._has_unfinished else following)

    def _is_unfinished(self, batch: RecordBatch) -> bool:
        """Tell whether the batch is of a transaction that was never committed: then the log ends before it."""
        if not batch.is_transactional:
            return False
        if self._is_committed is None:
            log = self._log
            since = 0 if self._head is None else self._head.recovery_journal()
            self._outcomes = log.context.journal.life()
            self._is_committed = log.context.journal.committed_batches(log.topic_id, log.partition, since)
        self._has_unfinished = not self._is_committed(batch)
        return self._has_unfinished

    def _write_through(self, segment: Segment, begin: int) -> None:
        """After a failed sync, write what was found once more."""
        with self._fs.opened(segment.path, os.O_RDWR) as fd:
            write_through(self._fs, fd, segment, begin, self._tail.position)

    # --- step 3 ---

    def _end(self) -> None:
        """Deal with what lies behind the last whole batch of the last segment."""
        segment = self._log.segments[self._tail.segment_base]
        torn = bytes_behind(segment, self._tail.position)
        point = self._point
        if point is not None and point.end_offset > self._tail.end_offset:
            self._lose_until(point.end_offset, segment)
        elif torn:
            self._cut_tail(segment, torn)

    def _lose_until(self, end_offset: int, segment: Segment) -> None:
        reached = self._tail.end_offset
        reason = "records that were on the device are gone"
        self._add_damage(DamagedRange(segment.path, self._tail.position, reached, end_offset, reason))
        self._complete_indexes(segment, end_offset)
        self._tail.end_offset = end_offset
        if self._writes:  # go on in a segment of its own, named by its offset: within one, offsets have no gap
            ActiveSegment(self._fs, self._log.directory, end_offset, create=True).close()
            self._log.segments.refresh()
            self._tail.begin_segment()

    def _cut_tail(self, segment: Segment, torn: int) -> None:
        if self._has_unfinished:
            self._clear_tail(segment)  # it was never acknowledged, and is no damage
            return
        position = self._tail.position
        copy = f"{segment.path.removesuffix(LOG)}{TORN}.{position}"
        logger.warning(
            "%s: %d bytes behind offset %d are no whole batch", segment.path, torn, self._tail.end_offset - 1
        )
        self._count(torn_bytes=torn)
        if not self._writes:
            return
        try:
            self._fs.replace_file(copy, segment.data[position : position + torn])
            self._count(torn_copy=copy)
        except OSError as error:
            pass_on_handlers(error)
            if not isinstance(translate(error, copy), LogFullError):
                raise
            logger.warning("%s: no space left for a copy of these bytes", segment.path)
        self._clear_tail(segment)

    def _clear_tail(self, segment: Segment) -> None:
        if self._writes:
            with self._fs.opened(segment.path, os.O_RDWR) as fd:
                self._fs.write_zeros(fd, self._tail.position, segment.size)

    def _set_aside_behind(self, last: int, bases: list[int]) -> None:
        """Rename the segments behind the one that the log ends in."""
        for base in bases:
            if base > last:
                self._set_aside(base)
        self._log.segments.refresh()

    def _set_aside(self, base: int) -> None:
        """Rename a segment that the one before has outgrown: a roll that was undone, and came back in a power cut."""
        path = os.path.join(self._log.directory, segment_name(base, LOG))
        logger.warning("%s: does not go on where the segment before it ends; set aside", path)
        if self._writes:
            self._fs.rename(path, path.removesuffix(LOG) + TORN)

    # --- step 4 ---

    def _complete_indexes(self, segment: Segment, sealed_at: int | None) -> None:
        """Add the entries of what was scanned to those before; ``sealed_at`` is where the next segment begins."""
        tail = self._tail
        if sealed_at is not None:
            reached = tail.end_offset
            if reached < sealed_at:
                tail.jump(tail.position, sealed_at)
            tail.seal()
            tail.end_offset = reached
        offsets, times = tail.take_due()
        if not (offsets or times or sealed_at is not None):
            return
        if not self._writes:
            _keep_with(segment.offset_index, tail.index_entries, np.frombuffer(offsets, L.OFFSET_INDEX_ENTRY))
            _keep_with(segment.time_index, tail.time_entries, np.frombuffer(times, L.TIME_INDEX_ENTRY))
            segment.indexes_checked = sealed_at is not None
            return
        active = ActiveSegment(self._fs, self._log.directory, segment.base_offset)
        try:
            active.append_due(tail.state(), offsets, times)
            if sealed_at is not None:
                active.seal_indexes(tail.state(), sealed_at)
        except OSError as error:
            pass_on_handlers(error)
            self._refuse_unless_full(error, segment)
            tail.load(tail.state().with_indexes_of(EndState()))
        finally:
            active.close()

    # --- step 5 ---

    def _finished_head(self, bases: list[int]) -> Head:
        head = self._head
        if not self._writes:
            head = Head.private()
        elif head is None:
            head = Head.create(self._fs, os.path.join(self._log.directory, HEAD), self._log.segments.home)
        start = EndState(bases[0], bases[0]) if bases else EndState()
        journal_offset = 0 if self._head is None else self._head.recovery_journal()
        if journal_offset:  # a power cut may have taken the journal's end, whose offsets are given out anew
            journal_offset = min(journal_offset, self._log.context.journal.end_offset())
        head.set_recovery_point(self._point or start, journal_offset)
        head.reset(self._tail.state(), self._log.context.session, _LOG_START, self._outcomes)
        return head

    # --- the report ---

    def _add_damage(self, damage: DamagedRange) -> None:
        logger.warning(
            "%s: %s from position %d, offset %d",
            damage.path,
            damage.reason,
            damage.position,
            damage.base_offset,
        )
        self._report = attrs.evolve(self._report, damaged=(*self._report.damaged, damage))

    def _count(self, scanned_bytes: int = 0, **changes: Any) -> None:
        scanned = self._report.scanned_bytes + scanned_bytes
        self._report = attrs.evolve(self._report, scanned_bytes=scanned, **changes)

    def _remove_temporary_files(self) -> None:
        for name in self._fs.listdir(self._log.directory):
            if name.endswith(".tmp"):
                with suppress(FileNotFoundError):
                    self._fs.unlink(os.path.join(self._log.directory, name))
