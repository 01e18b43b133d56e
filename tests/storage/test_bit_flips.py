"""Every single bit of a small log, flipped: noticed, or without any effect on what is returned."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import eventlog
from eventlog.clock import SystemClock
from eventlog.files.filesystem import FileSystem
from eventlog.format import layouts
from eventlog.storage import log_cursor
from eventlog.storage.context import LogContext
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.open_files import OpenFiles
from eventlog.storage.partition_log import PartitionLog
from eventlog.storage.time_search import first_at_or_after
from eventlog.storage.verification import verify_partition

FILES = [f"{0:020d}.log", f"{0:020d}.index", f"{0:020d}.timeindex"]
FILES += [f"{6:020d}.log", f"{6:020d}.index", f"{6:020d}.timeindex", "head"]
HEAD_BYTES = layouts.HEAD_RECOVERY_POINTS[0] * 8 + layouts.END_SLOT.size + layouts.SLOT_CHECKSUM.size
CONFIG = eventlog.TopicConfig(segment_ms=25, index_interval_bytes=0)


class Seen(NamedTuple):
    """What a reader finds: read in one go, begun anew at each offset, and asked by time."""

    records: list[eventlog.Record]
    from_offset: list[list[eventlog.Record]]
    times: list[int | None]


def fill(path: Path) -> None:
    """Two segments of a few batches each, every batch with an index entry of its own."""
    with eventlog.open(path) as log:
        topic = log.create_topic("t", segment_ms=25, index_interval_bytes=0)
        partition = topic.partitions[0]
        partition.append([b"one", b"two", b"three"], [b"k", None, b""], [10, 20, 15])
        partition.append([b"x" * 40, None], timestamps_ms=[30, 12], headers=[[("h", b"v"), ("n", None)], []])
        partition.append([b"last of the first"], timestamps_ms=40)
        partition.append([b"six", b"seven"], [b"a", b"b"], 50)
        partition.append([b"eight", b"nine"], timestamps_ms=[62, 61])
        partition.append([b"ten"], timestamps_ms=70)


class Reader:
    """Opens the partition in a session of its own each time, as the first process after a restart would."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.noticed = False

    def look(self) -> Seen:
        self.noticed = False
        context = LogContext(FileSystem(), SystemClock(), OpenFiles(8), secrets.randbits(60) | 1)
        log = PartitionLog(context, self.directory, "t", 0, CONFIG)
        try:
            report = log.recovery
            assert report is not None
            self.noticed |= bool(report.damaged or report.torn_bytes or report.rebuilt_indexes)
            seen = Seen(
                self._records(log),
                [self._first_batch(log, offset) for offset in range(min(log.end_offset, 20))],
                [self._time(log, time) for time in range(0, 80, 10)],
            )
            self.noticed |= not verify_partition(log).ok
            return seen
        finally:
            log.close()

    def _records(self, log: PartitionLog) -> list[eventlog.Record]:
        cursor = LogCursor(log, log.start_offset)
        records: list[eventlog.Record] = []
        while True:
            try:
                batch = cursor.next_batch()
                if batch is None:
                    return records
                records += batch.records()
            except eventlog.CorruptSegmentError as error:
                self.noticed = True
                assert error.base_offset == cursor.next_offset
                assert error.next_offset is not None and error.next_offset > cursor.next_offset
                cursor.seek(error.next_offset)

    def _first_batch(self, log: PartitionLog, offset: int) -> list[eventlog.Record]:
        try:
            batch = LogCursor(log, offset).next_batch()
            return [] if batch is None else batch.records()
        except eventlog.CorruptSegmentError:
            self.noticed = True
            return []

    def _time(self, log: PartitionLog, time: int) -> int | None:
        try:
            found = first_at_or_after(log, time)
            return None if found is None else found.offset
        except eventlog.CorruptSegmentError:
            self.noticed = True
            return None


class Damage:
    """Damages one file at a time, and first puts back whatever the last reader changed."""

    def __init__(self, partition: Path) -> None:
        self._partition = partition
        self._originals = {file.name: file.read_bytes() for file in partition.iterdir()}
        self._states: dict[str, tuple[int, ...]] = {}

    def flips(self, name: str) -> Iterator[str]:
        """Flip every bit of the file, one after the other; yield which one it is."""
        original = self._originals[name]
        for bit in range(8 * min(len(original), layouts_end(name))):
            damaged = bytearray(original)
            damaged[bit // 8] ^= 1 << (bit % 8)
            self.put(name, bytes(damaged))
            yield f"bit {bit % 8} of byte {bit // 8}"

    def put(self, name: str, content: bytes) -> None:
        """Give the file another content, and every other file its own."""
        for file in os.scandir(self._partition):
            if file.name not in self._originals:
                os.unlink(file.path)
        for known, original in self._originals.items():
            path = self._partition / known
            if known == name or self._state(path) != self._states.get(known):
                path.write_bytes(content if known == name else original)
                self._states[known] = () if known == name else self._state(path)

    def _state(self, path: Path) -> tuple[int, ...]:
        if not path.exists() or path.name == "head":  # a store through a mapping shows in no time stamp at once
            return (-1,)
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns


def layouts_end(name: str) -> int:
    """How many bytes of the file carry anything: of the head, up to the checksum of the recovery point."""
    return HEAD_BYTES if name == "head" else 1 << 20


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed_or_harmless(log_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No record ever comes back changed, and none is missing without a word, whichever single bit was flipped.

    Each record that is returned is one of the original ones, from whichever offset the reader begins. If anything is
    missing, or the time search answers differently, an error, the recovery report or verify() says so.
    """
    monkeypatch.setattr(log_cursor, "_LOOKS_AGAIN", 1)  # nobody writes here: what is damaged stays so
    fill(log_path)
    partition = log_path / "topics" / "t" / "0"
    reader = Reader(partition)
    original = reader.look()
    assert (len(original.records), len(original.from_offset), reader.noticed) == (11, 11, False)
    by_offset = {record.offset: record for record in original.records}
    for where in Damage(partition).flips(name):
        seen = reader.look()
        for offset, records in enumerate(seen.from_offset):
            assert not records or records[0].offset == offset, where
            assert all(by_offset.get(record.offset) == record for record in records), where
        assert all(by_offset.get(record.offset) == record for record in seen.records), where
        assert reader.noticed or seen == original, where


def test_the_rest_of_the_head_says_nothing(log_path: Path) -> None:
    """Whatever stands in the words of the head that have no meaning, nothing changes: they are never read."""
    fill(log_path)
    partition = log_path / "topics" / "t" / "0"
    reader = Reader(partition)
    original = reader.look()
    head = (partition / "head").read_bytes()
    assert len(head) == 4096
    for filler in (b"\xff", b"\x55", b"\xaa"):
        Damage(partition).put("head", head[:HEAD_BYTES] + filler * (4096 - HEAD_BYTES))
        assert reader.look() == original
        assert not reader.noticed
