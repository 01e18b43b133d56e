"""What a soak is made of: the plan of a seed, values, failing disks, torn tails, what a power cut is free to take."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
from pathlib import Path

import pytest

import eventlog
from eventlog.model import TopicPartition
from eventlog.testing.checker import check
from eventlog.testing.history import Operation, Poll, Recorder, Send, read_history
from eventlog.testing.soak.command import main
from eventlog.testing.soak.failing_filesystem import FailingFileSystem
from eventlog.testing.soak.fencing import Init, late_commits, note_init, read_inits
from eventlog.testing.soak.plan import AT_THE_END, KINDS, MOMENTARY, plan
from eventlog.testing.soak.process import ForkedProcess
from eventlog.testing.soak.survey import Survey, forget_lost, read_survey, survey
from eventlog.testing.soak.tail_damage import damage_tails
from eventlog.testing.soak.topics import TOPICS
from eventlog.testing.soak.transaction import Transaction
from eventlog.testing.soak.value import name_of, value_of
from eventlog.testing.soak.volume import Volume
from tests.transactions.helpers import FailingSync

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)

# --- transactions ---


@pytest.mark.parametrize(("may_lose_power", "kind"), [(True, "info"), (False, "ok")])
def test_a_commit_that_the_device_has_not_got_is_not_counted_on(
    tmp_path: Path, may_lose_power: bool, kind: str
) -> None:
    """A commit whose outcome was written and could not be synced was never acknowledged as being on the device: where
    the power may be cut, it is noted as one of which nobody knows.
    """
    failing = FailingSync()
    log = eventlog.open(tmp_path / "log", filesystem=failing)
    log.create_topic("t")
    producer = log.producer(transactional_id="x", durability="disk")
    producer.init_transactions()
    with Recorder(tmp_path / "history.jsonl", "p") as recorder:
        with Transaction(producer, recorder, may_lose_power=may_lose_power) as transaction:
            transaction.send(T0, "p:1")
            transaction.commit(2)
        failing.below = "__transaction_state"
        with Transaction(producer, recorder, may_lose_power=may_lose_power) as transaction:
            transaction.send(T0, "p:2")
            transaction.commit(2)
    with contextlib.suppress(eventlog.StorageError):  # the journal refuses everything from now on
        log.close()
    noted = [
        note for note in read_history([tmp_path / "history.jsonl"]) if note.what == "txn" and note.kind != "invoke"
    ]
    assert [note.kind for note in noted] == ["ok", kind]
    assert [act.offset for note in noted for act in note.actions if isinstance(act, Send)] == [
        0, 1 if kind == "ok" else None,
    ]  # fmt: skip


# --- the plan ---


@pytest.mark.parametrize("seconds", [1.0, 30.0, 60.0])
def test_a_plan_follows_from_its_seed(seconds: float) -> None:
    """The same seed plans the same, another one something else, and every kind that is wanted occurs."""
    for seed in range(20):
        rounds = plan(seed, seconds, KINDS)
        assert rounds == plan(seed, seconds, KINDS) != plan(seed + 1, seconds, KINDS)
        assert sum(one.seconds for one in rounds) == pytest.approx(seconds)
        assert {fault.kind for one in rounds for fault in one.faults} == set(MOMENTARY)
        assert {one.end for one in rounds} == {*AT_THE_END, "kill"}
        assert all(0 <= fault.at < one.seconds for one in rounds for fault in one.faults)


def test_a_plan_has_only_the_faults_that_are_wanted() -> None:
    """Faults that were not chosen do not occur, at the end of a round either."""
    rounds = plan(1, 30.0, ("stop", "tail"))
    assert {fault.kind for one in rounds for fault in one.faults} == {"stop"}
    assert {one.end for one in rounds} == {"tail", "quiet"}
    assert {one.end for one in plan(1, 30.0, ())} == {"quiet"}


# --- values ---


def test_a_value_tells_its_name_only_when_it_is_whole() -> None:
    """Whatever changes a value, its name is not read from it any more."""
    value = value_of("plain-0.1:17")
    assert name_of(value) == "plain-0.1:17"
    for changed in (value[:-1], value + b"p", value.replace(b"17", b"18", 1), b"", None):
        assert name_of(changed) != "plain-0.1:17"
        assert name_of(changed).startswith("not a value")


# --- failing disks ---


def test_a_failing_disk_fails_now_and_then(tmp_path: Path) -> None:
    """One call in some hundred raises EIO, which is noted; such a write has written no more than its beginning."""
    noted: list[str] = []
    filesystem = FailingFileSystem(random.Random(7), noted.append)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    failures = 0
    for number in range(10_000):
        try:
            filesystem.pwritev(fd, [b"abc", b"def"], 6 * number)
        except OSError as error:
            assert error.errno == errno.EIO
            failures += 1
            assert b"abcdef".startswith(os.pread(fd, 6, 6 * number))
    os.close(fd)
    assert noted == ["write"] * failures
    assert 3 < failures < 300


def test_a_log_on_a_full_volume_says_so_and_goes_on(tmp_path: Path) -> None:
    """While the volume is full nothing grows and no file is made; then everything goes on."""
    volume = Volume(tmp_path)
    filesystem = FailingFileSystem(random.Random(0), None, volume.is_full)
    with eventlog.open(volume.log_path, filesystem=filesystem) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"before"])
        volume.fill()
        with pytest.raises(eventlog.LogFullError):
            partition.append([b"never"])
        with pytest.raises(eventlog.LogFullError):
            log.create_topic("u")
        volume.free()
        assert partition.append([b"after"]).base_offset == 1
    volume.close()


# --- torn tails ---


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_tail_costs_no_record(tmp_path: Path, seed: int) -> None:
    """Whatever lies behind the last batch, every record is there when the log is opened, and the next one follows."""
    rng = random.Random(seed)
    values = [value_of(f"v{number}") for number in range(30)]
    with eventlog.open(tmp_path) as log:
        log.create_topic("t", segment_bytes=2048)
        for value in values:
            log.topic("t").partitions[0].append([value])
    for turn in range(3):
        (segment,) = damage_tails(tmp_path, rng)
        assert segment.startswith("t/0/")
        with eventlog.open(tmp_path) as log:
            partition = log.topic("t").partitions[0]
            assert partition.recovery is not None and partition.recovery.torn_bytes
            assert partition.append([b"next"]).base_offset == len(values) + turn
            found: list[bytes | None] = []
            while batches := partition.read(len(found)):
                found += [value for batch in batches for value in batch.values()]
            assert found == values + [b"next"] * (turn + 1)
            assert partition.verify().ok


# --- power cuts ---


def note(time_ns: int, process: str, what: str, *actions: Send | Poll, kind: str = "ok") -> Operation:
    return Operation(process, time_ns, kind, what, actions)  # type: ignore[arg-type]


CUT = Survey(100, 110, {T0: 5, T1: 9}, {T0: [], T1: [(6, 8)]})


def test_what_a_cut_may_take_is_forgotten() -> None:
    """What was read before the cut and is gone was never read; what a lazy producer was told is not known."""
    history = [
        note(50, "lazy-0.1", "send", Send(T0, "a", 4)),
        note(51, "lazy-0.1", "send", Send(T0, "b", 5)),
        note(60, "reader", "poll", Poll({T0: [(4, "a"), (5, "b")], T1: [(5, "x"), (6, "y"), (8, "z")]})),
        note(150, "lazy-0.2", "send", Send(T0, "c", 7)),
    ]
    first, second, poll, later = forget_lost(history, [CUT], ["lazy-"])
    assert (first, later) == (history[0], history[3])
    assert second == note(51, "lazy-0.1", "send", Send(T0, "b"), kind="info")
    assert poll == note(60, "reader", "poll", Poll({T0: [(4, "a")], T1: [(5, "x")]}))


def test_what_a_cut_may_not_take_is_found() -> None:
    """A record that was acknowledged to a producer that waits for the device is missed when another has its offset."""
    history = [
        note(40, "lazy-0.1", "send", Send(T0, "a", 4)),
        note(51, "plain-0.1", "send", Send(T0, "b", 5)),
        note(150, "lazy-0.1", "send", Send(T0, "c", 5)),
        note(200, "last", "poll", Poll({T0: [(4, "a"), (5, "c")]})),
    ]
    assert not check(forget_lost(history, [CUT], ["lazy-"])).ok
    assert check(forget_lost(history, [CUT], ["lazy-", "plain-"])).ok


def test_who_outlives_the_cut_does_not_count() -> None:
    """What a process says that lives for a moment more is no acknowledgement, and what it begins may have happened."""
    history = [
        note(90, "plain-0.1", "send", Send(T0, "a"), kind="invoke"),
        note(104, "plain-0.1", "send", Send(T0, "a", 4)),
        note(105, "plain-0.1", "send", Send(T0, "b"), kind="invoke"),
        note(106, "reader", "poll", Poll({T0: [(4, "a")]})),
        note(107, "first-0.1", "commit", Poll({T1: [(4, "x")]}), Send(T0, "x"), kind="invoke"),
        note(110, "plain-0.2", "send", Send(T0, "c", 4)),
    ]
    begun = note(107, "first-0.1", "commit", Send(T0, "x"), kind="invoke")
    assert forget_lost(history, [CUT], []) == [history[0], history[2], begun, history[5]]


def test_damage_from_an_earlier_cut_takes_nothing_later() -> None:
    """A range that was damaged before is no reason to forget what was read since."""
    later = Survey(300, 310, {T0: 5, T1: 20}, {T0: [], T1: [(6, 8)]})
    poll = note(250, "reader", "poll", Poll({T1: [(8, "z"), (19, "w"), (20, "gone")]}))
    (kept,) = forget_lost([poll], [CUT, later], ["lazy-"])
    assert kept == note(250, "reader", "poll", Poll({T1: [(8, "z"), (19, "w")]}))


def test_a_survey_says_where_each_partition_ends_and_what_is_damaged(tmp_path: Path) -> None:
    """It is read back as it was written, with every partition of the workload."""
    with eventlog.open(tmp_path / "log") as log:
        for topic in TOPICS:
            log.create_topic(topic.name, topic.partitions)
        for number in range(4):
            log.topic("a").partitions[1].append([b"%d" % number, b"-"])
    segment = tmp_path / "log" / "topics" / "a" / "1" / f"{0:020d}.log"
    content = bytearray(segment.read_bytes())
    content[len(content) // 4 + 70] ^= 1  # within the second batch
    segment.write_bytes(content)
    survey(tmp_path / "log", (7, 9), tmp_path / "survey.json")
    found = read_survey(tmp_path / "survey.json")
    assert (found.went_ns, found.back_ns) == (7, 9)
    assert found.ends == {place: 8 if place == ("a", 1) else 0 for topic in TOPICS for place in topic.all()}
    assert {place: damage for place, damage in found.damaged.items() if damage} == {TopicPartition("a", 1): [(2, 4)]}


# --- processes, and the command ---


def test_a_process_is_ended_as_it_was_told(tmp_path: Path) -> None:
    """A worker that ends by itself, one that fails, and one that is killed each show it; errors are in its file."""

    def fail() -> None:
        raise ValueError("out of luck")

    good = ForkedProcess("good", lambda: None, tmp_path / "good.err")
    bad = ForkedProcess("bad", fail, tmp_path / "bad.err")
    stuck = ForkedProcess("stuck", signal.pause, tmp_path / "stuck.err")
    assert good.wait(60) and bad.wait(60)
    assert not stuck.wait(0.0)
    stuck.stop(60.0)
    stuck.kill()
    assert (good.status, bad.status, stuck.status) == (0, 1, -signal.SIGKILL)
    assert "out of luck" in bad.errors.read_text()


def test_the_command_knows_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault that does not exist is refused, with those that do."""
    with pytest.raises(SystemExit):
        main(["--faults", "kill,fire"])
    assert "fire: give some of kill,stop" in capsys.readouterr().err


# --- fencing ---


def test_a_commit_that_begins_after_another_took_the_id_is_found() -> None:
    """One that had begun before may succeed, and so may one of a process that took its id again itself."""

    def commits(process: str, began_ns: int) -> list[Operation]:
        begun = note(began_ns, process, "commit", Send(T0, "a"), kind="invoke")
        return [begun, note(began_ns + 5, process, "txn", Send(T0, "a", 1))]

    inits = {
        "id": [Init(8, 10, "first"), Init(11, 19, "second"), Init(20, 22, "first"), Init(25, 30, "third")],
        "other": [Init(40, 41, "fourth")],
        "both": [Init(10, 20, "stopped"), Init(11, 15, "its double")],
    }
    fine = [("first", 15), ("first", 30), ("third", 50), ("plain", 50), ("stopped", 50), ("its double", 50)]
    for process, began_ns in fine:
        assert list(late_commits(commits(process, began_ns), inits)) == []
    (found,) = late_commits(commits("first", 31), inits)
    assert found == "first commits at 36, although third took its id before"
    failed = [commits("first", 31)[0], note(36, "first", "txn", Send(T0, "a"), kind="fail")]
    assert list(late_commits(failed, inits)) == []


def test_who_takes_an_id_is_read_as_it_was_noted(tmp_path: Path) -> None:
    """By transactional id; without any, there is none."""
    assert read_inits(tmp_path) == {}
    inits = [Init(1, 5, "a-0.1"), Init(3, 4, "a-0.2")]
    for init in inits:
        note_init(tmp_path, "id", init)
    assert read_inits(tmp_path) == {"id": inits}
