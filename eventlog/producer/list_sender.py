"""Send whole lists: each partition gets its part as one append."""

from __future__ import annotations

import numpy as np

from eventlog.errors import RecordTooLargeError
from eventlog.producer.buffer_pool import BufferPool
from eventlog.producer.delivery import ManyDelivery, Outcome, Part
from eventlog.producer.list_columns import ListColumns
from eventlog.producer.placement import Placement
from eventlog.producer.record_lists import write_list
from eventlog.producer.transaction_manager import TransactionManager
from eventlog.topics.timestamp_bounds import bounds_error, out_of_bounds
from eventlog.topics.topic import Topic


class ListSender:
    """What `Producer.send_many` does once its arguments are checked."""

    def __init__(
        self, placement: Placement, pool: BufferPool, transactions: TransactionManager | None, codec: int
    ) -> None:
        self._placement = placement
        self._pool = pool
        self._transactions = transactions
        self._codec = codec

    def send(self, topic: Topic, columns: ListColumns, partition: int | None, now_ms: int) -> ManyDelivery:
        """Write the records, those that the topic takes; the others fail alone."""
        refused = out_of_bounds(topic.config, columns.timestamps_ms, now_ms)
        if not len(refused):
            return self._send(topic, columns, partition)
        count, stamps = len(columns), columns.timestamps_ms
        places = range(count) if isinstance(stamps, int) else refused.tolist()
        errors = [bounds_error(topic.config, topic.name, stamps, now_ms, place) for place in places]
        if self._transactions is not None:  # which can only be aborted now
            self._transactions.fail(errors[0])
            raise errors[0]
        parts = [
            Part(Outcome(topic.name, -1, error=error), [place], stamps if isinstance(stamps, int) else stamps[[place]])
            for place, error in zip(places, errors, strict=True)
        ]
        kept = sorted(set(range(count)).difference(places))
        if kept:
            parts += self._send(topic, columns.at(np.array(kept)), partition).parts_at(kept)
        return ManyDelivery(parts, next(part for part in parts if part.indices[-1] == count - 1))

    def _send(self, topic: Topic, columns: ListColumns, partition: int | None) -> ManyDelivery:
        is_keyed = columns.keys is not None
        split = self._placement.split(topic, columns, partition)
        columns = columns.in_order(split)
        if self._transactions is not None:
            try:
                waiting, size = self._transactions.send_many(topic, split, columns)
            except RecordTooLargeError as error:
                self._transactions.fail(error)
                raise
            if not is_keyed:
                self._placement.sent(topic.name, size)
            return waiting
        self._pool.place(topic)
        delivery, sizes = write_list(self._pool, topic, split, columns, self._codec)
        if not is_keyed:
            for size in sizes:
                self._placement.sent(topic.name, size)
        return delivery
