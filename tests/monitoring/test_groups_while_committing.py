"""Groups can be looked at while a transaction commits offsets, or while its process is stopped in the middle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import eventlog
from eventlog import GroupMetadata, TopicPartition
from tests.transactions.helpers import commit_stopped_before, wait_for_commits

INPUT = TopicPartition("input", 0)


def test_a_look_at_groups_waits_for_no_commit(
    log: eventlog.EventLog, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the commit is over, groups and their lag are shown as they were; a consumer that asks for offsets waits."""
    log.create_topic("input").partitions[0].append([b"1", b"2"])
    producer = log.producer(transactional_id="id")
    with producer.transaction():
        producer.send_offsets_to_transaction({INPUT: 1}, GroupMetadata("g"))
    producer.begin_transaction()
    producer.send_offsets_to_transaction({INPUT: 2}, GroupMetadata("g"))
    (part,) = log.recent_transactions(1)[0].parts
    offsets = TopicPartition(part.topic, part.partition)
    wait_for_commits(monkeypatch)
    with eventlog.open(log_path) as other, ThreadPoolExecutor(2) as pool, other.consumer(group="g") as consumer:
        with commit_stopped_before("publish", offsets, producer.commit_transaction, monkeypatch):
            assert pool.submit(other.groups).result(30) == ["g"]
            assert pool.submit(other.group, "g").result(30).total_lag == 1
            waiting = pool.submit(consumer.committed, INPUT)
            assert not waiting.done()
        committed = waiting.result(30)
        assert committed is not None and committed.offset == 2
        assert other.group("g").total_lag == 0
