"""Opening a cleanly closed log must not take longer because the log is larger."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import TOPIC
from benchmarks.probes.shared_log import log_of
from benchmarks.workloads import expect

REPEATS = 15
SMALL_RECORDS = 1_000_000  # 100 MB of values


def _open_seconds(path: Path, records: int) -> float:
    start = time.perf_counter()
    with eventlog.open(path) as log:
        partition = log.topic(TOPIC).partitions[0]
        end = partition.log_end_offset
        last = partition.read(end - 1)[-1].last_offset
        seconds = time.perf_counter() - start
    expect(last + 1, records)
    return seconds


def open_log(directory: Path, amount: int) -> dict[str, float]:
    """Milliseconds to open, ask for the end offset and read the last record: the large log and the small."""
    sizes = {"large": amount, "small": min(SMALL_RECORDS, amount // 10)}
    logs = {name: log_of(directory, records) for name, records in sizes.items()}
    taken: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(REPEATS):
        for name, records in sizes.items():
            taken[name].append(_open_seconds(logs[name], records))
    return {f"{name}_ms": statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
