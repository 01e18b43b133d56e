"""Whoever is killed in a transaction leaves it whole or absent: in every partition, and with its offsets.

The driver beside this file kills at each system call. After each death another kind of comer is the first to look:
a plain append, an idempotent producer, a poll, a question for the end or for committed offsets, a transaction of
another id, or the next producer of the same one. Then everything must be the same everywhere, nothing acknowledged is
missing, and transactions go on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from tests.transactions.helpers import PLACES, check_clean, check_locks_are_free, create_topics, everything, transact

_DRIVER = Path(__file__).with_name("transaction_kill_driver.py")
_ROOT = Path(__file__).resolve().parents[2]
_EVERY = os.environ.get("EVENTLOG_KILL_EVERY")  # 1 for each single call
needs_strace = pytest.mark.skipif(
    os.environ.get("CI") != "true" and shutil.which("strace") is None, reason="strace is not installed"
)


def drive(scenario: str, at: str, step: int, points: int) -> None:
    step = int(_EVERY or step)
    done = subprocess.run(
        [sys.executable, str(_DRIVER), scenario, at, str(step), str(step // 2)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)}, capture_output=True, text=True, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bad"] == [], done.stderr
    assert report["points"] >= points // step
    assert [status for _, status in report["survived"] if status != 0] == []
    assert report["killed"] >= 0.7 * report["points"]  # a busy machine makes some calls more than an idle one


@needs_strace
@pytest.mark.parametrize(
    ("scenario", "step", "calls"),
    [
        pytest.param("os", 17, 400, id="nobody else there: recovery decides"),
        pytest.param("os_accompanied", 17, 400, id="a reader is there: who comes next settles"),
        pytest.param("disk", 41, 500, id="on the device"),
        pytest.param("disk_accompanied", 41, 500, id="on the device, and a reader is there"),
        pytest.param("first", 79, 800, id="the first transaction of all"),
    ],
)
def test_killed_at_system_calls_of_a_transaction(scenario: str, step: int, calls: int) -> None:
    """Killed instead of making a system call of its transactions, a process leaves each of them whole or absent."""
    drive(scenario, "calls", step, calls)


@pytest.mark.parametrize(("scenario", "step"), [("os", 149), ("os_accompanied", 97), ("disk_accompanied", 197)])
def test_killed_between_two_lines_of_a_transaction(scenario: str, step: int) -> None:
    """Killed between two lines, so between two stores into a page, it leaves each of them whole or absent."""
    drive(scenario, "lines", step, 1500)


# --- deaths at a step of the commit, in a process of its own ---

DYING = """
import os, signal, sys, eventlog
from eventlog.storage.prepared_append import PreparedAppend
path, step, topic, partition = sys.argv[1:]
log = eventlog.open(path)
producer = log.producer(transactional_id="t")
producer.init_transactions()
real = getattr(PreparedAppend, step)
def patched(append, *arguments, **more):
    if (append.log.topic, append.log.partition) == (topic, int(partition)):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(append, *arguments, **more)
setattr(PreparedAppend, step, patched)
with producer.transaction():
    for place in (("a", 0), ("a", 1), ("b", 0)):
        producer.send(place[0], b"1", partition=place[1])
    producer.send_offsets_to_transaction({eventlog.TopicPartition("a", 0): 1}, eventlog.GroupMetadata("g"))
"""
SLEEPING = """
import sys, eventlog
log = eventlog.open(sys.argv[1])
consumer = log.consumer("a", "b", auto_offset_reset="earliest")
found = []
while len(found) < 3:
    found += consumer.poll()
print("asleep", flush=True)
while len(found) < 6:
    found += consumer.poll(timeout=60)
print(sorted((record.topic, record.partition, record.offset, record.value.decode()) for record in found[3:]))
log.close()
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log") as opened:
        create_topics(opened)
        transact(opened.producer(transactional_id="t"), b"0")
        yield opened
        check_locks_are_free(opened)
        check_clean(opened)


def die(log: eventlog.EventLog, step: str, place: TopicPartition) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, log.path, step, place.topic, str(place.partition)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_sleeping_reader_gets_what_a_dead_producer_had_committed(
    log: eventlog.EventLog, place: TopicPartition
) -> None:
    """A poll in another process that sleeps while a producer dies between two publishes returns the whole
    transaction, without anybody else's help and long before its time is over.
    """
    with subprocess.Popen([sys.executable, "-c", SLEEPING, log.path], stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "asleep\n"
            die(log, "publish", place)
            found = reader.communicate(timeout=50)[0]
        finally:
            reader.kill()
    assert found.strip() == repr([(tp.topic, tp.partition, 1, "1") for tp in PLACES])
    assert all(here == [b"0", b"1"] for here in everything(log).values())


@pytest.mark.parametrize("step", ["hold", "write", "publish"])
@pytest.mark.parametrize("place", [*PLACES, TopicPartition("__consumer_offsets", -1)], ids=str)
def test_who_dies_before_or_behind_the_commit_point(log: eventlog.EventLog, step: str, place: TopicPartition) -> None:
    """Dead before the commit point, a transaction is nowhere; behind it, it is everywhere, with its offsets; for each
    process that has the log open, and for those who open it again.
    """
    if place.partition < 0:
        store = log._offsets._to_write("g")
        place = TopicPartition(place.topic, store.log.partition)
    die(log, step, place)
    is_committed = step == "publish"
    expected = [b"0", b"1"] if is_committed else [b"0"]
    with log.consumer(group="g") as consumer:
        assert consumer.committed(TopicPartition("a", 0)) == (OffsetAndMetadata(1) if is_committed else None)
    assert all(here == expected for here in everything(log).values())
    for tp in PLACES:
        assert log.topic(tp.topic).partitions[tp.partition].append([b"2"]).base_offset == len(expected)
    transact(log.producer(transactional_id="t"), b"3")
    assert all(here == [*expected, b"2", b"3"] for here in everything(log).values())


@pytest.mark.parametrize("step", ["hold", "write", "publish"])
def test_who_dies_with_nobody_else_there(tmp_path: Path, step: str) -> None:
    """The same when no other process has the log open: the next one to open it decides in the same way."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        transact(log.producer(transactional_id="t"), b"0")
    die(log, step, PLACES[1])
    for _ in range(2):
        with eventlog.open(tmp_path) as log:
            expected = [b"0", b"1"] if step == "publish" else [b"0"]
            assert all(here == expected for here in everything(log).values())
            check_clean(log)


def test_a_log_for_reading_only_settles_nothing(tmp_path: Path) -> None:
    """A process that may only read sees what is published, whole in each partition, and changes nothing."""
    with eventlog.open(tmp_path) as log:
        create_topics(log)
        transact(log.producer(transactional_id="t"), b"0")
    die(log, "publish", PLACES[1])
    with eventlog.open(tmp_path, readonly=True) as reader:
        found = everything(reader)
        assert all(here in ([b"0"], [b"0", b"1"]) for here in found.values())
    with eventlog.open(tmp_path) as log:
        assert all(here == [b"0", b"1"] for here in everything(log).values())
