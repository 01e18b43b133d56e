"""Topics: their names, their life, their partitions, and what lies on disk for them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import eventlog

RunPython = Callable[..., Any]


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "...", ".a", "-", "_", "x" * 249, "__internal", "0"])
def test_legal_names(log: eventlog.EventLog, name: str) -> None:
    """What Kafka accepts is accepted: 1 to 249 of letters, digits, dot, underscore and hyphen."""
    log.create_topic(name).partitions[0].append([b"v"])
    assert log.topics(include_internal=True) == [name]
    assert log.topic(name).partitions[0].read(0)[0].values() == [b"v"]


def test_internal_topics_are_listed_when_asked_for(log: eventlog.EventLog) -> None:
    """A topic whose name begins with two underscores is left out of the list, and is a topic like any other."""
    for name in ("orders", "__mine", "_own"):
        log.create_topic(name).partitions[0].append([b"v"])
    assert log.topics() == ["_own", "orders"]
    assert log.topics(include_internal=True) == ["__mine", "_own", "orders"]
    assert log.topic("__mine").partitions[0].read(0)[0].values() == [b"v"]


def test_committed_offsets_are_neither_created_nor_deleted_by_hand(log: eventlog.EventLog) -> None:
    """The topic of committed offsets comes with the first commit and goes with the log; the error says so."""
    for call in (log.create_topic, log.delete_topic):
        with pytest.raises(eventlog.InvalidTopicError, match="committed offsets of all consumer groups"):
            call("__consumer_offsets")
    with pytest.raises(eventlog.InvalidTopicError):
        log.create_topic("__consumer_offsets", partitions=50, exist_ok=True)
    assert log.topics(include_internal=True) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "ä", "x" * 250, "a\n", "a\0", "~new-x", "a:b", "../up", 5, None, b"a", ["a"]]
)
def test_illegal_names(log: eventlog.EventLog, name: Any) -> None:
    """What Kafka refuses is refused, by every call that takes a name, and nothing appears on disk."""
    for call in (log.create_topic, log.topic, log.delete_topic):
        with pytest.raises(eventlog.InvalidTopicError, match="use 1 to 249") as caught:
            call(name)
        assert isinstance(caught.value, ValueError)
    assert os.listdir(os.path.join(log.path, "topics")) == []


def test_create_find_and_list(log: eventlog.EventLog) -> None:
    """A topic exists once; exist_ok gives the one that is there; the list is sorted."""
    made = log.create_topic("t", partitions=2)
    log.create_topic("a")
    with pytest.raises(eventlog.TopicExistsError, match="exist_ok") as caught:
        log.create_topic("t")
    assert caught.value.topic == "t"
    assert log.create_topic("t", exist_ok=True).topic_id == made.topic_id
    assert len(log.topic("t").partitions) == 2
    assert log.topics() == ["a", "t"]
    with pytest.raises(eventlog.UnknownTopicError, match="create_topic") as unknown:
        log.topic("u")
    assert unknown.value.topic == "u" and isinstance(unknown.value, KeyError)


def test_exist_ok_takes_a_topic_that_fits(log: eventlog.EventLog) -> None:
    """With exist_ok the same call succeeds again and again, as does one that asks for less."""
    given: dict[str, Any] = {"durability": "disk", "segment_bytes": 1 << 20}
    made = log.create_topic("t", partitions=3, **given)
    with eventlog.open(log.path) as other:
        for asked in ({"partitions": 3, **given}, {"partitions": 2}, {}, {"durability": "disk"}):
            assert other.create_topic("t", exist_ok=True, **asked).topic_id == made.topic_id
    made.add_partitions(5)
    assert len(log.create_topic("t", partitions=3, exist_ok=True, **given).partitions) == 5


@pytest.mark.parametrize(
    ("asked", "differs"),
    [
        ({"durability": "disk"}, "durability='os', not 'disk'"),
        ({"segment_bytes": 2**30}, "segment_bytes=1048576, not 1073741824"),
        ({"partitions": 5}, "2 partitions, not 5.*add_partitions"),
    ],
)
def test_exist_ok_refuses_a_topic_that_differs(log: eventlog.EventLog, asked: dict[str, Any], differs: str) -> None:
    """What was asked for and is not there is an error that names both, also where a default was asked for."""
    log.create_topic("t", partitions=2, segment_bytes=1 << 20)
    with pytest.raises(eventlog.TopicExistsError, match=differs) as caught:
        log.create_topic("t", exist_ok=True, **asked)
    assert caught.value.topic == "t" and caught.value.hint
    assert len(log.topic("t").partitions) == 2


def test_names_that_differ_in_case(log: eventlog.EventLog) -> None:
    """T and t are two topics, as in Kafka (on a file system that tells them apart)."""
    log.create_topic("t").partitions[0].append([b"small"])
    log.create_topic("T").partitions[0].append([b"large"])
    assert log.topic("t").partitions[0].read(0)[0].values() == [b"small"]


def test_delete_and_create_again(log: eventlog.EventLog) -> None:
    """A deleted topic is gone with its files; made again it has another id, and starts at offset 0."""
    first = log.create_topic("t")
    first.partitions[0].append([b"old"])
    log.delete_topic("t")
    assert log.topics() == [] and os.listdir(os.path.join(log.path, "topics")) == []
    for call in (log.topic, log.delete_topic):
        with pytest.raises(eventlog.UnknownTopicError):
            call("t")
    again = log.create_topic("t")
    assert again.topic_id != first.topic_id
    assert again.partitions[0].log_end_offset == 0
    for call in (
        lambda: first.partitions[0].append([b"lost"]),
        lambda: first.partitions[0].read(0),
        lambda: first.partitions[0].log_end_offset,
        lambda: first.partitions[0].append([b"lost"] * 2, durability="disk"),
    ):
        with pytest.raises(eventlog.UnknownTopicError):
            call()
    assert again.partitions[0].append([b"new"]).base_offset == 0


def test_an_old_topic_object_never_writes_into_the_new_topic(log: eventlog.EventLog) -> None:
    """Partitions of a deleted topic that were never opened do not open as partitions of its successor."""
    old = log.create_topic("t", partitions=5)
    log.delete_topic("t")
    log.create_topic("t", partitions=2)
    for number in (0, 4):
        with pytest.raises(eventlog.UnknownTopicError):
            old.partitions[number].append([b"lost"])
    assert os.listdir(os.path.join(log.path, "topics", "t")) == ["topic.json"]


def test_a_roll_never_reaches_into_a_new_topic(log: eventlog.EventLog, log_path: Path) -> None:
    """A writer that rolls just when its topic was renamed away, and made anew, touches nothing of the new one."""
    old = log.create_topic("t", segment_bytes=1024).partitions[0]
    old.append([b"x" * 200])
    topics = log_path / "topics"
    with eventlog.open(log_path) as other:
        (topics / "t").rename(topics / "~gone-t")  # the first step of a deletion; its heads are not marked yet
        new = other.create_topic("t", segment_bytes=1024).partitions[0]
        for n in range(40):
            new.append([b"new %d" % n + b"x" * 200])
        before = {path.name: path.read_bytes() for path in (topics / "t" / "0").iterdir()}
        with pytest.raises(eventlog.UnknownTopicError):
            for _ in range(40):
                old.append([b"old" * 70])
        assert {path.name: path.read_bytes() for path in (topics / "t" / "0").iterdir()} == before
        assert new.verify().ok


def test_partitions_can_be_added(log: eventlog.EventLog) -> None:
    """Added partitions are there for every object that knows the topic; removing is refused, and explained."""
    topic = log.create_topic("t", partitions=2)
    topic.partitions[1].append([b"v"])
    topic.add_partitions(4)
    topic.add_partitions(4)  # nothing to do
    assert len(log.topic("t").partitions) == len(topic.partitions) == 4
    log.topic("t").partitions[3].append([b"w"])
    with pytest.raises(eventlog.InvalidPartitionsError, match="cannot be removed") as caught:
        topic.add_partitions(3)
    assert "records would be lost" in caught.value.hint and caught.value.topic == "t"
    for bad in (0, -1, 1.5, "4", True, None, 100_001):
        with pytest.raises(eventlog.InvalidPartitionsError, match="whole number"):
            topic.add_partitions(bad)
        with pytest.raises(eventlog.InvalidPartitionsError):
            log.create_topic("u", partitions=bad)
    assert log.topics() == ["t"]
    assert topic.partitions[1].read(0)[0].values() == [b"v"]


def test_partitions_are_a_sequence(log: eventlog.EventLog) -> None:
    """topic.partitions has a length, indices from both ends, slices and iteration; others raise IndexError's kind."""
    partitions = log.create_topic("t", partitions=3).partitions
    assert [p.number for p in partitions] == [0, 1, 2]
    assert partitions[-1] is partitions[2] and [p.number for p in partitions[1:]] == [1, 2]
    for bad in (3, -4, "0", None):
        with pytest.raises(eventlog.UnknownPartitionError, match="numbered from 0") as caught:
            partitions[bad]
        assert isinstance(caught.value, IndexError) and caught.value.topic == "t"


CONFIG = {
    "segment_bytes": 4096, "segment_ms": 1000, "index_interval_bytes": 100, "max_message_bytes": 5000,
    "message_timestamp_type": "LogAppendTime", "compression_type": "gzip", "durability": "disk",
    "flush_messages": 10, "flush_ms": 20, "message_timestamp_before_max_ms": 10**12,
    "message_timestamp_after_max_ms": 10**6,
}  # fmt: skip


def test_the_configuration_is_kept(log_path: Path, run_python: RunPython) -> None:
    """Every setting of a topic comes back as it was given, in another process too; the rest are the defaults."""
    with eventlog.open(log_path) as log:
        log.create_topic("t", **CONFIG)
        log.create_topic("plain")
    assert set(CONFIG) == {field.name for field in attrs.fields(eventlog.TopicConfig)}
    script = """
import attrs, eventlog
log = eventlog.open(ARGS[0])
answer([attrs.asdict(log.topic(name).config) for name in ("t", "plain")])
"""
    assert run_python(script, log_path) == [CONFIG, attrs.asdict(eventlog.TopicConfig())]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", eventlog.CorruptMetadataError),
        (b"{", eventlog.CorruptMetadataError),
        (b"[]", eventlog.CorruptMetadataError),
        (b"\xff\xfe", eventlog.CorruptMetadataError),
        (b'{"format": 1, "kind": "topic"}', eventlog.CorruptMetadataError),
        (b'{"format": 2, "kind": "topic", "anything": "newer"}', eventlog.UnsupportedFormatError),
    ],
)
def test_a_damaged_topic_file(log: eventlog.EventLog, content: bytes, error: type[Exception]) -> None:
    """A topic.json that makes no sense, or is newer, gives an error with its path; other topics are not affected."""
    for name in ("good", "bad"):
        log.create_topic(name).partitions[0].append([b"v"])
    path = os.path.join(log.path, "topics", "bad", "topic.json")
    with open(path, "wb") as file:
        file.write(content)
    with eventlog.open(log.path) as other:
        with pytest.raises(error) as caught:
            other.topic("bad")
        assert caught.value.path == path and caught.value.hint
        assert other.topics() == ["bad", "good"]
        assert other.topic("good").partitions[0].read(0)[0].values() == [b"v"]


def test_every_flipped_bit_of_a_topic_file(log: eventlog.EventLog) -> None:
    """No single flipped bit in topic.json is taken for another setting: it is an error, or reads as the same."""
    made = log.create_topic("t", partitions=3, **CONFIG)
    path = os.path.join(log.path, "topics", "t", "topic.json")
    good = Path(path).read_bytes()
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        Path(path).write_bytes(flipped)
        try:
            with eventlog.open(log.path) as other:
                topic = other.topic("t")
                found = (topic.topic_id, len(topic.partitions), topic.config)
        except (eventlog.CorruptMetadataError, eventlog.UnsupportedFormatError):
            continue
        assert found == (made.topic_id, 3, made.config), json.dumps(flipped.decode(errors="replace"))
    Path(path).write_bytes(good)


def test_threads_create_one_topic(log: eventlog.EventLog) -> None:
    """Threads that create the same topic at once with exist_ok share one; without it, exactly one succeeds."""
    ids: list[str] = []
    refused: list[Exception] = []

    def work() -> None:
        ids.append(log.create_topic("shared", exist_ok=True).topic_id)
        try:
            log.create_topic("once")
        except eventlog.TopicExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8 and len(set(ids)) == 1
    assert len(refused) == 7


@pytest.mark.timeout(1000)  # a minute on a quiet machine
def test_ten_thousand_partitions(run_python: RunPython, log_path: Path) -> None:
    """10,000 partitions in one log, in a process that may open 256 files: all are written and read, few held open."""
    script = """
import eventlog, os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
def mappings(): return sum(1 for _ in open("/proc/self/maps"))
log = eventlog.open(ARGS[0], max_open_partitions=32)
topic = log.create_topic("t", partitions=10_000)
most = [0, 0]
def look():
    most[0] = max(most[0], len(os.listdir("/proc/self/fd")))
    most[1] = max(most[1], mappings())
before = mappings()
for partition in topic.partitions:
    partition.append([b"%d" % partition.number])
    if partition.number % 500 == 0: look()
for partition in topic.partitions:
    partition.append([b"again"])
    if partition.number % 500 == 0: look()
log.close()
log = eventlog.open(ARGS[0], max_open_partitions=32)
bad = 0
for partition in log.topic("t").partitions:
    bad += [v for b in partition.read(0) for v in b.values()] != [b"%d" % partition.number, b"again"]
    if partition.number % 500 == 0: look()
answer([bad, most[0], most[1] - before])
"""
    bad, descriptors, mappings = run_python(script, log_path, timeout=900)
    assert bad == 0
    assert descriptors < 250
    assert mappings < 25_000  # of the 65,530 that Linux gives a process: a head each, and the segments of a few


def test_a_small_topic_is_small(log: eventlog.EventLog) -> None:
    """A partition that was just made, and one with a record, take under 64 KiB on disk."""
    log.create_topic("t").partitions[0].append([b"v"])
    du = subprocess.run(["du", "-sk", os.path.join(log.path, "topics", "t")], capture_output=True, text=True)
    assert int(du.stdout.split()[0]) < 64


@pytest.mark.parametrize(("one", "other"), [("a.b", "a_b"), ("a_b", "a.b"), ("x_y.z", "x.y_z"), ("...", "._.")])
def test_names_that_differ_in_dots_and_underscores_collide(log: eventlog.EventLog, one: str, other: str) -> None:
    """Kafka refuses the second name until the topic of the first is deleted; other names are free."""
    log.create_topic(one)
    for exist_ok in (False, True):
        with pytest.raises(eventlog.InvalidTopicError, match="collides") as caught:
            log.create_topic(other, exist_ok=exist_ok)
        assert caught.value.topic == other and one in caught.value.reason
    assert log.create_topic(one, exist_ok=True).name == one
    for free in (one.replace(".", "-").replace("_", "-"), other + "_", "x" + other):
        log.create_topic(free)
    log.delete_topic(one)
    assert log.create_topic(other).name == other
