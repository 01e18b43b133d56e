"""What a commit holds while it runs, and what it leaves behind when it fails."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import GroupMetadata, TopicPartition
from eventlog.coordination.offset_records import partition_of
from eventlog.coordination.offset_store import PARTITIONS as OFFSETS_PARTITIONS
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.files.notify import Word
from eventlog.format.layouts import HEAD_SLEEPING
from eventlog.storage import lock_wait
from eventlog.storage.log_writer import LogWriter
from tests.transactions.helpers import (
    PLACES,
    FailingSync,
    commit_stopped_before,
    create_topics,
    everything,
    send_everywhere,
    transact,
    wait_for_commits,
)
from tests.transactions.ledger import JOURNAL, PARTS, Ledger, reopened, transactions_in

GROUP = "g"


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def initialized(log: eventlog.EventLog, **config: object) -> eventlog.Producer:
    producer = log.producer(transactional_id="id", **config)
    producer.init_transactions()
    return producer


@pytest.mark.parametrize("end", [False, True])
def test_what_could_not_be_written_never_comes_back(tmp_path: Path, end: bool) -> None:
    """What a commit wrote before it failed is gone from the files, whether the transaction was aborted yet or not.

    So nobody needs the journal to know that it does not count: it does not come back when the journal is lost.
    """
    ledger = Ledger(tmp_path, "os")
    ledger.commit()
    ledger.begin()
    with ledger.fs.no_space_in("debits"), pytest.raises(eventlog.LogFullError):
        ledger.producer.commit_transaction()
    if end:
        ledger.producer.abort_transaction()
    with ledger.reboot() as log:
        path = Path(log.path)
    shutil.rmtree(tmp_path / "disk-1")
    ledger.fs.after_kill(path)
    shutil.rmtree(path / "topics" / JOURNAL)
    with reopened(path) as log:
        assert [transactions_in(log, *place) for place in PARTS] == [[1]] * len(PARTS)


def test_what_was_committed_stays_without_the_journal(tmp_path: Path) -> None:
    """Nothing that was acknowledged goes with a journal that somebody has removed."""
    ledger = Ledger(tmp_path, "os")
    ledger.commit()
    ledger.commit()
    ledger.fs.after_kill(tmp_path / "disk")
    shutil.rmtree(tmp_path / "disk" / "topics" / JOURNAL)
    with reopened(tmp_path / "disk") as log:
        assert ledger.check(log) == [1, 2]


def test_a_commit_that_waits_for_nobody_wakes_nobody(tmp_path: Path) -> None:
    """The mark of a sleeper, for which each append asks the kernel to wake it, is made by who does sleep."""
    with eventlog.open(tmp_path / "log") as log, initialized(log) as producer:
        create_topics(log)
        transact(producer, b"1")
        heads = [log.topic(place.topic).partitions[place.partition].log.head for place in PLACES]
        assert [head.words.item(HEAD_SLEEPING) for head in heads] == [0] * len(PLACES)


@needs_proc
def test_a_partition_that_failed_to_sync_refuses_writes(tmp_path: Path) -> None:
    """A commit whose records cannot be synced fails, and leaves that partition as any failed sync does: refusing all
    writes until it is opened again; the others go on.
    """
    fs = FailingSync()
    with eventlog.open(tmp_path / "log", filesystem=fs) as log:
        create_topics(log)
        producer = initialized(log, durability="disk")
        transact(producer, b"1")
        fs.below = "/topics/a/1/"
        producer.begin_transaction()
        send_everywhere(producer, b"2")
        with pytest.raises(eventlog.StorageError, match="failed to sync"):
            producer.commit_transaction()
        producer.abort_transaction()
        fs.below = "?"
        partitions = log.topic("a").partitions
        for _ in range(2):
            with pytest.raises(eventlog.StorageError, match="refuses writes"):
                partitions[1].append([b"3"])
            with pytest.raises(eventlog.StorageError, match="refuses writes"):
                transact(producer, b"3")
        assert partitions[0].append([b"3"]).base_offset == 1
    with eventlog.open(tmp_path / "log") as log:
        assert everything(log) == {PLACES[0]: [b"1", b"3"], PLACES[1]: [b"1"], PLACES[2]: [b"1"]}
        assert log.topic("a").partitions[1].append([b"3"]).base_offset == 1


@needs_proc
def test_a_journal_that_fails_to_sync_has_committed(tmp_path: Path) -> None:
    """When the outcome is written, and only its sync fails, the commit raises StorageError, and all is there."""
    fs = FailingSync()
    with eventlog.open(tmp_path / "log", filesystem=fs) as log:
        create_topics(log)
        producer = initialized(log, durability="disk")
        transact(producer, b"1")
        fs.below = f"/topics/{JOURNAL}/"
        producer.begin_transaction()
        sent = send_everywhere(producer, b"2")
        with pytest.raises(eventlog.StorageError, match="failed to sync"):
            producer.commit_transaction()
        fs.below = "?"
        assert [delivery.result().offset for delivery in sent] == [1, 1, 1]
        assert list(everything(log).values()) == [[b"1", b"2"]] * len(PLACES)
        with pytest.raises(eventlog.StorageError):
            log.close()
    with eventlog.open(tmp_path / "log") as log:
        assert list(everything(log).values()) == [[b"1", b"2"]] * len(PLACES)


def test_a_group_stands_still_while_its_offsets_are_committed(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody joins in the middle of a commit of the group's offsets, and goes on from old ones: a poll returns without
    a partition, and the first one behind the commit begins at the new offsets.
    """
    create_topics(log)
    log.create_topic("in").partitions[0].append([b"0", b"1", b"2"])
    producer = initialized(log)
    producer.begin_transaction()
    send_everywhere(producer, b"out")
    producer.send_offsets_to_transaction({TopicPartition("in", 0): 2}, GroupMetadata(GROUP))
    member = log.consumer("in", group=GROUP, auto_offset_reset="earliest")
    with commit_stopped_before("publish", PLACES[0], producer.commit_transaction, monkeypatch):
        assert member.poll() == []
        assert not member.assignment()
    assert [record.value for record in member.poll()] == [b"2"]


def test_nobody_takes_an_id_over_in_the_middle_of_a_commit(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a commit is under way the id's next producer does not begin: it waits for max_block_ms, and says why."""
    create_topics(log)
    producer = initialized(log)
    producer.begin_transaction()
    send_everywhere(producer, b"1")
    following = log.producer(transactional_id="id", max_block_ms=20)
    with (
        commit_stopped_before("write", PLACES[0], producer.commit_transaction, monkeypatch),
        pytest.raises(eventlog.DeliveryTimeoutError, match="transactional_id='id'"),
    ):
        following.init_transactions()
    following.init_transactions()
    assert list(everything(log).values()) == [[b"1"]] * len(PLACES)


def test_who_asks_for_offsets_waits_until_they_are_committed(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While only the group's own partition is not published yet, `committed()` waits for it, but not for ever."""
    create_topics(log)
    log.create_topic("in").partitions[0].append([b"0", b"1", b"2"])
    producer = initialized(log)
    producer.begin_transaction()
    producer.send("a", b"out")
    producer.send_offsets_to_transaction({TopicPartition("in", 0): 2}, GroupMetadata(GROUP))
    place = TopicPartition("__consumer_offsets", partition_of(GROUP, OFFSETS_PARTITIONS))
    found = []
    waits = threading.Event()
    settle = LogWriter.settle

    def watched(writer: LogWriter) -> bool:
        is_settled = settle(writer)
        if not is_settled:
            waits.set()
        return is_settled

    monkeypatch.setattr(LogWriter, "settle", watched)
    wait_for_commits(monkeypatch)
    with eventlog.open(log.path) as other:
        consumer = other.consumer(group=GROUP)
        asking = threading.Thread(target=lambda: found.append(consumer.committed(TopicPartition("in", 0))))
        with commit_stopped_before("publish", place, producer.commit_transaction, monkeypatch):
            asking.start()
            assert waits.wait(60)
            pending = other._registry.get(place.topic).partitions[place.partition].log
            with pytest.raises(eventlog.DeliveryTimeoutError, match="in the middle of its commit") as caught:
                pending.settled_end_offset(patience=0.0)
            assert (caught.value.topic, caught.value.partition) == place
        asking.join(60)
        assert found == [eventlog.OffsetAndMetadata(2)]


def test_who_waits_for_a_partition_holds_none_that_comes_later(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions are taken in the order of their names, whatever the order of the sends: no two commits wait in a
    circle.
    """
    create_topics(log)
    producer = initialized(log)
    transact(producer, b"1")
    first, last = (FileLock(FileSystem(), f"{log.path}/topics/{place}/lock") for place in ("a/0", "b/0"))
    producer.begin_transaction()
    for place in reversed(PLACES):
        producer.send(place.topic, b"2", partition=place.partition)
    waits, real = threading.Event(), lock_wait.wait

    def wait(words: Sequence[Word], seconds: float) -> bool:
        waits.set()
        return real(words, seconds)

    monkeypatch.setattr(lock_wait, "wait", wait)
    with first:
        committing = threading.Thread(target=producer.commit_transaction)
        committing.start()
        assert waits.wait(60)
        was_free = last.acquire(blocking=False)
        last.release()
    committing.join(60)
    assert was_free
    assert list(everything(log).values()) == [[b"1", b"2"]] * len(PLACES)
    first.close()
    last.close()


def test_who_only_reads_sees_what_the_next_producer_has_settled(tmp_path: Path) -> None:
    """When `init_transactions` returns, what a killed producer had committed is there also for a log that is open for
    reading only, which settles nothing by itself.
    """
    ledger = Ledger(tmp_path, "os")
    ledger.commit()
    steps = steps_until_the_outcome(ledger)
    ledger = Ledger(tmp_path / "again", "os")
    ledger.commit()
    log = ledger.another_process()
    ledger.fs.crash_at(ledger.fs.steps + steps)
    assert ledger.work([("commit",)])
    reader = eventlog.open(tmp_path / "again" / "log", readonly=True)
    ledger.take_over(log)
    assert [transactions_in(reader, *place) for place in PARTS] == [[1, 2]] * len(PARTS)


def steps_until_the_outcome(ledger: Ledger) -> int:
    """Return how many steps of a commit are done when its outcome is published in the journal, and nothing else is."""
    before = ledger.fs.steps
    ledger.commit()
    steps = ledger.fs.journal[before:]
    head = f"topics/{JOURNAL}/0/head"
    return next(place for place, step in enumerate(steps) if step.path == head and step.detail == "[2]") + 1


# --- what topics ask for ---


@pytest.mark.parametrize("config", [{"durability": "disk"}, {"flush_messages": 1}], ids=str)
def test_a_topic_may_ask_for_the_device(log: eventlog.EventLog, config: dict[str, Any]) -> None:
    """A topic's durability makes durable each transaction that it takes part in, other topics' records included, unless
    the producer says otherwise; its flush_messages brings its own records to the device.
    """
    log.create_topic("a", partitions=2, **config)
    log.create_topic("b")
    is_durable = "durability" in config
    sent = transact(initialized(log), b"1")
    assert [delivery.result().durable for delivery in sent] == [is_durable] * len(PLACES)
    ends = {place: log.topic(place.topic).partitions[place.partition].durable_end_offset for place in PLACES}
    assert ends == {PLACES[0]: 1, PLACES[1]: 1, PLACES[2]: int(is_durable)}
