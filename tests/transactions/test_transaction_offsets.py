"""Offsets that are committed with a transaction: read, process, write, exactly once, whatever the group does."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import CommitFailedError, FencedMemberError, OffsetAndMetadata, TopicPartition
from eventlog.clock import ManualClock
from eventlog.model import GroupMetadata
from tests.conftest import RunPython
from tests.transactions.helpers import check_clean, check_locks_are_free, create_topics, values

IN = [TopicPartition("in", number) for number in range(4)]
RECORDS = 30  # in each partition
LOOK_AROUND = 0.06  # seconds: a little more than members let pass before they look for dead ones
COMMITTED = """
import eventlog
with eventlog.open(ARGS[0]) as log, log.consumer(group=ARGS[1]) as consumer:
    found = consumer.committed(eventlog.TopicPartition("in", 0))
    answer(found and [found.offset, found.metadata])
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=time.time())  # or else offsets are too old for other processes


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[eventlog.EventLog]:
    with eventlog.open(tmp_path / "log", clock=clock) as opened:
        create_topics(opened)
        for partition in opened.create_topic("in", partitions=len(IN)).partitions:
            partition.append([b"%d-%d" % (partition.number, number) for number in range(RECORDS)])
        yield opened
        check_clean(opened)
        check_locks_are_free(opened)


@pytest.fixture
def producer(log: eventlog.EventLog) -> eventlog.Producer:
    made = log.producer(transactional_id="t")
    made.init_transactions()
    return made


def member(log: eventlog.EventLog, *topics: str, group: str = "g", **config: Any) -> eventlog.Consumer:
    return log.consumer(
        *(topics or ("in",)), group=group, auto_offset_reset="earliest", enable_auto_commit=False,
        max_poll_interval_ms=1000, **config,
    )  # fmt: skip


def committed(log: eventlog.EventLog, tp: TopicPartition = IN[0], group: str = "g") -> OffsetAndMetadata | None:
    with log.consumer(group=group) as consumer:
        return consumer.committed(tp)


def refuses(producer: eventlog.Producer, offsets: dict[Any, Any], metadata: GroupMetadata) -> CommitFailedError:
    """Commit these with a record, which must be refused, twice; return the error."""
    producer.begin_transaction()
    sent = producer.send("b", b"refused")
    producer.send_offsets_to_transaction(offsets, metadata)
    for _ in range(2):
        with pytest.raises(CommitFailedError) as raised:
            producer.commit_transaction()
    assert not sent.done()
    producer.abort_transaction()
    assert raised.value.hint
    return raised.value


def commits(producer: eventlog.Producer, value: bytes, offsets: dict[Any, Any], metadata: GroupMetadata) -> None:
    with producer.transaction():
        producer.send("b", value)
        producer.send_offsets_to_transaction(offsets, metadata)


# --- read, process, write ---


class Workers:
    """Members of a group, each with a producer, that come, go, hang and are thrown out at random."""

    def __init__(self, log: eventlog.EventLog, clock: ManualClock, chance: random.Random) -> None:
        self._log, self._clock, self._chance = log, clock, chance
        self._workers: list[tuple[eventlog.Consumer, eventlog.Producer]] = []
        self.moves = self.refused = 0

    def hire(self) -> None:
        name = f"t{self._chance.randrange(1 << 30)}"
        self._workers.append((member(self._log, max_poll_records=2), self._log.producer(transactional_id=name)))
        self.moves += 1

    def fire(self) -> None:
        for client in self._workers.pop(self._chance.randrange(len(self._workers))):
            client.close()
        self.moves += 1

    def step(self) -> None:
        self._clock.advance(LOOK_AROUND)
        if self._chance.random() < 0.15:
            (self.fire if len(self._workers) > 2 else self.hire)()
        try:
            self._work(*self._chance.choice(self._workers))
        except CommitFailedError:
            self.refused += 1

    def _work(self, consumer: eventlog.Consumer, producer: eventlog.Producer) -> None:
        records = consumer.poll()
        metadata = consumer.group_metadata()
        if self._chance.random() < 0.2:
            self._hang(consumer)
        with producer.transaction():
            for record in records:
                producer.send("a", record.value, partition=record.partition % 2)
            positions = {TopicPartition(r.topic, r.partition): r.offset + 1 for r in records}
            producer.send_offsets_to_transaction(positions, metadata)

    def _hang(self, consumer: eventlog.Consumer) -> None:
        """Let it hang for so long that the others throw it out."""
        self._clock.advance(1.1)
        for other, _ in self._workers:
            if other is not consumer:
                for record in reversed(other.poll()):
                    other.seek(TopicPartition(record.topic, record.partition), record.offset)
        self._clock.advance(LOOK_AROUND)


@pytest.mark.parametrize("seed", range(3))
def test_exactly_once_through_rebalances(log: eventlog.EventLog, clock: ManualClock, seed: int) -> None:
    """While members come, go, hang and are thrown out at random, each record of the input is processed into the output
    exactly once, in the order of its partition.
    """
    print("seed", seed)
    workers = Workers(log, clock, random.Random(seed))
    for _ in range(3):
        workers.hire()
    for _ in range(2000):
        workers.step()
        if {committed(log, tp) for tp in IN} == {OffsetAndMetadata(RECORDS)}:
            break
    found = values(log, "a", 0) + values(log, "a", 1)
    for tp in IN:
        mine = [value for value in found if value is not None and value.startswith(b"%d-" % tp.partition)]
        assert mine == [b"%d-%d" % (tp.partition, number) for number in range(RECORDS)]
    assert len(found) == RECORDS * len(IN)
    assert workers.moves > 3
    assert workers.refused > 0


def test_a_transaction_that_fails_consumes_nothing(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """After an abort the group's offsets are what they were, and whoever takes over reads the same records again."""
    with member(log) as consumer:
        first = consumer.poll(max_records=5)
        with pytest.raises(ValueError, match="no"), producer.transaction():
            producer.send("b", b"no")
            producer.send_offsets_to_transaction({IN[first[0].partition]: 5}, consumer.group_metadata())
            raise ValueError("no")
    assert all(committed(log, tp) is None for tp in IN)
    with member(log) as consumer:
        assert consumer.poll(max_records=5) == first


def test_other_processes_see_it_with_the_commit(
    log: eventlog.EventLog, producer: eventlog.Producer, run_python: RunPython
) -> None:
    """`committed()` in another process answers None before the commit, and the offset with its metadata after it."""
    producer.begin_transaction()
    producer.send_offsets_to_transaction({IN[0]: OffsetAndMetadata(7, "checked")}, GroupMetadata("g"))
    assert run_python(COMMITTED, log.path, "g") is None
    producer.commit_transaction()
    assert run_python(COMMITTED, log.path, "g") == [7, "checked"]
    assert run_python(COMMITTED, log.path, "h") is None


# --- who may commit ---


def test_a_member_commits_what_it_owns(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A member's offsets are committed while its generation lasts, transaction after transaction."""
    consumer = member(log)
    consumer.poll()
    for offset in (3, 5):
        commits(producer, b"%d" % offset, dict.fromkeys(IN, offset), consumer.group_metadata())
        assert {committed(log, tp) for tp in IN} == {OffsetAndMetadata(offset)}
    assert values(log, "b") == [b"3", b"5"]


def test_a_stale_generation_is_refused(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Metadata from before a rebalance raises CommitFailedError, which names both generations; with the metadata of
    the present generation the member commits what it still owns.
    """
    first = member(log)
    first.poll()
    stale = first.group_metadata()
    second = member(log)
    for consumer in (second, first, second, first):
        consumer.poll()
    assert len(first.assignment()) == len(second.assignment()) == 2
    mine, others = first.assignment()[0], second.assignment()[0]
    error = refuses(producer, {mine: 3}, stale)
    assert not isinstance(error, FencedMemberError)
    assert f"generation {first.group_metadata().generation}" in str(error)
    assert (error.group, values(log, "b"), committed(log, mine)) == ("g", [], None)
    error = refuses(producer, {others: 3}, first.group_metadata())
    assert (error.topic, error.partition) == others
    assert "not assigned" in str(error)
    commits(producer, b"yes", {mine: 3}, first.group_metadata())
    assert (values(log, "b"), committed(log, mine)) == ([b"yes"], OffsetAndMetadata(3))


def test_a_member_that_was_removed_is_refused(
    log: eventlog.EventLog, producer: eventlog.Producer, clock: ManualClock
) -> None:
    """A member that did not poll for max_poll_interval_ms raises FencedMemberError, and so does one that has left."""
    first, second = member(log), member(log)
    for consumer in (first, second, first, second):
        consumer.poll()
    mine = first.assignment()[0]
    clock.advance(1.1)
    second.poll()
    clock.advance(LOOK_AROUND)
    second.poll()
    assert isinstance(refuses(producer, {mine: 3}, first.group_metadata()), FencedMemberError)
    metadata = second.group_metadata()
    second.close()
    assert isinstance(refuses(producer, {mine: 3}, metadata), FencedMemberError)
    assert (values(log, "b"), committed(log, mine)) == ([], None)


def test_a_refused_commit_keeps_no_lock(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """After each refusal other members rebalance and commit at once, and so do other producers."""
    consumer = member(log)
    consumer.poll()
    for metadata in (
        consumer.group_metadata()._replace(generation=99),
        consumer.group_metadata()._replace(member_id="nobody"),
        GroupMetadata("g"),
    ):
        refuses(producer, {IN[0]: 3}, metadata)
        check_locks_are_free(log)
        other = member(log)
        for each in (other, consumer, other):
            each.poll()
        other.close()
        consumer.poll()
        consumer.commit({IN[0]: 1})
    assert committed(log) == OffsetAndMetadata(1)


def test_a_group_with_members_refuses_strangers(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Metadata that is no member's is refused while the group has members, and accepted once it has none."""
    consumer = member(log)
    consumer.poll()
    for stranger in (GroupMetadata("g"), log.consumer(group="g").group_metadata()):
        assert "has members" in str(refuses(producer, {IN[0]: 3}, stranger))
    consumer.close()
    commits(producer, b"yes", {IN[0]: 3}, GroupMetadata("g"))
    assert committed(log) == OffsetAndMetadata(3)


def test_a_group_that_never_was(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """The first offsets of a group may be committed by a transaction; who joins then begins behind them."""
    commits(producer, b"1", {IN[0]: RECORDS - 1, IN[1]: RECORDS, IN[2]: RECORDS, IN[3]: RECORDS}, GroupMetadata("new"))
    with member(log, group="new") as consumer:
        assert [record.value for record in consumer.poll()] == [b"0-%d" % (RECORDS - 1)]


def test_static_members(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A static member commits with its metadata; its successor of the same instance id does, and the one before not."""
    first = member(log, group_instance_id="i")
    first.poll()
    stale = first.group_metadata()
    assert stale.group_instance_id == "i"
    commits(producer, b"1", {IN[0]: 3}, stale)
    first.close()
    second = member(log, group_instance_id="i")
    second.poll()
    assert second.position(IN[0]) > 3
    commits(producer, b"2", {IN[0]: 5}, second.group_metadata())
    if second.group_metadata() != stale:
        refuses(producer, {IN[0]: 4}, stale)
    assert committed(log) == OffsetAndMetadata(5)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"group_instance_id": None}, None),
        ({"group_instance_id": "nobody's"}, eventlog.FencedMemberError),
        ({"group_instance_id": "two"}, eventlog.FencedInstanceIdError),
        ({"generation": 1}, CommitFailedError),
        ({"member_id": "x"}, eventlog.FencedInstanceIdError),
        ({"member_id": "x", "group_instance_id": None}, eventlog.FencedMemberError),
        ({"member_id": "", "generation": -1}, eventlog.FencedInstanceIdError),
        ({"member_id": "", "generation": -1, "group_instance_id": "nobody's"}, eventlog.FencedMemberError),
    ],
)
def test_the_instance_id_is_checked(
    log: eventlog.EventLog, producer: eventlog.Producer, changes: dict[str, Any], error: type[CommitFailedError] | None
) -> None:
    """Offsets are refused in the name of an instance that the group does not know, or that is another member's.

    Which error follows from which metadata is a broker's answer: it knows no such member, or fences the instance.
    """
    one, two = member(log, group_instance_id="one"), member(log, group_instance_id="two")
    for _ in range(3):
        one.poll(), two.poll()
    offsets = dict.fromkeys(one.assignment(), 1)
    metadata = one.group_metadata()._replace(**changes)
    if error is None:
        commits(producer, b"1", offsets, metadata)
    else:
        refused = refuses(producer, offsets, metadata)
        assert type(refused) is error and refused.group == "g"
    assert committed(log, min(offsets)) == (OffsetAndMetadata(1) if error is None else None)


def test_a_generation_without_a_member_is_refused_at_once(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """As in Kafka's client: a generation says that there is a member, whose id is then needed."""
    with producer.transaction(), pytest.raises(eventlog.InvalidRecordError, match="of no member"):
        producer.send_offsets_to_transaction({IN[0]: 1}, GroupMetadata("g", 3))


# --- what is committed ---


def test_several_groups_and_calls(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """One transaction commits for any number of groups; of several offsets for one partition the last counts."""
    names = [f"g{number}" for number in range(12)]
    with producer.transaction():
        for name in names:
            producer.send_offsets_to_transaction({IN[0]: 1, IN[1]: 2}, GroupMetadata(name))
        for name in names[::2]:
            producer.send_offsets_to_transaction({IN[1]: OffsetAndMetadata(3, "late"), IN[2]: 4}, GroupMetadata(name))
        producer.send("b", b"x")
    for name in names:
        late = name in names[::2]
        assert committed(log, IN[0], name) == OffsetAndMetadata(1)
        assert committed(log, IN[1], name) == (OffsetAndMetadata(3, "late") if late else OffsetAndMetadata(2))
        assert committed(log, IN[2], name) == (OffsetAndMetadata(4) if late else None)
    assert log.groups() == sorted(names)


def test_one_refusal_refuses_all(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """When one of several groups has gone on, nothing is committed for any of them, and no record is written."""
    consumer = member(log, group="m")
    consumer.poll()
    producer.begin_transaction()
    producer.send("b", b"no")
    for name in ("a", "m", "z"):
        producer.send_offsets_to_transaction({IN[0]: 3}, GroupMetadata(name))
    with pytest.raises(CommitFailedError):
        producer.commit_transaction()
    check_locks_are_free(log)
    producer.abort_transaction()
    assert values(log, "b") == []
    assert {committed(log, IN[0], name) for name in ("a", "m", "z")} == {None}


def test_offsets_alone(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """A transaction may commit offsets and no record; without any offset it commits nothing."""
    with producer.transaction():
        producer.send_offsets_to_transaction({IN[0]: 3}, GroupMetadata("g"))
    with producer.transaction():
        producer.send_offsets_to_transaction({}, GroupMetadata("other"))
    assert committed(log) == OffsetAndMetadata(3)
    assert log.groups() == ["g"]


@pytest.mark.parametrize(
    ("offsets", "metadata", "error"),
    [
        ({IN[0]: 2**63}, GroupMetadata("g"), eventlog.OffsetOutOfRangeError),
        ({IN[0]: -1}, GroupMetadata("g"), eventlog.OffsetOutOfRangeError),
        ({IN[0]: "5"}, GroupMetadata("g"), eventlog.InvalidRecordError),
        ({IN[0]: OffsetAndMetadata(5, "x" * 5000)}, GroupMetadata("g"), eventlog.RecordTooLargeError),
        ({TopicPartition("in", 9): 1}, GroupMetadata("g"), eventlog.UnknownPartitionError),
        ({TopicPartition("missing", 0): 1}, GroupMetadata("g"), eventlog.UnknownTopicError),
        ([(IN[0], 1)], GroupMetadata("g"), eventlog.InvalidRecordError),
        ({IN[0]: 1}, "g", eventlog.InvalidRecordError),
        ({IN[0]: 1}, None, eventlog.InvalidRecordError),
        ({IN[0]: 1}, GroupMetadata(""), eventlog.InvalidGroupError),
    ],
)
def test_what_cannot_be_committed(
    log: eventlog.EventLog, producer: eventlog.Producer, offsets: Any, metadata: Any, error: type[Exception]
) -> None:
    """Offsets that no consumer could commit are refused at once, and the transaction goes on without them."""
    with producer.transaction():
        producer.send_offsets_to_transaction({IN[1]: 2}, GroupMetadata("g"))
        with pytest.raises(error):
            producer.send_offsets_to_transaction(offsets, metadata)
        producer.send("b", b"1")
    assert (values(log, "b"), committed(log, IN[0]), committed(log, IN[1])) == ([b"1"], None, OffsetAndMetadata(2))


def test_a_consumed_topic_that_is_deleted_meanwhile(log: eventlog.EventLog, producer: eventlog.Producer) -> None:
    """Offsets for a topic that is gone are committed with the rest, or refused with it, but never with half of it."""
    producer.begin_transaction()
    producer.send("b", b"1")
    producer.send_offsets_to_transaction({IN[0]: 3}, GroupMetadata("g"))
    log.delete_topic("in")
    try:
        producer.commit_transaction()
    except eventlog.UnknownTopicError:
        producer.abort_transaction()
        assert values(log, "b") == []
    else:
        assert values(log, "b") == [b"1"]


def test_snapshots_are_right(log: eventlog.EventLog, producer: eventlog.Producer, run_python: RunPython) -> None:
    """After so many commits that a snapshot of the group's offsets was written, plain ones in between, everyone finds
    the last offset, this process and one that begins with the snapshot.
    """
    consumer = log.consumer(group="g")
    for number in range(700):
        if number % 7 == 6:
            consumer.commit({IN[0]: number % RECORDS})
            continue
        with producer.transaction():
            producer.send_offsets_to_transaction({IN[0]: number % RECORDS, IN[1]: 1}, GroupMetadata("g"))
        assert consumer.committed(IN[0]) == OffsetAndMetadata(number % RECORDS)
    snapshots = list((Path(log.path) / "topics" / "__consumer_offsets").glob("*/snapshot"))
    assert len(snapshots) == 1
    assert os.path.getsize(snapshots[0])
    assert run_python(COMMITTED, log.path, "g") == [699 % RECORDS, ""]
