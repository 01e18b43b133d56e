"""Committed offsets of all groups, in the internal topic ``__consumer_offsets``.

The topic has as many partitions as Kafka's, and is created by the first commit. A group's commits are in one of its
partitions, by the hash of the group's name. What a commit is worth is what an append to the log is worth: it survives
the process at once, and a power cut when the log is flushed or closed, or some seconds later when the system writes
back.

Damage in the topic does not make the log guess: `OffsetTable` tells what is answered then.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from eventlog.clock import Clock, wall_ms
from eventlog.config import TopicConfig
from eventlog.coordination.offset_partition import OffsetPartition
from eventlog.coordination.offset_records import Committed, encode_key, encode_value, group_prefix, partition_of
from eventlog.coordination.offset_table import OffsetTable
from eventlog.errors import CorruptSegmentError, UnknownTopicError
from eventlog.files.mutex import Mutex
from eventlog.model import OffsetAndMetadata, TopicPartition
from eventlog.topics.internal import OFFSETS_TOPIC
from eventlog.topics.registry import TopicRegistry
from eventlog.topics.topic import Topic

PARTITIONS = 50  # as Kafka's offsets.topic.num.partitions; a group's place depends on it, so it never changes
_SEGMENT_BYTES = 100 * 2**20  # as Kafka's offsets.topic.segment.bytes

_every_store: weakref.WeakSet[OffsetStore] = weakref.WeakSet()


class OffsetStore:
    """Writes and reads committed offsets. Safe for any number of threads, processes and forks.

    What another process has committed is seen by the next call.
    """

    def __init__(self, registry: TopicRegistry, clock: Clock, retention_ms: int) -> None:
        self._registry = registry
        self._clock = clock
        self._time = clock.time
        self._retention_ms = retention_ms
        self._topic: Topic | None = None
        self._partitions: dict[int, OffsetPartition] = {}
        self._lock = Mutex()
        _every_store.add(self)

    # --- committing ---

    def commit(self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Write the offsets, all or none; every process sees them when this returns.

        Nothing is checked here but the group's name: see `checked_offset`. Raises InvalidGroupError, and what an append
        raises: ReadOnlyLogError, LogFullError, StorageError.
        """
        if not offsets:
            return
        now_ms = wall_ms(self._time())
        partition, keys, values = self.prepare(group, offsets, now_ms)
        partition.commit(keys, values, now_ms)

    def prepare(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata], now_ms: int
    ) -> tuple[OffsetPartition, list[bytes], list[bytes]]:
        """Return where a transaction commits these offsets, and the keys and values of their records."""
        keys = [encode_key(group, topic, partition) for topic, partition in offsets]
        values = [encode_value(position, now_ms) for position in offsets.values()]
        return self._to_write(group), keys, values

    def delete(self, group: str, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Forget what the group committed, for these partitions or for all, all or none."""
        if partitions is None:
            partitions = self.partitions_of(group)
        keys = [encode_key(group, topic, partition) for topic, partition in dict.fromkeys(partitions)]
        if keys:
            self._to_write(group).commit(keys, [None] * len(keys), wall_ms(self._time()))

    def partitions_of(self, group: str) -> list[TopicPartition]:
        """Return what is known to be committed for, though a newer commit may be lost in damage."""
        found = self._to_read(group)
        if found is None:
            return []
        return found.ask(lambda table: table.partitions(group))

    # --- asking ---

    def committed(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return what the group committed last for each partition; None for nothing.

        Raises CorruptSegmentError when damage may have taken a newer commit, or the only one. It has not for what the
        group committed or deleted since: who commits anew, for each partition, goes on.
        """
        found = self._to_read(group)
        if found is None:
            return dict.fromkeys(partitions)
        commits = found.ask(lambda table: [(tp, table.committed(group, tp)) for tp in partitions])
        return {tp: None if commit is None else commit.position for tp, commit in commits}

    def all_committed(self, group: str) -> dict[TopicPartition, Committed]:
        """Return all that the group committed, with the times. Raises CorruptSegmentError as `committed` does.

        Waits for nobody: what is being committed right now may be missing.
        """
        found = self._to_read(group)
        if found is None:
            return {}
        return found.ask(lambda table: table.all_committed(group), settled=False)

    def groups(self) -> list[str]:
        """Return every group that has committed offsets, sorted."""
        groups: list[str] = []
        for partition in self._all():
            groups += partition.ask(OffsetTable.groups, settled=False)
        return sorted(groups)

    # --- expiry ---

    def stale_groups(self) -> list[str]:
        """Return the groups whose last commit, of any partition, is older than the retention; sorted.

        KIP-211 counts from when the group lost its last member, which cannot be before its last commit. So what is
        not older stays; what is older may still be in use, and whoever deletes it makes sure of that: under the lock
        that the group's commits take, and with another look at `is_stale`. A group whose commits may be lost in damage
        is never stale.
        """
        stale: list[str] = []
        for partition in self._all():
            stale += partition.ask(self._stale_in, settled=False)
        return sorted(stale)

    def _stale_in(self, table: OffsetTable) -> list[str]:
        return list(filter(partial(self._is_stale, table), table.groups()))

    def is_stale(self, group: str) -> bool:
        """Tell whether the group is one of the `stale_groups`."""
        found = self._to_read(group)
        if found is None:
            return False
        return found.ask(lambda table: self._is_stale(table, group))

    def _is_stale(self, table: OffsetTable, group: str) -> bool:
        oldest = wall_ms(self._time()) - self._retention_ms
        try:
            commits = table.all_committed(group).values()
        except CorruptSegmentError:
            return False
        return bool(commits) and all(commit.timestamp_ms < oldest for commit in commits)

    # --- the topic ---

    @property
    def replayed(self) -> int:
        """How many batches were read from the log so far, to learn what others committed."""
        return sum(partition.replayed for partition in list(self._partitions.values()))

    def _to_write(self, group: str) -> OffsetPartition:
        try:
            topic = self._registry.get(OFFSETS_TOPIC)
        except UnknownTopicError:
            config = TopicConfig(segment_bytes=_SEGMENT_BYTES)
            topic = self._registry.create(OFFSETS_TOPIC, PARTITIONS, config, exist_ok=True)
        return self._partition(topic, partition_of(group, PARTITIONS))

    def _to_read(self, group: str) -> OffsetPartition | None:
        """Return the group's partition, or None when nothing was ever committed there; nothing is created."""
        group_prefix(group)  # which refuses what is no name
        try:
            topic = self._registry.get(OFFSETS_TOPIC)
        except UnknownTopicError:
            return None
        partition = self._partition(topic, partition_of(group, PARTITIONS))
        return partition if partition.exists() else None

    def _all(self) -> Iterator[OffsetPartition]:
        try:
            topic = self._registry.get(OFFSETS_TOPIC)
        except UnknownTopicError:
            return
        for number in range(PARTITIONS):
            partition = self._partition(topic, number)
            if partition.exists():
                yield partition

    def _partition(self, topic: Topic, number: int) -> OffsetPartition:
        if topic is self._topic:
            found = self._partitions.get(number)
            if found is not None:
                return found
        with self._lock:
            if topic is not self._topic:
                self._partitions = {}
                self._topic = topic  # last: who finds it here finds its partitions
            if number not in self._partitions:
                self._partitions[number] = OffsetPartition(topic, number)
            return self._partitions[number]

    def after_fork(self) -> None:
        """Start with free locks in a forked child."""
        self._lock = Mutex()
        self._topic, self._partitions = None, {}

    def check(self) -> None:
        """Raise AssertionError unless the invariants of what is known here hold."""
        for partition in self._all():
            partition.ask(OffsetTable.check)


def _after_fork_in_child() -> None:
    for store in list(_every_store):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
