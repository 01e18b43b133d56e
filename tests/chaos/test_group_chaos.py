"""A group of real processes that join, leave, are killed, stopped and continued at random keeps its promises."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from tests.chaos import checker
from tests.chaos.checker import History
from tests.chaos.driver import MAX_POLL_INTERVAL_MS, PARTITIONS, Chaos, Running

NS = 10**9
LONGEST_UNOWNED = 10 * NS  # a process may have to start first, on a machine that is busy with the others
SECONDS = float(os.environ.get("EVENTLOG_CHAOS_SECONDS", "60"))


def commits_in(log: eventlog.EventLog) -> Iterator[tuple[int, int]]:
    """Yield (partition, offset) for each commit, in the order of the log; Kafka's bytes, read by hand."""
    for partition in log.topic("__consumer_offsets").partitions:
        place = 0
        while batches := partition.read(place):
            for batch in batches:
                for key, value in zip(batch.keys(), batch.values(), strict=True):
                    assert key is not None
                    if value is not None:
                        yield struct.unpack(">i", key[-4:])[0], struct.unpack_from(">q", value, 2)[0]
                place = batch.last_offset + 1


def check(chaos: Chaos) -> None:
    """Print what was done, and fail on any broken promise."""
    histories = chaos.histories()
    print(f"{chaos.counts}, {sum(len(history.events) for history in histories):,} events")
    interval = MAX_POLL_INTERVAL_MS * 1_000_000
    assert checker.double_owners(histories, interval) == []
    assert checker.stale_reads(histories) == []
    assert checker.gaps_and_repeats(histories) == []
    assert checker.unread(histories, chaos.ends()) == []
    assert checker.backward_commits(list(commits_in(chaos.log))) == []
    assert checker.unowned(histories, PARTITIONS, LONGEST_UNOWNED) == []
    assert chaos.committed() == chaos.ends()


def run(directory: Path, seconds: float, seed: int) -> None:
    print(f"seed {seed}")
    chaos = Chaos(directory, seed)
    try:
        chaos.run(seconds)
        check(chaos)
    finally:
        chaos.close()


def test_a_group_under_chaos(tmp_path: Path) -> None:
    """Each record is read, in order within an ownership; a partition has one owner; commits go on; lag ends at 0."""
    run(tmp_path, SECONDS, int(os.environ.get("EVENTLOG_CHAOS_SEED", random.randrange(2**32))))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_groups_under_chaos_for_hours(tmp_path: Path) -> None:
    """The same, over and over: EVENTLOG_CHAOS_ROUNDS (60) rounds of EVENTLOG_CHAOS_SECONDS."""
    for number in range(int(os.environ.get("EVENTLOG_CHAOS_ROUNDS", "60"))):
        (tmp_path / str(number)).mkdir()
        run(tmp_path / str(number), SECONDS, random.randrange(2**32))


# --- the checker can fail ---


def history(
    name: str, *events: list[object], ended: int = 100 * NS, stops: list[tuple[int, int]] | None = None
) -> History:
    return History(name, [list(event) for event in events], ended, stops or [])


A = history("a", [1, "assigned", [[0, 0]]], [2, "read", 0, 0, 4, 5, 1], [3, "revoked", [0]])
B = history("b", [4, "assigned", [[0, 5]]], [5, "read", 0, 5, 9, 5, 4], ended=6)


def test_a_history_that_keeps_its_promises() -> None:
    """The checker finds nothing where there is nothing."""
    assert checker.double_owners([A, B], 1) == checker.stale_reads([A, B]) == checker.gaps_and_repeats([A, B]) == []
    assert checker.unread([A, B], {0: 10}) == checker.unowned([A, B], 1, 5) == []
    assert checker.backward_commits([(0, 5), (1, 3), (0, 5), (0, 9)]) == []


def test_the_checker_sees_two_owners() -> None:
    """Two members have a partition at once: found, unless one hung for longer than the interval and loses it then."""
    other = history("b", [12, "assigned", [[0, 5]]], ended=30)
    polls = [[time, "alive"] for time in range(2, 13)]
    lost, assigned = [14, "lost", [0]], [1, "assigned", [[0, 0]]]
    assert len(checker.double_owners([history("a", assigned, *polls, lost), other], 10)) == 1
    assert checker.double_owners([history("a", assigned, lost), other], 10) == []
    assert len(checker.double_owners([history("a", assigned, lost), other], 15)) == 1
    assert checker.double_owners([history("a", assigned, ended=14), other], 10) == [], "killed while it hung"
    early = history("b", [5, "assigned", [[0, 5]]], ended=30)
    assert len(checker.double_owners([history("a", assigned, lost), early], 10)) == 1
    keeps = history("b", [1, "started"], *other.events, *([time, "alive"] for time in range(13, 30)), ended=30)
    assert len(checker.double_owners([history("a", assigned, *polls, lost), keeps], 10)) == 1
    hung_as_it_took_it = history("b", [1, "started"], *other.events, [13, "lost", [0]], ended=30)
    assert checker.double_owners([history("a", assigned, *polls, lost), hung_as_it_took_it], 10) == []


def test_a_killed_member_has_nothing_from_the_kill_on(tmp_path: Path) -> None:
    """A member that takes over from a killed one is no double owner, however late the death is noticed here."""

    class SlowToNotice(Chaos):
        def _wait(self, member: Running) -> None:
            wait_for(1, PARTITIONS)
            super()._wait(member)

    def wait_for(number: int, partitions: int) -> None:
        journal = chaos.members[number].journal
        while not journal.exists() or len(checker.positions(checker.read_journal(journal))) < partitions:
            threading.Event().wait(0.01)

    chaos = SlowToNotice(tmp_path, 1)
    try:
        chaos.start()
        wait_for(0, PARTITIONS)
        chaos.start()
        wait_for(1, 1)
        chaos.kill(chaos.members[0])
        assert checker.double_owners(chaos.histories(), MAX_POLL_INTERVAL_MS * 1_000_000) == []
    finally:
        chaos.close()


def test_the_checker_sees_a_read_without_ownership() -> None:
    """Records of a partition that was revoked, or never assigned, are found."""
    late = history("a", *A.events, [9, "read", 0, 5, 5, 1, 8])
    assert checker.stale_reads([late]) == ["a reads partition 0, which it has not"]


def test_the_checker_sees_gaps_and_repeats() -> None:
    """A record left out, and one read twice within an ownership, are found."""
    for first in (3, 6):
        events = [*A.events[:2], [3, "read", 0, first, 9, 10 - first, 2]]
        assert len(checker.gaps_and_repeats([history("a", *events)])) == 1


def test_the_checker_sees_records_that_nobody_reads() -> None:
    """A record in the middle, and one at the end, that no member has read are found."""
    assert len(checker.unread([A], {0: 6})) == 1
    assert len(checker.unread([B], {0: 10})) == 1


def test_the_checker_sees_commits_that_go_back() -> None:
    """A commit that is smaller than the one before it is found."""
    assert len(checker.backward_commits([(0, 5), (0, 4)])) == 1


def test_the_checker_sees_a_partition_without_owner() -> None:
    """A gap that is longer than the bound is found, unless a process was stopped or busy, or none was there."""
    there = A._replace(ended=40)
    late = history("b", [30, "assigned", [[0, 5]]], ended=40)
    assert len(checker.unowned([there, late], 1, 20)) == 1
    assert checker.unowned([there, late._replace(stops=[(4, 20)])], 1, 20) == []
    assert checker.unowned([A._replace(ended=5), late], 1, 20) == [], "nobody was there"
    silent = history("c", [2, "started", 1], [2 + 2 * NS, "alive"], ended=2 * NS + 5)
    polling = A._replace(events=[*A.events, *([n * NS // 10, "alive"] for n in range(1, 21))], ended=2 * NS + 5)
    much_later = history("b", [2 * NS, "assigned", [[0, 5]]], ended=2 * NS + 5)
    assert len(checker.unowned([polling, much_later], 1, NS)) == 1
    assert checker.unowned([polling, much_later, silent], 1, NS) == [], "one had no processor"
