"""One producer at a time for a transactional id: the newest, also across processes, restarts and deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

import eventlog
from eventlog import ProducerFencedError, TopicPartition
from eventlog.files.checkpoint import write_checkpoint
from eventlog.files.filesystem import FileSystem
from eventlog.format.record_batch import RecordBatch
from eventlog.model import GroupMetadata
from tests.conftest import RunPython
from tests.transactions.helpers import (
    check_clean,
    check_locks_are_free,
    commit_stopped_before,
    create_topics,
    everything,
    send_everywhere,
    transact,
    values,
)

CALLS: dict[str, Callable[[eventlog.Producer], object]] = {
    "begin": lambda producer: producer.begin_transaction(),
    "send": lambda producer: producer.send("b", b"x"),
    "send_many": lambda producer: producer.send_many("b", [b"x"]),
    "send_offsets": lambda producer: producer.send_offsets_to_transaction(
        {TopicPartition("b", 0): 0}, GroupMetadata("g")
    ),
    "commit": lambda producer: producer.commit_transaction(),
    "abort": lambda producer: producer.abort_transaction(),
}
LIVING = """
import sys, eventlog
log = eventlog.open(sys.argv[1])
producer = log.producer(transactional_id="t")
producer.init_transactions()
producer.begin_transaction()
for topic, partition in (("a", 0), ("a", 1), ("b", 0)):
    producer.send(topic, b"no", partition=partition)
print("open", flush=True)
sys.stdin.readline()
try:
    producer.commit_transaction()
    print("committed")
except eventlog.ProducerFencedError as error:
    print("fenced")
log.close()
"""
TRANSACT = """
import eventlog
with eventlog.open(ARGS[0]) as log, log.producer(transactional_id="t") as producer:
    with producer.transaction():
        for topic, partition in (("a", 0), ("a", 1), ("b", 0)):
            producer.send(topic, ARGS[1].encode(), partition=partition)
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        create_topics(opened)
        yield opened
        check_clean(opened)
        check_locks_are_free(opened)


@pytest.fixture
def living(log: eventlog.EventLog) -> Iterator[subprocess.Popen[str]]:
    """A process of its own with a transaction open, which it commits when told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", LIVING, log.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert line_of(process.stdout) == "open"
    yield process
    process.kill()
    process.communicate()


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def initialized(log: eventlog.EventLog) -> eventlog.Producer:
    producer = log.producer(transactional_id="t")
    producer.init_transactions()
    return producer


def batches(log: eventlog.EventLog) -> list[RecordBatch]:
    partition = log.topic("b").partitions[0]
    found: list[RecordBatch] = []
    while more := partition.read(found[-1].last_offset + 1 if found else 0):
        found += more
    return found


def id_file(log: eventlog.EventLog, name: str) -> Path:
    return Path(log.path) / "transactions" / "t" / name


# --- who is fenced ---


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("was_open", [False, True])
def test_who_was_fenced_can_do_nothing_more(log: eventlog.EventLog, call: str, was_open: bool) -> None:
    """After another producer's init_transactions each call of the first raises ProducerFencedError, again and again;
    what it had sent fails with it too, and is nowhere.
    """
    first = initialized(log)
    sent = []
    if was_open:
        first.begin_transaction()
        sent = send_everywhere(first, b"no")
    second = initialized(log)
    if was_open != (call == "begin"):  # what does not fit the state is told as such
        for _ in range(2):
            with pytest.raises(ProducerFencedError) as raised:
                CALLS[call](first)
            assert "close this one" in raised.value.hint
    if was_open and call != "begin":
        assert all(isinstance(delivery.exception(), ProducerFencedError) for delivery in sent)
    transact(second, b"yes")
    first.close()
    transact(second, b"yes")
    assert all(found == [b"yes"] * 2 for found in everything(log).values())


def test_a_block_of_a_fenced_producer(log: eventlog.EventLog) -> None:
    """``with producer.transaction()`` raises ProducerFencedError, at its beginning or its end."""
    first = initialized(log)
    with pytest.raises(ProducerFencedError), first.transaction():
        send_everywhere(first, b"no")
        transact(initialized(log), b"yes")
    with pytest.raises(ProducerFencedError), first.transaction():
        raise AssertionError("not reached")
    assert all(found == [b"yes"] for found in everything(log).values())


def test_fenced_by_another_process(log: eventlog.EventLog, run_python: RunPython) -> None:
    """A producer in another process fences this one's, which can write nothing more."""
    producer = initialized(log)
    transact(producer, b"1")
    producer.begin_transaction()
    send_everywhere(producer, b"no")
    run_python(TRANSACT, log.path, "2")
    with pytest.raises(ProducerFencedError):
        producer.commit_transaction()
    assert all(found == [b"1", b"2"] for found in everything(log).values())


def test_a_process_that_was_fenced(log: eventlog.EventLog, living: subprocess.Popen[str]) -> None:
    """A process whose producer was fenced here learns so when it commits."""
    transact(initialized(log), b"yes")
    assert living.communicate("go\n", timeout=60)[0].strip() == "fenced"
    assert all(found == [b"yes"] for found in everything(log).values())


def test_a_process_that_was_not_fenced(log: eventlog.EventLog, living: subprocess.Popen[str]) -> None:
    """Producers of other ids fence nobody."""
    with log.producer(transactional_id="other") as producer:
        transact(producer, b"1")
    assert living.communicate("go\n", timeout=60)[0].strip() == "committed"
    assert all(found == [b"1", b"no"] for found in everything(log).values())


def test_a_killed_process_is_followed_at_once(log: eventlog.EventLog, living: subprocess.Popen[str]) -> None:
    """After kill -9 with a transaction open, a new producer of the id begins without waiting, and nothing of the
    dead one's appears.
    """
    os.kill(living.pid, signal.SIGKILL)
    living.wait()
    with log.producer(transactional_id="t", max_block_ms=0) as producer:
        transact(producer, b"yes")
    assert all(found == [b"yes"] for found in everything(log).values())


def test_a_stopped_process_with_an_open_transaction(log: eventlog.EventLog, living: subprocess.Popen[str]) -> None:
    """A process that was stopped with a transaction open holds nobody up; woken, it is fenced."""
    os.kill(living.pid, signal.SIGSTOP)
    with log.producer(transactional_id="t", max_block_ms=0) as producer:
        transact(producer, b"yes")
    os.kill(living.pid, signal.SIGCONT)
    assert living.communicate("go\n", timeout=60)[0].strip() == "fenced"
    assert all(found == [b"yes"] for found in everything(log).values())


def test_restarts(tmp_path: Path, run_python: RunPython) -> None:
    """A producer that comes again after all have closed the log goes on in the next epoch, with the same id."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        transact(initialized(log), b"1")
    run_python(TRANSACT, tmp_path, "2")
    with eventlog.open(tmp_path) as log:
        transact(initialized(log), b"3")
        assert all(found == [b"1", b"2", b"3"] for found in everything(log).values())
        assert [batch.producer_epoch for batch in batches(log)] == [0, 1, 2]
        assert len({batch.producer_id for batch in batches(log)}) == 1


# --- while a commit is under way ---


@pytest.mark.parametrize("step", ["write", "publish"])
def test_init_waits_for_a_commit_that_is_under_way(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A new producer does not begin in the middle of its predecessor's commit: that one is whole first."""
    first, second = initialized(log), log.producer(transactional_id="t")
    first.begin_transaction()
    send_everywhere(first, b"1")
    beginning = threading.Thread(target=second.init_transactions)
    with commit_stopped_before(step, TopicPartition("a", 1), first.commit_transaction, monkeypatch) as commit:
        impatient = log.producer(transactional_id="t", max_block_ms=20)
        with pytest.raises(eventlog.DeliveryTimeoutError, match="lock of transactional_id='t'"):
            impatient.init_transactions()
        beginning.start()
    beginning.join(60)
    assert commit.error is None
    assert all(found == [b"1"] for found in everything(log).values())
    transact(second, b"2")
    with pytest.raises(ProducerFencedError):
        first.begin_transaction()
    impatient.init_transactions()
    with pytest.raises(ProducerFencedError):
        second.begin_transaction()


# --- ids and epochs ---


def test_the_epoch_rises_in_the_batches(log: eventlog.EventLog) -> None:
    """Each producer writes its epoch into its batches, one higher than the one before, and begins at sequence 0; a
    producer's sequence numbers follow each other within a partition.
    """
    for _ in range(3):
        producer = initialized(log)
        for _ in range(3):
            with producer.transaction():
                producer.send_many("b", [b"x"] * 2)
    found = batches(log)
    assert [batch.producer_epoch for batch in found] == [0] * 3 + [1] * 3 + [2] * 3
    assert [batch.base_sequence for batch in found] == [0, 2, 4] * 3
    assert len({batch.producer_id for batch in found}) == 1
    assert all(batch.is_transactional for batch in found)


def test_sequence_numbers_are_never_used_twice(log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that failed has used up its numbers: the next transaction's batches have higher ones."""
    producer = initialized(log)
    producer.begin_transaction()
    producer.send_many("b", [b"no"] * 3)
    with monkeypatch.context() as patch:
        patch.setattr("eventlog.coordination.transaction_commit.TransactionCommit._write", _fail)
        with pytest.raises(eventlog.LogFullError):
            producer.commit_transaction()
    producer.abort_transaction()
    with producer.transaction():
        producer.send("b", b"yes")
    (batch,) = batches(log)
    assert (batch.base_sequence, batch.values()) == (3, [b"yes"])


def _fail(*_: object) -> None:
    raise eventlog.LogFullError("no space")


def test_epochs_run_out(log: eventlog.EventLog) -> None:
    """The last epoch but one is the last that a producer gets, as in Kafka; the next producer has another producer
    id and begins at epoch 0, and the one before is fenced all the same.
    """
    transact(initialized(log), b"1")
    (first,) = batches(log)
    fields = {"transactional_id": "t", "producer_id": first.producer_id, "epoch": 2**15 - 3}
    write_checkpoint(FileSystem(), str(id_file(log, "state.json")), "transactional id", fields)
    last = initialized(log)
    transact(last, b"2")
    new = initialized(log)
    transact(new, b"3")
    with pytest.raises(ProducerFencedError):
        last.begin_transaction()
    found = batches(log)
    assert [batch.producer_epoch for batch in found] == [0, 2**15 - 2, 0]
    assert found[1].producer_id == first.producer_id != found[2].producer_id
    assert values(log, "b") == [b"1", b"2", b"3"]


@pytest.mark.parametrize("damage", [b"", b"{", b"not json", b"\0" * 64])
def test_a_damaged_state_file(log: eventlog.EventLog, damage: bytes) -> None:
    """A state.json that cannot be read is an error that names it, not a new id: a stopped producer might live. Once
    the file is removed, the id begins anew, and whoever had it is fenced.
    """
    first = initialized(log)
    transact(first, b"1")
    id_file(log, "state.json").write_bytes(damage)
    second = log.producer(transactional_id="t")
    with pytest.raises(eventlog.CorruptMetadataError) as raised:
        second.init_transactions()
    assert raised.value.path == str(id_file(log, "state.json"))
    transact(first, b"2")
    id_file(log, "state.json").unlink()
    second.init_transactions()
    transact(second, b"3")
    with pytest.raises(ProducerFencedError):
        first.begin_transaction()
    assert values(log, "b") == [b"1", b"2", b"3"]


def test_a_state_file_of_a_newer_version(log: eventlog.EventLog) -> None:
    """UnsupportedFormatError refuses it, and nothing was changed."""
    transact(initialized(log), b"1")
    fields = json.loads(id_file(log, "state.json").read_bytes())
    id_file(log, "state.json").write_text(json.dumps({**fields, "format": 99}))
    with pytest.raises(eventlog.UnsupportedFormatError):
        initialized(log)
    assert json.loads(id_file(log, "state.json").read_bytes())["format"] == 99


@pytest.mark.parametrize("name", ["control", "owner", "lock", "state.json"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    """With any one of the id's files gone between two sessions, the next producer begins, and nothing is lost."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        transact(initialized(log), b"1")
        path = id_file(log, name)
    path.unlink()
    with eventlog.open(tmp_path) as log:
        transact(initialized(log), b"2")
        assert all(found == [b"1", b"2"] for found in everything(log).values())
        check_clean(log)
