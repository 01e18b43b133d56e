"""A partition against a plain list, through appends, rolls, flushes, restarts, crashes and torn tails."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import eventlog


class Row(NamedTuple):
    """A record of the model."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Any


items = st.one_of(st.none(), st.binary(max_size=6), st.integers(20, 400).map(lambda size: b"v" * size))
headers = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.one_of(st.none(), st.binary(max_size=3))), max_size=2)
rows = st.builds(Row, st.integers(0, 60), items, items, headers.map(tuple))


class PartitionAgainstList(RuleBasedStateMachine):
    """The model is a list: its index is the offset. Nothing of the log's own code helps to build it."""

    @initialize(
        interval=st.sampled_from([0, 100, 4096]),
        segment_ms=st.sampled_from([5, 30, 10**9]),
        compression=st.sampled_from(["none", "zstd", "snappy"]),
        small_set=st.booleans(),
    )
    def create(self, interval: int, segment_ms: int, compression: str, small_set: bool) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="eventlog-"))
        self.path = self.root / "0"
        self.generation = 0
        self.options = {"max_open_partitions": 1} if small_set else {}
        self.model: list[Row] = []
        self.lost_head = False
        self.durable = 0
        self.synced: dict[str, int] = {}
        self.log = eventlog.open(self.path, **self.options)
        self.log.create_topic(
            "t", segment_bytes=1024, segment_ms=segment_ms, index_interval_bytes=interval, compression_type=compression
        )
        self.log.create_topic("other")
        self.partition = self.log.topic("t").partitions[0]

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.root)

    # --- writing ---

    @rule(batch=st.lists(rows, min_size=1, max_size=8), keyed=st.booleans(), headed=st.booleans())
    def append(self, batch: list[Row], keyed: bool, headed: bool) -> None:
        batch = [row._replace(key=row.key if keyed else None, headers=row.headers if headed else ()) for row in batch]
        result = self.partition.append(
            [row.value for row in batch],
            [row.key for row in batch] if keyed else None,
            [row.timestamp_ms for row in batch],
            [row.headers for row in batch] if headed else None,
        )
        assert (result.base_offset, result.last_offset) == (len(self.model), len(self.model) + len(batch) - 1)
        self.model += batch

    @rule(row=rows, times=st.integers(1, 15))
    def append_one_by_one(self, row: Row, times: int) -> None:
        for _ in range(times):
            result = self.partition.append([row.value], timestamps_ms=row.timestamp_ms)
            assert result.base_offset == len(self.model)
            self.model.append(Row(row.timestamp_ms, None, row.value, ()))

    @rule(row=rows)
    def append_to_disk(self, row: Row) -> None:
        result = self.partition.append([row.value], timestamps_ms=[row.timestamp_ms], durability="disk")
        assert result.durable
        self.model.append(Row(row.timestamp_ms, None, row.value, ()))
        self.note_sync()

    @rule()
    def flush(self) -> None:
        self.partition.flush()
        self.note_sync()

    @rule()
    def use_another_partition(self) -> None:
        """With a single open partition allowed, this takes the descriptors of the first away."""
        self.log.topic("other").partitions[0].append([b"x"])

    # --- ends ---

    @rule()
    def close_and_reopen(self) -> None:
        self.partition.flush()
        self.log.close()
        self.note_sync()
        self.reopen()
        report = self.partition.recovery
        assert report is not None
        assert (report.damaged, report.torn_bytes, report.scanned_bytes) == ((), 0, 0)

    @rule()
    def crash(self) -> None:
        """The process dies: what it wrote is all there, what it held in memory is gone."""
        self.leave_behind()
        self.reopen()
        assert self.partition.log_end_offset == len(self.model)
        assert self.partition.recovery is not None
        assert not self.partition.recovery.damaged

    @rule(share=st.floats(0, 1), zeros=st.booleans(), lose_head=st.booleans())
    def crash_with_a_torn_tail(self, share: float, zeros: bool, lose_head: bool) -> None:
        """The power fails: of what was not flushed only a part of the last segment reached the disk."""
        self.leave_behind()
        last = self.segments()[-1]
        raw = last.read_bytes()
        low = self.synced.get(last.name, 0)
        cut = low + round((len(raw) - low) * share)
        last.write_bytes(raw[:cut] + bytes(len(raw) - cut) * zeros)
        if lose_head:
            (self.directory / "head").unlink()
            self.lost_head = True
        self.reopen()
        self.lose_unflushed()

    @rule(garbage=st.binary(min_size=1, max_size=300))
    def crash_with_garbage_behind(self, garbage: bytes) -> None:
        """A writer died within an append: some of its bytes lie behind the published end."""
        self.leave_behind()
        last = self.segments()[-1]
        last.write_bytes(last.read_bytes() + garbage)
        self.reopen()
        assert self.partition.log_end_offset == len(self.model)

    @rule(which=st.sampled_from([".index", ".timeindex"]), data=st.data())
    def lose_an_index(self, which: str, data: st.DataObject) -> None:
        """Indexes hold no truth: without one of them, everything is found all the same."""
        self.partition.flush()
        self.log.close()
        self.note_sync()
        data.draw(st.sampled_from(self.segments())).with_suffix(which).unlink(missing_ok=True)
        self.reopen()
        for offset in range(len(self.model)):  # an index is built anew when its segment is next looked into
            self.expect_prefix(offset, self.partition.read(offset, 1))

    # --- reading ---

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def read_from_any_offset(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.model) - 1))
        self.expect_from(offset, self.partition.read(offset, 1 << 30))
        few = self.partition.read(offset, data.draw(st.integers(1, 2000)))
        self.expect_prefix(offset, few)

    @rule(timestamp=st.integers(0, 62))
    def seek_by_time(self, timestamp: int) -> None:
        found = self.partition.first_at_or_after(timestamp)
        expected = next((n for n, row in enumerate(self.model) if row.timestamp_ms >= timestamp), None)
        assert (found and found.offset) == expected
        if found is not None:
            assert found.timestamp_ms == self.model[found.offset].timestamp_ms

    @rule(beyond=st.integers(1, 10**6))
    def read_beyond_the_end(self, beyond: int) -> None:
        assert self.partition.read(len(self.model)) == []
        for offset in (len(self.model) + beyond, -beyond):
            try:
                self.partition.read(offset)
            except eventlog.OffsetOutOfRangeError:
                continue
            raise AssertionError(f"offset {offset} was read")

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "partition"):
            return
        assert self.partition.log_end_offset == len(self.model)
        assert self.partition.log_start_offset == 0
        known_durable = 0 if self.lost_head else self.durable
        assert known_durable <= self.partition.durable_end_offset <= len(self.model)
        self.expect_from(0, self.partition.read(0, 1 << 30))
        report = self.partition.verify()
        assert report.ok, report
        assert report.records == len(self.model)

    # --- helpers ---

    @property
    def directory(self) -> Path:
        return self.path / "topics" / "t" / "0"

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.log"))

    def note_sync(self) -> None:
        self.lost_head = False
        self.durable = len(self.model)
        self.synced = {path.name: path.stat().st_size for path in self.segments()}

    def reopen(self) -> None:
        self.log = eventlog.open(self.path, **self.options)
        self.partition = self.log.topic("t").partitions[0]

    def leave_behind(self) -> None:
        """Go on with a copy of the files, made while the log was open: no close, no flush."""
        self.generation += 1
        copy = self.root / str(self.generation)
        shutil.copytree(self.path, copy)
        self.log.close()
        shutil.rmtree(self.path)
        self.path = copy

    def lose_unflushed(self) -> None:
        end = self.partition.log_end_offset
        assert self.durable <= end <= len(self.model)
        assert self.partition.recovery is not None
        assert not self.partition.recovery.damaged
        del self.model[end:]

    def expect_from(self, offset: int, batches: list[eventlog.RecordBatch]) -> None:
        assert self.expect_prefix(offset, batches) == len(self.model) - offset

    def expect_prefix(self, offset: int, batches: list[eventlog.RecordBatch]) -> int:
        records = [record for batch in batches for record in batch.records()]
        assert [record.offset for record in records] == list(range(offset, offset + len(records)))
        found = [Row(record.timestamp_ms, record.key, record.value, record.headers) for record in records]
        assert found == self.model[offset : offset + len(records)]
        return len(records)


TestPartitionAgainstList = PartitionAgainstList.TestCase
TestPartitionAgainstList.settings = settings(max_examples=40, stateful_step_count=25)
