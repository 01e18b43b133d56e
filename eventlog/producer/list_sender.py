"""Send whole lists: each partition gets its part as one append."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eventlog.errors import RecordTooLargeError
from eventlog.producer.arguments import chosen
from eventlog.producer.buffer_pool import BufferPool
from eventlog.producer.delivery import ManyDelivery, Outcome, Part
from eventlog.producer.placement import Placement
from eventlog.producer.record_lists import write_list
from eventlog.producer.transaction_manager import TransactionManager
from eventlog.topics.timestamp_bounds import bounds_error, out_of_bounds
from eventlog.topics.topic import Topic


class Columns(NamedTuple):
    """The records of one call, checked and serialized: n of each, None for none; the timestamps may be one for all."""

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    timestamps_ms: Any
    headers: Any

    def at(self, places: Sequence[int]) -> Columns:
        """Return some of the records."""
        return Columns(*(chosen(column, places, len(self.values)) for column in self))


class ListSender:
    """What `Producer.send_many` does once its arguments are checked."""

    def __init__(
        self, placement: Placement, pool: BufferPool, transactions: TransactionManager | None, codec: int
    ) -> None:
        self._placement = placement
        self._pool = pool
        self._transactions = transactions
        self._codec = codec

    def send(self, topic: Topic, columns: Columns, partition: int | None, now_ms: int) -> ManyDelivery:
        """Write the records, those that the topic takes; the others fail alone."""
        refused = out_of_bounds(topic.config, columns.timestamps_ms, now_ms)
        if not len(refused):
            return self._send(topic, columns, partition)
        count, stamps = len(columns.values), columns.timestamps_ms
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
            parts += self._send(topic, columns.at(kept), partition).parts_at(kept)
        return ManyDelivery(parts, next(part for part in parts if part.indices[-1] == count - 1))

    def _send(self, topic: Topic, columns: Columns, partition: int | None) -> ManyDelivery:
        values, keys, stamps, headers = columns
        split = self._placement.split(topic, values, keys, partition)
        if self._transactions is not None:
            try:
                waiting, size = self._transactions.send_many(topic, split, values, keys, stamps, headers)
            except RecordTooLargeError as error:
                self._transactions.fail(error)
                raise
            if keys is None:
                self._placement.sent(topic.name, size)
            return waiting
        self._pool.place(topic)
        delivery, sizes = write_list(self._pool, topic, split, values, keys, stamps, headers, self._codec)
        if keys is None:
            for size in sizes:
                self._placement.sent(topic.name, size)
        return delivery
