"""What each format version wrote stays readable for good. The files under ``golden/`` never change."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import eventlog

pytest.importorskip("cramjam")

GOLDEN = Path(__file__).with_name("golden")
VERSIONS = sorted(path.name for path in GOLDEN.glob("version-*"))
TRANSACTIONS = sorted(path.name for path in GOLDEN.glob("transactions-*"))
CURRENT = VERSIONS[-1]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(version: str) -> Any:
    return json.loads((GOLDEN / version / "expected.json").read_text(encoding="utf-8"))


def test_there_is_a_version() -> None:
    """The golden files of all versions are there: the tests below do not pass by finding nothing."""
    assert VERSIONS == ["version-1", "version-2"]
    assert TRANSACTIONS == ["transactions-1", "transactions-2"]


@pytest.mark.parametrize("how", ["closed", "crashed"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_record_comes_back(version: str, how: str, tmp_path: Path) -> None:
    """Each record of an old log is read as it was written, whether the log had been closed or not."""
    shutil.copytree(GOLDEN / version / how, tmp_path / "log")
    with eventlog.open(tmp_path / "log") as log:
        assert script().describe(log) == expected(version)
        for name in log.topics():
            for partition in log.topic(name).partitions:
                assert partition.verify().ok
                report = partition.recovery
                assert report is not None
                assert (report.damaged, report.torn_bytes, report.rebuilt_indexes) == ((), 0, ())
                assert how == "crashed" or report.scanned_bytes == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_only_the_segments_are_needed(version: str, tmp_path: Path) -> None:
    """Without heads, indexes and the control page, an old log still gives every record and every answer by time."""
    shutil.copytree(GOLDEN / version / "closed", tmp_path / "log")
    for path in (tmp_path / "log").rglob("*"):
        if path.name in ("head", "control") or path.suffix in (".index", ".timeindex"):
            path.unlink()
    with eventlog.open(tmp_path / "log") as log:
        assert script().describe(log) == expected(version)
        rolled = log.topic("rolled").partitions[0]
        records = expected(version)["rolled-0"]
        for timestamp in range(9_990, 10_510, 7):
            first = next((record[0] for record in records if record[1] >= timestamp), None)
            assert rolled.offset_for_time(timestamp) == first


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_log_can_be_appended_to(version: str, tmp_path: Path) -> None:
    """Appending to an old log goes on at the next offset and leaves what was there as it was."""
    shutil.copytree(GOLDEN / version / "closed", tmp_path / "log")
    before = expected(version)
    with eventlog.open(tmp_path / "log") as log:
        for name in log.topics():
            for partition in log.topic(name).partitions:
                known = before[f"{name}-{partition.number}"]
                assert partition.append([b"new"]).base_offset == len(known)
    with eventlog.open(tmp_path / "log") as log:
        after = script().describe(log)
        assert {name: records[:-1] for name, records in after.items()} == before
        assert all(partition.verify().ok for name in log.topics() for partition in log.topic(name).partitions)


def test_the_current_version_still_writes_these_records(tmp_path: Path) -> None:
    """The script that made the files makes the same records today: reader and writer did not drift together."""
    module = script()
    module.main(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "expected.json").read_text(encoding="utf-8"))
    assert all(again == expected(version) for version in VERSIONS)


def test_the_current_version_writes_the_same_bytes_as_ever(tmp_path: Path) -> None:
    """Uncompressed segments and indexes made today are byte for byte the golden ones (codecs may improve)."""
    module = script()
    module.main(tmp_path / "again")
    old, new = GOLDEN / CURRENT / "closed" / "topics", tmp_path / "again" / "closed" / "topics"
    for topic in ("plain", "headers", "append-time", "rolled"):
        files = sorted(path.relative_to(old) for path in (old / topic).rglob("0*") if path.is_file())
        assert files == sorted(path.relative_to(new) for path in (new / topic).rglob("0*") if path.is_file())
        for name in files:
            assert (new / name).read_bytes() == (old / name).read_bytes(), name


@pytest.mark.parametrize("how", ["closed", "crashed"])
@pytest.mark.parametrize("version", TRANSACTIONS)
def test_transactions_come_back(version: str, how: str, tmp_path: Path) -> None:
    """What was committed is there in all partitions, offsets too, although the last one's process died while it
    published them; nothing else is, the journal agrees, and the next producer of the same id goes on.
    """
    shutil.copytree(GOLDEN / version / how, tmp_path / "log")
    module, last = script(), 12
    with eventlog.open(tmp_path / "log", clock=module.CLOCK) as log:  # by today's the offsets have expired
        assert module.describe(log) == expected(version)
        assert module.committed(log) == [last + 1, f"after {last}"]
        report = log.verify_transactions()
        assert (report.problems, report.notes, report.committed) == ((), (), 9)
        for name in log.topics(include_internal=True):
            for partition in log.topic(name).partitions:
                assert not partition.was_used or partition.verify().ok
        with log.producer(transactional_id="golden") as producer, producer.transaction():
            module.transact(producer, last + 1)
        after = module.describe(log)
        for name in ("a-0", "a-1", "b-0", "b-1"):
            before = expected(version)[name]
            assert (after[name][: len(before)], len(after[name])) == (before, len(before) + 3)
        assert module.committed(log) == [last + 2, f"after {last + 1}"]


def test_the_current_version_still_writes_these_transactions(tmp_path: Path) -> None:
    """The script that made the files makes the same records today."""
    module = script()
    module.main(tmp_path / "again", module.fill_with_transactions)
    again = json.loads((tmp_path / "again" / "expected.json").read_text(encoding="utf-8"))
    assert all(again == expected(version) for version in TRANSACTIONS)
