"""A search by time where whole segments are missing says so, like every other read."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog

STEP_MS = 10


def segments(log_path: Path) -> list[Path]:
    return sorted((log_path / "topics" / "t" / "0").glob("*.log"))


@pytest.fixture
def end_offset(log_path: Path) -> int:
    """A log of several segments, in which record n has the time n * STEP_MS."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", segment_bytes=1024, index_interval_bytes=128).partitions[0]
        for number in range(60):
            partition.append([b"%03d" % number], timestamps_ms=number * STEP_MS)
        assert len(segments(log_path)) > 4
        return partition.log_end_offset


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("missing", ["first", "middle", "last", "all"])
def test_a_search_by_time_tells_of_missing_segments(
    log_path: Path, end_offset: int, missing: str, readonly: bool
) -> None:
    """Times before the gap are found; at the gap and behind it the answer is right, or CorruptSegmentError."""
    there = segments(log_path)
    gone = {"first": there[:1], "middle": there[2:3], "last": there[-1:], "all": there}[missing]
    for path in gone:
        path.unlink()
    begin, end = int(gone[0].stem), end_offset if gone[-1] == there[-1] else int(there[there.index(gone[-1]) + 1].stem)
    with eventlog.open(log_path, readonly=readonly) as log:
        partition = log.topic("t").partitions[0]
        for number in range(end_offset):
            if number < begin:
                assert partition.offset_for_time(number * STEP_MS) == number
            elif number < end:
                with pytest.raises(eventlog.CorruptSegmentError) as caught:
                    partition.offset_for_time(number * STEP_MS)
                assert caught.value.next_offset == end
            else:
                with pytest.raises(eventlog.CorruptSegmentError):
                    partition.offset_for_time(number * STEP_MS)
        with pytest.raises(eventlog.CorruptSegmentError):
            partition.offset_for_time(end_offset * STEP_MS)
