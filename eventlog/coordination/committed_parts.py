"""Which of a partition's transactional batches were committed, by the outcomes in the journal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart
from eventlog.format.producer_stamp import records_between
from eventlog.format.record_batch import RecordBatch

Run = tuple[tuple[int, int], TransactionPart]  # the producer's id and epoch, and where its records lie


class CommittedParts:
    """The parts that committed transactions have in one partition, by producer id and epoch.

    Those of one producer and epoch follow each other; offsets that were lost in a power cut may have been given to
    another producer since. Outcomes that were written again say the same of several transactions at once: a part of
    these overlaps those that were there.
    """

    def __init__(self, outcomes: Iterable[TransactionOutcome], topic_id: str, partition: int) -> None:
        self._parts: dict[tuple[int, int], list[TransactionPart]] = {}
        for outcome in outcomes:
            if outcome.is_committed:
                for part in outcome.parts:
                    if part.topic_id == topic_id and part.partition == partition:
                        self._parts.setdefault((outcome.producer_id, outcome.epoch), []).append(part)
        for producer, parts in self._parts.items():
            self._parts[producer] = _joined(parts)

    def holds(self, batch: RecordBatch) -> bool:
        """Tell whether the whole batch lies within a part, in its place: its sequence number says so."""
        parts = self._parts.get((batch.producer_id, batch.producer_epoch), [])
        at = bisect_right(parts, batch.base_offset, key=_base_offset) - 1
        if at < 0:
            return False
        part = parts[at]
        return batch.last_offset < part.end_offset and _goes_on(part, batch)


def runs(batches: Iterable[RecordBatch], topic: str, topic_id: str, partition: int) -> Iterator[Run]:
    """Yield the batches as parts, each with its producer: as many in one as one producer wrote behind each other.

    So each transaction lies within one part, whatever its batches are.
    """
    run: Run | None = None
    for batch in batches:
        producer, end_offset = (batch.producer_id, batch.producer_epoch), batch.last_offset + 1
        if run is not None and run[0] == producer and _follows(run[1], batch):
            run = producer, run[1]._replace(end_offset=end_offset)
            continue
        if run is not None:
            yield run
        part = TransactionPart(topic, topic_id, partition, batch.base_offset, end_offset, batch.base_sequence)
        run = producer, part
    if run is not None:
        yield run


def _follows(part: TransactionPart, batch: RecordBatch) -> bool:
    return part.end_offset == batch.base_offset and _goes_on(part, batch)


def _joined(parts: list[TransactionPart]) -> list[TransactionPart]:
    """Return the parts of one producer and epoch by their offsets, those as one that overlap and say the same."""
    found: list[TransactionPart] = []
    for part in sorted(parts, key=_base_offset):
        if found and part.base_offset < found[-1].end_offset and _goes_on(found[-1], part):
            found[-1] = found[-1]._replace(end_offset=max(found[-1].end_offset, part.end_offset))
        else:
            found.append(part)
    return found


def _goes_on(part: TransactionPart, later: TransactionPart | RecordBatch) -> bool:
    """Tell whether the sequence numbers are as far apart as the offsets."""
    return records_between(part.base_sequence, later.base_sequence) == later.base_offset - part.base_offset


def _base_offset(part: TransactionPart) -> int:
    return part.base_offset
