"""Which of a partition's transactional batches were committed, by the outcomes in the journal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart
from eventlog.format.producer_stamp import records_between
from eventlog.format.record_batch import RecordBatch


class CommittedParts:
    """The parts that committed transactions have in one partition, by producer id and epoch.

    Those of one producer and epoch follow each other; offsets that were lost in a power cut may have been given to
    another producer since.
    """

    def __init__(self, outcomes: Iterable[TransactionOutcome], topic_id: str, partition: int) -> None:
        self._parts: dict[tuple[int, int], list[TransactionPart]] = {}
        for outcome in outcomes:
            if outcome.is_committed:
                for part in outcome.parts:
                    if part.topic_id == topic_id and part.partition == partition:
                        self._parts.setdefault((outcome.producer_id, outcome.epoch), []).append(part)
        for parts in self._parts.values():
            parts.sort(key=_base_offset)

    def holds(self, batch: RecordBatch) -> bool:
        """Tell whether the whole batch lies within a part, in its place: its sequence number says so."""
        parts = self._parts.get((batch.producer_id, batch.producer_epoch), [])
        at = bisect_right(parts, batch.base_offset, key=_base_offset) - 1
        if at < 0:
            return False
        part = parts[at]
        place = batch.base_offset - part.base_offset
        return batch.last_offset < part.end_offset and records_between(part.base_sequence, batch.base_sequence) == place


def _base_offset(part: TransactionPart) -> int:
    return part.base_offset
