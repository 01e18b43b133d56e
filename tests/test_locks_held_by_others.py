"""Every wait for a lock ends, with an error that names the file and who holds it; and mere readers hold none."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import eventlog
from eventlog import LockTimeoutError
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from tests.forking import fork

SHORT = 60  # ms: that the machine is slow makes nothing wrong, as the lock is held until the test lets go

_HOLD = """
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, *, stop: bool = False) -> Iterator[int]:
    """Another process holds the lock of the file within the block; perhaps it was stopped."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        if stop:
            holder.send_signal(signal.SIGSTOP)
        try:
            yield holder.pid
        finally:
            holder.kill()


@pytest.fixture
def path(log_path: Path) -> Path:
    """A log with a topic, a group and a transactional id, closed."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"x"])
        with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(1)
            consumer.commit()
        with log.producer(transactional_id="id") as producer:
            producer.init_transactions()
    return log_path


def _open(path: Path, **options: object) -> eventlog.EventLog:
    return eventlog.open(path, lock_timeout_ms=SHORT, **options)


def _transact(log: eventlog.EventLog) -> None:
    with log.producer(transactional_id="other") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"y")
        try:
            producer.commit_transaction()
        except LockTimeoutError:
            producer.abort_transaction()
            raise


CALLS: dict[str, tuple[str, Callable[[eventlog.EventLog], object]]] = {
    "create_topic": ("lock", lambda log: log.create_topic("u")),
    "add_partitions": ("lock", lambda log: log.topic("t").add_partitions(2)),
    "delete_topic": ("lock", lambda log: log.delete_topic("t")),
    "append": ("topics/t/0/lock", lambda log: log.topic("t").partitions[0].append([b"y"])),
    "append many": ("topics/t/0/lock", lambda log: log.topic("t").partitions[0].append([b"y"] * 10, keys=[b"k"] * 10)),
    "transaction": ("topics/t/0/lock", _transact),
    "delete a topic whose writer hangs": ("topics/t/0/lock", lambda log: log.delete_topic("t")),
}


@pytest.mark.parametrize("stop", [False, True], ids=["busy", "stopped"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_does_not_wait_for_ever(path: Path, name: str, stop: bool) -> None:
    """With another process at the lock the call ends with LockTimeoutError: the file, the process, and what to do."""
    lock, call = CALLS[name]
    with _open(path) as log:
        with held(path / lock, stop=stop) as pid, pytest.raises(LockTimeoutError) as caught:
            call(log)
        error = caught.value
        caught.match("nothing was written")
        assert error.path is not None and error.path.endswith("/lock")
        if sys.platform == "linux":
            assert error.process == pid and f"process {pid}" in str(error)
            assert ("stopped" in error.reason) is stop
        if "delete" not in name:
            call(log)  # now that it is free
            assert all(p.verify().ok for topic in log.topics() for p in log.topic(topic).partitions)


@pytest.mark.parametrize("lock", ["lock", "session.lock"])
def test_opening_does_not_wait_for_ever(path: Path, lock: str) -> None:
    """Opening to write ends with the error; opening to read needs no lock at all."""
    with held(path / lock) as pid:
        with pytest.raises(LockTimeoutError) as caught:
            _open(path)
        assert caught.value.path == str(path / lock)
        if sys.platform == "linux":
            assert caught.value.process == pid
        with _open(path, readonly=True) as log:
            assert log.topics() == ["t"]
            assert [batch.values() for batch in log.topic("t").partitions[0].read(0)] == [[b"x"]]
            assert log.groups() == ["g"] and log.group("g").state == "empty"
    with _open(path) as log:
        assert log.topics() == ["t"]


def test_opening_a_partition_that_is_being_recovered_waits_no_longer_than_that(path: Path) -> None:
    """The first use of a partition takes its lock: held by a process that hangs, it ends likewise."""
    with held(path / "topics" / "t" / "0" / "lock"), _open(path) as log:
        with pytest.raises(LockTimeoutError):
            log.topic("t").partitions[0].read(0)
        with _open(path, readonly=True) as reader:
            assert len(reader.topic("t").partitions[0].read(0)) == 1


def test_a_group_whose_lock_is_held_lets_its_members_go_on(path: Path) -> None:
    """A poll returns, a commit says that it may be tried again, and closing ends."""
    with _open(path) as log:
        log.topic("t").partitions[0].append([b"y"])
        with held(path / "groups" / "g" / "lock"):
            consumer = log.consumer("t", group="g", auto_offset_reset="earliest")
            assert consumer.poll(0.2) == []
            consumer.close()
        with log.consumer("t", group="g") as consumer:
            assert [record.value for record in consumer.poll(10)] == [b"y"]


def test_threads_that_wait_behind_another_one_wait_no_longer_together(path: Path) -> None:
    """Ten threads that append at once to a partition whose lock is held all have their error after one timeout."""
    with _open(path) as log:
        partition = log.topic("t").partitions[0]
        partition.append([b"y"])
        errors: list[LockTimeoutError] = []
        barrier = threading.Barrier(11)

        def append() -> None:
            barrier.wait()
            try:
                partition.append([b"z"])
            except LockTimeoutError as error:
                errors.append(error)

        threads = [threading.Thread(target=append) for _ in range(10)]
        with held(path / "topics" / "t" / "0" / "lock"):
            for thread in threads:
                thread.start()
            barrier.wait()
            for thread in threads:
                thread.join(60)
        assert len(errors) == 10
        assert partition.log_end_offset == 2


def test_who_only_looks_a_topic_up_does_not_wait_for_who_creates_one(path: Path) -> None:
    """While a thread waits for the log's lock to create a topic, others find topics at once."""
    with eventlog.open(path, lock_timeout_ms=60_000) as log:
        creating = threading.Thread(target=lambda: log.create_topic("u"))
        with held(path / "lock"):
            creating.start()
            while not log._registry._root_lock._file:  # it is at the lock
                pass
            assert log.topic("t").partitions[0].read(0)
            assert log.topics() == ["t"]
        creating.join(60)
        assert log.topics() == ["t", "u"]


# --- producers ---


def test_a_producer_gives_up_after_its_delivery_timeout(path: Path) -> None:
    """Records are tried until ``delivery_timeout_ms`` is over, and then have DeliveryTimeoutError as their outcome; a
    ``result`` with a timeout of its own ends before that.
    """
    with eventlog.open(path) as log, log.producer(delivery_timeout_ms=300, linger_ms=1) as producer:
        log.topic("t").partitions[0].log_end_offset  # noqa: B018  # opens it
        with held(path / "topics" / "t" / "0" / "lock"):
            delivery = producer.send("t", b"late")
            with pytest.raises(eventlog.DeliveryTimeoutError):
                delivery.result(timeout=0.01)
            with pytest.raises(eventlog.DeliveryTimeoutError):
                delivery.result()
            with pytest.raises(eventlog.DeliveryTimeoutError):
                producer.send_many("t", [b"late", b"too"]).result()
        assert producer.send("t", b"in time").result().offset == 1


def test_a_record_that_no_one_waits_for_has_its_outcome_too(path: Path) -> None:
    """A callback is told after ``delivery_timeout_ms``, though the lock is held and no one asks for the result."""
    told = threading.Event()
    outcome: list[BaseException | None] = []

    def callback(_: object, error: BaseException | None) -> None:
        outcome.append(error)
        told.set()

    with eventlog.open(path) as log, log.producer(delivery_timeout_ms=100, linger_ms=1) as producer:
        producer.send("t", b"opens the partition").result()
        with held(path / "topics" / "t" / "0" / "lock"):
            producer.send("t", b"late").add_callback(callback)
            assert told.wait(60)
        assert isinstance(outcome[0], eventlog.DeliveryTimeoutError)


def test_a_producer_waits_for_a_lock_that_is_freed_in_time(path: Path) -> None:
    """A lock that is held for longer than ``lock_timeout_ms`` costs a producer's record no more than the wait."""
    with _open(path) as log, log.producer(linger_ms=0, retry_backoff_ms=1) as producer:
        with held(path / "topics" / "t" / "0" / "lock"):
            delivery = producer.send("t", b"patient")
            with pytest.raises(eventlog.DeliveryTimeoutError):
                delivery.result(timeout=2.5 * SHORT / 1000)
        assert delivery.result(60).offset == 1


# --- mere readers ---


def _locks(path: Path) -> list[Path]:
    names = ("lock", "session.lock", "owner")
    return sorted(found for found in path.rglob("*") if found.name in names or found.parent.name == "members")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027, 0o000])
def test_who_may_not_write_may_not_open_a_lock(tmp_path: Path, umask: int) -> None:
    """Each lock's file can be read by those alone who can write it, whatever the umask."""

    def child() -> None:
        os.umask(umask)
        with eventlog.open(tmp_path / "log") as log:
            log.create_topic("t").partitions[0].append([b"x"])
            with log.producer(transactional_id="id") as producer:
                producer.init_transactions()
            consumer = log.consumer("t", group="g", auto_offset_reset="earliest")
            consumer.poll(10)
            consumer.commit()
            locks = _locks(tmp_path / "log")
            assert len(locks) >= 7
            writers = 0o222 & ~umask
            for lock in locks:
                mode = stat.S_IMODE(lock.stat().st_mode)
                assert mode & 0o444 == (mode & 0o222) << 1, lock
                assert lock.parent.name == "members" or mode & 0o222 == writers, lock

    assert fork(child) == 0


def test_locks_of_an_earlier_version_are_closed_to_readers(path: Path) -> None:
    """Lock files that everyone may read are closed when their owner opens them."""
    for lock in _locks(path):
        lock.chmod(0o644)
    with eventlog.open(path) as log:
        log.create_topic("u")
        log.topic("t").partitions[0].append([b"x"])
        with log.producer(transactional_id="id") as producer:
            producer.init_transactions()
        with log.consumer("t", group="g") as consumer:
            consumer.poll(1)
    assert {stat.S_IMODE(lock.stat().st_mode) for lock in _locks(path) if lock.name != "owner"} == {0o600}


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become someone else")
def test_another_user_reads_follows_and_cannot_hold_a_lock(run_python: Callable[..., object]) -> None:
    """Who may only read the directory reads all of it, follows writers that come later, and is in nobody's way."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory) / "log"
        prepare = "import os, eventlog; os.umask(0o022); log = eventlog.open(ARGS[0]); p = log.create_topic('t')"
        run_python(f"{prepare}.partitions[0]; p.append([b'x']); log.close()", path)
        (told, tell), (go, going) = os.pipe(), os.pipe()

        def child() -> None:
            _become_nobody()
            for lock in _locks(path):
                with pytest.raises(PermissionError):
                    fcntl.flock(os.open(lock, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
            with eventlog.open(path) as log:
                assert log.readonly
                consumer = log.consumer("t", auto_offset_reset="earliest")
                assert [record.value for record in consumer.poll(10)] == [b"x"]
                os.write(tell, b"1")
                assert os.read(go, 1) == b"1"
                assert [record.value for record in consumer.poll(60)] == [b"later"]
                assert [member.is_alive for member in log.group("g").members] == [True]
                assert log.transactions() == []

        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(fork(child)))
        thread.start()
        assert os.read(told, 1) == b"1"
        with eventlog.open(path) as log:
            member = log.consumer("t", group="g")
            member.poll(1)
            log.topic("t").partitions[0].append([b"later"])
            os.write(going, b"1")
            thread.join(60)
            member.close()
        assert statuses == [0]


def test_a_reader_follows_writers_that_go_and_come_again(path: Path) -> None:
    """A reader outlives sessions of writers, also one whose recovery makes the partition's head anew."""
    with eventlog.open(path, readonly=True) as reader:
        consumer = reader.consumer("t", auto_offset_reset="earliest")
        assert len(consumer.poll(10)) == 1
        for number in range(4):
            if number == 2:
                (path / "topics" / "t" / "0" / "head").unlink()
            with eventlog.open(path) as log:
                log.topic("t").partitions[0].append([b"%d" % number])
                assert [record.value for record in consumer.poll(60)] == [b"%d" % number]
                assert reader.topic("t").partitions[0].log_end_offset == number + 2
        assert consumer.poll(0) == []


def test_waiting_in_turn_is_fair(path: Path) -> None:
    """Two handles that append large batches in tight loops both get on: neither is kept out by the other."""
    script = """
import eventlog, time
log = eventlog.open(ARGS[0])
partition = log.topic("t").partitions[0]
batch = [b"x" * 1000] * 200
until = time.monotonic() + 1.5
count = 0
while time.monotonic() < until:
    partition.append(batch)
    count += 1
answer(count)
"""
    prelude = "import json, sys\nARGS = sys.argv[1:]\ndef answer(result): print(json.dumps(result))\n"
    two = [
        subprocess.Popen([sys.executable, "-c", prelude + script, str(path)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in two]
    with eventlog.open(path) as log:
        assert log.topic("t").partitions[0].log_end_offset == 1 + 200 * sum(counts)
    assert min(counts) > 0


def test_the_holder_is_named_without_the_right_to_open_the_file(tmp_path: Path) -> None:
    """The message names the process as the system tells it, and says when it was stopped."""
    lock = FileLock(FileSystem(), str(tmp_path / "lock"), timeout=0.01)
    lock.acquire()
    lock.release()
    with held(tmp_path / "lock", stop=True) as pid, pytest.raises(LockTimeoutError) as caught:
        lock.acquire()
    if sys.platform == "linux":
        assert caught.value.process == pid
        assert f"process {pid} (" in caught.value.reason and "stopped" in caught.value.reason
    lock.acquire()
    lock.close()


def _from_listener(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    class Listener(eventlog.RebalanceListener):
        def on_partitions_assigned(self, partitions: list[eventlog.TopicPartition]) -> None:
            call()

    with log.consumer(group="h") as consumer:
        consumer.subscribe(["t"], listener=Listener())
        consumer.poll(0)


def _from_deserializer(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    with log.consumer("t", auto_offset_reset="earliest", value_deserializer=lambda value: call()) as consumer:
        consumer.poll(0)


def _from_commit_callback(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    with log.consumer("t", group="h", auto_offset_reset="earliest") as consumer:
        consumer.poll(0)
        consumer.commit_async(callback=lambda offsets, error: call())
        consumer.poll(0)


def _from_delivery_callback(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    with log.producer() as producer:
        producer.send("t", b"v").add_callback(lambda metadata, error: call())


def _from_serializer(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    def serialize(value: bytes) -> bytes:
        call()
        return value

    with log.producer(value_serializer=serialize) as producer:
        producer.send("t", b"v")


def _from_partitioner(log: eventlog.EventLog, call: Callable[[], None]) -> None:
    def choose(*arguments: object) -> int:
        call()
        return 0

    with log.producer(partitioner=choose) as producer:
        producer.send("t", b"v", key=b"k").result()


@pytest.mark.parametrize(
    "code",
    [
        _from_listener, _from_deserializer, _from_commit_callback, _from_delivery_callback, _from_serializer,
        _from_partitioner,
    ],
)  # fmt: skip
def test_the_callers_own_code_waits_as_anyone_does(path: Path, code: Callable[..., None]) -> None:
    """What the library calls may call the library: a lock that another process has is waited for, and never refused."""
    answers: list[object] = []
    with eventlog.open(path, lock_timeout_ms=SHORT) as log:
        other = log.create_topic("other").partitions[0]
        other.append([b"before"])

        def append() -> None:
            try:
                other.append([b"from within"])
            except eventlog.EventLogError as error:
                answers.append(type(error))

        with held(path / "topics" / "other" / "0" / "lock"):
            code(log, append)
    assert answers == [LockTimeoutError]
