"""Who sees what of a transaction, and when: before its commit, between its steps, after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.model import GroupMetadata
from tests.conftest import RunPython
from tests.transactions.helpers import (
    PLACES,
    check_clean,
    commit_stopped_before,
    create_topics,
    everything,
    poll_all,
    send_everywhere,
    transact,
    values,
    wait_for_commits,
)

ENDS_OF_ANOTHER_PROCESS = """
import eventlog
with eventlog.open(ARGS[0]) as log:
    consumer = log.consumer("a", "b", auto_offset_reset="earliest")
    answer([len(consumer.poll()), sorted(consumer.end_offsets(consumer.assignment()).values())])
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        create_topics(opened)
        yield opened
        check_clean(opened)


def ends(log: eventlog.EventLog) -> list[int]:
    return [log.topic(tp.topic).partitions[tp.partition].log_end_offset for tp in PLACES]


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_nothing_is_visible_before_the_commit(log: eventlog.EventLog, run_python: RunPython, isolation: str) -> None:
    """Until the commit no record of a transaction is seen by any consumer, whatever its isolation level, by `read`, in
    end offsets, nor by another process; afterwards all are, everywhere.
    """
    producer = log.producer(transactional_id="t")
    consumer = log.consumer("a", "b", auto_offset_reset="earliest", isolation_level=isolation)
    producer.init_transactions()
    producer.begin_transaction()
    for number in range(100):
        send_everywhere(producer, b"%d" % number)
    assert poll_all(consumer) == []
    assert ends(log) == [0, 0, 0]
    assert set(consumer.end_offsets(PLACES).values()) == {0}
    assert run_python(ENDS_OF_ANOTHER_PROCESS, log.path) == [0, [0, 0, 0]]
    producer.commit_transaction()
    assert len(poll_all(consumer)) == 300
    assert set(consumer.end_offsets(PLACES).values()) == {100}
    assert run_python(ENDS_OF_ANOTHER_PROCESS, log.path) == [300, [100, 100, 100]]


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_an_aborted_record_never_exists(log: eventlog.EventLog, isolation: str) -> None:
    """Aborted records are not in the files: offsets stay dense, without markers, and no consumer ever sees one."""
    producer = log.producer(transactional_id="t")
    for number in range(20):
        if number % 2:
            transact(producer, b"%d" % number)
            continue
        with pytest.raises(ValueError, match="no"), producer.transaction():
            send_everywhere(producer, b"secret")
            raise ValueError("no")
    consumer = log.consumer("a", "b", auto_offset_reset="earliest", isolation_level=isolation)
    found = poll_all(consumer)
    expected = [b"%d" % number for number in range(1, 20, 2)]
    for tp in PLACES:
        here = [record for record in found if (record.topic, record.partition) == tp]
        assert [record.value for record in here] == expected
        assert [record.offset for record in here] == list(range(10))
    files = [path for path in (Path(log.path) / "topics").rglob("*") if path.is_file()]
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_nobody_waits_for_an_open_transaction(log: eventlog.EventLog) -> None:
    """While one is open, plain producers write and consumers read on in the same partitions; its records come behind
    theirs when it is committed.
    """
    producer = log.producer(transactional_id="t")
    consumer = log.consumer("b", auto_offset_reset="earliest", isolation_level="read_committed")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("b", b"last")
    for number in range(10):
        log.topic("b").partitions[0].append([b"%d" % number])
        (record,) = consumer.poll()
        assert record.offset == number
    producer.commit_transaction()
    assert [record.value for record in consumer.poll()] == [b"last"]


def test_a_reader_that_sleeps_wakes_with_the_commit(log: eventlog.EventLog) -> None:
    """A poll that waits returns as soon as a transaction is committed, not when its time is over."""
    consumer = log.consumer("b", auto_offset_reset="earliest")
    assert consumer.poll() == []
    found: list[eventlog.Record] = []
    thread = threading.Thread(target=lambda: found.extend(consumer.poll(timeout=100)))
    thread.start()
    transact(log.producer(transactional_id="t"), b"x")
    thread.join(60)
    assert [record.value for record in found] == [b"x"]


# --- between two steps of a commit ---


@pytest.mark.parametrize("step", ["hold", "write", "sync_before", "sync_names"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_before_the_commit_point_nothing_is_visible(
    log: eventlog.EventLog, run_python: RunPython, monkeypatch: pytest.MonkeyPatch, step: str, place: TopicPartition
) -> None:
    """While a commit stands before its commit point, at any of its steps, readers do not wait, and see none of it."""
    producer = log.producer(transactional_id="t", durability="disk")
    transact(producer, b"0")
    producer.begin_transaction()
    sent = send_everywhere(producer, b"1")
    consumer = log.consumer("a", "b", auto_offset_reset="earliest")
    with commit_stopped_before(step, place, producer.commit_transaction, monkeypatch) as commit:
        assert [record.value for record in poll_all(consumer)] == [b"0"] * 3
        assert ends(log) == [1, 1, 1]
        assert not any(delivery.done() for delivery in sent)
        if place == PLACES[1]:
            assert run_python(ENDS_OF_ANOTHER_PROCESS, log.path) == [3, [1, 1, 1]]
    assert commit.error is None
    assert [record.value for record in poll_all(consumer)] == [b"1"] * 3


@pytest.mark.parametrize("published", [1, 2])
def test_between_two_publishes_a_reader_may_see_one_part(
    log: eventlog.EventLog, run_python: RunPython, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    """Partitions are published one after the other, in the order of their names: in between a reader sees whole parts
    of some partitions and nothing of the others, whose parts follow, for everyone, when the commit goes on.
    """
    producer = log.producer(transactional_id="t")
    transact(producer, b"0")
    producer.begin_transaction()
    for number in range(1, 4):
        send_everywhere(producer, b"%d" % number)
    consumer = log.consumer("a", "b", auto_offset_reset="earliest", isolation_level="read_committed")
    with commit_stopped_before("publish", PLACES[published], producer.commit_transaction, monkeypatch):
        assert ends(log) == [4] * published + [1] * (3 - published)
        assert len(poll_all(consumer)) == 3 + 3 * published
        found = run_python(ENDS_OF_ANOTHER_PROCESS, log.path)
        assert found == [3 + 3 * published, [1] * (3 - published) + [4] * published]
        for tp in PLACES[published:]:
            assert values(log, *tp) == [b"0"]
    assert len(poll_all(consumer)) == 9 - 3 * published
    assert all(found == [b"0", b"1", b"2", b"3"] for found in everything(log).values())


def test_writers_wait_for_a_commit_that_is_under_way(log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append into a partition of a commit that is under way lands behind its records; other partitions are free."""
    log.create_topic("other")
    producer = log.producer(transactional_id="t")
    producer.init_transactions()
    producer.begin_transaction()
    send_everywhere(producer, b"1")
    result: list[eventlog.AppendResult] = []
    with commit_stopped_before("publish", PLACES[1], producer.commit_transaction, monkeypatch):
        writer = threading.Thread(target=lambda: result.append(log.topic("b").partitions[0].append([b"2"])))
        writer.start()
        assert log.topic("other").partitions[0].append([b"free"]).base_offset == 0
        assert ends(log) == [1, 0, 0]
    writer.join(60)
    assert result[0].base_offset == 1
    assert values(log, "b") == [b"1", b"2"]


def test_who_asks_for_committed_offsets_waits_for_a_commit_that_is_under_way(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`committed()` waits for a commit of the group's offsets whose outcome is about to be known: whoever takes over a
    partition never begins before what was just committed.
    """
    log.topic("b").partitions[0].append([b"x"] * 9)
    tp = TopicPartition("b", 0)
    consumer = log.consumer(group="g")
    producer = log.producer(transactional_id="t")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("a", b"1", partition=0)
    producer.send_offsets_to_transaction({tp: 5}, GroupMetadata("g"))
    found: list[OffsetAndMetadata | None] = []
    wait_for_commits(monkeypatch)
    with commit_stopped_before("publish", PLACES[0], producer.commit_transaction, monkeypatch):
        asking = threading.Thread(target=lambda: found.append(consumer.committed(tp)))
        asking.start()
        asking.join(0.05)
        assert found in ([], [OffsetAndMetadata(5)])
    asking.join(60)
    assert found == [OffsetAndMetadata(5)]


def test_two_producers_commit_at_once_into_the_same_partitions(log: eventlog.EventLog) -> None:
    """Commits of several producers, each into the same partitions in another order of sends, never wait in a circle,
    and in each partition stand in the same order.
    """
    log.create_topic("many", partitions=4)

    def run(name: int) -> None:
        producer = log.producer(transactional_id=f"t{name}")
        for number in range(40):
            with producer.transaction():
                for partition in range(4) if name % 2 else reversed(range(4)):
                    producer.send_many("many", [b"%d-%d" % (name, number)] * 2, partition=partition)

    threads = [threading.Thread(target=run, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not any(thread.is_alive() for thread in threads)
    found = [values(log, "many", partition) for partition in range(4)]
    assert len(found[0]) == 320
    assert found[0][::2] == found[0][1::2]
    assert all(others == found[0] for others in found[1:])
