"""A power cut may bring back what an aborted transaction wrote, and lose what was written over it."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash
from tests.transactions.helpers import check_clean, values

SEGMENT = Path("topics/a/0/00000000000000000000.log")


def commit(path: Path, crash_at: int | None = None) -> CrashFileSystem:
    """Append a record, then commit two of them in a transaction, or crash on the way."""
    fs = CrashFileSystem(path)
    log = eventlog.open(path, filesystem=fs)
    log.create_topic("a", segment_bytes=1024).partitions[0].append([b"first"])
    producer = log.producer(transactional_id="x", linger_ms=0)
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(2):
        producer.send("a", b"aborted" * 20, partition=0)
    fs.crash_at(crash_at)
    producer.commit_transaction()
    return fs


def step_of_the_outcome(path: Path) -> int:
    """Return the step at which the journal gets the transaction's outcome."""
    (step, *_) = [
        step.number for step in commit(path).journal
        if step.kind == "write" and step.path.startswith("topics/__transaction_state") and step.path.endswith(".log")
    ]  # fmt: skip
    return step


@pytest.mark.parametrize(("later", "segments"), [(1, 1), (5, 2)])
def test_aborted_records_that_come_back_are_not_read(tmp_path: Path, later: int, segments: int) -> None:
    """Aborted bytes that a power cut brings back in place of later records are read by nobody.

    Neither are records of later segments behind them, which were not durable; the log goes on from there.
    """
    step = step_of_the_outcome(tmp_path / "whole")
    path = tmp_path / "log"
    with pytest.raises(SimulatedCrash):
        commit(path, step)
    with eventlog.open(path) as log:  # closed, it would sync what it wrote: the cut comes before
        partition = log.topic("a").partitions[0]
        old = (path / SEGMENT).read_bytes()
        assert b"aborted" in old
        for number in range(later):
            assert partition.append([b"%d" % number + b"v" * 200]).base_offset == 1 + number
        fs = CrashFileSystem(path)
        fs.after_kill(tmp_path / "cut")
    assert len(list((tmp_path / "cut/topics/a/0").glob("*.log"))) == segments
    (tmp_path / "cut" / SEGMENT).write_bytes(old)
    (tmp_path / "cut/topics/a/0/head").unlink()
    with eventlog.open(tmp_path / "cut") as log:
        found = values(log)
        assert not [value for value in found if value is not None and value.startswith(b"aborted")]
        assert found[0] == b"first"
        check_clean(log)
        assert log.topic("a").partitions[0].append([b"goes on"]).base_offset == len(found)
    with eventlog.open(tmp_path / "cut") as log:
        assert values(log) == [*found, b"goes on"]
        check_clean(log)
