"""What a group's files say of a machine that has been restarted since is not taken for news."""

from __future__ import annotations

from pathlib import Path

import eventlog
from eventlog import ManualClock


def test_the_dead_are_noticed_although_the_clock_began_anew(tmp_path: Path) -> None:
    """A group's page tells of a time that is far ahead on the new clock: members look around all the same."""
    before = ManualClock(start=1_700_000_000.0)
    before.advance(1e6)
    with eventlog.EventLog(tmp_path, clock=before) as log:
        log.create_topic("t", partitions=2)
        with log.consumer("t", group="g") as consumer:
            consumer.poll()
            before.advance(1.0)
            consumer.poll()  # looks around, and notes when
    after = ManualClock(start=1_700_009_000.0)
    with eventlog.EventLog(tmp_path, clock=after) as log:
        first = log.consumer("t", group="g", max_poll_interval_ms=1000)
        second = log.consumer("t", group="g", max_poll_interval_ms=1000)
        first.poll()
        second.poll()
        first.poll()
        second.poll()
        assert len(first.assignment()) == len(second.assignment()) == 1
        after.advance(0.9)
        first.poll()
        after.advance(0.9)  # the second has not polled for 1.8 s
        first.poll()
        assert len(first.assignment()) == 2
