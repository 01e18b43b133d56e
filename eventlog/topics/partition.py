"""A partition, as callers see it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from eventlog.config import DURABILITIES
from eventlog.errors import (
    ClosedError,
    CorruptSegmentError,
    InvalidConfigError,
    InvalidRecordError,
    UnknownTopicError,
)
from eventlog.files.file_lock import is_locked
from eventlog.files.mutex import Mutex
from eventlog.format.batch_encoder import EncodedBatch, HeaderColumn, TimestampColumn, encode_one, encode_one_keyed
from eventlog.format.batch_splitter import encode_batches
from eventlog.format.compression import topic_codec
from eventlog.format.filenames import LOCK
from eventlog.format.producer_stamp import NO_STAMP, ProducerStamp
from eventlog.format.record_batch import RecordBatch
from eventlog.format.record_input import checked_columns, checked_times, clock_ms
from eventlog.model import AppendResult, OffsetAndTimestamp, Time
from eventlog.pickling import OfOneProcess
from eventlog.quantities import checked_count, whole, whole_ms
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.recovery import RecoveryReport
from eventlog.storage.time_search import first_at_or_after
from eventlog.storage.verification import PartitionReport, verify_partition
from eventlog.texts import shown
from eventlog.topics.timestamp_bounds import refuse_out_of_bounds
from eventlog.topics.topic_files import TopicFiles

_SINGLE_OVERHEAD = 128  # bytes that a batch of one record needs beside its value, rounded up


class Partition(OfOneProcess):
    """One ordered, append-only sequence of records. Safe for any number of threads and processes.

    Opened lazily: a partition that nobody uses holds no file and no mapping.

    >>> import eventlog, tempfile
    >>> partition = eventlog.open(tempfile.mkdtemp()).create_topic("t").partitions[0]
    >>> partition.append([b"a", b"b"]).last_offset
    1
    >>> partition.read(1)[0].values()
    [b'b']
    """

    def __init__(self, files: TopicFiles, number: int) -> None:
        self._files = files
        self.topic = files.name
        self.number = number
        self._opening = Mutex()
        self._opened: PartitionLog | None = None
        self.config = config = files.config
        self._max_bytes = config.max_message_bytes
        self._codec = topic_codec(config.compression_type)
        self._single_max = -1 if self._codec else config.max_message_bytes - _SINGLE_OVERHEAD
        self._time = files.context.clock.time

    @property
    def log(self) -> PartitionLog:
        """The files of the partition, opened on first use. Raises ClosedError once the log is closed."""
        if self._files.context.closed:
            raise ClosedError("the log is closed", topic=self.topic, partition=self.number, hint="open it again")
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._files.open_partition(self.number)
        return self._opened

    def refuse_reentry(self) -> None:
        """Raise ReentrantCallError when this thread is opening the partition, or appending to it."""
        self._opening.refuse_reentry()
        if self._opened is not None:
            self._opened.writer.refuse_reentry()

    @property
    def was_used(self) -> bool:
        """Tell whether the partition has files yet, which appear when it is first used; makes none."""
        context = self._files.context
        return self._opened is not None or context.fs.exists(os.path.join(self._files.directory, str(self.number)))

    def extent(self) -> tuple[int, int, int] | None:
        """Return log start offset, log end offset and bytes; None when it was never used, which makes no files."""
        return (self.log_start_offset, self.log_end_offset, self.size_bytes) if self.was_used else None

    # --- writing ---

    def append(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        timestamps_ms: Sequence[Time] | Time | None = None,
        headers: HeaderColumn | None = None,
        *,
        durability: str | None = None,
    ) -> AppendResult:
        """Append n records, all or none; they are visible to every process when this returns.

        ``keys`` and ``headers`` have n items or are None; ``timestamps_ms`` are milliseconds since the epoch, or
        datetimes with a time zone: n of them, one for all, or None for now. ``durability`` (``"os"`` or ``"disk"``)
        overrides the topic's.

        Raises SerializationError for a value that is not bytes or None, InvalidRecordError for columns that do not
        fit together, for a header's name that UTF-8 cannot say, and for a time that is impossible or beyond the topic's
        bounds (``message_timestamp_after_max_ms``), whose place in the list it names. RecordTooLargeError,
        LogFullError, ReadOnlyLogError, UnknownTopicError and StorageError.
        """
        if durability is not None:
            _check_durability(durability)
        if keys is None and headers is None and timestamps_ms is None and type(values) is list and len(values) == 1:
            value = values[0]  # the shortest way for the most frequent call
            if type(value) is bytes and len(value) <= self._single_max and self._opened is not None:
                return self._opened.writer.append_batch(encode_one(value, clock_ms(self._time())), durability)
        values, keys, headers = checked_columns(values, keys, headers)
        stamps: Any = clock_ms(self._time())
        if timestamps_ms is not None:
            now_ms, stamps = stamps, checked_times(timestamps_ms, len(values))
            refuse_out_of_bounds(self.config, self.topic, stamps, now_ms, in_list=not isinstance(stamps, int))
        return self.log.writer.append(self.encode(values, keys, stamps, headers), durability)

    def encode(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        timestamps_ms: TimestampColumn | int | None = None,
        headers: HeaderColumn | None = None,
        codec: int = 0,
        stamp: ProducerStamp = NO_STAMP,
    ) -> list[EncodedBatch]:
        """Encode records for this topic: its compression, or else ``codec``, its largest batch; ``stamp`` the first.

        The columns are as `checked_columns` leaves them.
        """
        return encode_batches(
            values,
            clock_ms(self._time()) if timestamps_ms is None else timestamps_ms,
            keys,
            headers,
            codec=codec if self._codec is None else self._codec,
            max_bytes=self._max_bytes,
            stamp=stamp,
        )

    def encode_one(
        self, value: bytes | None, key: bytes | None, timestamp_ms: int, codec: int, stamp: ProducerStamp
    ) -> EncodedBatch | None:
        """Encode one record in the shortest way; None where it is large, compressed, or has no value."""
        codec = codec if self._codec is None else self._codec
        if codec or value is None or len(value) + len(key or b"") > self._max_bytes - _SINGLE_OVERHEAD:
            return None
        if key is None:
            return EncodedBatch(*encode_one(value, timestamp_ms, stamp))
        return EncodedBatch(*encode_one_keyed(key, value, timestamp_ms, stamp))

    def flush(self) -> None:
        """Bring every record published so far to the device."""
        self.log.sync()

    def flush_if_written(self) -> None:
        """Do the same if this process appended here, or recovered what another one had appended."""
        log = self._opened
        if log is not None and (log.writer.has_written or log.recovery is not None):
            with contextlib.suppress(UnknownTopicError):
                log.sync()

    @property
    def is_poisoned(self) -> bool:
        """True after a failed sync: the partition refuses writes until the log is opened anew."""
        return self._opened is not None and self._opened.writer.is_poisoned()

    @property
    def is_busy(self) -> bool:
        """Tell whether someone else, here or in another process, is writing to the partition right now."""
        if self._opened is None:  # to open it may take the lock as well
            return is_locked(self._files.context.fs, os.path.join(self._files.directory, str(self.number), LOCK))
        return self._opened.writer.is_busy()

    def forget_producer(self, producer_id: int) -> None:
        """Note that a producer of this process has ended, whose id it made."""
        if self._opened is not None:
            self._opened.writer.forget_producer(producer_id)

    # --- reading ---

    def read(self, offset: int, max_bytes: int = 1 << 20) -> list[RecordBatch]:
        """Return the batches from ``offset`` on, up to ``max_bytes`` but at least one; empty at the log end offset.

        Raises OffsetOutOfRangeError, UnknownTopicError, InvalidConfigError for no number of bytes from 1 on, and
        CorruptSegmentError when the damage is at ``offset``: what lies before it is returned first.
        """
        room = checked_count(max_bytes, "max_bytes")
        cursor = self.cursor(offset)
        batches: list[RecordBatch] = []
        try:
            while room > 0 and (batch := cursor.next_batch()) is not None:
                batches.append(batch)
                room -= batch.size
        except CorruptSegmentError:
            if not batches:
                raise
        return batches

    def cursor(self, offset: int, *, check_crcs: bool = True) -> LogCursor:
        """Return a cursor that reads batches in order from ``offset`` on."""
        place = whole(offset)
        if place is None:
            raise InvalidRecordError(
                f"offset {shown(offset)} is not a whole number", topic=self.topic, partition=self.number,
                hint=f"give one from {self.log_start_offset} to {self.log_end_offset}",
            )  # fmt: skip
        return LogCursor(self.log, place, check_crcs=check_crcs)

    @property
    def log_start_offset(self) -> int:
        """Offset of the first record that is still there."""
        return self.log.start_offset

    @property
    def log_end_offset(self) -> int:
        """Offset that the next record gets."""
        return self.log.end_offset

    @property
    def high_watermark(self) -> int:
        """Readers see records before this offset; without replicas it is the log end offset."""
        return self.log.end_offset

    @property
    def durable_end_offset(self) -> int:
        """Every record before this offset is on the device."""
        return self.log.durable_end_offset

    @property
    def size_bytes(self) -> int:
        """Bytes that the records take up in the segments; indexes and control pages are not counted."""
        return self.log.size_bytes

    def offset_for_time(self, timestamp_ms: Time) -> int | None:
        """Return the first offset whose timestamp is at or after ``timestamp_ms``; None when there is none.

        The time is in milliseconds since the epoch, or a datetime with a time zone. Raises InvalidRecordError for one
        that is negative, and for anything else.
        """
        found = self.first_at_or_after(timestamp_ms)
        return None if found is None else found.offset

    def first_at_or_after(self, timestamp_ms: Time) -> OffsetAndTimestamp | None:
        """Return the same with the record's timestamp."""
        time_ms = whole_ms(timestamp_ms)
        if time_ms is None or time_ms < 0:
            raise InvalidRecordError(
                f"time {shown(timestamp_ms)} is negative, or neither in whole milliseconds nor with a time zone",
                topic=self.topic, partition=self.number,
                hint="give milliseconds since the epoch, or a datetime with a time zone: datetime.now(UTC)",
            )  # fmt: skip
        return first_at_or_after(self.log, time_ms)

    # --- care ---

    def after_fork(self) -> None:
        """Start with a free lock in a forked child."""
        self._opening = Mutex()

    @property
    def recovery(self) -> RecoveryReport | None:
        """What recovery found when this process opened the partition; None when there was nothing to recover."""
        return self.log.recovery

    def verify(self) -> PartitionReport:
        """Check every batch, index and control page of this partition."""
        return verify_partition(self.log)

    def release(self) -> None:
        """Give back descriptors and mappings until the next use, unless an append is under way."""
        if self._opened is not None:
            self._opened.try_release()

    def close(self) -> None:
        """Give back descriptors and mappings. The partition cannot be used again."""
        if self._opened is not None:
            self._opened.close()

    def __repr__(self) -> str:
        return f"<Partition {self.topic}-{self.number}>"


def _check_durability(durability: object) -> None:
    if not isinstance(durability, str) or durability not in DURABILITIES:
        raise InvalidConfigError(f"durability={shown(durability)} is not possible", hint="give 'os' or 'disk'")
