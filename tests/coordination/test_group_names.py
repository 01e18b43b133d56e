"""Names of groups, as Kafka allows them: however long, with any character, but not blank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import eventlog
from eventlog import GroupMetadata, TopicPartition
from eventlog.coordination.directory_name import short_directory_name

TP = TopicPartition("t", 0)
LONG = "x" * 300
NAMES = ["a b", " g ", "a/b", "..", "\xfc" * 100, "g\n", "." * 90, LONG, "\U0001f600" * 5000, "z" * (2**15 - 1)]


def fill(log: eventlog.EventLog) -> None:
    for partition in log.create_topic("t", partitions=2).partitions:
        partition.append([b"0", b"1", b"2"])


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name[:5]!r} {len(name)}")
def test_a_group_of_any_name_works(log_path: Path, name: str) -> None:
    """Members share partitions, commit, are listed, described and deleted, whatever the group is called."""
    with eventlog.open(log_path) as log:
        fill(log)
        config = {"group": name, "auto_offset_reset": "earliest"}
        with log.consumer("t", **config) as first, log.consumer("t", **config) as second:
            for _ in range(3):
                first.poll(), second.poll()
            assert len(first.assignment()) == len(second.assignment()) == 1
            assert log.groups() == [name]
            assert log.group(name).state == "stable"
    with eventlog.open(log_path) as log:
        assert log.groups() == [name]
        with log.consumer(group=name) as later:
            later.assign([TP])
            assert later.committed(TP) == eventlog.OffsetAndMetadata(3)
        log.delete_group(name)
        assert log.groups() == []


def test_long_names_with_the_same_beginning_are_different_groups(log: eventlog.EventLog) -> None:
    """What does not fit into the name of a directory still tells two groups apart, also when they are listed."""
    fill(log)
    consumers = [log.consumer("t", group=LONG + end, auto_offset_reset="earliest") for end in ("", "a", "b")]
    assert [len(consumer.poll()) for consumer in consumers] == [6, 6, 6]
    assert log.groups() == [LONG, LONG + "a", LONG + "b"]
    assert all(len(log.group(LONG + end).members) == 1 for end in ("", "a", "b"))
    for consumer in consumers:
        consumer.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"{}")], ids=["gone", "damaged"])
def test_a_long_name_that_was_lost_hides_no_other_group(
    log: eventlog.EventLog, damage: Callable[[Path], object]
) -> None:
    """Without the file that has its whole name a group goes on, and is listed as soon as it has committed."""
    fill(log)
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    with log.consumer("t", group=LONG, **config) as member, log.consumer("t", group="other", **config) as other:
        assert len(member.poll()) == len(other.poll()) == 6
        damage(Path(log.path, "groups", short_directory_name(LONG), "name.json"))
        assert log.groups() == ["other"]
        member.commit()
        assert log.groups() == ["other", LONG]
        assert len(log.group(LONG).members) == 1


@pytest.mark.parametrize("name", ["", " ", "\t", "\x00 \n", "x" * 2**15, "\xfc" * 2**14, "\ud800", None, 5])
def test_what_is_no_groups_name(log: eventlog.EventLog, name: object) -> None:
    """Blank names, and those over 32,767 bytes, are refused by every call that takes a group's name."""
    log.create_topic("t")
    with log.producer(transactional_id="x") as producer:
        producer.init_transactions()
        for call in (
            lambda: log.consumer("t", group=name) if name is not None else log.group(name),
            lambda: log.group(name),
            lambda: log.delete_group(name),
            lambda: producer.send_offsets_to_transaction({TP: 0}, GroupMetadata(name)),
        ):
            producer.begin_transaction()
            with pytest.raises(eventlog.InvalidGroupError):
                call()
            producer.abort_transaction()
    assert log.groups() == []
