"""Logs that several rounds, and several probes, read: written once in a run."""

from __future__ import annotations

import os
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import TOPIC
from benchmarks.workloads import PER_CALL, calls, values

FIRST_MS = 1_700_000_000_000
RECORDS_PER_MS = 10
ROUND_TRIPS = 8  # lists of values that are reused: building a hundred million of them would take the time


def log_of(directory: Path, records: int) -> Path:
    """The directory of a cleanly closed log of that many records, kept beside the rounds' directories."""
    path = directory.parent / "shared" / str(records)
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.mkdir(parents=True)
        _write(draft / "log", records)
        draft.rename(path)
    return path / "log"


def timestamp_of(offset: int) -> int:
    """The time of a record in milliseconds: ten records share one."""
    return FIRST_MS + offset // RECORDS_PER_MS


def _write(path: Path, records: int) -> None:
    batches = calls(values(PER_CALL * ROUND_TRIPS))
    with eventlog.open(path) as log:
        partition = log.create_topic(TOPIC).partitions[0]
        for call, offset in enumerate(range(0, records, PER_CALL)):
            batch = batches[call % ROUND_TRIPS][: records - offset]
            partition.append(batch, timestamps_ms=list(map(timestamp_of, range(offset, offset + len(batch)))))
