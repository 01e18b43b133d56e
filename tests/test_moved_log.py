"""A log that is removed, moved or replaced while it is open refuses, and no other log gets what was meant for it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import eventlog
from eventlog import LogMovedError, TopicPartition
from tests.forking import fork

# --- how a directory goes ---


def _remove(path: Path) -> None:
    shutil.rmtree(path)


def _move(path: Path) -> None:
    path.rename(path.with_name("log.1"))


def _make(path: Path) -> None:
    """Put another log at the path, with the same names in it."""
    with eventlog.open(path) as other:
        topic = other.create_topic("orders", partitions=2)
        for partition in topic.partitions:
            partition.append([b"new %d" % i for i in range(150)])
        with other.consumer("orders", group="billing", auto_offset_reset="earliest", enable_auto_commit=False) as c:
            c.poll(1, max_records=1)
            c.commit()


def _remove_and_make(path: Path) -> None:
    _remove(path)
    _make(path)


def _move_and_make(path: Path) -> None:
    _move(path)
    _make(path)


def _empty_and_make(path: Path) -> None:
    """``rm -rf log/*``: the directory itself stays, as where it is a mounted volume."""
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _make(path)


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _switch(path: Path) -> None:
    """A symlink in the path, as ``current``, leads to another release of the data."""
    link = path.parent
    (link.parent / "b").mkdir()
    _make(link.parent / "b" / "log")
    link.unlink()
    link.symlink_to("b")


def _move_above(path: Path) -> None:
    path.parent.resolve().rename(path.parent.parent / "elsewhere")


def _put_a_file(path: Path) -> None:
    _move(path)
    path.write_text("no log")


WAYS = [_remove, _move, _remove_and_make, _move_and_make, _empty, _empty_and_make, _switch, _move_above, _put_a_file]


# --- what is called then ---


class Old(NamedTuple):
    """A log with two topics, of which ``orders`` is in use, and all that a program may hold of it."""

    path: Path
    log: eventlog.EventLog
    partition: eventlog.Partition
    producer: eventlog.Producer
    transactional: eventlog.Producer
    worker: eventlog.Consumer
    reader: eventlog.Consumer
    watcher: eventlog.EventLog
    watching: eventlog.Consumer


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    (tmp_path / "a").mkdir()
    (tmp_path / "current").symlink_to("a")
    path = tmp_path / "current" / "log"
    with eventlog.open(path) as log:
        partition = log.create_topic("orders", partitions=2).partitions[0]
        log.create_topic("unused")
        partition.append([b"old %d" % i for i in range(100)])
        producer, transactional = log.producer(), log.producer(transactional_id="copier")
        producer.send("orders", b"by a producer", partition=0).result()
        transactional.init_transactions()
        worker = log.consumer("orders", group="billing", auto_offset_reset="earliest", enable_auto_commit=False)
        worker.poll(1)
        reader = log.consumer("orders", auto_offset_reset="earliest")
        reader.poll(1)
        with eventlog.open(path, readonly=True) as watcher:
            watching = watcher.consumer("orders", auto_offset_reset="earliest")
            watching.poll(1)
            yield Old(path, log, partition, producer, transactional, worker, reader, watcher, watching)


def _transact(old: Old) -> None:
    old.transactional.begin_transaction()
    old.transactional.send("orders", b"in a transaction", partition=0)
    try:
        old.transactional.commit_transaction()
    except LogMovedError:
        old.transactional.abort_transaction()
        raise


def _transact_offsets(old: Old) -> None:
    old.transactional.begin_transaction()
    old.transactional.send_offsets_to_transaction({TopicPartition("orders", 0): 50}, old.worker.group_metadata())
    try:
        old.transactional.commit_transaction()
    except LogMovedError:
        old.transactional.abort_transaction()
        raise


def _append_after_eviction(old: Old) -> None:
    old.partition.release()
    old.partition.append([b"into nothing"])


def _read_after_eviction(old: Old) -> None:
    old.partition.release()
    old.partition.read(0)


CALLS: dict[str, Callable[[Old], object]] = {
    "append": lambda old: old.partition.append([b"into nothing"]),
    "append many": lambda old: old.partition.append([b"into", b"nothing"], keys=[b"a", b"b"]),
    "append durably": lambda old: old.partition.append([b"into nothing"], durability="disk"),
    "append, not open yet": lambda old: old.log.topic("orders").partitions[1].append([b"elsewhere"]),
    "append, topic not used yet": lambda old: old.log.topic("unused").partitions[0].append([b"elsewhere"]),
    "append after eviction": _append_after_eviction,
    "send": lambda old: old.producer.send("orders", b"into nothing", partition=0).result(),
    "send, not open yet": lambda old: old.producer.send("orders", b"elsewhere", partition=1).result(),
    "send_many": lambda old: old.producer.send_many("orders", [b"into", b"nothing"], partition=0).result(),
    "transaction": _transact,
    "offsets in a transaction": _transact_offsets,
    "init_transactions": lambda old: old.log.producer(transactional_id="second").init_transactions(),
    "commit": lambda old: old.worker.commit(),
    "commit offsets": lambda old: old.worker.commit({TopicPartition("orders", 0): 50}),
    "poll": lambda old: old.reader.poll(0),
    "long poll": lambda old: old.reader.poll(3600),
    "group's poll": lambda old: old.worker.poll(3600),
    "poll_batches": lambda old: old.reader.poll_batches(3600),
    "join": lambda old: old.log.consumer("orders", group="billing").poll(1),
    "join a new group": lambda old: old.log.consumer("orders", group="another").poll(1),
    "read-only poll": lambda old: old.watching.poll(3600),
    "read-only list": lambda old: old.watcher.topics(),
    "read after eviction": _read_after_eviction,
    "topics": lambda old: old.log.topics(),
    "create_topic": lambda old: old.log.create_topic("payments"),
    "create_topic, exist_ok": lambda old: old.log.create_topic("orders", exist_ok=True),
    "delete_topic": lambda old: old.log.delete_topic("orders"),
    "add_partitions": lambda old: old.log.topic("orders").add_partitions(5),
    "groups": lambda old: old.log.groups(),
    "group": lambda old: old.log.group("billing"),
    "delete_group": lambda old: old.log.delete_group("billing"),
    "transactions": lambda old: old.log.transactions(),
    "recent_transactions": lambda old: old.log.recent_transactions(),
    "verify_transactions": lambda old: old.log.verify_transactions(),
    "flush": lambda old: old.log.flush(),
}


def _contents(path: Path) -> dict[str, bytes]:
    """Every file below ``path`` but those that a look by another handle may change."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("lock", "head", "control", "session.lock")
    }


@pytest.mark.parametrize("go", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_every_call_refuses_and_no_other_log_gets_anything(old: Old, go: Callable[[Path], None]) -> None:
    """Whatever is called raises LogMovedError with the path, or says so by its delivery; the log that lies at the path
    by now stays as it was; and closing is quiet.
    """
    go(old.path)
    before = _contents(old.path) if old.path.is_dir() else {}
    for name, call in CALLS.items():
        with pytest.raises(LogMovedError) as caught:
            call(old)
            pytest.fail(f"{name} was accepted")
        assert caught.value.path == str(old.path) and "close this one" in str(caught.value), name
    old.producer.close()
    old.transactional.close()
    old.worker.close()
    old.watcher.close()
    old.log.close()
    assert (_contents(old.path) if old.path.is_dir() else {}) == before


def test_a_poll_that_waits_when_the_log_is_moved_ends(old: Old) -> None:
    """A consumer that sleeps, with or without a group, wakes to the error: nothing waits for ever."""
    errors: list[BaseException] = []

    def wait(consumer: eventlog.Consumer) -> None:
        try:
            consumer.poll(timeout=None)
        except LogMovedError as error:
            errors.append(error)

    threads = [threading.Thread(target=wait, args=(c,)) for c in (old.worker, old.reader, old.watching)]
    for thread in threads:
        thread.start()
    _move(old.path)
    for thread in threads:
        thread.join(60)
    assert len(errors) == 3


@pytest.fixture
def seen_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[eventlog.Partition]:
    """A partition of a log that was seen in its place a moment ago; its syncs have no more to open or to ask."""
    monkeypatch.setattr("eventlog.storage.log_root.LOOK_INTERVAL", 3600.0)
    with eventlog.open(tmp_path / "log") as log:
        partition = log.create_topic("orders", partitions=2).partitions[0]
        for _ in range(3):
            partition.append([b"durable"], durability="disk")
        yield partition


def test_a_sync_that_opens_by_path_looks(tmp_path: Path, seen_just_now: eventlog.Partition) -> None:
    """However shortly before the log was seen: no record is called durable by the sync of another log's file."""
    seen_just_now.log.flusher.release()
    _move_and_make(tmp_path / "log")
    with pytest.raises(LogMovedError):
        seen_just_now.append([b"not durable"], durability="disk")


def test_an_append_looks_again_when_the_look_it_relied_on_is_over(tmp_path: Path) -> None:
    """One look at the log's path serves the appends of all partitions, and none of them for longer than others."""
    with eventlog.open(tmp_path / "log") as log:
        partitions = log.create_topic("orders", partitions=4).partitions
        for partition in partitions:
            partition.append([b"a"])
        until = partitions[0].log.context.root.look()
        assert all(partition.log.writer._look_at <= until for partition in partitions)


def test_a_flush_looks(tmp_path: Path, seen_just_now: eventlog.Partition) -> None:
    """A flush is refused when the log has just been moved, though nothing has to be opened for it."""
    seen_just_now.append([b"waits"])
    _move(tmp_path / "log")
    with pytest.raises(LogMovedError):
        seen_just_now.flush()


def test_a_log_that_comes_back_goes_on(old: Old) -> None:
    """A log that was moved and moved back is the same log: everything works, and nothing was lost or written twice."""
    _move(old.path)
    with pytest.raises(LogMovedError):
        old.partition.append([b"refused"])
    with pytest.raises(LogMovedError):
        old.worker.commit()
    (old.path.parent / "log.1").rename(old.path)
    assert old.partition.append([b"back"]).base_offset == 101
    assert [record.value for record in old.worker.poll(10)] == [b"back"]
    old.worker.commit()
    assert old.worker.committed(TopicPartition("orders", 0)) == eventlog.OffsetAndMetadata(102)
    assert old.partition.verify().ok


def test_a_path_that_leads_to_the_same_log_by_another_way(old: Old) -> None:
    """Where the directory is moved and a symlink takes its place, what is open goes on: it is the same log.

    What has to be opened by its path is refused, since no link is followed that was not there when the log was opened.
    """
    elsewhere = old.path.parent / "disk2"
    old.path.rename(elsewhere)
    old.path.symlink_to("disk2")
    assert old.partition.append([b"still here"]).base_offset == 101
    with pytest.raises(eventlog.ForeignFileError) as caught:
        old.log.create_topic("payments")
    assert caught.value.path == str(elsewhere.parent.resolve() / "log")
    with eventlog.open(old.path) as log:
        assert log.create_topic("payments").partitions[0].append([b"x"]).base_offset == 0
        assert log.topic("orders").partitions[0].log_end_offset == 102
    old.path.unlink()
    elsewhere.rename(old.path)


def test_an_old_worker_commits_nothing_into_a_new_log(tmp_path: Path) -> None:
    """A group's first commit, which makes the offsets' topic, never lands in the log that took the place of its own."""
    path = tmp_path / "log"
    with eventlog.open(path) as log:
        log.create_topic("orders").partitions[0].append([b"old"] * 100)
        worker = log.consumer("orders", group="billing", auto_offset_reset="earliest", enable_auto_commit=False)
        worker.poll(1)
        shutil.rmtree(path)
        with eventlog.open(path) as new:
            new.create_topic("orders").partitions[0].append([b"new %d" % i for i in range(150)])
            with pytest.raises(LogMovedError):
                worker.commit()
            with new.consumer("orders", group="billing", auto_offset_reset="earliest") as consumer:
                assert len(consumer.poll(10)) == 150
    assert eventlog.open(path).topics() == ["orders"]


def test_a_roll_makes_no_segment_in_another_log(tmp_path: Path) -> None:
    """A busy writer that rolls right after the log was replaced writes nothing into the new one's directory."""
    path = tmp_path / "log"
    with eventlog.open(path) as log:
        partition = log.create_topic("t", segment_bytes=2000).partitions[0]
        for _ in range(10):
            partition.append([b"x" * 150])
        shutil.rmtree(path)
        with eventlog.open(path) as new:
            fresh = new.create_topic("t", segment_bytes=2000).partitions[0]
            fresh.append([b"new"])
            for _ in range(50):
                with pytest.raises(LogMovedError):
                    partition.append([b"x" * 150])
            assert fresh.log_end_offset == 1 and fresh.verify().ok


def test_a_partition_removed_by_hand_refuses(log: eventlog.EventLog) -> None:
    """``rm -rf`` of one topic's directory is the end of that topic alone: nothing is appended where no one finds it."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"x"])
    shutil.rmtree(Path(log.path) / "topics" / "t")
    with pytest.raises(eventlog.UnknownTopicError):
        partition.append([b"y"])
    assert log.create_topic("u").partitions[0].append([b"z"]).base_offset == 0


def test_a_forked_child_notices_too(old: Old) -> None:
    """A child that inherited the log refuses when its directory is moved."""

    def child() -> None:
        with pytest.raises(LogMovedError):
            old.partition.append([b"into nothing"])

    assert fork(lambda: old.partition.append([b"fine"])) == 0
    _move(old.path)
    assert fork(child) == 0


def test_permission_given_up_is_no_move(tmp_path: Path) -> None:
    """A process that may not enter the directory any more goes on with what it has open."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    path = tmp_path / "closed" / "log"
    with eventlog.open(path, parents=True) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"x"])
        path.parent.chmod(0o700)

        def child() -> None:
            partition.append([b"opens its own descriptors"])
            os.setuid(65534)
            for _ in range(3):
                partition.append([b"y"])

        assert fork(child) == 0
        assert partition.log_end_offset == 5
