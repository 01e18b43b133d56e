"""Read a segment batch by batch, every CRC checked, and go on behind damage."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from eventlog.errors import CorruptSegmentError
from eventlog.format.columns import BatchDamage
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.resync import Damage, batch_behind
from eventlog.storage.segment import Segment
from eventlog.storage.tail import Tail


def _never(_: RecordBatch) -> bool:
    return False


@attrs.frozen
class DamagedRange:
    """Offsets that cannot be read: from ``base_offset`` up to, but not including, ``next_offset``.

    ``next_offset`` is None when nothing readable follows and nobody knows how many records there were.
    """

    path: str
    position: int
    base_offset: int
    next_offset: int | None
    reason: str

    def error(self, topic: str, partition: int) -> CorruptSegmentError:
        """Return the error that a reader gets who arrives here."""
        hint = "nothing readable follows in this segment; `eventlog verify` shows the whole picture"
        if self.next_offset is not None:
            lost = f"offsets {self.base_offset} to {self.next_offset - 1} are lost"
            hint = f"{lost}; seek to {self.next_offset} to go on"
        return CorruptSegmentError(
            self.reason, path=self.path, topic=topic, partition=partition, position=self.position,
            base_offset=self.base_offset, next_offset=self.next_offset, hint=hint,
        )  # fmt: skip


def scan_segment(
    segment: Segment, tail: Tail, end_offset: int | None = None, is_end: Callable[[RecordBatch], bool] = _never
) -> list[DamagedRange]:
    """Advance ``tail`` from its position to the end of the segment's last whole batch before one that ``is_end``.

    Returns what had to be jumped over on the way: what follows it ends before ``end_offset``, if that is known. Bytes
    behind the last batch are left to the caller.
    """
    damaged: list[DamagedRange] = []
    segment.refresh()
    while True:
        try:
            for batch in segment.batches(tail.position, tail.end_offset):
                if is_end(batch):
                    return damaged
                tail.add(batch.size, batch.last_offset + 1, batch.max_timestamp)
            return damaged
        except BatchDamage as damage:
            following = batch_behind(Damage(segment, tail.position, tail.end_offset, end_offset))
            if following is None or is_end(following):
                return damaged
            base, reached = following.header_offset, tail.end_offset
            if base > reached:
                damaged.append(DamagedRange(segment.path, tail.position, reached, base, damage.reason))
                tail.jump(following.position, base)
            tail.add(following.size, following.last_offset + 1, following.max_timestamp)


def bytes_behind(segment: Segment, position: int) -> int:
    """Return how many bytes from ``position`` on are not just trailing zeros."""
    data, size = segment.view
    rest = np.frombuffer(data, np.uint8, max(0, size - position), min(position, size))
    nonzero = np.flatnonzero(rest != 0)  # of a copy: NumPy raises when a writer changes what it counts
    return int(nonzero[-1]) + 1 if len(nonzero) else 0
