"""A sync that was under way when its process died holds up nobody, whoever has the number of that process now."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from eventlog.format import layouts as L
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
