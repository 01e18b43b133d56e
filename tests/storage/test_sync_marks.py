"""A sync that was under way when its process died holds up nobody, whoever has the number of that process now."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eventlog
from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import map_shared
from eventlog.format import layouts as L
from eventlog.storage.scan import bytes_behind
from eventlog.storage.sync_marks import GROUP, SyncMarks


def test_a_dead_process_with_a_living_successor_holds_up_no_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies in the middle of a sync, and another one gets its number, which never uses that partition. A
    recovery in the next session does not take the mark for a sync of the living.
    """
    with eventlog.open(tmp_path) as log:
        for name in ("t", "other"):
            log.create_topic(name)
        partition = log.topic("t").partitions[0]
        partition.append([b"before"], durability="disk")
        head, slots = partition.log.head, partition.log.context.slots
        SyncMarks(head, slots).begin(GROUP, head.life)
        slots.leave()  # and no more: the mark stays, as when the process is killed
    with eventlog.open(tmp_path) as successor:
        successor.topic("other").partitions[0].append([b"its number is claimed"], durability="disk")
        monkeypatch.setattr("eventlog.storage.recovery._PATIENCE", 0.0)
        with eventlog.open(tmp_path) as log:
            partition = log.topic("t").partitions[0]
            assert partition.append([b"after"], durability="disk").base_offset == 1


def test_a_living_sync_of_an_earlier_life_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that began two lives ago and is still under way holds up a recovery: what it stores would count for it."""
    monkeypatch.setattr("eventlog.storage.recovery._PATIENCE", 0.0)
    with eventlog.open(tmp_path) as slow:
        partition = slow.create_topic("t").partitions[0]
        partition.append([b"before"], durability="disk")
        head = partition.log.head
        mark = SyncMarks(head, partition.log.context.slots).begin(GROUP, head.life)
        head.words[L.HEAD_LIFE] = head.life + 2
        head.note_failure()
        with eventlog.open(tmp_path) as log:
            with pytest.raises(eventlog.StorageError, match="under way"):
                log.topic("t").partitions[0].append([b"after"])
            head.words[mark.word] = 0
            partition.log.context.slots.leave()
            log.topic("t").partitions[0].append([b"after"])


@contextlib.contextmanager
def changed_all_the_time(words: np.ndarray, place: int) -> Iterator[None]:
    """Let another process change a word of a mapped page for as long as the block runs."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        while True:
            words[place] = 1 - words[place]
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_others_may_sync_while_their_marks_are_read(log: eventlog.EventLog) -> None:
    """Whatever other processes store meanwhile, the marks are read: each as it was at some moment."""
    partition = log.create_topic("t").partitions[0]
    marks, place = SyncMarks(partition.log.head, partition.log.context.slots), L.HEAD_SYNCS + 20
    with changed_all_the_time(partition.log.head.words, place):
        seen = [marks.all() for _ in range(5000)]
    assert {frozenset(each.items()) for each in seen} <= {frozenset(), frozenset([(place, 1)])}


def test_others_may_write_while_the_bytes_behind_the_end_are_counted(log: eventlog.EventLog) -> None:
    """What is behind the last batch is counted while another process writes there."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"x" * 5000])
    segment = partition.log.segments[0]
    segment.refresh()
    expected = bytes_behind(segment, 1000)
    with FileSystem().opened(segment.path, os.O_RDWR) as fd:
        words = map_shared(fd, 4096).view(np.uint64)
    with changed_all_the_time(words, 300):
        counts = {bytes_behind(segment, 1000) for _ in range(5000)}
    assert counts == {expected} != {0}
