"""What a consumer holds in memory while it reads a log that is larger than it may hold."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import TOPIC
from benchmarks.probes.shared_log import log_of
from benchmarks.workloads import PER_CALL, NotMeasurableError, expect

SAMPLE_SECONDS = 0.005
STATUS = Path("/proc/self/status")


def _anonymous_mb() -> float:
    found = re.search(r"RssAnon:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    if found is None:
        raise NotMeasurableError("this system does not report RssAnon")
    return int(found[1]) * 1024 / 1e6


class _Sampler(threading.Thread):
    """Keeps the largest sample that it saw."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest = _anonymous_mb()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            self.largest = max(self.largest, _anonymous_mb())


def _read(directory: Path, amount: int, take: Callable[[eventlog.Consumer], int]) -> dict[str, float]:
    with eventlog.open(log_of(directory, amount)) as log, log.consumer() as consumer:
        here = eventlog.TopicPartition(TOPIC, 0)
        consumer.assign([here])
        consumer.seek_to_beginning(here)
        sampler, before, done = _Sampler(), _anonymous_mb(), 0
        sampler.start()
        while done < amount and (taken := take(consumer)):
            done += taken
        sampler.ended.set()
        sampler.join()
    expect(done, amount)
    return {"anonymous_mb": sampler.largest, "before_mb": before}


def of_batches(directory: Path, amount: int) -> dict[str, float]:
    """``poll_batches`` with ``values()``, the process's own interpreter and imports included."""

    def take(consumer: eventlog.Consumer) -> int:
        return sum([len(batch.values()) for batch in consumer.poll_batches(1.0)])

    return _read(directory, amount, take)


def of_records(directory: Path, amount: int) -> dict[str, float]:
    """``poll`` of up to 1,000 records at a time, likewise."""
    return _read(directory, amount, lambda consumer: len(consumer.poll(1.0, max_records=PER_CALL)))
