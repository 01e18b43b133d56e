"""A process that was stopped while it held the group's lock keeps nobody from what needs no lock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import eventlog
from eventlog import TopicPartition
from eventlog.consumer.committer import Committer
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.files.filesystem import FileSystem


@pytest.fixture
def directory(log: eventlog.EventLog) -> GroupDirectory:
    """The group's files, as another process has them."""
    log.create_topic("t", partitions=2)
    return GroupDirectory(FileSystem(), log.path, "g")


def test_polls_go_on_while_the_lock_is_held(log: eventlog.EventLog, directory: GroupDirectory) -> None:
    """A member reads its partitions, and a newcomer's polls end in time with nothing; freed, the group settles."""
    member = log.consumer("t", group="g", enable_auto_commit=False)
    member.poll()
    with directory.lock:
        log.topic("t").partitions[0].append([b"v"])
        assert [record.value for record in member.poll()] == [b"v"]
        newcomer = log.consumer("t", group="g")
        for _ in range(3):
            assert newcomer.poll(timeout=0.01) == []
        assert newcomer.assignment() == []
    for _ in range(3):
        newcomer.poll()
        member.poll()
    assert len(newcomer.assignment()) == len(member.assignment()) == 1


def test_a_commit_is_refused_in_the_end(
    log: eventlog.EventLog, directory: GroupDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """commit says that another process holds the lock, commits nothing, and succeeds once the lock is free."""
    monkeypatch.setattr("eventlog.consumer.committer._PATIENCE", 0.01)
    tp = TopicPartition("t", 0)
    member = log.consumer("t", group="g", enable_auto_commit=False)
    member.poll()
    log.topic("t").partitions[0].append([b"v"])
    member.poll()
    with directory.lock:
        with pytest.raises(eventlog.RetriableCommitFailedError, match="another process has held"):
            member.commit()
        assert member.committed(tp) is None
    member.commit()
    assert member.committed(tp) == eventlog.OffsetAndMetadata(1)


def test_partitions_are_given_up_once_they_are_committed(
    log: eventlog.EventLog, directory: GroupDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An automatic commit that the lock keeps from happening lets a partition stay; later nothing is read twice."""
    partition = log.topic("t").partitions[0]
    first, second = (log.consumer("t", group="g", auto_offset_reset="earliest") for _ in range(2))
    first.poll()
    partition.append([b"a"])
    assert [record.value for record in first.poll()] == [b"a"]
    second.poll()

    give_up = Committer.commit_before_giving_up

    def while_the_lock_is_held(committer: Committer, positions: Mapping[TopicPartition, int]) -> None:
        with directory.lock:  # taken behind the look that tells what to give up
            give_up(committer, positions)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "commit_before_giving_up", while_the_lock_is_held)
        partition.append([b"b"])
        assert [record.value for record in first.poll()] == [b"b"]
        assert len(first.assignment()) == 2
    found = []
    while len(second.assignment()) < 1:
        for member in (first, second):
            found += member.poll()
    partition.append([b"c"])
    for member in (first, second, first, second):
        found += member.poll()
    assert [record.value for record in found] == [b"c"]


def test_who_closes_while_the_lock_is_held_is_gone(log: eventlog.EventLog, directory: GroupDirectory) -> None:
    """close() ends; the others find the member dead, and take over."""
    first, second = (log.consumer("t", group="g", enable_auto_commit=False) for _ in range(2))
    for _ in range(3):
        first.poll()
        second.poll()
    assert len(second.assignment()) == 1
    with directory.lock:
        first.close()
    while len(second.assignment()) < 2:
        second.poll(timeout=0.05)


def test_a_state_that_nobody_can_change_is_still_shown(log_path: Path) -> None:
    """log.group() needs no lock."""
    with eventlog.open(log_path) as log:
        log.create_topic("t")
        log.consumer("t", group="g").poll()
        with GroupDirectory(FileSystem(), log.path, "g").lock:
            assert log.group("g").state == "stable"
