"""Check every byte of a partition that carries truth, and every index entry against it."""

from __future__ import annotations

import os
from itertools import pairwise

import attrs
import numpy as np

from eventlog.format.columns import BatchDamage
from eventlog.format.filenames import HEAD
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.head import Head
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.resync import Damage, batch_behind
from eventlog.storage.scan import DamagedRange
from eventlog.storage.segment import Segment


@attrs.frozen
class PartitionReport:
    """What `verify_partition` found. ``problems`` are complete sentences; damage loses records, a problem with an
    index or the head does not.
    """

    topic: str
    partition: int
    segments: int
    batches: int
    records: int
    bytes: int
    damaged: tuple[DamagedRange, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.damaged and not self.problems


def verify_partition(log: PartitionLog) -> PartitionReport:
    """Read everything up to the published end: CRCs, columns, continuity, indexes, head."""
    return _Verification(log).run()


class _Verification:
    def __init__(self, log: PartitionLog) -> None:
        self._log = log
        self._state = log.head.end_state()
        self._batches = self._records = self._bytes = 0
        self._damaged: list[DamagedRange] = []
        self._problems: list[str] = list(_head_problems(log))
        self._expected = log.start_offset

    def run(self) -> PartitionReport:
        bases = [base for base in self._log.segments.bases() if base <= self._state.segment_base]
        for base, following in pairwise([*bases, self._state.end_offset]):
            if base != self._expected:
                self._damage(self._log.segments[base], 0, base, "the records before this segment are missing")
            self._verify_segment(self._log.segments[base], following)
        if self._expected < self._state.end_offset:
            self._damage(
                self._log.segments[bases[-1] if bases else 0],
                0,
                self._state.end_offset,
                "published records are missing",
            )
        return PartitionReport(
            self._log.topic, self._log.partition, len(bases), self._batches, self._records, self._bytes,
            tuple(self._damaged), tuple(self._problems),
        )  # fmt: skip

    def _verify_segment(self, segment: Segment, end_offset: int) -> None:
        segment.map_again()
        self._expected, position = segment.base_offset, 0
        starts: list[tuple[int, int]] = []
        maxima: list[tuple[int, int]] = []  # (offset of the last record, largest timestamp so far)
        largest = -1
        while self._expected < end_offset:
            batch = self._batch_at(segment, position, end_offset)
            if batch is None:
                break
            position = batch.position + batch.size
            if not self._is_sound(segment, batch):
                continue
            largest = max(largest, batch.max_timestamp)
            starts.append((batch.header_offset - segment.base_offset, batch.position))
            maxima.append((batch.last_offset - segment.base_offset, largest))
            self._batches += 1
            self._records += len(batch)
            self._bytes += batch.size
            self._expected = batch.last_offset + 1
        self._check_indexes(segment, starts, maxima)

    def _batch_at(self, segment: Segment, position: int, end_offset: int) -> RecordBatch | None:
        """Return the batch at ``position``, or the first one behind damage there; None when nothing follows."""
        try:
            batch = segment.batch_at(position)
            if batch.header_offset == self._expected:
                return batch
            reason = f"offset {batch.header_offset} where {self._expected} belongs"
        except BatchDamage as damage:
            reason = damage.reason
        following = batch_behind(Damage(segment, position, self._expected, end_offset))
        if following is None:
            self._damage(segment, position, end_offset, reason)
        elif following.header_offset > self._expected:
            self._damage(segment, position, following.header_offset, reason)
        if following is not None and _is_restored(segment, following):
            place = f"{segment.path}: position {following.position}"
            self._problems.append(f"{place}: the first bytes of a batch are damaged, and its records are whole")
        return following

    def _is_sound(self, segment: Segment, batch: RecordBatch) -> bool:
        """Look into the batch: its columns, and what only a log with a leader has."""
        if batch.leader_epoch != 0:
            epoch = f"leader epoch {batch.leader_epoch} in a log that never had a leader"
            self._problems.append(f"{segment.path}: position {batch.position}: {epoch}")
        try:
            batch.check()
        except BatchDamage as damage:
            self._damage(segment, batch.position, batch.last_offset + 1, damage.reason)
            return False
        return True

    def _damage(self, segment: Segment, position: int, next_offset: int, reason: str) -> None:
        self._damaged.append(DamagedRange(segment.path, position, self._expected, next_offset, reason))
        self._expected = next_offset

    def _check_indexes(self, segment: Segment, starts: list[tuple[int, int]], maxima: list[tuple[int, int]]) -> None:
        active = segment.base_offset == self._state.segment_base
        segment.offset_index.forget()
        segment.time_index.forget()
        offsets = segment.offset_index.entries(self._state.index_entries if active else None)
        if active and len(offsets) < self._state.index_entries:
            self._problems.append(f"{segment.offset_index.path}: shorter than the head says")
        unknown = set(map(tuple, offsets.tolist())) - set(starts)
        false = [entry for entry in unknown if not self._is_lost(segment, *entry)]
        if false:
            self._problems.append(f"{segment.offset_index.path}: {len(false)} entries point to no batch")
        if len(starts) > 1 and not active and self._is_short(offsets, starts):
            self._problems.append(f"{segment.offset_index.path}: missing, or shorter than its segment needs")
        times = segment.time_index.entries(self._state.time_entries if active else None)
        known = dict(maxima)
        wrong = [entry for entry in times.tolist() if known.get(entry[1]) != entry[0] and not self._damaged]
        if wrong or (np.diff(times["timestamp"]) <= 0).any():
            self._problems.append(f"{segment.time_index.path}: entries do not fit the timestamps of the records")
        if not active and maxima and not self._damaged and (not len(times) or times["timestamp"][-1] != maxima[-1][1]):
            self._problems.append(f"{segment.time_index.path}: missing, or shorter than its segment needs")

    def _is_lost(self, segment: Segment, relative_offset: int, position: int) -> bool:
        """Tell whether an index entry points into a damaged range: then nobody can tell if it was true."""
        offset = segment.base_offset + relative_offset
        here = [found for found in self._damaged if found.path == segment.path and found.position <= position]
        return any(found.base_offset <= offset < (found.next_offset or offset + 1) for found in here)

    def _is_short(self, offsets: np.ndarray, starts: list[tuple[int, int]]) -> bool:
        last_indexed = int(offsets["position"][-1]) if len(offsets) else 0
        behind = starts[-1][1] - last_indexed
        return behind > 0 and behind >= self._log.config.index_interval_bytes


def _is_restored(segment: Segment, batch: RecordBatch) -> bool:
    """Tell whether the batch lies there in another form."""
    try:
        return bool(segment.batch_at(batch.position).header_offset != batch.header_offset)
    except BatchDamage:
        return True


def _head_problems(log: PartitionLog) -> list[str]:
    """Look at the page on disk: a log opened for reading has one of its own, made from the segments."""
    problems = []
    stored = Head.open(log.context.fs, os.path.join(log.directory, HEAD), writable=False, home=log.segments.home)
    if stored is None:
        if log.segments.bases():
            problems.append(f"{log.directory}/head: missing or no head; recovery will scan more")
    elif stored.recovery_point() is None:
        problems.append(f"{log.directory}/head: the recovery point is damaged; recovery will scan more")
    if not log.start_offset <= log.end_offset:
        problems.append(f"{log.directory}/head: the log ends before it starts")
    return problems
