"""What a consumer knows of one partition: where it is, whether it pauses, and what it has read ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from eventlog.config import NEVER
from eventlog.consumer.offset_reset import OffsetReset
from eventlog.errors import (
    CorruptSegmentError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    SerializationError,
    UnknownTopicError,
)
from eventlog.files.notify import Word
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.format.record_batch import RecordBatch
from eventlog.model import OffsetAndMetadata, Record, TopicPartition
from eventlog.quantities import whole
from eventlog.storage.log_cursor import LogCursor
from eventlog.texts import shown
from eventlog.topics.partition import Partition

Found = TypeVar("Found")  # a record, or a batch
Deserializer = Callable[[bytes | None], Any]


class PartitionReader:
    """Reads one partition in order. ``reset`` tells where to start without a position, or with one not in the log."""

    def __init__(
        self,
        partition: Partition,
        reset: OffsetReset,
        check_crcs: bool,
        deserialize_key: Deserializer | None,
        deserialize_value: Deserializer | None,
    ) -> None:
        self.partition = partition
        self.tp = TopicPartition(partition.topic, partition.number)
        self.paused = False
        self._reset = reset
        self._check_crcs = check_crcs
        self._deserialize_key = deserialize_key
        self._deserialize_value = deserialize_value
        self._cursor: LogCursor | None = None
        self._rest: RecordBatch | None = None  # read, not yet returned

    # --- place ---

    @property
    def position(self) -> int:
        """Offset of the record that is returned next."""
        rest = self._rest  # once: metrics may ask from another thread
        return self._located().next_offset if rest is None else rest.base_offset

    def seek(self, offset: int) -> None:
        """Go to ``offset``; what was read ahead is forgotten."""
        self._rest = None
        if self._cursor is None:
            self._cursor = self.partition.cursor(offset, check_crcs=self._check_crcs)
        else:
            self._cursor.seek(offset)

    def seek_checked(self, offset: object) -> None:
        """Go to an offset that a caller gave, in the log or not. Raises OffsetOutOfRangeError for what is none."""
        place = whole(offset.offset if isinstance(offset, OffsetAndMetadata) else offset)
        if place is None or not 0 <= place <= NEVER:
            start, end = self.partition.log_start_offset, self.partition.log_end_offset
            raise OffsetOutOfRangeError(
                f"cannot seek to offset {shown(offset)}",
                topic=self.tp.topic, partition=self.tp.partition, offset=offset,
                hint=f"give a whole number; the log has those from {start} to {end}, its end",
            )  # fmt: skip
        self.seek(place)

    def seek_to_beginning(self) -> None:
        """Go to the log start offset."""
        self.seek(self.partition.log_start_offset)

    def seek_to_end(self) -> None:
        """Go to the log end offset."""
        self.seek(self.partition.log_end_offset)

    def seek_by_policy(self) -> None:
        """Go to where ``auto_offset_reset`` says. Raises NoOffsetForPartitionError where that is an error."""
        self.seek(self._reset.first(self.partition))

    @property
    def is_located(self) -> bool:
        """Tell whether there is a position yet, which `position` would look up otherwise."""
        return self._cursor is not None

    @property
    def lag(self) -> int:
        """How many records there are from the position on."""
        return max(0, self.partition.high_watermark - self.position)

    @property
    def left(self) -> int:
        """The same for a poll that has just read here: cheap, and 0 for a topic that was deleted meanwhile."""
        cursor, rest = self._located(), self._rest
        end: int = cursor.log.head.words.item(L.HEAD_END)
        return 0 if end == L.END_DELETED else end - (cursor.next_offset if rest is None else rest.base_offset)

    def locate(self) -> None:
        """Look the position up, unless there is none to be had, or damage hides it: then reading says so."""
        with contextlib.suppress(NoOffsetForPartitionError, CorruptSegmentError):
            self._located()

    def _located(self) -> LogCursor:
        if self._cursor is None:
            self.seek_by_policy()
            assert self._cursor is not None
        return self._cursor

    # --- reading ---

    def next_batch(self) -> RecordBatch | None:
        """Return the next batch, or what `take` has left of one; None at the end."""
        rest, self._rest = self._rest, None
        if rest is not None:
            return rest
        cursor = self._cursor or self._located()
        try:
            return cursor.next_batch()
        except OffsetOutOfRangeError:
            if self._reset.is_error:
                raise
            cursor.seek(self._reset.again(self.partition, cursor.next_offset))
            return self.next_batch()

    def take(self, count: int, found: list[Record[Any, Any]]) -> None:
        """Add up to ``count`` records, all from one batch; none at the end. Interrupted, it has added none."""
        self._take(found, partial(self._next_records, count))

    def take_batch(self, found: list[RecordBatch]) -> None:
        """Add the next batch, if there is one. Interrupted, it has added none."""
        self._take(found, self._next_batches)

    def _take(self, found: list[Found], read: Callable[[], Iterable[Found]]) -> None:
        start, before = self.position, len(found)
        try:
            found += read()
        except BaseException:
            del found[before:]
            self.seek(start)  # nobody has seen these records
            raise

    def _next_records(self, count: int) -> list[Record[Any, Any]]:
        batch = self.next_batch()
        if batch is None:
            return []
        if len(batch) > count:
            self._rest = batch.part(count, len(batch))
            batch = batch.part(0, count)
        return self._records(batch)

    def _next_batches(self) -> tuple[RecordBatch, ...]:
        batch = self.next_batch()
        return () if batch is None else (batch,)

    def _records(self, batch: RecordBatch) -> list[Record[Any, Any]]:
        if self._deserialize_key is None and self._deserialize_value is None:
            return batch.records()
        keys, values = batch.keys(), batch.values()
        good, error = 0, None
        try:
            for good in range(len(batch)):  # read after the loop, and in the handler
                if self._deserialize_key is not None:
                    keys[good] = self._deserialize_key(keys[good])
                if self._deserialize_value is not None:
                    values[good] = self._deserialize_value(values[good])
            good = len(batch)
        except Exception as cause:
            pass_on_handlers(cause)
            error = cause
        if error is None:
            return list(batch.iter_records(keys, values))
        return self._records_before(batch, good, keys, values, error)

    def _records_before(
        self, batch: RecordBatch, good: int, keys: list[Any], values: list[Any], error: Exception
    ) -> list[Record[Any, Any]]:
        """Return the records before the one that cannot be deserialized; raise when it is the first."""
        offset = int(batch.offsets[good])
        self.seek(offset)
        if good:
            return list(batch.iter_records(keys, values))[:good]
        raise SerializationError(
            f"the record cannot be deserialized: {error}", topic=self.tp.topic, partition=self.tp.partition,
            offset=offset, hint=f"seek to {offset + 1} to pass it by",
        ) from error  # fmt: skip

    # --- waiting ---

    def is_of_deleted_topic(self) -> bool:
        """Tell whether the topic was deleted: another one of its name may lie there by now."""
        try:
            return self.partition.log.head.words.item(L.HEAD_END) == L.END_DELETED
        except UnknownTopicError:
            return True

    def has_more(self) -> bool:
        """Tell whether something can be read right now."""
        if self._rest is not None:
            return True
        return self._located().next_offset < self.partition.log.head.words.item(L.HEAD_END)

    def prepare_sleep(self) -> Word:
        """Tell writers that someone sleeps on the end that this reader has reached, and return the word."""
        expected = self._located().next_offset
        words = self.partition.log.head.words
        if words.flags.writeable:
            words[L.HEAD_SLEEPING] = expected + 1
        return Word(words, L.HEAD_END, expected)
