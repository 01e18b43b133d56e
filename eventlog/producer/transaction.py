"""What an open transaction holds: records that wait, partition by partition, until it is committed or aborted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from eventlog.errors import (
    BufferExhaustedError,
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
from eventlog.producer.delivery import (
    Callback,
    Delivery,
    FullDelivery,
    ManyDelivery,
    Outcome,
    Part,
    Places,
    run_callback,
)
from eventlog.producer.record_columns import encode_or_refuse, record_bytes
from eventlog.storage.prepared_append import PreparedAppend
from eventlog.topics.partition import Partition

_RECORD_OVERHEAD = 64  # bytes that a waiting record takes besides its key and value, roughly


class PendingPart:
    """The records of one partition, in the order in which they were sent: the home of their deliveries until then."""

    def __init__(
        self, partition: Partition, stamp: ProducerStamp, codec: int, callbacks: list[tuple[Delivery, Callback]]
    ) -> None:
        """``callbacks`` are those of the whole transaction: with the transaction itself it would be a circle."""
        self.partition = partition
        self.first = stamp
        self.batches: list[EncodedBatch] = []
        self._encoded = 0  # records in the batches
        self._callbacks = callbacks
        self._codec = codec
        self._open: list[FullDelivery] = []  # not encoded yet: they follow the batches
        self._sealed: list[FullDelivery] = []

    @property
    def name(self) -> str:
        """What is told of the deliveries that wait here: the topic and the partition."""
        return f"{self.partition.topic}-{self.partition.number}"

    @property
    def count(self) -> int:
        """How many records there are."""
        return self._encoded + len(self._open)

    @property
    def next_stamp(self) -> ProducerStamp:
        """The stamp of a batch that is added now."""
        return self.first.after(self.count)

    def add(self, delivery: FullDelivery) -> None:
        """Add one record."""
        delivery.home, delivery.index = self, self.count
        self._open.append(delivery)

    def add_batches(self, batches: Sequence[EncodedBatch], records: int) -> int:
        """Add records that were encoded with `next_stamp`; return the place of the first within this part."""
        place = self._encoded
        self.batches += batches  # from here on without a call, so that no interrupt comes in between
        self._encoded += records
        return place

    def seal(self) -> None:
        """Encode what waits. Raises RecordTooLargeError; nothing has changed then."""
        waiting = self._open
        if waiting:
            stamp, count = self.first.after(self._encoded), len(waiting)
            try:
                encoded = encode_or_refuse(self.partition, list(waiting), self._codec, stamp=stamp)
            except EventLogError as error:
                pass_on_handlers(error)
                raise (self._failed_records(waiting) or error) from error.__cause__
            self.batches += encoded  # from here on without a call
            self._encoded += count
            self._sealed, self._open = self._sealed + waiting, []

    def _failed_records(self, waiting: list[FullDelivery]) -> EventLogError | None:
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
        for record in self._sealed + self._open:
            if record.done():
                continue  # it has failed by itself, or an interrupt came between the first time and this one
            record.value = None  # who keeps deliveries does not want to keep the values alive
            record.home = outcome

    # --- what a delivery asks of its home ---

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Raise IllegalStateError: what becomes of the record is known when the transaction ends."""
        raise IllegalStateError(
            "the record waits for its transaction", topic=self.partition.topic, partition=self.partition.number,
            hint="its offset is known when commit_transaction() has returned",
        )  # fmt: skip

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        entry = delivery, callback
        self._callbacks.append(entry)
        if delivery.done():  # by now, in another thread, which may have told already
            with contextlib.suppress(ValueError):
                self._callbacks.remove(entry)
                return False
        return True


class Transaction:
    """One open transaction. For one thread at a time: the producer's transaction manager sees to that."""

    def __init__(self, limit: int, codec: int, next_stamp: Callable[[Partition], ProducerStamp]) -> None:
        """``limit`` is in bytes."""
        self._limit = limit
        self._codec = codec
        self._next_stamp = next_stamp
        self._size = 0
        self.failure: EventLogError | None = None  # of a record: the transaction can only be aborted
        self._parts: dict[tuple[str, int], PendingPart] = {}
        self._many: list[tuple[ManyDelivery, list[tuple[PendingPart, int, Places, Any]]]] = []
        self._callbacks: list[tuple[Delivery, Callback]] = []

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

    def add(self, partition: Partition, delivery: FullDelivery) -> None:
        """Add one record. Raises BufferExhaustedError when it does not fit in; the others stay."""
        part = self.part(partition)
        self._reserve(record_bytes(delivery) + _RECORD_OVERHEAD, partition)
        part.add(delivery)

    def add_many(
        self, encoded: list[tuple[PendingPart, list[EncodedBatch], Places, Any]], size: int, last_index: int
    ) -> ManyDelivery:
        """Add the records of one `send_many`: for each part its batches, the places in the list, the timestamps."""
        self._reserve(size, encoded[0][0].partition)
        entries = [
            (part, part.add_batches(batches, len(places)), places, stamps) for part, batches, places, stamps in encoded
        ]
        home = next(part for part, _, places, _ in entries if places[-1] == last_index)
        delivery = ManyDelivery.waiting(home)
        self._many.append((delivery, entries))
        return delivery

    def _reserve(self, size: int, partition: Partition) -> None:
        if self._size + size > self._limit:
            raise BufferExhaustedError(
                f"the open transaction holds {self._size} bytes, and buffer_memory is {self._limit}",
                topic=partition.topic, partition=partition.number,
                hint="this record was not taken. Commit more often, or give the producer a larger buffer_memory",
            )  # fmt: skip
        self._size += size

    def seal(self, part: PendingPart) -> None:
        """Encode what waits in a part. Raises what is wrong with a record, and then the transaction has failed."""
        try:
            part.seal()
        except (InvalidRecordError, RecordTooLargeError, SerializationError) as error:
            pass_on_handlers(error)
            self.failure = self.failure or error
            raise

    def refuse_failed(self) -> None:
        """Raise TransactionAbortableError when a record has failed."""
        if self.failure is not None:
            raise TransactionAbortableError(
                f"a record of the transaction failed: {self.failure}", hint="abort_transaction(), and do it again"
            ) from self.failure

    # --- the end ---

    def prepare(self) -> list[PreparedAppend]:
        """Return what is to be written. Raises what encoding raises, or opening a partition."""
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
        with contextlib.suppress(IndexError):  # once there are none, or another thread has taken the last one
            while self._callbacks[0][0].done():
                run_callback(*self._callbacks.pop(0))


def _outcome(partition: Partition, append: PreparedAppend, durable: bool) -> Outcome:
    result = append.result
    assert result is not None
    stamps_appends = partition.config.message_timestamp_type == "LogAppendTime"
    append_time = result.timestamp_ms if stamps_appends else None
    return Outcome(partition.topic, partition.number, result.base_offset, durable, append_time)
