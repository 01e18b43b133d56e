"""The command line: in this process through click's runner, and as real processes."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog.cli.commands import commands
from eventlog.cli.consume_group import GroupReading

ROOT = Path(__file__).resolve().parents[1]
APACHE = ROOT / "examples" / "loghub" / "Apache_2k.log"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*arguments: object, stdin: bytes | None = None, status: int = 0) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(commands, list(map(str, arguments)), input=stdin)
    assert result.exit_code == status, result.output
    return result


def process(*arguments: object, unbuffered: bool = False, **options: Any) -> subprocess.Popen[bytes]:
    """Start a command as a process of its own."""
    command = [sys.executable, "-m", "eventlog", *map(str, arguments)]
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **options)


def finish(child: subprocess.Popen[bytes], stdin: bytes | None = None) -> tuple[bytes, bytes, int]:
    """Wait for the process; return its output, its errors and its status."""
    out, err = child.communicate(stdin, timeout=60)
    return out, err, child.returncode


def fill(log_path: Path, lines: bytes = b"zero\none\ntwo\n", *options: object, topic: str = "t") -> None:
    """Produce lines to a topic."""
    run("produce", log_path, topic, *options, stdin=lines)


def segment(log_path: Path, partition: int = 0) -> Path:
    """The first segment of a partition of topic t."""
    return log_path / "topics" / "t" / str(partition) / f"{0:020d}.log"


# --- produce and back ---


def test_a_real_file_comes_back_byte_for_byte(log_path: Path) -> None:
    """A file with CRLF lines and no newline at its end, through two processes, comes back with that newline added."""
    _, err, status = finish(process("produce", log_path, "apache", APACHE, stdout=subprocess.PIPE))
    assert (status, err) == (0, b"2000 records, 169240 bytes written to apache\n")
    out, err, status = finish(process("consume", log_path, "apache", stdout=subprocess.PIPE))
    assert (out, err, status) == (APACHE.read_bytes() + b"\n", b"", 0)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\n\r\n\nb\r", [b"a\r", b"\r", b"", b"b\r"]),
        (b"\x00\xff\xfe\x85\x0b\x0c\x1c\n\xe2\x80\xa8\n", [b"\x00\xff\xfe\x85\x0b\x0c\x1c", b"\xe2\x80\xa8"]),
        (b"x" * 900_000 + b"\n" + b"y" * 900_000, [b"x" * 900_000, b"y" * 900_000]),
    ],
    ids=["nothing", "one empty", "no newline", "newline", "carriage returns", "no text", "longer than a read"],
)
def test_only_a_line_feed_ends_a_line(log_path: Path, given: bytes, values: list[bytes]) -> None:
    r"""``\n`` separates and is not stored; a last line without it is a record; every other byte is content."""
    fill(log_path, given)
    with eventlog.open(log_path) as log:
        stored = [value for batch in log.topic("t").partitions[0].read(0, 1 << 30) for value in batch.values()]
    assert stored == values


def test_lines_of_one_key_stay_in_order(log_path: Path) -> None:
    """Over several partitions, the lines of each key come back in the order of the file, all in one partition."""
    run("produce", log_path, "t", APACHE, "--key-regex", r"child (\d+)", "--partitions", 3)
    expected: dict[bytes, list[bytes]] = {}
    for line in APACHE.read_bytes().split(b"\n"):
        _, found, rest = line.partition(b"child ")
        digits = rest.split()[0] if found and rest[:1].isdigit() else b""
        expected.setdefault(digits, []).append(line)
    got: dict[bytes, list[bytes]] = {}
    partitions: dict[bytes, set[int]] = {}
    with eventlog.open(log_path) as log, log.consumer("t", auto_offset_reset="earliest") as consumer:
        for records in iter(consumer.poll, []):
            for one in records:
                got.setdefault(one.key or b"", []).append(one.value)
                partitions.setdefault(one.key or b"", set()).add(one.partition)
    assert len(expected) > 100 and got.keys() == expected.keys()
    assert all(got[key] == expected[key] for key in expected if key)
    assert sorted(got[b""]) == sorted(expected[b""])
    assert all(len(partitions[key]) == 1 for key in expected if key)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ((), [None, None]),
        (("--key-regex", r"id=(\w)\w"), [b"a", None]),
        (("--key-regex", r"id=\w"), [b"id=a", None]),
        (("--key-field", 2), [b"id=ab", None]),
        (("--key-field", 1), [b"{", b"}"]),
    ],
    ids=["no key", "first group", "whole match", "field", "first field"],
)
def test_keys_come_from_the_line(log_path: Path, options: tuple[object, ...], keys: list[bytes | None]) -> None:
    """--key-regex takes the first group or the whole match, --key-field a field; a line without one has no key."""
    fill(log_path, b"{ id=ab 3\n}\n", *options)
    with eventlog.open(log_path) as log:
        assert log.topic("t").partitions[0].read(0)[0].keys() == keys


def test_a_json_field_is_the_key(log_path: Path) -> None:
    """--json-key takes text as it is and anything else as JSON; a missing or null field is no key."""
    fill(log_path, '{"id":"ä"}\n{"id":7}\n{"id":[1,2]}\n{"id":null}\n{}\n'.encode(), "--json-key", "id")
    with eventlog.open(log_path) as log:
        assert log.topic("t").partitions[0].read(0)[0].keys() == ["ä".encode(), b"7", b"[1,2]", None, None]


@pytest.mark.parametrize("line", [b"no json", b"[1]", b"\xff"])
def test_a_line_that_is_no_json_object_is_an_error(log_path: Path, line: bytes) -> None:
    """With --json-key such a line is named by its number, and nothing of what was read with it is written."""
    result = run("produce", log_path, "t", "--json-key", "id", stdin=b"{}\n" + line + b"\n", status=1)
    assert "line 2 has no key" in result.stderr
    assert run("consume", log_path, "t").stdout_bytes == b""


def test_a_topic_that_exists_is_appended_to(log_path: Path) -> None:
    """Producing again appends; another number of partitions than the topic has is an error, the same one is not."""
    fill(log_path, b"a\n", "--partitions", 2)
    fill(log_path, b"b\n")
    fill(log_path, b"c\n", "--partitions", 2)
    assert sorted(run("consume", log_path, "t").stdout_bytes.split()) == [b"a", b"b", b"c"]
    result = run("produce", log_path, "t", "--partitions", 3, stdin=b"d\n", status=1)
    assert "exists, with 2 partitions" in result.stderr


def test_a_line_that_is_too_large_is_an_error(log_path: Path) -> None:
    """A line over max_message_bytes ends the command with a message that says how many records were written."""
    result = run("produce", log_path, "t", stdin=b"x" * (1 << 20) + b"\n", status=1)
    assert "after 0 records" in result.stderr and "max_message_bytes" in result.stderr


def test_a_line_that_is_too_large_is_named_by_its_number(log_path: Path) -> None:
    """The message names the line by its number in the file, also when partitions and keys take lines apart."""
    given = b"a 1\nb 2\nc 3\nd " + b"x" * (1 << 20) + b"\ne 5\n"
    options = ("--key-field", 1, "--partitions", 3)
    assert ": line 4: " in run("produce", log_path, "t", *options, stdin=given, status=1).stderr


def test_lines_from_a_pipe_are_written_as_they_come(log_path: Path) -> None:
    """A line that is written to a pipe can be read back while the pipe stays open."""
    producer = process("produce", log_path, "t", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert producer.stdin is not None
    with eventlog.open(log_path) as log:
        log.create_topic("t", exist_ok=True)
        with log.consumer("t", auto_offset_reset="earliest") as consumer:
            producer.stdin.write(b"first\n")
            producer.stdin.flush()
            assert [record.value for record in consumer.poll(timeout=60)] == [b"first"]
    assert finish(producer, b"second\n")[2] == 0


def test_a_person_sees_a_progress_bar(log_path: Path) -> None:
    """With a terminal as standard error, and a file whose size is known, the progress is shown there."""
    watcher, terminal = pty.openpty()
    command = [sys.executable, "-m", "eventlog", "produce", str(log_path), "t", str(APACHE)]
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80", "PYTHONUTF8": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=terminal) as child:
        os.close(terminal)
        shown = b""
        while select.select([watcher], [], [], 60)[0]:
            try:
                shown += os.read(watcher, 4096)
            except OSError:  # the terminal's other end is closed
                break
        assert child.wait(timeout=60) == 0
    os.close(watcher)
    assert "━".encode() in shown and b"2000 records" in shown


# --- consume ---


def test_consume_starts_where_it_is_told(log_path: Path) -> None:
    """--from takes beginning, end and an offset; --max ends after so many records."""
    fill(log_path)
    assert run("consume", log_path, "t", "--from", "beginning").stdout_bytes == b"zero\none\ntwo\n"
    assert run("consume", log_path, "t", "--from", "1").stdout_bytes == b"one\ntwo\n"
    assert run("consume", log_path, "t", "--from", "3").stdout_bytes == b""
    assert run("consume", log_path, "t", "--from", "end").stdout_bytes == b""
    assert run("consume", log_path, "t", "--from", "1", "--max", 1).stdout_bytes == b"one\n"
    assert run("consume", log_path, "t", "--max", 0).stdout_bytes == b""
    assert "offset=4" in run("consume", log_path, "t", "--from", "4", status=1).stderr


def test_consume_starts_at_a_time(log_path: Path) -> None:
    """--from takes an ISO 8601 time, with an offset or in local time: the first record at or after it is the first."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", partitions=2).partitions[0]
        partition.append([b"a", b"b", b"c"], timestamps_ms=[1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_500])
    assert run("consume", log_path, "t", "--from", "2023-11-14T22:13:21Z").stdout_bytes == b"b\nc\n"
    assert run("consume", log_path, "t", "--from", "2023-11-14T23:13:22.500+01:00").stdout_bytes == b"c\n"
    assert run("consume", log_path, "t", "--from", "2023-11-14T22:13:23Z").stdout_bytes == b""
    assert run("consume", log_path, "t", "--from", "2001-01-01").stdout_bytes == b"a\nb\nc\n"


def test_an_offset_beyond_a_shorter_partition_is_its_end(log_path: Path) -> None:
    """--from OFFSET counts in every partition; one that is not so long gives nothing."""
    with eventlog.open(log_path) as log:
        topic = log.create_topic("t", partitions=2)
        topic.partitions[0].append([b"a0", b"a1", b"a2"])
        topic.partitions[1].append([b"b0"])
    assert run("consume", log_path, "t", "--from", "2").stdout_bytes == b"a2\n"
    assert run("consume", log_path, "t", "--partition", 1).stdout_bytes == b"b0\n"
    assert "it has 2" in run("consume", log_path, "t", "--partition", 2, status=1).stderr


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("text", b"v\xff\n\n"),
        ("%t %p %o %T|%k|%s|%K %S|%h\\n", b"t 0 0 5|k|v\xff|1 2|h=1,n=\nt 0 1 6|||-1 -1|\n"),
        ("%%\\t\\\\\\x00", b"%\t\\\0%\t\\\0"),
        ("%S,", b"2,-1,"),
    ],
)
def test_records_are_printed_by_template(log_path: Path, form: str, printed: bytes) -> None:
    """Every token of a template stands for its field, as bytes; nothing is added, and a null has the length -1."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append(
            [b"v\xff", None], keys=[b"k", None], timestamps_ms=[5, 6], headers=[[("h", b"1"), ("n", None)], None]
        )
    assert run("consume", log_path, "t", "--format", form).stdout_bytes == printed


def test_records_are_printed_as_json(log_path: Path) -> None:
    """--format json gives one object a line; bytes that are no UTF-8 appear in base64, nulls as null."""
    with eventlog.open(log_path) as log:
        log.create_topic("t", message_timestamp_after_max_ms=2**63 - 1).partitions[0].append(
            ["ä".encode(), None],
            keys=[b"\xff", None],
            timestamps_ms=[1_700_000_000_123, 2**62],
            headers=[[("h", b"1")], None],
        )
    first, second = map(json.loads, run("consume", log_path, "t", "--format", "json").stdout_bytes.splitlines())
    assert first == {
        "topic": "t", "partition": 0, "offset": 0, "timestamp_ms": 1_700_000_000_123,
        "timestamp": "2023-11-14T22:13:20.123Z", "timestamp_type": "CREATE_TIME", "key_base64": "/w==", "value": "ä",
        "headers": [{"name": "h", "value": "1"}],
    }  # fmt: skip
    assert second["key"] is None and second["value"] is None and second["timestamp"] is None


@pytest.mark.parametrize("options", [("--format", "jsn"), ("--format", "%q"), ("--format", "%s\\"), ("--from", "noon")])
def test_a_format_or_start_that_is_none_is_a_usage_error(log_path: Path, options: tuple[str, str]) -> None:
    """What cannot be understood is refused with status 2, and the option is named."""
    fill(log_path)
    assert options[0] in run("consume", log_path, "t", *options, status=2).stderr


def test_following_prints_what_comes_until_interrupted(log_path: Path) -> None:
    """--follow prints records that are written later, and Ctrl-C ends it without a word."""
    fill(log_path, b"before\n")
    child = process("consume", log_path, "t", "--from", "end", "--follow", stdout=subprocess.PIPE)
    assert child.stdout is not None
    with eventlog.open(log_path) as log:
        partition = log.topic("t").partitions[0]
        shown = b""
        while not shown:  # it starts at the end, wherever that is when it gets there
            partition.append([b"after"])
            if select.select([child.stdout], [], [], 0.1)[0]:
                shown = os.read(child.stdout.fileno(), 100)
    assert shown.startswith(b"after\n")
    child.send_signal(signal.SIGINT)
    out, err, status = finish(child)
    assert (err, status) == (b"", 130) and set(out.split()) <= {b"after"}


def test_following_ends_after_the_largest_number(log_path: Path) -> None:
    """--follow --max N ends by itself once N records are printed."""
    fill(log_path)
    assert run("consume", log_path, "t", "--follow", "--max", 2).stdout_bytes == b"zero\none\n"


def test_a_closed_pipe_is_no_error(log_path: Path) -> None:
    """When whoever reads the output goes away, the command ends at once, and quietly."""
    fill(log_path, b"x" * 1000 + b"\n" + b"y\n" * 500_000)
    child = process("consume", log_path, "t", stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read(10)
    child.stdout.close()
    assert child.stderr is not None
    assert (child.stderr.read(), child.wait(timeout=60)) == (b"", 141)
    child.stderr.close()


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["to the end", "follow"])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_pipe_that_closes_in_the_middle_of_a_write_ends_the_command(
    log_path: Path, unbuffered: bool, follow: tuple[str, ...]
) -> None:
    """Whether Python buffers its output or not, the end of a reader during a long write has status 141."""
    fill(log_path, (b"y" * 50 + b"\n") * 10_000)
    child = process("consume", log_path, "t", *follow, unbuffered=unbuffered, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.read(10)  # the write of all records has begun, and is larger than the pipe
    child.stdout.close()
    assert (child.stderr.read(), child.wait(timeout=60)) == (b"", 141)
    child.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", [("consume", "t"), ("topics",), ("verify",)], ids=lambda command: command[0])
def test_output_that_cannot_be_written_is_an_error(log_path: Path, command: tuple[str, ...], unbuffered: bool) -> None:
    """A full disk behind standard output is one line on standard error and status 1, whether Python buffers or not."""
    fill(log_path)
    with open("/dev/full", "wb") as full:
        _, err, status = finish(process(command[0], log_path, *command[1:], unbuffered=unbuffered, stdout=full))
    assert (status, err) == (1, b"Error: [Errno 28] No space left on device\n")


def test_a_write_that_is_cut_short_goes_on(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output may take fewer bytes than it is given, as raw files do; every byte arrives all the same."""

    class Short(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.taken += bytes(data)[:7]
            return min(len(data), 7)

    fill(log_path, APACHE.read_bytes())
    raw = Short()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))  # type: ignore[type-var]
    commands.main(["consume", str(log_path), "t"], standalone_mode=False)
    assert bytes(raw.taken) == APACHE.read_bytes() + b"\n"


def test_an_offset_beyond_every_partition_is_an_error(log_path: Path) -> None:
    """--from past the end of the longest partition is refused, as with one partition; its very end is not."""
    with eventlog.open(log_path) as log:
        log.create_topic("t", partitions=2).partitions[1].append([b"a", b"b"])
    assert "the longest one ends at 2" in run("consume", log_path, "t", "--from", "3", status=1).stderr
    assert run("consume", log_path, "t", "--from", "2").stdout_bytes == b""


# --- topics ---


@pytest.mark.parametrize("broken", ["missing", "flipped"])
def test_a_topic_without_its_file_does_not_hide_the_others(log_path: Path, broken: str) -> None:
    """The other topics are listed; the broken one is named on standard error, with status 1, and by verify too."""
    for topic in ("a", "broken", "z"):
        fill(log_path, topic=topic)
    path = log_path / "topics" / "broken" / "topic.json"
    if broken == "missing":
        path.unlink()
    else:
        flip(path, 20)
    for options in ((), ("--json",)):
        result = run("topics", log_path, *options, status=1)
        assert "broken: " in result.stderr and "restore" in result.stderr and "1 of 3" in result.stderr
    listed = [json.loads(line)["topic"] for line in run("topics", log_path, "--json", status=1).stdout.splitlines()]
    assert listed == ["a", "z"]
    verified = run("verify", log_path, status=1)
    assert "from a backup" in verified.output and "create" not in verified.output
    assert verified.stdout.count(": good") == 2


def test_topics_are_listed(log_path: Path) -> None:
    """Each topic appears with its partitions, records and bytes, as a table and as JSON."""
    fill(log_path, b"a\nb\n", "--partitions", 2, topic="one")
    fill(log_path, b"", topic="another")
    lines = [json.loads(line) for line in run("topics", log_path, "--json").stdout.splitlines()]
    assert [(row["topic"], row["partitions"], row["records"]) for row in lines] == [("another", 1, 0), ("one", 2, 2)]
    sizes = [path.stat().st_size for path in log_path.glob("topics/one/*/*.log")]
    assert [row["bytes"] for row in lines] == [0, sum(sizes)]
    table = run("topics", log_path).stdout.splitlines()
    assert [line.split()[:3] for line in table[1:]] == [["another", "1", "0"], ["one", "2", "2"]]


def test_internal_topics_are_listed_and_verified(log_path: Path) -> None:
    """A topic whose name begins with two underscores is listed with --internal only, and always verified."""
    fill(log_path, b"a\n", topic="one")
    fill(log_path, b"b\n", topic="__own")
    assert [json.loads(line)["topic"] for line in run("topics", log_path, "--json").stdout.splitlines()] == ["one"]
    listed = [json.loads(line)["topic"] for line in run("topics", log_path, "--json", "--internal").stdout.splitlines()]
    assert listed == ["__own", "one"]
    assert "__own-0: 1 segments" in run("verify", log_path).stdout


def test_an_empty_log_lists_no_topic(log_path: Path) -> None:
    """A log without topics is no error."""
    eventlog.open(log_path).close()
    assert len(run("topics", log_path).stdout.splitlines()) == 1
    assert run("topics", log_path, "--json").stdout == ""


# --- groups ---


def member(log: eventlog.EventLog, **config: Any) -> eventlog.Consumer:
    """A member of group g that has joined, and reads topic t from its beginning."""
    consumer = log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False, **config)
    consumer.poll(max_records=1)
    return consumer


def committed(log_path: Path, group: str = "g") -> dict[int, int | None]:
    """What a group has committed for each partition, as the command line tells it."""
    shown = json.loads(run("group", log_path, group, "--format", "json").stdout)
    return {one["partition"]: one["current_offset"] for one in shown["partitions"]}


def test_a_group_goes_on_where_it_was(log_path: Path) -> None:
    """With --group each call prints what the ones before have not, and leaves the group when it ends."""
    fill(log_path)
    assert run("consume", log_path, "t", "--group", "g", "--max", 2).stdout_bytes == b"zero\none\n"
    assert committed(log_path) == {0: 2}
    assert run("consume", log_path, "t", "--group", "g").stdout_bytes == b"two\n"
    assert run("consume", log_path, "t", "--group", "g").stdout_bytes == b""
    assert run("consume", log_path, "t", "--group", "other", "--format", "%o,").stdout_bytes == b"0,1,2,"
    shown = json.loads(run("group", log_path, "g", "--format", "json").stdout)
    assert (shown["state"], shown["members"], shown["total_lag"]) == ("empty", [], 0)


@pytest.mark.parametrize(
    ("start", "printed"), [("beginning", b"zero\none\ntwo\n"), ("1", b"one\ntwo\n"), ("end", b""), ("2001-01-01", None)]
)
def test_a_start_is_for_groups_that_have_committed_nothing(log_path: Path, start: str, printed: bytes | None) -> None:
    """--from says where a new group begins, which is committed even if nothing is printed; later calls go on."""
    fill(log_path)
    first = run("consume", log_path, "t", "--group", "g", "--from", start).stdout_bytes
    assert first == (b"zero\none\ntwo\n" if printed is None else printed)
    assert committed(log_path) == {0: 3}
    fill(log_path, b"three\n")
    assert run("consume", log_path, "t", "--group", "g", "--from", start).stdout_bytes == b"three\n"


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_start_beyond_the_end_is_an_error_for_a_group_too(log_path: Path, partitions: int) -> None:
    """--from past the end of every partition is refused with --group as without, and nothing is committed."""
    fill(log_path, b"zero\none\ntwo\n", "--partitions", partitions)
    assert "offset=4" in run("consume", log_path, "t", "--group", "g", "--from", "4", status=1).stderr
    assert run("groups", log_path).stdout.splitlines()[1:] == []


def test_a_member_prints_its_share(log_path: Path) -> None:
    """Beside another member the command prints its share of the partitions, and hands it back when it ends."""
    with eventlog.open(log_path) as log:
        topic = log.create_topic("t", partitions=2)
        for number in range(2):
            topic.partitions[number].append([b"%d" % number])
        other = member(log)
        child = process("consume", log_path, "t", "--group", "g", "--format", "%p", stdout=subprocess.PIPE)
        while child.poll() is None:  # the other one gives up what the command is to read
            other.poll(timeout=0.02, max_records=1)
        out, err, status = finish(child)
        assert (out in (b"0", b"1"), err, status) == (True, b"", 0)
        while len(other.assignment()) < 2:
            other.poll(timeout=0.02, max_records=1)
        committed_here = [other.committed(eventlog.TopicPartition("t", number)) for number in range(2)]
        assert committed_here[int(out)] == eventlog.OffsetAndMetadata(1)
        assert committed_here[1 - int(out)] is None


def test_a_member_follows_and_leaves_when_interrupted(log_path: Path) -> None:
    """With --follow records are committed as they are printed; Ctrl-C leaves the group at once, without a word."""
    fill(log_path, b"before\n")
    child = process("consume", log_path, "t", "--group", "g", "--follow", stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"before\n"
    fill(log_path, b"after\n")
    assert child.stdout.readline() == b"after\n"
    shown = json.loads(run("group", log_path, "g", "--format", "json").stdout)
    assert [(one["client_id"], one["pid"], one["is_alive"]) for one in shown["members"]] == [
        ("console-consumer", child.pid, True)
    ]
    assert shown["members"][0]["assignment"] == {"t": [0]}
    while committed(log_path) != {0: 2}:  # it is printed first
        pass
    child.send_signal(signal.SIGINT)
    out, err, status = finish(child)
    assert (out, err, status) == (b"", b"", 130)
    shown = json.loads(run("group", log_path, "g", "--format", "json").stdout)
    assert (shown["state"], shown["members"]) == ("empty", [])


def test_what_was_not_printed_is_not_committed(log_path: Path) -> None:
    """When the reader of the output goes away in the middle, the group goes on with what it was about to print."""
    fill(log_path, (b"y" * 50 + b"\n") * 20_000)
    child = process("consume", log_path, "t", "--group", "g", stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    seen = child.stdout.read(10)
    child.stdout.close()
    assert (seen, child.stderr.read(), child.wait(timeout=60)) == (b"y" * 10, b"", 141)
    child.stderr.close()
    assert committed(log_path) == {0: 0}  # what the first poll found is more than a pipe holds
    assert run("consume", log_path, "t", "--group", "g").stdout_bytes.count(b"\n") == 20_000


def test_an_evicted_member_says_so_and_prints_again(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose output blocks for too long is evicted: the commit is refused, and the records are printed once more."""
    fill(log_path, b"one\n")
    clock = eventlog.ManualClock()
    shown: list[bytes] = []
    with eventlog.open(log_path, clock=clock) as log, eventlog.open(log_path, clock=clock) as others:

        def show(records: list[eventlog.Record]) -> None:
            if not shown:  # another member comes while this one hangs, takes over, and leaves
                clock.advance(400)
                member(others).close()
            shown.extend(record.value or b"" for record in records)

        consumer = log.consumer(group="g", enable_auto_commit=False, auto_offset_reset="earliest")
        tp = eventlog.TopicPartition("t", 0)
        GroupReading(log, consumer, "t", {tp: 0}, {tp: 1}).run(show, None, 100)
        assert shown == [b"one", b"one"]
        assert consumer.committed(tp) == eventlog.OffsetAndMetadata(1)


def test_a_member_ends_though_others_come_whom_it_need_not_notice(log_path: Path) -> None:
    """Without --follow the command ends once the group has settled, also when others have joined for nothing."""
    fill(log_path, b"one\n")
    tp = eventlog.TopicPartition("t", 0)
    with eventlog.open(log_path) as log, log.consumer(group="g", enable_auto_commit=False) as consumer:
        others: list[eventlog.Consumer] = []
        shown: list[eventlog.Record] = []

        def show(records: list[eventlog.Record]) -> None:
            others.append(member(log))
            shown.extend(records)

        GroupReading(log, consumer, "t", {tp: 0}, {tp: 1}).run(show, None, 100)
        assert [record.value for record in shown] == [b"one"]
        assert (len(others), others[0].assignment()) == (1, [])


def test_what_comes_after_the_start_is_left_for_the_next_call(log_path: Path) -> None:
    """Without --follow neither prints nor commits a member what was not there when the command started."""
    fill(log_path)
    tp = eventlog.TopicPartition("t", 0)
    with eventlog.open(log_path) as log, log.consumer(group="g", enable_auto_commit=False) as consumer:
        shown: list[eventlog.Record] = []
        GroupReading(log, consumer, "t", {tp: 0}, {tp: 2}).run(shown.extend, None, 100)
        assert [record.value for record in shown] == [b"zero", b"one"]
    assert committed(log_path) == {0: 2}


def test_a_group_shares_out_the_partitions_itself(log_path: Path) -> None:
    """--group and --partition are refused together; so is a name that no group can have."""
    fill(log_path)
    assert "--partition" in run("consume", log_path, "t", "--group", "g", "--partition", 0, status=2).stderr
    assert "group" in run("consume", log_path, "t", "--group", "", status=1).stderr


def test_groups_are_listed(log_path: Path) -> None:
    """Each group appears with its state, members and lag, as a table and as JSON; --delete takes one away."""
    fill(log_path, b"zero\none\ntwo\n")
    assert run("groups", log_path).stdout.splitlines() == ["group  state  members  partitions  lag  lag-max"]
    assert run("groups", log_path, "--format", "json").stdout == ""
    run("consume", log_path, "t", "--group", "done")
    with eventlog.open(log_path) as log, member(log) as consumer:
        consumer.commit({eventlog.TopicPartition("t", 0): 1})
        table = [line.split() for line in run("groups", log_path).stdout.splitlines()]
        assert table[1:] == [["done", "empty", "0", "1", "0", "0"], ["g", "stable", "1", "1", "2", "2"]]
        lines = [json.loads(line) for line in run("groups", log_path, "--format", "json").stdout.splitlines()]
        assert [(one["group"], one["living_members"], one["total_lag"]) for one in lines] == [
            ("done", 0, 0),
            ("g", 1, 2),
        ]
        assert "1 living member " in run("group", log_path, "g", "--delete", status=1).stderr
    assert run("group", log_path, "g", "--delete").stdout == ""
    assert [line.split()[0] for line in run("groups", log_path).stdout.splitlines()[1:]] == ["done"]


def test_a_group_is_shown_in_plain_columns(log_path: Path) -> None:
    """Members and partitions are tables whose rows have as many words as their heading; "-" is what is not known."""
    fill(log_path, b"zero\none\ntwo\n", "--partitions", 2, "--key-field", 1)
    with eventlog.open(log_path) as log, member(log) as consumer:
        ends = consumer.end_offsets(consumer.assignment())
        consumer.commit({eventlog.TopicPartition("t", 0): 1})
        head, members, partitions = run("group", log_path, "g").stdout.split("\n\n")
        who = consumer.group_metadata().member_id
    facts = dict(line.split(None, 1) for line in head.splitlines())
    assert (facts["group"], facts["state"], facts["assignor"]) == ("g", "stable", "cooperative-sticky")
    heading, row = (line.split() for line in members.splitlines())
    assert heading == ["member", "client", "host", "process", "alive", "last-poll-s", "assignment"]
    assert (row[0], row[1], row[3], row[4], row[6]) == (who, "-", str(os.getpid()), "yes", "t:0,1")
    assert len(row) == len(heading)
    heading, *rows = (line.split() for line in partitions.splitlines())
    assert heading == ["topic", "partition", "current-offset", "log-end-offset", "lag", "member"]
    end0, end1 = ends.values()
    assert rows == [["t", "0", "1", str(end0), str(end0 - 1), who], ["t", "1", "-", str(end1), "-", who]]


def test_an_unknown_group_is_an_error(log_path: Path) -> None:
    """Showing or deleting it is one line with status 1 that names the command that lists groups."""
    fill(log_path)
    for options in ((), ("--delete",)):
        says = run("group", log_path, "nope", *options, status=1).stderr
        assert "nope" in says and "`eventlog groups`" in says and "log.groups" not in says
    assert not (log_path / "groups").exists()


# --- verify ---


def test_a_good_log_is_verified(log_path: Path) -> None:
    """A log that was closed cleanly is good in every partition, whole or empty."""
    fill(log_path, b"a\nb\n", "--partitions", 2)
    result = run("verify", log_path)
    assert result.stdout.count(": good") == 2 and result.stdout.endswith("nothing is damaged\n")


def flip(path: Path, position: int) -> None:
    """Flip one bit."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "position", "says"),
    [
        ("topics/t/0/00000000000000000000.log", 70, "offsets 0 to 1 cannot be read"),
        ("topics/t/0/00000000000000000000.log", -1, "offsets 2 to 2 cannot be read"),
        ("topics/t/0/head", 32 * 8, "recovery point"),
        ("topics/t/0/head", 0, "no head"),
        ("topics/t/topic.json", 20, "damaged"),
        ("eventlog.json", 20, "damaged"),
    ],
)
def test_damage_is_reported_and_left_alone(log_path: Path, name: str, position: int, says: str) -> None:
    """A flipped bit in any kind of file that matters is exit status 1 and a line that says where; no byte changes."""
    fill(log_path, b"zero\none\n")
    fill(log_path, b"two12345\n")  # its eight bytes end the file, without padding
    flip(log_path / name, position)
    before = {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()}
    result = run("verify", log_path, status=1)
    assert says in result.output
    assert {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()} == before


def test_a_torn_tail_is_a_note(log_path: Path) -> None:
    """Bytes of a write that did not finish lose nothing: they are mentioned, the status is 0, and they stay."""
    fill(log_path)
    with segment(log_path).open("ab") as file:
        file.write(b"torn")
    size = segment(log_path).stat().st_size
    assert "4 bytes behind the last whole batch" in run("verify", log_path).stdout
    assert segment(log_path).stat().st_size == size
    assert list(log_path.rglob("*.torn*")) == []


@pytest.mark.parametrize("name", ["head", "00000000000000000000.index", "00000000000000000000.timeindex"])
def test_a_missing_derived_file_is_a_note_and_a_broken_one_is_damage(log_path: Path, name: str) -> None:
    """A copy without an index or head has lost no record: status 0 and a note; a file cut off has status 1."""
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t", segment_bytes=4096, index_interval_bytes=0).partitions[0]
        for number in range(20):
            partition.append([b"x" * 500], timestamps_ms=number + 1)
    path = segment(log_path).with_name(name)
    assert run("verify", log_path).stdout.count("note") == 0
    content = path.read_bytes()
    path.write_bytes(b"")
    assert name in run("verify", log_path, status=1).output
    path.unlink()
    result = run("verify", log_path)
    assert f"note: {path}: missing" in result.stdout and "20 records" in result.stdout
    assert content and not path.exists()


def test_a_copy_of_the_truth_alone_verifies(log_path: Path) -> None:
    """Without control page, locks, heads and indexes every record is there, and the status is 0."""
    fill(log_path)
    derived = ("lock", "session.lock", "control", "head", "*.index", "*.timeindex")
    for path in [path for pattern in derived for path in log_path.rglob(pattern)]:
        path.unlink()
    result = run("verify", log_path)
    assert "3 records" in result.stdout and result.stdout.endswith("nothing is damaged\n")
    assert run("consume", log_path, "t").stdout_bytes == b"zero\none\ntwo\n"


def test_a_log_in_use_is_verified(log_path: Path) -> None:
    """Beside a writer that has the log open, what is published is verified."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"a", b"b"])
        out, _, status = finish(process("verify", log_path, stdout=subprocess.PIPE))
        assert status == 0 and b"2 records" in out


def test_consuming_stops_at_damage(log_path: Path) -> None:
    """What lies before the damage is printed, then one line says which offsets are lost, with status 1."""
    fill(log_path, b"zero\n")
    fill(log_path, b"one\n")
    flip(segment(log_path), segment(log_path).stat().st_size // 2 + 70)
    result = run("consume", log_path, "t", status=1)
    assert result.stdout_bytes.startswith(b"zero\n")
    assert "base_offset=1" in result.stderr and len(result.stderr.splitlines()) == 1


def test_damage_is_passed_by_as_the_message_says(log_path: Path) -> None:
    """The message gives the options with which the command goes on behind the damage."""
    for line in (b"zero\n", b"one\n", b"two\n"):
        fill(log_path, line)
    flip(segment(log_path), segment(log_path).stat().st_size // 3 + 70)
    assert "`--partition 0 --from 2` goes on" in run("consume", log_path, "t", status=1).stderr
    assert run("consume", log_path, "t", "--partition", 0, "--from", 2).stdout_bytes == b"two\n"


# --- errors ---


@pytest.mark.parametrize(
    "command", [("consume", "t"), ("topics",), ("groups",), ("group", "g"), ("verify",)], ids=lambda command: command[0]
)
def test_reading_never_creates_a_log(log_path: Path, command: tuple[str, ...]) -> None:
    """A directory without a log is one line on standard error and status 1, and stays as it is."""
    result = run(command[0], log_path, *command[1:], status=1)
    assert "no log lies here" in result.stderr and len(result.stderr.splitlines()) == 1
    assert not log_path.exists()


def test_an_unknown_topic_is_not_created_by_reading(log_path: Path) -> None:
    """Consuming a topic that does not exist is an error, and there is still no such topic."""
    fill(log_path)
    says = run("consume", log_path, "nope", status=1).stderr
    assert "no such topic" in says and "`eventlog topics`" in says and "create_topic" not in says
    assert [json.loads(line)["topic"] for line in run("topics", log_path, "--json").stdout.splitlines()] == ["t"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("produce", "LOG", "t", "--key-field", "1", "--key-regex", "x"),
        ("produce", "LOG", "t", "--key-regex", "("),
        ("produce", "LOG", "t", "--key-field", "0"),
        ("produce", "LOG", "t", "no/such/file"),
        ("consume", "LOG"),
        ("consume", "LOG", "t", "--max", "-1"),
        ("nonsense",),
    ],
)
def test_wrong_usage_has_status_2(log_path: Path, arguments: tuple[str, ...]) -> None:
    """A call that cannot be meant ends with status 2, and writes nothing."""
    run(*(log_path if argument == "LOG" else argument for argument in arguments), stdin=b"x\n", status=2)
    assert not log_path.exists()


def test_a_directory_of_something_else_is_refused(log_path: Path) -> None:
    """produce does not put a log among other files."""
    log_path.mkdir()
    (log_path / "thesis.txt").write_text("mine")
    assert "thesis.txt" in run("produce", log_path, "t", stdin=b"x\n", status=1).stderr
    assert [path.name for path in log_path.iterdir()] == ["thesis.txt"]


def test_errors_come_without_a_traceback(log_path: Path) -> None:
    """As a process, an error is one line on standard error, nothing on standard output, and status 1."""
    out, err, status = finish(process("topics", log_path, stdout=subprocess.PIPE))
    assert (out, status, err.count(b"\n")) == (b"", 1, 1) and err.startswith(b"Error: no log lies here")


def test_without_click_the_message_says_what_to_install(log_path: Path, tmp_path: Path) -> None:
    """Without the extra `cli` the command ends with status 1 and names the extra."""
    (tmp_path / "click.py").write_text("raise ImportError('hidden')")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "eventlog", "topics", str(log_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "eventlog: the command line needs click: pip install 'eventlog-embedded[cli]'\n"


def test_the_version_is_told() -> None:
    """--version prints the package's version."""
    assert eventlog.__version__ in run("--version").stdout


def test_an_interrupted_producer_keeps_what_it_was_given(log_path: Path) -> None:
    """Ctrl-C ends the command without a word, and every line that had come by then is there."""
    producer = process("produce", log_path, "t", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert producer.stdin is not None
    with eventlog.open(log_path) as log:
        log.create_topic("t", exist_ok=True)
        with log.consumer("t", auto_offset_reset="earliest") as consumer:
            producer.stdin.write(b"one\ntwo\nunfinished")
            producer.stdin.flush()
            assert [record.value for record in consumer.poll(timeout=60)] == [b"one", b"two"]
            producer.send_signal(signal.SIGINT)
            assert producer.wait(timeout=60) == 130
            assert producer.stderr is not None and producer.stderr.read() == b""
            producer.stdin.close()
            producer.stderr.close()
            assert consumer.poll() == []
