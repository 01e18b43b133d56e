"""The sequence numbers of a transactional producer, which go on from one transaction to the next."""

from __future__ import annotations

from collections.abc import Sequence

from eventlog.format.producer_stamp import sequence_after
from eventlog.storage.prepared_append import PreparedAppend


class SequenceNumbers:
    """The next number of each partition, by the topic's id: a topic that is made anew begins at 0."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}

    def next(self, topic_id: str, partition: int) -> int:
        """Return the number of the record that comes next."""
        return self._next.get((topic_id, partition), 0)

    def use_up(self, appends: Sequence[PreparedAppend]) -> None:
        """What is written now never has its sequence numbers given to something else, whatever becomes of it."""
        for append in appends:
            count = sum(batch.records for batch in append.batches)
            self._next[append.log.topic_id, append.log.partition] = sequence_after(append.sequence, count)
