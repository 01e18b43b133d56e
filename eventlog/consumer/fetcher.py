"""Reads from all of a consumer's partitions in turn, and waits for any of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from eventlog.consumer.partition_reader import Found, PartitionReader
from eventlog.errors import EventLogError, NotAssignedError
from eventlog.files.notify import Word, wait, wake
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.record_batch import RecordBatch
from eventlog.model import Record, TopicPartition

_SPIN = 30e-6  # seconds: a record that follows at once is had without the cost of falling asleep
_SLICE = 0.5  # seconds: a sleeper looks up this often, at new partitions, and should a wake-up ever be lost


class Fetcher:
    """The readers by partition, and the order in which they have their turn: who was served goes to the back."""

    def __init__(self) -> None:
        self.readers: dict[TopicPartition, PartitionReader] = {}
        self.consumed = 0  # records that were returned
        self.lag_max = 0  # the largest that a poll has left in a partition it read from; for the metrics to fetch
        self._turns: deque[PartitionReader] = deque()
        self._seen = 0
        self._signal = np.zeros(1, dtype=np.uint64)  # changes when another thread wants the sleeper to look up

    def reader(self, tp: TopicPartition) -> PartitionReader:
        """Return the partition's reader. Raises NotAssignedError when there is none."""
        found = self.readers.get(tp)
        if found is None:
            raise NotAssignedError(
                "the partition is not assigned to this consumer", topic=tp.topic, partition=tp.partition,
                hint="assign or subscribe to it first",
            )  # fmt: skip
        return found

    def set_partitions(
        self, partitions: Iterable[TopicPartition], make: Callable[[TopicPartition], PartitionReader]
    ) -> None:
        """Keep the readers that stay, drop the others, make those that are new, also of topics made anew."""
        kept = {tp: reader for tp, reader in self.readers.items() if not reader.is_of_deleted_topic()}
        self.readers = {tp: kept.get(tp) or make(tp) for tp in partitions}
        self._turns = deque(self.readers.values())

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions no more."""
        dropped = set(partitions)
        self.readers = {tp: reader for tp, reader in self.readers.items() if tp not in dropped}
        self._turns = deque(self.readers.values())

    def records(self, count: int) -> list[Record[Any, Any]]:
        """Return up to ``count`` records, a batch's worth from each partition in turn."""
        found: list[Record[Any, Any]] = []
        try:
            try:
                self._take_records(count, found)
            except (EventLogError, OSError) as error:
                pass_on_handlers(error)
                if not found:  # what was found is returned first; the next poll begins with this partition
                    self._turns.rotate(-1)
                    raise
            self.consumed += len(found)  # here: outside of the try, an interrupt would lose what was found
        except BaseException:
            self.give_back([(record.topic, record.partition, record.offset) for record in found])
            raise
        return found

    def _take_records(self, count: int, found: list[Record[Any, Any]]) -> None:
        # Not within the try above: from Python 3.12 on, an interrupt in a loop's jump back passes by the handlers that
        # stand around it (CPython issue 130279).
        turns, idle, before, served = self._turns, 0, 0, []
        while idle < len(turns) and before < count:
            reader = turns[0]
            if not reader.paused:
                reader.take(count - before, found)
            turns.rotate(-1)
            if len(found) > before:
                before, idle = len(found), 0
                served.append(reader)
            else:
                idle += 1
        self._note_lag(served)

    def batches(self, max_bytes: int) -> list[RecordBatch]:
        """Return batches of up to ``max_bytes`` altogether, but at least one, from each partition in turn."""
        found: list[RecordBatch] = []
        try:
            try:
                self._take_batches(max_bytes, found)
            except (EventLogError, OSError) as error:
                pass_on_handlers(error)
                if not found:
                    self._turns.rotate(-1)
                    raise
            self.consumed += sum(map(len, found))
        except BaseException:
            self.give_back([(batch.topic, batch.partition, batch.base_offset) for batch in found])
            raise
        return found

    def _take_batches(self, room: int, found: list[RecordBatch]) -> None:
        turns, idle, before, served = self._turns, 0, 0, []
        while idle < len(turns) and room > 0:
            reader = turns[0]
            if not reader.paused:
                reader.take_batch(found)
            turns.rotate(-1)
            if len(found) > before:
                before, idle = len(found), 0
                room -= found[-1].size
                served.append(reader)
            else:
                idle += 1
        self._note_lag(served)

    def _note_lag(self, served: list[PartitionReader]) -> None:
        for reader in served:
            left = reader.left
            self.lag_max = max(self.lag_max, left)

    def give_back(self, taken: list[tuple[str, int, int]]) -> None:
        """After an interrupt: nobody has seen these offsets, so they are read again."""
        for topic, partition, offset in reversed(taken):
            self.readers[TopicPartition(topic, partition)].seek(offset)

    def wait(self, seconds: float, others: Sequence[Word] = ()) -> None:
        """Return when a partition has something new, when signalled, or when the time is over; maybe earlier.

        Also when one of the ``others`` changes, which are words to sleep on besides.
        """
        readers = [reader for reader in self._turns if not reader.paused]
        spin_until = time.monotonic() + min(_SPIN, seconds)
        while time.monotonic() < spin_until:
            if any(reader.has_more() for reader in readers):
                return
        words = [Word(self._signal, 0, self._seen), *others, *(reader.prepare_sleep() for reader in readers)]
        if wait(words, min(seconds, _SLICE)):
            # Another reader may have slept on a later end than the one noted here: let it look again.
            for word in words[1:]:
                wake(word.words, word.place)

    def look(self) -> None:
        """Note which signals were seen: one that comes from now on ends the next wait at once."""
        self._seen = self._signal.item(0)

    def signal(self) -> None:
        """Wake the thread that waits, from another one."""
        self._signal[0] += np.uint64(1)
        wake(self._signal, 0)


def until_found(read: Callable[[], list[Found]], wait: Callable[[], bool]) -> list[Found]:
    """Read again whenever ``wait`` returns, until there is something, or it returns False."""
    found: list[Found] = []
    while not found and wait():
        found = read()
    return found
