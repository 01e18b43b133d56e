"""What an open transaction holds: records that wait, partition by partition, until it is committed or aborted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from operator import delitem
from typing import Any

from eventlog.config import ProducerConfig
from eventlog.errors import (
    EventLogError,
    IllegalStateError,
    InvalidRecordError,
    RecordTooLargeError,
    SerializationError,
    TransactionAbortableError,
)
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import EncodedBatch
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.producer.collected_records import RECORD_OVERHEAD, CollectedRecords, TransactionLimits
from eventlog.producer.delivery import Delivery, ManyDelivery, Outcome, Part, Places, run_callback
from eventlog.producer.list_columns import ListColumns, Split
from eventlog.producer.pending_home import Callbacks, PendingHome
from eventlog.producer.placement import Placement
from eventlog.producer.placing import give_home, run_all, split_any
from eventlog.producer.record_columns import encode_or_refuse, record_bytes
from eventlog.storage.prepared_append import PreparedAppend
from eventlog.topics.partition import Partition
from eventlog.topics.topic import Topic


class PendingPart(PendingHome):
    """The records of one partition, in the order in which they were sent: the home of their deliveries until then."""

    __slots__ = ("_codec", "_encoded", "_sealed", "batches", "first", "partition", "waiting")

    def __init__(self, partition: Partition, stamp: ProducerStamp, codec: int, callbacks: Callbacks) -> None:
        super().__init__(partition.topic, partition.number, callbacks)
        self.partition = partition
        self.first = stamp
        self.batches: list[EncodedBatch] = []
        self.waiting: list[Delivery] = []  # not encoded yet: they follow the batches
        self._encoded = 0  # records in the batches
        self._codec = codec
        self._sealed: list[tuple[int, list[Delivery]]] = []  # with the place of the first

    @property
    def count(self) -> int:
        """How many records there are."""
        return self._encoded + len(self.waiting)

    @property
    def next_stamp(self) -> ProducerStamp:
        """The stamp of a batch that is added now."""
        return self.first.after(self.count)

    def add_batches(self, batches: Sequence[EncodedBatch], records: int) -> int:
        """Add records that were encoded with `next_stamp`; return the place of the first within this part."""
        place = self._encoded
        self.batches += batches  # from here on without a call, so that no interrupt comes in between
        self._encoded += records
        return place

    def seal(self) -> None:
        """Encode what waits. Raises RecordTooLargeError; nothing has changed then."""
        waiting = self.waiting
        if waiting:
            stamp, count = self.first.after(self._encoded), len(waiting)
            try:
                encoded = encode_or_refuse(self.partition, list(waiting), self._codec, stamp=stamp)
            except EventLogError as error:
                pass_on_handlers(error)
                raise (self._failed_records(waiting) or error) from error.__cause__
            sealed = [*self._sealed, (self._encoded, waiting)]
            self.batches += encoded  # from here on without a call
            self._encoded += count
            self._sealed, self.waiting = sealed, []

    def _failed_records(self, waiting: list[Delivery]) -> EventLogError | None:
        """Give those their error that cannot be encoded alone either; return the first."""
        first: EventLogError | None = None
        for record in waiting:
            try:
                encode_or_refuse(self.partition, [record], self._codec)
            except EventLogError as error:
                pass_on_handlers(error)
                record.home = Outcome(self.partition.topic, self.partition.number, error=error)
                first = first or error
        return first

    def settle_records(self, outcome: Outcome) -> None:
        """Give each record that was sent by itself its outcome."""
        for first, records in self._sealed:
            settle_each(records, outcome, first)
        if self.waiting:
            settle_each(self.waiting, outcome, self._encoded)


def settle_each(records: Sequence[Delivery], outcome: Outcome, first: int) -> None:
    """Give each record the outcome that does not have one; the first one has this place among those of the outcome."""
    for index, record in enumerate(records, first):
        if type(record.home) is Outcome:
            continue  # it has failed by itself, or an interrupt came between the first time and this one
        record.index = index
        record.value = None  # who keeps deliveries does not want to keep the values alive
        record.home = outcome


class Transaction:
    """One open transaction. For one thread at a time: the producer's transaction manager sees to that.

    Behind a ``with`` block of it, and whatever locks were taken within, those are told whose records it has ended.
    """

    def __init__(
        self,
        config: ProducerConfig,
        codec: int,
        placement: Placement,
        limits: TransactionLimits,
        next_stamp: Callable[[Partition], ProducerStamp],
    ) -> None:
        self._is_serialized = (config.key_serializer, config.value_serializer) != (None, None)
        self._codec = codec
        self._placement = placement
        self._next_stamp = next_stamp
        self._limits = limits
        self.failure: EventLogError | None = None  # of a record: the transaction can only be aborted
        self._collected: dict[str, CollectedRecords] = {}  # of each topic, what has no partition yet
        self._parts: dict[tuple[str, int], PendingPart] = {}
        self._many: list[tuple[ManyDelivery, list[tuple[PendingPart, int, Places, Any]]]] = []
        self._callbacks: Callbacks = []

    @property
    def parts(self) -> list[PendingPart]:
        """The partitions that have records, in the order in which they are locked."""
        return [part for _, part in sorted(self._parts.items()) if part.count]  # none where a send was refused

    def part(self, partition: Partition) -> PendingPart:
        """Return the part of a partition."""
        key = partition.topic, partition.number
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = PendingPart(partition, self._next_stamp(partition), self._codec, self._callbacks)
        if found.partition is not partition:
            raise IllegalStateError(
                "the topic was deleted, and made anew, while the transaction was open", topic=partition.topic,
                partition=partition.number, hint="abort the transaction",
            )  # fmt: skip
        return found

    def add(self, partition: Partition, delivery: Delivery) -> None:
        """Add one record. Raises BufferExhaustedError when it does not fit in; the others stay."""
        part = self.part(partition)
        self._limits.reserve(record_bytes(delivery) + RECORD_OVERHEAD, partition.topic, partition.number)
        delivery.home = part
        part.waiting.append(delivery)

    def add_many(self, topic: Topic, split: Split, columns: ListColumns) -> tuple[ManyDelivery, int]:
        """Add many, which are in the order of the split; return their delivery, and their size in batches."""
        self.collected(topic)
        encoded, size = [], 0
        for number, low, high in split.parts:
            part, some = self.part(topic.partitions[number]), columns.part(low, high)
            self.seal(part)
            batches = some.encode(part.partition, self._codec, part.next_stamp)
            encoded.append((part, batches, split.places(low, high), some.timestamps_ms))
            size += sum([batch.size for batch in batches])
        self._limits.reserve(size, topic.name, split.parts[0][0])
        entries = [
            (part, part.add_batches(batches, len(places)), places, stamps) for part, batches, places, stamps in encoded
        ]
        home = next(part for part, _, places, _ in entries if places[-1] == len(columns) - 1)
        delivery = ManyDelivery.waiting(home)
        self._many.append((delivery, entries))
        return delivery, size

    # --- what has no partition yet ---

    def collected(self, topic: Topic) -> CollectedRecords:
        """Return what collects the topic's records; whatever it has was placed."""
        found = self._collected.get(topic.name)
        if found is not None:
            if found.topic is not topic:  # it was deleted and made anew
                found.is_closed = True
            self.place(found)
        if found is None or found.is_closed:
            found = CollectedRecords(topic, self._limits, self._callbacks, is_serialized=self._is_serialized)
            self._collected[topic.name] = found
        return found

    def place(self, collected: CollectedRecords) -> None:
        """Move what waits to the parts of its partitions."""
        records = collected.records[:]
        if records:
            topic, kept = collected.topic, collected.kept(records)
            split = split_any(kept, topic.name, len(topic.partitions), self._placement)
            parts = [(self.part(topic.partitions[number]), some) for number, some in split]
            run_all([
                *(give_home(some, part) for part, some in parts if not collected.is_closed),  # soon it is their outcome
                *(partial(part.waiting.extend, some) for part, some in parts),
                partial(delitem, collected.records, slice(len(records))),
            ])  # fmt: skip

    def close(self) -> None:
        """Close what collects records: each send that comes now looks at everything again."""
        for collected in list(self._collected.values()):
            collected.is_closed = True

    def fail(self, error: EventLogError) -> None:
        """Note that a record has failed."""
        self.failure = self.failure or error
        self.close()

    def seal(self, part: PendingPart) -> None:
        """Encode what waits in a part. Raises what is wrong with a record, and then the transaction has failed."""
        try:
            part.seal()
        except (InvalidRecordError, RecordTooLargeError, SerializationError) as error:
            pass_on_handlers(error)
            self.fail(error)
            raise

    def refuse_failed(self) -> None:
        """Raise TransactionAbortableError when a record has failed."""
        if self.failure is not None:
            raise TransactionAbortableError(
                f"a record of the transaction failed: {self.failure}", hint="abort_transaction(), and do it again"
            ) from self.failure

    # --- the end ---

    def __enter__(self) -> None:
        """Nothing is to be done before the block."""

    def __exit__(self, *exc: object) -> None:
        self.run_callbacks()

    def prepare(self) -> list[PreparedAppend]:
        """Return what is to be written. Raises what encoding raises, or opening a partition."""
        self.close()
        for collected in list(self._collected.values()):
            self.place(collected)
        parts = self.parts
        for part in parts:
            self.seal(part)
        return [PreparedAppend(part.partition.log, part.batches, part.first.sequence) for part in parts]

    def committed(self, appends: Sequence[PreparedAppend], *, durable: bool) -> None:
        """Tell each delivery where its record is."""
        parts = self.parts
        pairs = zip(parts, appends, strict=True)
        outcomes = {part: _outcome(part.partition, append, durable) for part, append in pairs}
        self._settle(parts, lambda part, place: outcomes[part].behind(place))

    def failed(self, error: EventLogError) -> None:
        """Tell each delivery that its record was not written."""
        self.close()
        for collected in list(self._collected.values()):
            settle_each(collected.records, Outcome(collected.topic_name, -1, error=error), 0)
        parts = self.parts
        self._settle(parts, lambda part, _: Outcome(part.partition.topic, part.partition.number, error=error))

    def _settle(self, parts: Sequence[PendingPart], outcome: Callable[[PendingPart, int], Outcome]) -> None:
        for part in parts:
            part.settle_records(outcome(part, 0))
        for delivery, entries in self._many:
            if delivery.done():  # an interrupt came between the first time and this one
                continue
            made = [Part(outcome(part, place), places, stamps) for part, place, places, stamps in entries]
            last = made[0]
            if len(made) > 1:
                last = next(one for one, entry in zip(made, entries, strict=True) if entry[0] is delivery.home)
            delivery.complete(made, last)
        self._many = []

    def run_callbacks(self) -> None:
        """Tell who asked to be told, once the transaction has ended."""
        if self._callbacks:
            with contextlib.suppress(IndexError):  # once there are none, or another thread has taken the last one
                while self._callbacks[0][0].done():
                    run_callback(*self._callbacks.pop(0))


def _outcome(partition: Partition, append: PreparedAppend, durable: bool) -> Outcome:
    result = append.result
    assert result is not None
    stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
    append_time = result.timestamp_ms if stamps_appends else None
    return Outcome(partition.topic, partition.number, result.base_offset, durable, append_time)
