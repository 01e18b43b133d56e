"""Reading one record at a random place of a large log."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import TOPIC
from benchmarks.probes.shared_log import RECORDS_PER_MS, log_of, timestamp_of

SEEKS = 2_000
UNCOUNTED = 200
HERE = eventlog.TopicPartition(TOPIC, 0)


@contextmanager
def _reader(directory: Path, amount: int) -> Iterator[eventlog.Consumer]:
    with eventlog.open(log_of(directory, amount)) as log, log.consumer() as consumer:
        consumer.assign([HERE])
        yield consumer


def _figures(read_at: Callable[[int], int], amount: int) -> dict[str, float]:
    """Median and 99th percentile in microseconds; ``read_at`` returns the offset that it read."""
    rng = random.Random(7)
    taken = []
    for offset in (rng.randrange(amount) for _ in range(UNCOUNTED + SEEKS)):
        start = time.perf_counter_ns()
        found = read_at(offset)
        taken.append((time.perf_counter_ns() - start) / 1e3)
        if found != offset:
            raise AssertionError(f"read offset {found:,} at {offset:,}")
    counted = taken[UNCOUNTED:]
    return {"median_us": statistics.median(counted), "p99_us": statistics.quantiles(counted, n=100)[98]}


def to_offset(directory: Path, amount: int) -> dict[str, float]:
    """``seek`` to an offset and ``poll`` one record."""
    with _reader(directory, amount) as consumer:

        def read_at(offset: int) -> int:
            consumer.seek(HERE, offset)
            return consumer.poll(max_records=1)[0].offset

        return _figures(read_at, amount)


def to_time(directory: Path, amount: int) -> dict[str, float]:
    """``offsets_for_times``, ``seek`` to what it found, and ``poll`` one record."""
    with _reader(directory, amount) as consumer:

        def read_at(offset: int) -> int:
            found = consumer.offsets_for_times({HERE: timestamp_of(offset)})[HERE]
            consumer.seek(HERE, found.offset)
            first = consumer.poll(max_records=1)[0].offset
            return offset if first == offset - offset % RECORDS_PER_MS else first

        return _figures(read_at, amount)
