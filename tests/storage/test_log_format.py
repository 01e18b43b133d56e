"""The number in ``eventlog.json`` keeps versions apart that do not know each other's batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import eventlog
from eventlog.files.checkpoint import write_checkpoint
from eventlog.files.file_lock import FileLock
from eventlog.files.filesystem import FileSystem
from eventlog.format.batch_home import home_of
from eventlog.format.record_batch import RecordBatch
from eventlog.storage import log_format

OLD = Path(__file__).parents[1] / "golden" / "version-1" / "closed"
SEGMENT = "topics/plain/0/00000000000000000000.log"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log that version 1 wrote."""
    return shutil.copytree(OLD, tmp_path / "log")


def number(path: Path) -> int:
    return int(json.loads((path / "eventlog.json").read_text())["format"])


def versions(path: Path) -> list[int]:
    """The format version of each batch of one segment."""
    raw, found, position = memoryview(path.read_bytes()), [], 0
    while position < len(raw):
        batch = RecordBatch(raw, position, len(raw), "plain", 0, home_of("plain", 0))
        found.append(batch.format_version)
        position += batch.size
    return found


def test_reading_an_old_log_changes_nothing(old: Path) -> None:
    """An old log that is only read keeps its number, and every other byte."""
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with eventlog.open(old, readonly=True) as log:
        assert log.topic("plain").partitions[0].read(0)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_writing_raises_the_number_first(old: Path) -> None:
    """Opened for writing, an old log has the new number and its id, and new batches follow the old ones."""
    log_id = json.loads((old / "eventlog.json").read_text())["log_id"]
    with eventlog.open(old) as log:
        assert number(old) == log_format.LOG_FORMAT == 2
        log.topic("plain").partitions[0].append([b"new"], timestamps_ms=5_000)
    assert json.loads((old / "eventlog.json").read_text())["log_id"] == log_id
    assert versions(old / SEGMENT) == [0, 0, 2]


def test_a_reader_of_the_old_log_follows(old: Path) -> None:
    """A process that was reading goes on when another one raises the number: it is the same log."""
    with eventlog.open(old, readonly=True) as reader:
        partition = reader.topic("plain").partitions[0]
        end = partition.log_end_offset
        with eventlog.open(old) as writer:
            writer.topic("plain").partitions[0].append([b"new"])
            assert reader.topics()
            assert partition.read(end)[0].values() == [b"new"]


def test_a_log_that_an_older_version_has_open_is_refused(old: Path) -> None:
    """While an older version writes, the log cannot be opened for writing, nothing changes, and no lock is kept."""
    older = FileLock(FileSystem(), str(old / "session.lock"))
    older.acquire(shared=True)
    for _ in range(2):
        with pytest.raises(eventlog.UnsupportedFormatError, match="older version"):
            eventlog.open(old)
        assert number(old) == 1
    older.close()
    eventlog.open(old).close()
    assert number(old) == 2


def test_a_newer_log_is_refused(old: Path) -> None:
    """A log of a later format is not touched, read or written."""
    fields = {"log_id": "00" * 16}
    write_checkpoint(FileSystem(), str(old / "eventlog.json"), "log", fields, version=log_format.LOG_FORMAT + 1)
    for readonly in (True, False):
        with pytest.raises(eventlog.UnsupportedFormatError):
            eventlog.open(old, readonly=readonly)


def test_a_crash_while_the_number_is_raised_leaves_a_log(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the process dies before or after the rename, the log opens, with all records and no batch too new."""
    write = log_format.write_checkpoint

    def die_before(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    def die_after(*args: object, **kwargs: object) -> None:
        write(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    for step, expected in ((die_before, 1), (die_after, 2)):
        monkeypatch.setattr(log_format, "write_checkpoint", step)
        with pytest.raises(KeyboardInterrupt):
            eventlog.open(old)
        assert (number(old), versions(old / SEGMENT)) == (expected, [0, 0])
    monkeypatch.undo()
    with eventlog.open(old) as log:
        assert log.topic("plain").partitions[0].append([b"new"]).base_offset == 5
