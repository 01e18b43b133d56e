"""What one partition of ``__consumer_offsets`` says up to some offset: the newest value of each key.

Keys and values stay the bytes that they are in the log; an answer decodes what it returns.

Commits in a damaged range are lost, and nobody knows whose they were: a key whose newest record lies before it may
have had a newer one in it. So from then on the table answers only for keys that were committed or deleted since, and
raises CorruptSegmentError for all others, also for those it has never seen. A tombstone behind the damage is kept, as
the knowledge that nothing is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eventlog.coordination.offset_records import (
    Committed,
    decode_key,
    decode_value,
    encode_key,
    fingerprint,
    group_of,
    group_prefix,
    prefix_of,
)
from eventlog.errors import CorruptSegmentError
from eventlog.model import TopicPartition

Entry = tuple[int, bytes | None]  # offset of the record, and its value


class Damage(NamedTuple):
    """Records from ``base_offset`` to before ``next_offset`` were lost."""

    base_offset: int
    next_offset: int


class OffsetTable:
    """The newest entries, by group and key; true at ``next_offset``, which is that of the record to be read next."""

    def __init__(self, topic: str, partition: int, next_offset: int = 0) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset = next_offset
        self.damage: Damage | None = None
        self._groups: dict[bytes, dict[bytes, Entry]] = {}
        self._last: tuple[int, bytes | None, bytes | None, int] | None = None

    # --- following the log ---

    def apply(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamp_ms: int, end: int) -> None:
        """Take in the records of a batch, which ends before offset ``end``.

        Interrupted, it leaves ``next_offset`` as it was; taking in the same batch again completes it.
        """
        offset = end - len(keys)
        for key, value in zip(keys, values, strict=True):
            self.put(offset, key, value)
            offset += 1
        self._last = end - 1, keys[-1], values[-1], timestamp_ms
        self.next_offset = end

    def put(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Take in one entry. A key of a kind that is not known here is skipped, as Kafka does."""
        prefix = prefix_of(key)
        if prefix is None or key is None:
            return
        if value is not None or self.damage is not None:
            self._groups.setdefault(prefix, {})[key] = offset, value
            return
        entries = self._groups.get(prefix, {})
        entries.pop(key, None)
        if not entries:
            self._groups.pop(prefix, None)

    def lose(self, next_offset: int) -> None:
        """Go on behind damage: nothing from here up to ``next_offset`` can be read."""
        base = self.next_offset if self.damage is None else self.damage.base_offset
        self.damage = Damage(base, next_offset)
        self._last = None
        self.next_offset = next_offset

    @property
    def fingerprint(self) -> int | None:
        """The checksum of the last record that was taken in; None when there is none, or it was lost."""
        return None if self._last is None else fingerprint(*self._last)

    # --- asking ---

    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        """Return the commit of a group for a partition; raises CorruptSegmentError when it may be lost."""
        entry = self._groups.get(group_prefix(group), {}).get(encode_key(group, *tp))
        if self._is_doubtful(entry):
            raise self._doubt(group)
        return None if entry is None or entry[1] is None else decode_value(entry[1])

    def all_committed(self, group: str) -> dict[TopicPartition, Committed]:
        """Return all commits of a group; raises CorruptSegmentError when a newer one, or all of them, may be lost."""
        prefix = group_prefix(group)
        entries = self._groups.get(prefix, {})
        if any(map(self._is_doubtful, entries.values() or [None])):
            raise self._doubt(group)
        return {
            decode_key(key, prefix): decode_value(value) for key, (_, value) in entries.items() if value is not None
        }

    def partitions(self, group: str) -> list[TopicPartition]:
        """Return what the group has commits for, also doubtful ones."""
        prefix = group_prefix(group)
        return [
            decode_key(key, prefix) for key, (_, value) in self._groups.get(prefix, {}).items() if value is not None
        ]

    def groups(self) -> list[str]:
        """Return every group that has commits, also doubtful ones."""
        return [
            group_of(prefix)
            for prefix, entries in self._groups.items()
            if any(value is not None for _, value in entries.values())
        ]

    def _is_doubtful(self, entry: Entry | None) -> bool:
        return self.damage is not None and (entry is None or entry[0] < self.damage.next_offset)

    def _doubt(self, group: str) -> CorruptSegmentError:
        assert self.damage is not None
        return CorruptSegmentError(
            f"commits of group {group!r} may be among the lost records", topic=self.topic, partition=self.partition,
            base_offset=self.damage.base_offset, next_offset=self.damage.next_offset,
            hint="commit the group's offsets anew, for each of its partitions, or restore the segment from a backup",
        )  # fmt: skip

    # --- for snapshots ---

    @property
    def count(self) -> int:
        """Number of entries."""
        return sum(map(len, self._groups.values()))

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield every key with its entry."""
        for entries in self._groups.values():
            yield from entries.items()

    def check(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        for prefix, entries in self._groups.items():
            assert entries
            for key, (offset, value) in entries.items():
                assert prefix_of(key) == prefix
                assert 0 <= offset < self.next_offset
                assert value is not None or self.damage is not None
