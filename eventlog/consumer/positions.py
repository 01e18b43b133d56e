"""Where a consumer reads: its positions, and how they are moved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from eventlog.consumer.fetcher import Fetcher
from eventlog.consumer.partition_reader import PartitionReader
from eventlog.consumer.reader_factory import ReaderFactory
from eventlog.consumer.single_thread import Held
from eventlog.model import OffsetAndMetadata, OffsetAndTimestamp, Time, TopicPartition
from eventlog.topics.checked_partitions import checked_partition, checked_partitions, checked_times


class Positions(ABC):
    """The calls of a consumer that ask for offsets, or move them. Unassigned partitions are NotAssignedError."""

    _fetcher: Fetcher
    _factory: ReaderFactory

    @abstractmethod
    def _single_thread(self) -> Held: ...

    @abstractmethod
    def _update(self, *, initial: bool = False) -> None: ...

    @abstractmethod
    def _committed(self, partitions: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]: ...

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the record that is returned next. Raises NotAssignedError, as the calls below."""
        with self._single_thread():
            return self._reader(partition).position

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset of the record that is returned next, for each assigned partition."""
        with self._single_thread():
            return {reader.tp: reader.position for reader in self._readers(())}

    def seek(self, partition: TopicPartition, offset: int | OffsetAndMetadata) -> None:
        """Go to ``offset``, which may be one that was committed: an `OffsetAndMetadata`.

        One that is not in the log is taken, as in Kafka: if it still is not there when `poll` reads the partition,
        ``auto_offset_reset`` tells where that goes on, and a warning is logged. Raises OffsetOutOfRangeError for a
        negative offset, and for what is no whole number.
        """
        with self._single_thread():
            self._reader(partition).seek_checked(offset)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go to the log start offset of these partitions, or of all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.seek_to_beginning()

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go to the log end offset of these partitions, or of all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.seek_to_end()

    def seek_to_committed(self, *partitions: TopicPartition) -> None:
        """Go back to what the group has committed for these partitions, or for all.

        One without a commit begins where ``auto_offset_reset`` says. Raises IllegalStateError without a group.
        """
        with self._single_thread():
            readers = self._readers(partitions)
            committed = self._committed([reader.tp for reader in readers])
            for reader in readers:
                place = committed[reader.tp]
                reader.seek_by_policy() if place is None else reader.seek_checked(place)

    def pause(self, *partitions: TopicPartition) -> None:
        """Return nothing from these partitions until `resume`; the position stays."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        """Go on with these partitions, or with all."""
        with self._single_thread():
            for reader in self._readers(partitions):
                reader.paused = False

    def paused(self) -> list[TopicPartition]:
        """Return the partitions that pause."""
        with self._single_thread():
            readers = self._fetcher.readers
        return [tp for tp, reader in readers.items() if reader.paused]

    def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log start offset of each partition, assigned here or not."""
        with self._single_thread():
            return {tp: self._factory.partition(tp).log_start_offset for tp in checked_partitions(partitions)}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that the next record gets, for each partition."""
        with self._single_thread():
            return {tp: self._factory.partition(tp).high_watermark for tp in checked_partitions(partitions)}

    def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, Time]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return, for each partition, the first record at or after its time, or None. KIP-79.

        A time is in milliseconds since the epoch, or a datetime with a time zone. Raises InvalidRecordError for one
        that is negative, and for anything else.
        """
        with self._single_thread():
            times = checked_times(times_ms).items()
            return {tp: self._factory.partition(tp).first_at_or_after(time_ms) for tp, time_ms in times}

    def _reader(self, partition: TopicPartition) -> PartitionReader:
        self._update()
        return self._fetcher.reader(checked_partition(partition))

    def _readers(self, partitions: Sequence[TopicPartition]) -> list[PartitionReader]:
        self._update()
        return [self._reader(tp) for tp in partitions or tuple(self._fetcher.readers)]

    def lag(self) -> dict[TopicPartition, int]:
        """Return how many records each assigned partition has from its position on."""
        with self._single_thread():
            self._update()
            return {tp: reader.lag for tp, reader in self._fetcher.readers.items()}
