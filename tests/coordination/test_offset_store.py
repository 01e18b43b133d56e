"""Committed offsets: what is committed is what is read, by every process, after every restart, and through damage."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.coordination.checked_offsets import checked_offset
from eventlog.coordination.offset_partition import LEAST_RECORDS, RECORDS_PER_ENTRY
from eventlog.coordination.offset_records import Committed, encode_key, partition_of
from eventlog.coordination.offset_store import PARTITIONS, OffsetStore
from eventlog.files.filesystem import FileSystem

RunPython = Callable[..., Any]

DAY = 24 * 3600
WEEK_MS = 7 * DAY * 1000
GROUP = "billing"
ORDERS = [TopicPartition("orders", number) for number in range(8)]
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import eventlog, os, sys
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.coordination.offset_store import OffsetStore
log = eventlog.open(ARGS[0])
store = OffsetStore(log._registry, log._context.clock, 1000)
"""


def store_of(log: eventlog.EventLog, retention_ms: int = WEEK_MS) -> OffsetStore:
    """A store that has seen nothing yet."""
    return OffsetStore(log._registry, log._context.clock, retention_ms)


@pytest.fixture
def store(log: eventlog.EventLog) -> Iterator[OffsetStore]:
    """A store on an empty log, checked when the test ends."""
    store = store_of(log)
    yield store
    store.check()


def commit(store: OffsetStore, offset: int, tp: TopicPartition = ORDERS[0], group: str = GROUP) -> None:
    store.commit(group, {tp: OffsetAndMetadata(offset)})


def offset_of(store: OffsetStore, tp: TopicPartition = ORDERS[0], group: str = GROUP) -> int | None:
    found = store.committed(group, [tp])[tp]
    return None if found is None else found.offset


def directory(log_path: Path, group: str = GROUP) -> Path:
    return log_path / "topics" / "__consumer_offsets" / str(partition_of(group, PARTITIONS))


def snapshot(log_path: Path) -> Path:
    return directory(log_path) / "snapshot"


# --- commits ---


def test_a_commit_comes_back_whole(store: OffsetStore) -> None:
    """Offset, metadata and leader epoch come back as they were committed; nothing was committed for others."""
    offsets = {
        ORDERS[0]: OffsetAndMetadata(0),
        ORDERS[1]: OffsetAndMetadata(2**62, "näher — 近い", 7),
        ORDERS[2]: OffsetAndMetadata(5, "x" * 4096, 0),
    }
    store.commit(GROUP, offsets)
    assert store.committed(GROUP, ORDERS[:4]) == {**offsets, ORDERS[3]: None}
    assert store.committed("other", ORDERS[:1]) == {ORDERS[0]: None}


def test_the_last_commit_counts(store: OffsetStore, log: eventlog.EventLog) -> None:
    """Of several commits for a partition the last one counts, also when it goes back, and for one who comes later."""
    for offset in (5, 9, 3):
        commit(store, offset)
        assert offset_of(store) == offset
    assert offset_of(store_of(log)) == 3


def test_a_commit_of_nothing_writes_nothing(store: OffsetStore, log: eventlog.EventLog) -> None:
    """An empty commit is no error, and leaves no trace."""
    store.commit(GROUP, {})
    assert log.topics(include_internal=True) == []


def test_a_commit_is_one_batch(store: OffsetStore, log: eventlog.EventLog) -> None:
    """All partitions of a commit are in one batch, which is there as a whole or not at all, however large it is."""
    store.commit(GROUP, {TopicPartition("t", number): OffsetAndMetadata(number, "m" * 4096) for number in range(500)})
    partition = log.topic("__consumer_offsets").partitions[partition_of(GROUP, PARTITIONS)]
    (batch,) = partition.read(0, 1 << 30)
    assert len(batch) == 500 and batch.size > partition.config.max_message_bytes
    assert offset_of(store_of(log), TopicPartition("t", 499)) == 499


def test_groups_do_not_meet(store: OffsetStore, log: eventlog.EventLog) -> None:
    """Groups whose commits lie in one partition of the log, and whose names begin alike, keep their own offsets."""
    alike = [name for number in range(3000) if partition_of(name := f"{GROUP}{number}", PARTITIONS) == 9]
    names = [GROUP, *alike]
    assert len(alike) > 20 and {partition_of(name, PARTITIONS) for name in names} == {9}
    for number, name in enumerate(names):
        commit(store, number, group=name)
    for seen in (store, store_of(log)):
        assert [offset_of(seen, group=name) for name in names] == list(range(len(names)))
        assert seen.groups() == sorted(names)


def test_a_group_can_have_any_name(store: OffsetStore, log: eventlog.EventLog) -> None:
    """A group's name is any text."""
    names = ["a", "ä/ö", "🚀 rocket", "x" * 255, "a\0b", "..", "__consumer_offsets"]
    for number, name in enumerate(names):
        commit(store, number, group=name)
    again = store_of(log)
    assert [offset_of(again, group=name) for name in names] == list(range(len(names)))
    assert again.groups() == sorted(names)


@pytest.mark.parametrize("name", ["", None, 5, b"a", "\ud800", "x" * 32768])
def test_what_is_no_groups_name_is_refused(store: OffsetStore, name: Any) -> None:
    """Whatever cannot be written as a group's name is refused by every call, and nothing is written."""
    for call in (
        lambda: commit(store, 1, group=name), lambda: offset_of(store, group=name), lambda: store.all_committed(name),
        lambda: store.delete(name),
    ):  # fmt: skip
        with pytest.raises(eventlog.InvalidGroupError):
            call()
    assert store.groups() == []


def test_all_commits_of_a_group_come_with_their_times(log_path: Path) -> None:
    """Everything that a group committed is listed, with the time of each commit."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(log_path, clock=clock) as log:
        store = store_of(log)
        commit(store, 1, ORDERS[0])
        clock.advance(2)
        store.commit(GROUP, {ORDERS[1]: OffsetAndMetadata(2, "m", 3)})
        commit(store, 9, ORDERS[2], "other")
        assert store.all_committed(GROUP) == {
            ORDERS[0]: Committed(OffsetAndMetadata(1), 1_700_000_000_000),
            ORDERS[1]: Committed(OffsetAndMetadata(2, "m", 3), 1_700_000_002_000),
        }
        assert store.all_committed("nobody") == {}


def test_asking_creates_nothing(store: OffsetStore, log: eventlog.EventLog, log_path: Path) -> None:
    """Questions make neither the topic nor, once it is there, the partition of a group that never committed."""
    assert offset_of(store) is None and store.groups() == [] and store.all_committed(GROUP) == {}
    store.delete(GROUP)
    assert store.stale_groups() == [] and not store.is_stale(GROUP)
    assert log.topics(include_internal=True) == []
    commit(store, 1)
    assert offset_of(store, group="elsewhere") is None and store.groups() == [GROUP]
    there = [path.name for path in (log_path / "topics" / "__consumer_offsets").iterdir() if path.is_dir()]
    assert there == [str(partition_of(GROUP, PARTITIONS))]


def test_the_topic_is_kafkas(store: OffsetStore, log: eventlog.EventLog) -> None:
    """The topic has Kafka's name and 50 partitions, is hidden, and its files are in order."""
    for number in range(LEAST_RECORDS + 10):
        commit(store, number)
    assert log.topics() == [] and log.topics(include_internal=True) == ["__consumer_offsets"]
    partitions = log.topic("__consumer_offsets").partitions
    assert len(partitions) == 50
    report = partitions[partition_of(GROUP, PARTITIONS)].verify()
    assert report.ok and report.records == LEAST_RECORDS + 10


def test_more_partitions_move_no_group(store: OffsetStore, log: eventlog.EventLog) -> None:
    """Adding partitions to the topic by hand leaves every group where it is."""
    commit(store, 7)
    log.topic("__consumer_offsets").add_partitions(60)
    assert offset_of(store) == offset_of(store_of(log)) == 7
    commit(store, 8)
    assert offset_of(store_of(log)) == 8


@pytest.mark.parametrize(
    ("group", "expected"),
    [("", 0), ("a", 97 % 50), ("hello", 99162322 % 50), ("polygenelubricants", 0), ("😀", 1772899 % 50)],
)
def test_a_groups_partition_is_kafkas(group: str, expected: int) -> None:
    """A group's place is Java's hash of its name, over UTF-16 units; the least number has no absolute, and gives 0."""
    assert partition_of(group, 50) == expected


# --- what may be committed ---


def test_offsets_come_in_two_forms() -> None:
    """A plain offset, of any integer type, means one without metadata; the longer form is taken as it is."""
    import numpy as np

    for plain in (7, np.int64(7), np.uint8(7)):
        assert checked_offset(ORDERS[0], plain) == OffsetAndMetadata(7, "", None)
    longer = OffsetAndMetadata(np.int32(7), "é" * 2048, np.int16(3))  # type: ignore[arg-type]
    checked = checked_offset(ORDERS[0], longer)
    assert checked == (7, "é" * 2048, 3) and type(checked.offset) is int and type(checked.leader_epoch) is int


@pytest.mark.parametrize(
    "value",
    [
        "7", 7.0, None, True, b"7", (7, "a"), OffsetAndMetadata("7"), OffsetAndMetadata(7, b"a"),  # type: ignore[arg-type]
        OffsetAndMetadata(7, 5), OffsetAndMetadata(7, "", -1), OffsetAndMetadata(7, "", 2**31),  # type: ignore[arg-type]
        OffsetAndMetadata(7, "", 1.5), OffsetAndMetadata(7, "\ud800"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_offset_is_refused(value: Any) -> None:
    """Whatever is neither an offset nor one with metadata is refused, with the partition it was meant for."""
    with pytest.raises(eventlog.InvalidRecordError) as caught:
        checked_offset(ORDERS[3], value)
    assert (caught.value.topic, caught.value.partition) == ORDERS[3]


def test_metadata_is_bounded_in_characters() -> None:
    """Metadata may have 4096 characters, counted as Kafka's brokers do: in UTF-16. None is none, as there."""
    for text in ("x" * 4096, "é" * 4096, "漢" * 4096, "😀" * 2048):
        assert checked_offset(ORDERS[0], OffsetAndMetadata(1, text)).metadata == text
    assert checked_offset(ORDERS[0], OffsetAndMetadata(1, None)).metadata == ""  # type: ignore[arg-type]
    for text in ("x" * 4097, "é" * 4097, "😀" * 2049):
        with pytest.raises(eventlog.RecordTooLargeError, match="4096"):
            checked_offset(ORDERS[0], OffsetAndMetadata(1, text))


# --- forgetting ---


def test_deleted_offsets_are_gone(store: OffsetStore, log: eventlog.EventLog) -> None:
    """What is deleted is not committed any more, for all processes; the rest is, and can be committed again."""
    for tp in ORDERS[:3]:
        commit(store, 5, tp)
    commit(store, 6, group="other")
    store.delete(GROUP, [ORDERS[0], ORDERS[0], ORDERS[5]])
    for seen in (store, store_of(log)):
        assert [offset_of(seen, tp) for tp in ORDERS[:3]] == [None, 5, 5]
    store.delete(GROUP)
    for seen in (store, store_of(log)):
        assert seen.all_committed(GROUP) == {} and seen.groups() == ["other"]
    commit(store, 8)
    assert offset_of(store_of(log)) == 8


def test_a_group_is_stale_when_its_last_commit_is_old(log_path: Path) -> None:
    """A group is stale when its last commit, of any partition, is older than the retention, and not before."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(log_path, clock=clock) as log:
        store = store_of(log)
        for group in ("dead", "alive", "half"):
            store.commit(group, {tp: OffsetAndMetadata(1) for tp in ORDERS[:2]})
        clock.advance(7 * DAY)
        assert store.stale_groups() == [] and not store.is_stale("dead")  # not older yet
        commit(store, 2, ORDERS[1], "half")
        clock.advance(0.001)
        assert store.stale_groups() == ["alive", "dead"]
        assert [store.is_stale(group) for group in ("alive", "dead", "half", "nobody")] == [True, True, False, False]
        store.delete("dead")
        commit(store, 2, ORDERS[1], "alive")
        again = store_of(log)
        assert again.stale_groups() == [] and again.groups() == ["alive", "half"]
        assert offset_of(again, ORDERS[0], "half") == 1  # an old one stays for as long as the group commits
        clock.advance(7 * DAY + 1)
        assert again.stale_groups() == ["alive", "half"]


# --- several at once ---


def test_another_process_sees_a_commit_at_once(store: OffsetStore, log_path: Path, run_python: RunPython) -> None:
    """What one process has committed or deleted, another one knows with its next call."""
    commit(store, 5)
    script = SCRIPT + (
        "tp = TopicPartition('orders', 0)\nbefore = store.committed('billing', [tp])[tp].offset\n"
        "store.commit('billing', {tp: OffsetAndMetadata(before + 1)})\nanswer(before)"
    )
    for before in range(5, 8):
        assert offset_of(store) == before
        assert run_python(script, log_path) == before
    assert offset_of(store) == 8
    run_python(SCRIPT + "store.delete('billing')", log_path)
    assert offset_of(store) is None


def test_first_commits_at_once(log_path: Path) -> None:
    """Processes that make the first commits of all at one time create one topic, and lose no commit."""
    eventlog.open(log_path).close()
    script = (
        "import sys\nARGS = sys.argv[1:]\n"
        + SCRIPT
        + (
            "sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read(1)\n"
            "store.commit(ARGS[1], {TopicPartition('orders', 0): OffsetAndMetadata(int(ARGS[2]))})"
        )
    )
    children = [start(script, log_path, f"group-{number % 3}-{number}", number) for number in range(4)]
    finish_all(children)
    with eventlog.open(log_path) as log:
        store = store_of(log)
        assert [offset_of(store, group=f"group-{number % 3}-{number}") for number in range(4)] == [0, 1, 2, 3]


def test_two_processes_commit_at_once(log_path: Path) -> None:
    """Two processes commit for one group, through several snapshots: the last record in the log counts."""
    eventlog.open(log_path).close()
    count = 2 * LEAST_RECORDS
    script = (
        "import sys\nARGS = sys.argv[1:]\n"
        + SCRIPT
        + """
me, count = int(ARGS[1]), int(ARGS[2])
both, own = TopicPartition('orders', 7), TopicPartition('own', me)
sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read(1)
for n in range(count):
    store.commit('billing', {both: OffsetAndMetadata(n * 2 + me), own: OffsetAndMetadata(n)})
    assert store.committed('billing', [own])[own].offset == n
"""
    )
    finish_all([start(script, log_path, me, count) for me in range(2)])
    assert snapshot(log_path).exists()
    with eventlog.open(log_path) as log:
        store = store_of(log)
        for me in range(2):
            assert offset_of(store, TopicPartition("own", me)) == count - 1
        assert 0 < store.replayed <= LEAST_RECORDS + 1
        assert offset_of(store, ORDERS[7]) == last_in_log(log, ORDERS[7])


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish_all(children: list[subprocess.Popen[bytes]]) -> None:
    """When all are ready, let them go; then wait for each."""
    for child in children:
        assert child.stdout is not None and child.stdout.read(1) == b"."
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"!")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors.decode()


def last_in_log(log: eventlog.EventLog, tp: TopicPartition) -> int:
    """The offset that the last record of the log commits, read with nothing but Kafka's layout."""
    partition = log.topic("__consumer_offsets").partitions[partition_of(GROUP, PARTITIONS)]
    offset, found = 0, -1
    while batches := partition.read(offset):
        for record in (record for batch in batches for record in batch.records()):
            if record.key == encode_key(GROUP, *tp) and record.value is not None:
                found = int.from_bytes(record.value[2:10], "big")
        offset = batches[-1].last_offset + 1
    return found


def test_threads_share_a_store(store: OffsetStore, log: eventlog.EventLog) -> None:
    """Threads that commit, read and delete through one store each find what they did, through several snapshots."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(tp: TopicPartition) -> None:
        try:
            barrier.wait()
            for number in range(LEAST_RECORDS):
                commit(store, number, tp)
                assert offset_of(store, tp) == number
                if number % 100 == 0:
                    store.delete(GROUP, [tp])
                    assert offset_of(store, tp) is None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(tp,)) for tp in ORDERS[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [offset_of(store_of(log), tp) for tp in ORDERS[:4]] == [LEAST_RECORDS - 1] * 4


def test_a_forked_child_commits(log_path: Path, run_python: RunPython) -> None:
    """A child that was forked while another thread was committing commits and reads as if nothing were."""
    script = (
        SCRIPT
        + """
import threading
tp, other = TopicPartition('orders', 0), TopicPartition('orders', 1)
busy, done = threading.Event(), threading.Event()
def work():
    n = 0
    while not done.is_set():
        store.commit('billing', {tp: OffsetAndMetadata(n)}); n += 1
        store.committed('billing', [tp]); busy.set()
thread = threading.Thread(target=work); thread.start(); busy.wait()
statuses = []
for n in range(5):
    pid = os.fork()
    if not pid:
        store.commit('billing', {other: OffsetAndMetadata(n)})
        os._exit(0 if store.committed('billing', [other])[other].offset == n else 1)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done.set(); thread.join()
answer([statuses, store.committed('billing', [other])[other].offset])
"""
    )
    assert run_python(script, log_path) == [[0] * 5, 4]


def test_a_log_that_is_only_read_answers(log_path: Path) -> None:
    """Opened for reading, the log answers, refuses commits, and changes no file."""
    with eventlog.open(log_path) as log:
        store = store_of(log)
        for number in range(LEAST_RECORDS + 10):
            commit(store, number)
    files = {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()}
    with eventlog.open(log_path, readonly=True) as log:
        store = store_of(log)
        assert offset_of(store) == LEAST_RECORDS + 9
        assert store.groups() == [GROUP]
        with pytest.raises(eventlog.ReadOnlyLogError):
            commit(store, 1)
    assert {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()} == files


# --- snapshots ---


def fill(log_path: Path, commits: int, entries: int = 1, start: int = 0) -> None:
    """Commit one by one, in turn for so many partitions: the last value is the number of the commit."""
    with eventlog.open(log_path) as log:
        store = store_of(log)
        for number in range(start, start + commits):
            commit(store, number, TopicPartition("orders", number % entries))


def read_anew(log_path: Path, tp: TopicPartition = ORDERS[0]) -> tuple[int | None, int]:
    """The committed offset, and how many batches had to be read for it."""
    with eventlog.open(log_path) as log:
        store = store_of(log)
        found = offset_of(store, tp)
        store.check()
        return found, store.replayed


@pytest.mark.parametrize(("commits", "entries"), [(1, 1), (999, 1), (5000, 1), (5000, 700), (7321, 1500)])
def test_a_start_reads_a_bounded_part_of_the_log(log_path: Path, commits: int, entries: int) -> None:
    """However many commits were made, a start reads at most 1000 batches, or twice as many as there are entries."""
    fill(log_path, commits, entries)
    found, replayed = read_anew(log_path, TopicPartition("orders", (commits - 1) % entries))
    assert found == commits - 1
    assert replayed <= min(commits, max(LEAST_RECORDS, RECORDS_PER_ENTRY * entries) + 1)


def test_short_lives_leave_no_long_log_to_read(log_path: Path) -> None:
    """Processes that each make a few commits, and never read one, keep the bound all the same."""
    for life in range(8):
        fill(log_path, 400, start=life * 400)
    found, replayed = read_anew(log_path)
    assert found == 3199 and replayed <= LEAST_RECORDS + 1


def test_who_has_slept_reads_no_long_log(log_path: Path, run_python: RunPython) -> None:
    """A process that has not looked while another one made many commits takes the snapshot, and reads what follows."""
    fill(log_path, 10)
    with eventlog.open(log_path) as log:
        store = store_of(log)
        assert offset_of(store) == 9
        before = store.replayed
        run_python(
            SCRIPT
            + "for n in range(5000): store.commit('billing', {TopicPartition('orders', 0): OffsetAndMetadata(n)})",
            log_path,
        )
        assert offset_of(store) == 4999
        assert store.replayed - before <= LEAST_RECORDS + 1


def _flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= 1 << position % 8
    path.write_bytes(raw)


SPOILERS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "of a newer version": lambda path: path.write_bytes(b"EVLOFFS2" + path.read_bytes()[8:]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    **{f"cut at {cut}": lambda path, cut=cut: path.write_bytes(path.read_bytes()[:cut]) for cut in (1, 63, 64, 65, -1)},
    **{
        f"flipped at {at}": lambda path, at=at: _flip(path, at)
        for at in (0, 9, 13, 16, 24, 32, 40, 56, 64, 72, -1, -20)
    },
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS.keys())
def test_a_spoilt_snapshot_costs_time_only(log_path: Path, spoil: Callable[[Path], object]) -> None:
    """Without a whole snapshot the log is read from its start, the answer is the same, and a new snapshot comes."""
    fill(log_path, 2500, 3)
    intact, replayed = read_anew(log_path, ORDERS[1])
    assert intact == 2497 and replayed < 1500
    spoil(snapshot(log_path))
    assert read_anew(log_path, ORDERS[1]) == (intact, 2500)
    if snapshot(log_path).is_dir():
        return
    fill(log_path, 1, start=2500)
    assert read_anew(log_path)[1] <= LEAST_RECORDS + 1


def test_a_snapshot_from_the_future_is_refused(log_path: Path, tmp_path: Path) -> None:
    """A snapshot of records that a power cut took is not believed: neither beyond the log end, nor once other records
    have taken their offsets.
    """
    fill(log_path, 500)
    before = tmp_path / "before"
    shutil.copytree(log_path, before)
    fill(log_path, 2000, start=10_000)
    future = snapshot(log_path).read_bytes()
    snapshot(before).write_bytes(future)
    assert read_anew(before) == (499, 500)
    fill(before, 900, start=20_000)
    snapshot(before).write_bytes(future)
    assert read_anew(before)[0] == 20_899
    fill(before, 3000, start=30_000)
    snapshot(before).write_bytes(future)
    assert read_anew(before) == (32_999, 4400)


def test_a_snapshot_of_the_topic_before_is_refused(log_path: Path) -> None:
    """A snapshot that comes into a topic of the same name, made anew, is not believed."""
    fill(log_path, 1500)
    old = snapshot(log_path).read_bytes()
    with eventlog.open(log_path) as log:
        store = store_of(log)
        assert offset_of(store) == 1499
        log._registry.delete("__consumer_offsets")
        assert offset_of(store) is None and store.groups() == []
        for number in range(1500):
            commit(store, number + 50, ORDERS[1])
        assert offset_of(store) is None
    snapshot(log_path).write_bytes(old)
    assert read_anew(log_path) == (None, 1500)
    assert read_anew(log_path, ORDERS[1])[0] == 1549


def test_a_snapshot_that_cannot_be_written_fails_no_commit(log_path: Path) -> None:
    """A commit is done when it is in the log: a snapshot that fails does not turn it into an error, nor is it tried
    again with each commit.
    """

    class NoSnapshots(FileSystem):
        tried = 0

        def replace_file(self, path: str, content: Any, *, durable: bool = True) -> None:
            if path.endswith("snapshot"):
                self.tried += 1
                raise OSError(5, "Input/output error")
            super().replace_file(path, content, durable=durable)

    fs = NoSnapshots()
    with eventlog.open(log_path, filesystem=fs) as log:
        store = store_of(log)
        for number in range(3 * LEAST_RECORDS):
            commit(store, number)
        assert offset_of(store) == offset_of(store_of(log)) == 3 * LEAST_RECORDS - 1
    assert fs.tried == 2
    assert not snapshot(log_path).exists()


KILLS = ["open", "write", "tear", "rename", "renamed"]


@pytest.mark.parametrize("point", KILLS)
def test_killed_while_writing_a_snapshot(log_path: Path, point: str, run_python: RunPython) -> None:
    """Killed before, within or after any step of writing a snapshot, a process leaves every commit that it
    acknowledged, and the next one goes on.
    """
    script = f"""
import json, os, signal, eventlog
from eventlog.files.filesystem import FileSystem
class Killer(FileSystem):
    fd = None
    def die(self, point):
        if point == ARGS[1]: os.kill(os.getpid(), signal.SIGKILL)
    def open(self, path, *rest):
        ours = "snapshot." in str(path)
        if ours: self.die("open")
        fd = os.open(path, *rest)
        if ours: self.fd = fd
        return fd
    def write_all(self, fd, parts, position):
        if fd != self.fd: return super().write_all(fd, parts, position)
        self.die("write")
        if ARGS[1] == "tear": os.pwrite(fd, parts[0][:len(parts[0]) // 2], 0)
        self.die("tear")
        return super().write_all(fd, parts, position)
    def rename(self, old, new):
        if not new.endswith("snapshot"): return os.rename(old, new)
        self.fd = None
        self.die("rename"); os.rename(old, new); self.die("renamed")
from eventlog import OffsetAndMetadata, TopicPartition
from eventlog.coordination.offset_store import OffsetStore
log = eventlog.open(ARGS[0], filesystem=Killer())
store = OffsetStore(log._registry, log._context.clock, 1000)
for n in range({LEAST_RECORDS * 3}):
    store.commit('billing', {{TopicPartition('orders', 0): OffsetAndMetadata(n)}})
    print(n, flush=True)
"""
    acknowledged = run_python(script, log_path, point, status=-9)
    found, replayed = read_anew(log_path)
    assert acknowledged > 900 and found == acknowledged + 1  # the commit whose snapshot it died in was written
    assert replayed <= LEAST_RECORDS + 2
    assert [path.name for path in directory(log_path).iterdir() if path.name.endswith(".tmp")] == []
    fill(log_path, 20, start=50_000)
    assert read_anew(log_path)[0] == 50_019
    assert snapshot(log_path).exists()


# --- damage ---


def damage_batch(log_path: Path, number: int) -> bytes:
    """Flip a bit in the batch at this offset, which must be the first record of one; return the segment as it was."""
    (segment,) = directory(log_path).glob("*.log")
    whole = segment.read_bytes()
    with eventlog.open(log_path, readonly=True) as log:
        partition = log.topic("__consumer_offsets").partitions[partition_of(GROUP, PARTITIONS)]
        position = partition.read(number, 1)[0].position
    raw = bytearray(whole)
    raw[position + 70] ^= 4
    segment.write_bytes(raw)
    return whole


def test_lost_commits_are_not_lost_silently(log_path: Path) -> None:
    """Behind damage, only what was committed or deleted since is answered; for all else the error says what is lost,
    until it is committed anew.
    """
    with eventlog.open(log_path) as log:
        store = store_of(log)
        for number in range(6):
            commit(store, number, ORDERS[number % 3])
        commit(store, 6, ORDERS[2])
        store.delete(GROUP, [ORDERS[3]])
    damage_batch(log_path, 4)  # the second commit for partition 1
    with eventlog.open(log_path) as log:
        store = store_of(log)
        assert offset_of(store, ORDERS[2]) == 6
        assert offset_of(store, ORDERS[3]) is None
        for tp, group in ((ORDERS[0], GROUP), (ORDERS[1], GROUP), (ORDERS[4], GROUP)):
            with pytest.raises(eventlog.CorruptSegmentError, match="commit the group's offsets anew") as caught:
                offset_of(store, tp, group)
            assert (caught.value.base_offset, caught.value.next_offset) == (4, 5)
        with pytest.raises(eventlog.CorruptSegmentError):
            store.all_committed(GROUP)
        assert store.groups() == [GROUP] and store.stale_groups() == []
        commit(store, 10, ORDERS[1])
        store.delete(GROUP, [ORDERS[4]])
        assert offset_of(store, ORDERS[1]) == 10 and offset_of(store, ORDERS[4]) is None
        commit(store, 11, ORDERS[0])
        assert {tp.partition: found.position.offset for tp, found in store.all_committed(GROUP).items()} == {
            0: 11, 1: 10, 2: 6,
        }  # fmt: skip
        assert offset_of(store, group="elsewhere") is None  # in another partition of the topic
        store.check()


def test_a_group_of_which_all_may_be_lost(log_path: Path) -> None:
    """When damage may have taken all commits of a group, it is no group without any: whoever looks is told."""
    with eventlog.open(log_path) as log:
        commit(store_of(log), 5)
    damage_batch(log_path, 0)
    for readonly in (True, False):
        with eventlog.open(log_path, readonly=readonly) as log:
            with pytest.raises(eventlog.CorruptSegmentError) as caught:
                log.group(GROUP)
            assert (caught.value.base_offset, caught.value.next_offset) == (0, 1)
    with eventlog.open(log_path) as log:
        with pytest.raises(eventlog.CorruptSegmentError):
            log.delete_group(GROUP)
        commit(store_of(log), 6)
        assert [one.current_offset for one in log.group(GROUP).partitions] == [6]
        log.delete_group(GROUP)
        assert log.group(GROUP).partitions == ()


@pytest.mark.parametrize("way", ["its group", "its topic"])
def test_a_commit_is_deleted_though_a_newer_one_may_be_lost(log_path: Path, way: str) -> None:
    """A group of which some commits may be lost is deleted all the same, and so is what it committed for a topic."""
    with eventlog.open(log_path) as log:
        log.create_topic(ORDERS[0].topic)
        for tp in (ORDERS[0], ORDERS[1]):
            commit(store_of(log), 5, tp)
    damage_batch(log_path, 1)
    with eventlog.open(log_path) as log:
        with pytest.raises(eventlog.CorruptSegmentError):
            log.group(GROUP)
        log.delete_group(GROUP) if way == "its group" else log.delete_topic(ORDERS[0].topic)
        assert log.groups() == [] and store_of(log).all_committed(GROUP) == {}


def test_a_snapshot_keeps_what_damage_would_take(log_path: Path) -> None:
    """Damage before the last snapshot takes nothing, since the snapshot has it all."""
    fill(log_path, 1200, 3)
    damage_batch(log_path, 500)
    assert read_anew(log_path, ORDERS[2])[0] == 1199


def test_a_snapshot_keeps_the_doubt(log_path: Path) -> None:
    """A snapshot that is written behind damage does not turn what may be lost into what was never committed."""
    fill(log_path, 10, 2)
    whole = damage_batch(log_path, 9)  # the last one for partition 1
    fill(log_path, 1, start=5)  # for partition 0
    with eventlog.open(log_path) as log:
        store = store_of(log)
        for number in range(2 * LEAST_RECORDS):
            commit(store, number, ORDERS[4])
        store.delete(GROUP, [ORDERS[5]])
    assert snapshot(log_path).exists()
    for _ in range(2):
        with eventlog.open(log_path) as log:
            store = store_of(log)
            assert offset_of(store, ORDERS[4]) == 2 * LEAST_RECORDS - 1
            assert offset_of(store, ORDERS[5]) is None and offset_of(store) == 5
            assert store.replayed <= LEAST_RECORDS + 1
            for tp in (ORDERS[1], ORDERS[6]):
                with pytest.raises(eventlog.CorruptSegmentError):
                    offset_of(store, tp)
            store.check()
    (segment,) = directory(log_path).glob("*.log")
    segment.write_bytes(whole + segment.read_bytes()[len(whole) :])
    with eventlog.open(log_path) as log:  # the segment was restored from a backup
        store = store_of(log)
        assert offset_of(store, ORDERS[1]) == 9 and offset_of(store, ORDERS[6]) is None
        assert offset_of(store, ORDERS[4]) == 2 * LEAST_RECORDS - 1


def test_records_of_unknown_kinds_are_passed_over(store: OffsetStore, log: eventlog.EventLog) -> None:
    """Records that are no commits, such as those that Kafka keeps of members in the same topic, disturb nothing."""
    commit(store, 5)
    partition = log.topic("__consumer_offsets").partitions[partition_of(GROUP, PARTITIONS)]
    keys: list[bytes | None] = [
        None, b"", b"\0", b"\0\1", b"\0\1\0", b"\0\2\0\7billing", b"\0\1\x7f\xff", b"\0\1\xff\xff",
        encode_key(GROUP, "orders", 0) + b"!", encode_key(GROUP, "orders", 0)[:-1],
    ]  # fmt: skip
    partition.append([b"?"] * len(keys), keys)
    for seen in (store, store_of(log)):
        assert offset_of(seen) == 5 and seen.groups() == [GROUP]
        seen.check()


def test_a_commit_of_a_newer_version_is_an_error(store: OffsetStore, log: eventlog.EventLog) -> None:
    """A value in a form of the future is not taken for another offset."""
    commit(store, 5)
    partition = log.topic("__consumer_offsets").partitions[partition_of(GROUP, PARTITIONS)]
    for value in (b"\0\4" + bytes(22), b"\0\3" + bytes(23), b"", b"\0\3"):
        partition.append([value], [encode_key(GROUP, "orders", 0)])
        with pytest.raises(eventlog.UnsupportedFormatError):
            offset_of(store)
    commit(store, 6)
    assert offset_of(store) == 6
