"""What a group has committed is kept while it is used, and for a while after."""

from __future__ import annotations

from pathlib import Path

import eventlog
from eventlog import ManualClock, TopicPartition

TP = TopicPartition("t", 0)
WEEK = 7 * 24 * 3600.0


def test_offsets_of_a_group_without_members_expire(tmp_path: Path) -> None:
    """A week after its last commit a group without members is forgotten; one with a member, however idle, is not."""
    clock = ManualClock(start=1_700_000_000.0)
    with eventlog.EventLog(tmp_path, clock=clock) as log:
        log.create_topic("t").partitions[0].append([b"v"] * 9)
        idle = log.consumer("t", group="idle", max_poll_interval_ms=10**12)
        idle.poll()
        idle.commit({TP: 3})
        with log.consumer("t", group="gone", enable_auto_commit=False) as consumer:
            consumer.poll()
            consumer.commit({TP: 4})
        clock.advance(WEEK - 1)
        log.consumer(group="x")
        assert log.groups() == ["gone", "idle"]
        clock.advance(WEEK)
        log.consumer(group="x")
        assert log.groups() == ["idle"]
        assert idle.committed(TP) == eventlog.OffsetAndMetadata(3)
        with log.consumer(group="gone") as again:
            assert again.committed(TP) is None
