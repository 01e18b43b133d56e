"""A clock that says what no record can have: records are refused, and nothing else is in the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock

NOW = 1_700_000_000.0
TP = TopicPartition("t", 0)


class OddClock(ManualClock):
    """Says any time, while waiting goes on as ever."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.says: float | None = None

    def time(self) -> float:
        return super().time() if self.says is None else self.says


@pytest.fixture
def clock() -> OddClock:
    return OddClock()


@pytest.fixture
def log(tmp_path: Path, clock: OddClock) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log", clock=clock) as opened:
        opened.create_topic("t").partitions[0].append([b"a"] * 5)
        yield opened


odd_times = pytest.mark.parametrize(
    "says", [-1.0, -0.001, -1e9, float("nan"), float("inf"), float("-inf"), 1e17, 1e300, 2**63 / 1000]
)


@odd_times
def test_groups_and_transactions_go_on(log: eventlog.EventLog, clock: OddClock, says: float) -> None:
    """Commits, by themselves and in transactions, are written and read again, whatever the clock says meanwhile."""
    with (
        log.consumer("t", group="g", auto_offset_reset="earliest") as consumer,
        log.producer(transactional_id="before") as before,
    ):
        consumer.poll(timeout=60)
        before.init_transactions()
        clock.says = says
        consumer.commit({TP: OffsetAndMetadata(1, "note")})
        assert consumer.committed(TP) == OffsetAndMetadata(1, "note")
        with log.producer(transactional_id="meanwhile") as meanwhile:
            meanwhile.init_transactions()
            for offset, producer in ((2, before), (3, meanwhile)):
                producer.begin_transaction()
                with pytest.raises(eventlog.InvalidRecordError):
                    producer.send("t", b"x")
                producer.send_offsets_to_transaction({TP: offset}, consumer.group_metadata())
                if offset == 2:
                    producer.abort_transaction()
        with log.producer(transactional_id="meanwhile") as meanwhile, meanwhile.transaction():
            meanwhile.send_offsets_to_transaction({TP: 4}, consumer.group_metadata())
        assert consumer.committed(TP) == OffsetAndMetadata(4)
        assert len(log.transactions()) == 2 and len(log.recent_transactions()) == 1
        clock.says = None
        with before.transaction():
            before.send("t", b"x")
    assert not log.verify_transactions().problems
    assert log.topic("t").partitions[0].log_end_offset == 6
    log.delete_group("g")


@odd_times
def test_a_member_comes_and_goes(log: eventlog.EventLog, clock: OddClock, says: float) -> None:
    """A group is joined, left and looked at; and by a duration, reading begins where it can."""
    clock.says = says
    for instance in ("a", "a"):
        with log.consumer("t", group="g", group_instance_id=instance, auto_offset_reset="earliest") as consumer:
            consumer.poll()
            assert len(log.group("g").members) == 1
    assert log.group("g").partitions[0].current_offset == 5
    with log.consumer("t", auto_offset_reset="by_duration:PT1H") as consumer:
        assert consumer.position(TP) in (0, 5)


def test_a_linger_without_end(log: eventlog.EventLog) -> None:
    """The thread that writes full batches to a device lives on, however long the others are to linger."""
    done = threading.Semaphore(0)
    with log.producer(linger_ms=2**63 - 1, batch_size=1024, durability="disk") as producer:
        for _ in range(3):
            first = producer.send("t", bytes(100))
            first.add_callback(lambda *_: done.release())
            for _ in range(300):
                producer.send("t", bytes(100))
            assert done.acquire(timeout=60), "nobody has written what was full"
