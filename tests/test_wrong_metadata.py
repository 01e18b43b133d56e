"""A small file may be whole, with a checksum that fits, and wrong: it is told or made again, and never believed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crc32c
import pytest
from click.testing import CliRunner

import eventlog
from eventlog.cli.commands import commands
from eventlog.coordination.group_state import GroupState
from eventlog.files.json_fields import MAX_BYTES, Fields, parse
from tests.planting import every_call, full_log

Content = dict[str, Any]
FILES = {
    "log": "eventlog.json", "topic": "topics/t/topic.json", "group": "groups/g/state.json",
    "transactional id": "transactions/tx/state.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log with a group and a transactional id, which tests copy."""
    path = tmp_path_factory.mktemp("original") / "log"
    full_log(path)
    return path


@pytest.fixture
def log_path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "log"))


def sealed(content: Content) -> bytes:
    """Return a file's bytes with a checksum that fits, as its own writer makes it."""
    content = {name: value for name, value in content.items() if name != "crc32c"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**content, "crc32c": f"{crc32c.crc32c(canonical):08x}"}).encode()


NO_JSON = {
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested in a field": b'{"format": 1, "kind": "x", "a": ' + b"[" * 50 + b"]" * 50 + b"}",
    "a name twice": b'{"format": 1, "format": 1}',
    "no number": b'{"format": NaN}',
    "infinity": b'{"format": 1e999, "a": -Infinity}',
    "a million digits": b'{"format": ' + b"9" * 1_000_000 + b"}",
    "not UTF-8": b'{"format": "\xff\xfe\x00"}',
    "UTF-16": '{"format": 1}'.encode("utf-16"),
    "zeros": b"\0" * 5000,
    "empty": b"",
    "a list": b"[1]",
    "a text": b'"text"',
    "null": b"null",
    "an open text": b'{"a": "' + b"\\" * 99_999,
    "large": b" " * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("raw", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_of_ours(raw: bytes) -> None:
    """Whatever the bytes are, reading them gives fields or CorruptMetadataError with the path, and no other error."""
    with pytest.raises(eventlog.CorruptMetadataError) as caught:
        parse(raw, "/some/file")
        parse(raw, "/some/file").text("format", "1")
    assert caught.value.path == "/some/file" and caught.value.hint


def test_brackets_within_a_text_are_no_nesting() -> None:
    """Only what nests is counted, whatever texts hold."""
    text = '[{"\\[' * 1000
    assert parse(json.dumps({"a": text, "b": [[{}]]}).encode(), "f")["a"] == text


WRONG: list[tuple[str, str, Any]] = [
    ("log", "log_id", 5), ("log", "log_id", "../../etc"), ("log", "log_id", None),
    ("log", "format", True), ("log", "format", -1), ("log", "format", "1"), ("log", "kind", "topic"),
    ("topic", "name", "other"), ("topic", "name", 1), ("topic", "name", "../t"), ("topic", "topic_id", "x" * 32),
    ("topic", "topic_id", ["0" * 32]), ("topic", "partitions", 0), ("topic", "partitions", 10**30),
    ("topic", "partitions", "2"), ("topic", "partitions", 2.0), ("topic", "partitions", True),
    ("topic", "partitions", -1), ("topic", "config", []), ("topic", "config", {"unknown": 1}),
    ("topic", "config", {"segment_bytes": "1024"}), ("topic", "config", {"segment_bytes": 10**40}),
    ("topic", "config", None), ("topic", "config", {"durability": ["os"]}), ("topic", "config", {"flush_ms": 1.5}),
    ("transactional id", "transactional_id", "another"), ("transactional id", "producer_id", -1),
    ("transactional id", "producer_id", 2**63), ("transactional id", "producer_id", "7"),
    ("transactional id", "epoch", 2**15), ("transactional id", "epoch", None), ("transactional id", "epoch", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value"), WRONG, ids=lambda value: str(value)[:30])
def test_a_field_that_cannot_be(log_path: Path, kind: str, field: str, value: Any) -> None:
    """A right checksum around a wrong field is CorruptMetadataError, which names the file and the field."""
    path = log_path / FILES[kind]
    path.write_bytes(sealed({**json.loads(path.read_bytes()), field: value}))
    calls: dict[str, Callable[[eventlog.EventLog], object]] = {
        "log": lambda log: None,
        "topic": lambda log: log.topic("t"),
        "transactional id": lambda log: log.producer(transactional_id="tx").init_transactions(),
    }
    for readonly in (False, True):
        if readonly and kind == "transactional id":
            continue
        with pytest.raises(eventlog.CorruptMetadataError) as caught, eventlog.open(log_path, readonly=readonly) as log:
            calls[kind](log)
        assert caught.value.path == str(path) and caught.value.hint
        assert field in caught.value.reason or field == "kind"


def _missing(kind: str, content: Content) -> Iterator[tuple[str, Content]]:
    for name in content:
        if name not in ("crc32c", "format", "kind"):
            yield name, {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "group"])
def test_a_field_that_is_missing(original: Path, log_path: Path, kind: str) -> None:
    """So is a file in which any one field is missing."""
    content = json.loads((original / FILES[kind]).read_bytes())
    for name, rest in _missing(kind, content):
        (log_path / FILES[kind]).write_bytes(sealed(rest))
        with pytest.raises(eventlog.CorruptMetadataError, match=name), eventlog.open(log_path) as log:
            log.topic("t")
            log.producer(transactional_id="tx").init_transactions()


def _mutated(rng: random.Random, value: Any) -> Any:
    """Put something else in one place of the value."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        return {**value, name: _mutated(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], _mutated(rng, value[place]), *value[place + 1 :]]
    return rng.choice(
        [
            None,
            True,
            -1,
            0,
            2**63,
            10**50,
            0.5,
            "",
            "..",
            "../../x",
            "\ud800",
            "x" * 300,
            [],
            {},
            [[1]],
            {"a": {"b": 1}},
        ]
    )


@pytest.mark.parametrize("seed", range(8))
def test_any_field_may_be_anything(original: Path, tmp_path: Path, seed: int) -> None:
    """Whatever stands in whichever field: every call works or raises an EventLogError that names the place."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    for kind, name in FILES.items():
        log_path = Path(shutil.copytree(original, tmp_path / kind))
        path = log_path / name
        content = _mutated(rng, json.loads(path.read_bytes()))
        raw = sealed(content) if isinstance(content, dict) else json.dumps(content).encode()
        path.write_bytes(raw)
        assert (every_call(log_path), raw) == ([], raw)


@pytest.mark.parametrize("seed", range(300))
def test_a_group_state_is_possible_or_refused(seed: int) -> None:
    """Whatever a state's file says, it reads as a state that can be written and read again, or CorruptMetadataError."""
    rng = random.Random(seed)
    member = {
        "member_id": "c-1", "client_id": "c", "host": "h", "pid": 1, "topics": ["t"], "strategies": ["range"],
        "session_timeout_ms": 1, "max_poll_interval_ms": 1, "instance_id": None, "generation": 1,
        "owned": {"t": [0, 1]}, "target": {"t": [0]}, "gone_at": None,
    }  # fmt: skip
    content: Any = {
        "generation": 1, "strategy": "range", "cooperative": True, "partition_counts": {"t": 2}, "strangers": ["s"],
        "is_unassigned": False, "members": [member, {**member, "member_id": "c-2", "owned": {}}],
    }  # fmt: skip
    assert GroupState.from_fields(content).members["c-1"].pid == 1
    for _ in range(rng.randrange(1, 3)):
        content = _mutated(rng, content)
    try:
        state = GroupState.from_fields(Fields(content.items(), "state.json") if isinstance(content, dict) else {})
    except eventlog.CorruptMetadataError as error:
        assert error.path in ("state.json", "")
        return
    assert GroupState.from_fields(json.loads(json.dumps(state.to_fields()))) == state
    assert all("/" not in name and name not in ("", ".", "..") for name in [*state.members, *state.strangers])
    list(state.waiting())


def test_a_wrong_state_of_a_group_is_put_aside(log_path: Path) -> None:
    """A state that cannot be is kept under another name, and made again; commits are not in it, and stay."""
    path = log_path / FILES["group"]
    wrong = sealed({**json.loads(path.read_bytes()), "members": 5})
    path.write_bytes(wrong)
    with eventlog.open(log_path) as log, log.consumer("t", group="g") as consumer:
        consumer.poll(0.0)
        assert len(log.group("g").members) == 1
        assert consumer.committed(eventlog.TopicPartition("t", 0)) is not None
    assert path.with_name("state.json.damaged").read_bytes() == wrong


def test_a_member_named_after_a_file_elsewhere(log_path: Path, tmp_path: Path) -> None:
    """A state whose members' ids lead out of the directory has nothing removed there."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = log_path / FILES["group"]
    content = json.loads(path.read_bytes())
    path.write_bytes(sealed({**content, "strangers": [f"../../../{victim.name}"]}))
    with eventlog.open(log_path) as log, log.consumer("t", group="g") as consumer:
        consumer.poll(0.0)
    assert victim.read_bytes() == b"precious"


def _told(log_path: Path) -> dict[str, str]:
    """Return what each way to look at the log says of the topic ``t``."""
    found = {}
    with eventlog.open(log_path) as log:
        assert log.topics() == ["other", "t"]
        assert log.topic("other").partitions[0].read(0)
        ways: dict[str, Callable[[], object]] = {
            "topic": lambda: log.topic("t"),
            "send": lambda: log.producer(linger_ms=0).send("t", b"x").result(timeout=10),
            "read": lambda: log.consumer("t", auto_offset_reset="earliest").poll(0.0),
            "create": lambda: log.create_topic("t", exist_ok=True),
            "delete": lambda: log.delete_topic("t"),
            "grow": lambda: log.topic("t").add_partitions(9),
        }
        for name, way in ways.items():
            with pytest.raises(eventlog.CorruptMetadataError) as caught:
                way()
            found[name] = f"{caught.value.path}: {caught.value.reason}"
    return found


@pytest.mark.parametrize("what", ["of another topic", "missing", "wrong", "a pipe", "a directory", "a link"])
def test_a_broken_topic_is_told_alike_everywhere(log_path: Path, tmp_path: Path, what: str) -> None:
    """Each way to use it gives the same error with the path; others go on, in a group as well; the commands tell it."""
    path = log_path / FILES["topic"]
    if what == "of another topic":
        shutil.copy(log_path / "topics/other/topic.json", path)
    elif what == "wrong":
        path.write_bytes(sealed({**json.loads(path.read_bytes()), "partitions": "two"}))
    else:
        path.unlink()
        if what == "a pipe":
            os.mkfifo(path)
        elif what == "a directory":
            path.mkdir()
        elif what == "a link":
            path.symlink_to(log_path / "topics/other/topic.json")
    told = _told(log_path)
    assert len(set(told.values())) == 1 and next(iter(told.values())).startswith(f"{path}: ")
    reason = next(iter(told.values())).removeprefix(f"{path}: ")
    with eventlog.open(log_path) as log, log.consumer(group="readers", auto_offset_reset="earliest") as consumer:
        consumer.subscribe(pattern="^(t|other)$")
        assert {record.topic for record in consumer.poll(5.0)} == {"other"}
    for command in (["topics"], ["verify"]):
        result = CliRunner().invoke(commands, [*command, str(log_path)])
        assert result.exit_code == 1
        assert str(path) in result.output and reason in " ".join(result.output.split())
        assert "other" in result.output


def test_a_topic_that_breaks_while_it_is_open(log_path: Path) -> None:
    """Other topics are found as before, although something has changed and all are looked at again."""
    with eventlog.open(log_path) as log:
        assert log.topic("t") and log.topic("other")
        (log_path / FILES["topic"]).write_bytes(b"{")
        log.create_topic("another")
        assert log.topic("other").partitions[0].append([b"x"])
        with pytest.raises(eventlog.CorruptMetadataError):
            log.topic("t")


def test_strangers_among_the_directories(log_path: Path) -> None:
    """What file managers and backups leave beside topics, groups and ids is none of them."""
    with eventlog.open(log_path) as log:
        before = log.topics(), log.groups(), [found.transactional_id for found in log.transactions()]
    for place in ("topics", "groups", "groups/g/members", "transactions"):
        for name in (b".DS_Store", b"%zz", b"\xff\xfe", b"Thumbs.db"):
            Path(os.fsdecode(os.fsencode(log_path / place) + b"/" + name)).write_bytes(b"x")
    (log_path / "transactions" / "%").mkdir()
    (log_path / "groups" / "a b").mkdir()
    with eventlog.open(log_path) as log:
        assert (log.topics(), log.groups(), [found.transactional_id for found in log.transactions()]) == before
        with log.consumer("t", group="g") as consumer:
            consumer.poll(0.0)
    assert every_call(log_path) == []
