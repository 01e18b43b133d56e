"""Bad input of every kind: a clear error of ours, the built-in it promises to be, and nothing lost."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventlog
from eventlog.files.mounts import NETWORK, kind_of_device

RunPython = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[1]


def check_error(error: BaseException, builtin: type[BaseException], **coordinates: Any) -> None:
    """An error is ours and the built-in's, has its coordinates and a hint, and survives a pickle whole."""
    assert isinstance(error, eventlog.EventLogError) and isinstance(error, builtin)
    assert error.hint and error.hint in str(error) and error.reason in str(error)
    for name, value in coordinates.items():
        assert getattr(error, name) == value
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    assert copy.coordinates == error.coordinates and copy.hint == error.hint


# --- records ---


@pytest.mark.parametrize(
    ("arguments", "builtin"),
    [
        (("v",), ValueError),
        ((b"v",), ValueError),
        ((5,), ValueError),
        ((None,), ValueError),
        (({b"v"},), ValueError),
        (({"k": b"v"},), ValueError),
        ((iter([b"v"]),), ValueError),
        (([],), ValueError),
        ((["v"],), TypeError),
        (([b"v", 5],), TypeError),
        (([[b"v"]],), TypeError),
        (([b"v"], [b"k", b"k"]), ValueError),
        (([b"v"], b"k"), TypeError),
        (([b"v"], 5), ValueError),
        (([b"v"], ["k"]), TypeError),
        (([b"v"], None, [1, 2]), ValueError),
        (([b"v"], None, -1), ValueError),
        (([b"v"], None, 1.5), ValueError),
        (([b"v"], None, "now"), ValueError),
        (([b"v"], None, 2**63), ValueError),
        (([b"v"], None, 2**70), ValueError),
        (([b"v"], None, None, [[("n", "text")]]), ValueError),
        (([b"v"], None, None, [("n", b"v")]), ValueError),
        (([b"v"], None, None, 5), ValueError),
        (([b"v"], None, None, [None, None]), ValueError),
        (([b"v" * 5000],), ValueError),
        (([b"v"], [b"k" * 5000]), ValueError),
    ],
    ids=lambda value: repr(value).split(" object at ")[0][:40],  # an address would be another one in each process
)
def test_what_append_refuses(log: eventlog.EventLog, arguments: tuple[Any, ...], builtin: type[Exception]) -> None:
    """Wrong types, lengths, timestamps, headers and sizes: an error, nothing written, and the next append works."""
    partition = log.create_topic("t", max_message_bytes=4096).partitions[0]
    partition.append([b"before"])
    with pytest.raises(eventlog.EventLogError) as caught:
        partition.append(*arguments)
    check_error(caught.value, builtin)
    assert partition.append([b"after"]).base_offset == 1
    assert [v for batch in partition.read(0) for v in batch.values()] == [b"before", b"after"]


@pytest.mark.parametrize("durability", ["disc", "", 5, True])
def test_a_misspelt_durability(log: eventlog.EventLog, durability: Any) -> None:
    """A durability that does not exist is an error, and never quietly the weaker one."""
    partition = log.create_topic("t").partitions[0]
    for values in ([b"v"], [b"v", b"w"]):
        with pytest.raises(eventlog.InvalidConfigError) as caught:
            partition.append(values, durability=durability)
        check_error(caught.value, ValueError)
    assert partition.log_end_offset == 0


@pytest.mark.parametrize("offset", [-1, 3, 2**62, 2**63, 2**70, "1", 1.0, None, True])
def test_what_read_refuses(log: eventlog.EventLog, offset: Any) -> None:
    """Negative and future offsets, and what is no offset, are errors with their coordinates."""
    partition = log.create_topic("t").partitions[0]
    partition.append([b"a", b"b"])
    assert partition.read(2) == []
    with pytest.raises(eventlog.EventLogError) as caught:
        partition.read(offset)
    check_error(caught.value, LookupError if type(offset) is int else ValueError, topic="t", partition=0)
    if type(offset) is int:
        assert caught.value.offset == offset


# --- directories ---


def test_a_directory_that_is_no_log(tmp_path: Path) -> None:
    """A directory with other things in it is refused, and left exactly as it was."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(eventlog.NotALogError, match=r"notes\.txt") as caught:
        eventlog.open(tmp_path)
    check_error(caught.value, ValueError, path=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    """A file, or a path below a file, is refused with its path; the file is left alone."""
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(eventlog.NotALogError) as caught:
        eventlog.open(file)
    check_error(caught.value, ValueError, path=str(file))
    with pytest.raises(eventlog.EventLogError) as below:
        eventlog.open(file / "log")
    check_error(below.value, OSError, path=str(file / "log"))
    assert file.read_text() == "mine"


@pytest.mark.parametrize("path", [5, None, 1.5, ["log"]])
def test_what_is_no_path(path: Any) -> None:
    """What is no path is a TypeError, as from os.fspath."""
    with pytest.raises(TypeError):
        eventlog.open(path)


def test_paths_of_every_kind(log: eventlog.EventLog, log_path: Path) -> None:
    """str, bytes, Path, with a slash at the end or dots inside: all open the same log."""
    log.create_topic("t")
    for path in (str(log_path), os.fsencode(log_path), log_path, f"{log_path}/", f"{log_path}/../log"):
        with eventlog.open(path) as other:
            assert other.topics() == ["t"] and other.path == log.path


def test_a_log_of_a_newer_version(log_path: Path) -> None:
    """A log of a newer format is refused by name of the format, and not one byte of it changes."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"v"])
    meta = log_path / "eventlog.json"
    content = json.loads(meta.read_bytes())
    meta.write_text(json.dumps({**content, "format": 3}))
    before = {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()}
    with pytest.raises(eventlog.UnsupportedFormatError, match="newer") as caught:
        eventlog.open(log_path)
    check_error(caught.value, ValueError, path=str(meta))
    assert {path: path.read_bytes() for path in log_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100, b'{"format": 1, "kind": "log", "log_id": "x"}'])
def test_a_damaged_log_file(log_path: Path, content: bytes) -> None:
    """An eventlog.json that makes no sense is an error with its path; it is not written over."""
    eventlog.open(log_path).close()
    (log_path / "eventlog.json").write_bytes(content)
    with pytest.raises(eventlog.CorruptMetadataError) as caught:
        eventlog.open(log_path)
    check_error(caught.value, ValueError, path=str(log_path / "eventlog.json"))
    assert (log_path / "eventlog.json").read_bytes() == content


# --- permissions ---

AS_NOBODY = """
import pickle, os, eventlog
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
def attempt(call):
    try:
        result = call()
        return ["result", repr(result)]
    except eventlog.EventLogError as error:
        assert error.hint, error
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        return [type(error).__name__, isinstance(error, PermissionError)]
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that another user can get to, and into what is made there: pytest's own are private."""
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="eventlog-", dir="/tmp") as directory:
            os.chmod(directory, 0o755)
            yield Path(directory)
    finally:
        os.umask(before)


REFUSED = ["ReadOnlyLogError", True]


def test_a_log_that_may_only_be_read(reachable: Path, run_python: RunPython) -> None:
    """Someone without permission to write reads everything, and is refused every change, one by one."""
    path = reachable / "log"
    with eventlog.open(path) as log:
        log.create_topic("t", partitions=2).partitions[0].append([b"a", b"b"])
    script = (
        AS_NOBODY
        + """
log = eventlog.open(ARGS[0])
partition = log.topic("t").partitions[0]
consumer = log.consumer("t", auto_offset_reset="earliest")
answer([
    attempt(lambda: [r.value for r in consumer.poll()]),
    attempt(lambda: partition.append([b"v"])),
    attempt(lambda: partition.append([b"v"] * 2, durability="disk")),
    attempt(lambda: log.create_topic("u")),
    attempt(lambda: log.delete_topic("t")),
    attempt(lambda: log.topic("t").add_partitions(5)),
    attempt(lambda: log.producer().send("t", b"v").result()),
    attempt(lambda: log.topic("t").partitions[1].read(0)),
    attempt(lambda: log.close()),
])
"""
    )
    read, *changes, empty, closed = run_python(script, path)
    assert read == ["result", "[b'a', b'b']"]
    assert changes == [REFUSED] * 6
    assert (empty, closed) == (["result", "[]"], ["result", "None"])
    with eventlog.open(path) as log:
        assert log.topic("t").partitions[0].log_end_offset == 2


def test_directories_without_permission(reachable: Path, run_python: RunPython) -> None:
    """No permission to make a log, to look into its directory, or to read its files: always ReadOnlyLogError."""
    with eventlog.open(reachable / "log") as log:
        log.create_topic("t")
    (reachable / "closed").mkdir()
    shutil.copytree(reachable / "log", reachable / "unreadable")
    (reachable / "unreadable" / "eventlog.json").chmod(0)
    (reachable / "closed").chmod(0)
    script = (
        AS_NOBODY
        + """
answer([attempt(lambda: eventlog.open(f"{ARGS[0]}/{name}")) for name in ("new", "closed", "closed/in", "unreadable")])
"""
    )
    assert run_python(script, reachable) == [REFUSED] * 4
    assert not (reachable / "new").exists()


READ_ONLY_MOUNT = """
import os, subprocess, eventlog
path = ARGS[0]
subprocess.run(["mount", "--bind", path, path], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
log = eventlog.open(path)
found = [r.value.decode() for r in log.consumer("t", auto_offset_reset="earliest").poll()]
errors = []
for call in (lambda: log.topic("t").partitions[0].append([b"v"]), lambda: log.create_topic("u")):
    try:
        call()
    except eventlog.ReadOnlyLogError as error:
        errors.append(bool(error.hint))
answer([found, errors, log.readonly])
"""

FOREIGN_MOUNT = """
import ctypes, os, sys, eventlog
from eventlog.files.filesystem import FileSystem
path, kind = ARGS
device = os.stat(os.path.dirname(path)).st_dev
lines = []
for line in open("/proc/self/mountinfo"):
    fields, rest = line.rstrip().split(" - ", 1)
    if fields.split()[2] == f"{os.major(device)}:{os.minor(device)}":
        rest = " ".join([kind, *rest.split()[1:]])
    lines.append(f"{fields} - {rest}\\n")
with open(path + ".mountinfo", "w") as file:
    file.writelines(lines)
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount((path + ".mountinfo").encode(), f"/proc/{os.getpid()}/mountinfo".encode(), None, 4096, None):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    eventlog.open(path)
    answer("opened")
except eventlog.UnsupportedFileSystemError as error:
    answer([error.reason.split()[0], error.path, bool(error.hint), isinstance(error, OSError)])
"""


def in_own_mounts(script: str, *args: object) -> Any:
    """Run a script in a mount namespace of its own, as root; return its answer."""
    prelude = "import json, sys\nARGS = sys.argv[1:]\ndef answer(result): print(json.dumps(result))\n"
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", prelude + script, *map(str, args)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


needs_root = pytest.mark.skipif(
    os.getuid() != 0 and os.environ.get("CI") != "true", reason="mounting needs root, which CI has"
)


@pytest.mark.root
@needs_root
def test_a_read_only_file_system(log_path: Path) -> None:
    """On a file system mounted read-only the log opens for reading, even for root, and refuses to be changed."""
    with eventlog.open(log_path) as log:
        log.create_topic("t").partitions[0].append([b"a"])
    assert in_own_mounts(READ_ONLY_MOUNT, log_path) == [["a"], [True, True], True]


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(log_path: Path, kind: str) -> None:
    """Where the kernel says that a directory lies on a network file system, no log is made and none is opened."""
    refusal = [kind, str(log_path), True, True]
    assert in_own_mounts(FOREIGN_MOUNT, log_path, kind) == refusal
    assert not (log_path / "eventlog.json").exists()
    eventlog.open(log_path).close()
    assert in_own_mounts(FOREIGN_MOUNT, log_path, kind) == refusal
    assert in_own_mounts(FOREIGN_MOUNT, log_path, "ext4") == "opened"


MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:52 / /mnt/nfs rw,noatime shared:17 master:2 - nfs4 server:/export rw,vers=4.2
37 22 0:53 / /mnt/win rw - cifs //server/share rw
38 22 0:54 / /mnt/host rw - 9p hostshare rw,trans=virtio
39 22 0:55 / /mnt/ssh\\040here rw,nosuid - fuse.sshfs me@host: rw,user_id=0
40 22 0:56 / /run rw - tmpfs tmpfs rw
41 22 0:57 / /mnt/one\\040-\\040two rw - btrfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("device", "kind", "network"),
    [
        ((8, 1), "ext4", False), ((0, 52), "nfs4", True), ((0, 53), "cifs", True), ((0, 54), "9p", True),
        ((0, 55), "fuse.sshfs", True), ((0, 56), "tmpfs", False), ((0, 57), "btrfs", False), ((9, 9), None, False),
    ],
)  # fmt: skip
def test_the_kernels_list_of_mounts(device: tuple[int, int], kind: str | None, network: bool) -> None:
    """The type of a device is found in mountinfo, with any number of optional fields, and told local or network."""
    assert kind_of_device(MOUNTINFO, *device) == kind
    assert (kind in NETWORK) is network


# --- closed ---


def test_everything_of_a_closed_log(log_path: Path) -> None:
    """After close() every object of the log says that it is closed, partitions that were never opened too."""
    log = eventlog.open(log_path)
    topic = log.create_topic("t", partitions=3)
    used, unused = topic.partitions[0], topic.partitions[1]
    used.append([b"v"])
    (batch,) = used.read(0)
    producer, consumer = log.producer(), log.consumer("t")
    log.close()
    log.close()
    for call in (
        lambda: log.create_topic("u"), lambda: log.topic("t"), log.topics, lambda: log.delete_topic("t"),
        log.producer, log.consumer, lambda: topic.add_partitions(5), lambda: producer.send("t", b"v"),
        lambda: producer.send_many("t", [b"v"]), consumer.poll, lambda: used.append([b"w"]),
        lambda: used.append([b"w"] * 2), lambda: used.read(0), lambda: unused.append([b"w"]),
        lambda: unused.read(0), lambda: topic.partitions[2].log_end_offset,
    ):  # fmt: skip
        with pytest.raises(eventlog.ClosedError) as caught:
            call()
        check_error(caught.value, RuntimeError)
    assert batch.values() == [b"v"]  # what was returned stays
    with eventlog.open(log_path) as again:
        assert again.topics() == ["t"]
        assert again.topic("t").partitions[0].log_end_offset == 1
        assert again.topic("t").partitions[1].log_end_offset == 0


# --- numbers ---


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.int8])
def test_numpy_integers_are_numbers(log: eventlog.EventLog, kind: Callable[[int], Any]) -> None:
    """Whatever is an integer by __index__ does as an offset, a time, a partition number and a count."""
    topic = log.create_topic("t", partitions=2)
    topic.partitions[kind(1)].append([b"a", b"b"], timestamps_ms=kind(5))
    with log.producer() as producer:
        sent = producer.send("t", b"c", partition=kind(1), timestamp_ms=kind(7)).result()
        many = producer.send_many("t", [b"d", b"e"], partition=kind(1), timestamps_ms=kind(9))
        assert many.result().offset == 4 and type(many.result().timestamp_ms) is int
        keyed = producer.send_many("t", [b"x"] * 8, [b"%d" % n for n in range(8)], timestamps_ms=kind(9))
        assert {found.timestamp_ms for found in keyed.results()} == {9}
    assert sent == ("t", 1, 2, 7, False) and [type(field) for field in sent[1:4]] == [int] * 3
    assert topic.partitions[1].read(kind(1))[0].base_offset == 1
    consumer = log.consumer()
    tp = eventlog.TopicPartition("t", kind(1))
    consumer.assign([tp])
    consumer.seek(tp, kind(1))
    assert [record.value for record in consumer.poll(max_records=kind(2))] == [b"b", b"c"]
    (place,) = consumer.assignment()
    assert type(place.partition) is int and type(consumer.position(place)) is int
    assert consumer.offsets_for_times({tp: kind(6)}) == {place: (2, 7)}


@pytest.mark.parametrize("number", [True, np.bool_(True), 1.0, np.float64(1), "1", None, np.array([1])])
def test_what_is_no_whole_number(log: eventlog.EventLog, number: Any) -> None:
    """Truth values, floats and texts are refused where a whole number belongs, even where one equals it."""
    topic = log.create_topic("t", partitions=2)
    topic.partitions[1].append([b"a", b"b"])
    tp = eventlog.TopicPartition("t", 1)
    consumer = log.consumer()
    consumer.assign([tp])
    producer = log.producer()
    calls: list[tuple[Callable[[], Any], type[eventlog.EventLogError]]] = [
        (lambda: consumer.seek(tp, number), eventlog.OffsetOutOfRangeError),
        (lambda: topic.partitions[1].read(number), eventlog.InvalidRecordError),
        (lambda: topic.partitions[1].cursor(number), eventlog.InvalidRecordError),
        (lambda: topic.partitions[1].offset_for_time(number), eventlog.InvalidRecordError),
        (lambda: consumer.offsets_for_times({tp: number}), eventlog.InvalidRecordError),
        (lambda: consumer.assign([("t", number)]), eventlog.UnknownPartitionError),
    ]
    if number is not None:
        calls += [
            (lambda: producer.send("t", b"v", partition=number), eventlog.UnknownPartitionError),
            (lambda: producer.send("t", b"v", timestamp_ms=number), eventlog.InvalidRecordError),
            (lambda: producer.send_many("t", [b"v"] * 2, timestamps_ms=number), eventlog.InvalidRecordError),
            (lambda: topic.partitions[1].append([b"v"] * 2, timestamps_ms=number), eventlog.InvalidRecordError),
            (lambda: consumer.poll(max_records=number), eventlog.InvalidConfigError),
        ]
    for call, error in calls:
        with pytest.raises(error) as caught:
            call()
        assert caught.value.hint
    assert topic.partitions[1].log_end_offset == 2


@pytest.mark.parametrize("timeout", ["1", b"1", [1], True, float("nan"), datetime.timedelta(seconds=1)])
def test_what_is_no_timeout(log: eventlog.EventLog, timeout: Any) -> None:
    """A timeout that is no number of seconds is an error, whether or not there are records."""
    partition = log.create_topic("t").partitions[0]
    consumer = log.consumer("t", auto_offset_reset="earliest")
    for poll in (consumer.poll, consumer.poll_batches):
        with pytest.raises(eventlog.InvalidConfigError, match="timeout") as caught:
            poll(timeout)
        check_error(caught.value, ValueError)
    partition.append([b"v"])
    with pytest.raises(eventlog.InvalidConfigError, match="timeout"):
        consumer.poll(timeout)
    assert [record.value for record in consumer.poll(np.float32(5))] == [b"v"]


def test_times_that_are_none(log: eventlog.EventLog) -> None:
    """offsets_for_times takes whole milliseconds by partition: seconds, dates and lists are refused with a hint."""
    log.create_topic("t").partitions[0].append([b"v"])
    consumer = log.consumer("t")
    tp = eventlog.TopicPartition("t", 0)
    for time in (1.7e9, datetime.datetime(2024, 1, 1)):  # what is refused
        with pytest.raises(eventlog.InvalidRecordError, match=r"datetime\.now\(UTC\)") as caught:
            consumer.offsets_for_times({tp: time})  # type: ignore[dict-item]
        check_error(caught.value, ValueError, topic="t", partition=0)
    with pytest.raises(eventlog.InvalidRecordError, match="dict"):
        consumer.offsets_for_times([tp])  # type: ignore[arg-type]


def test_a_list_of_topics_for_a_consumer(log: eventlog.EventLog) -> None:
    """log.consumer takes names, one by one; a list of them is an error that shows how."""
    log.create_topic("t")
    with pytest.raises(eventlog.InvalidTopicError, match=r'consumer\("t"\)') as caught:
        log.consumer(["t"])  # type: ignore[arg-type]
    check_error(caught.value, ValueError)
