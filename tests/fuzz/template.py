"""The logs that are damaged: every kind of file, and beside each log what it holds."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import attrs

import eventlog
from eventlog import OffsetAndMetadata, TopicPartition
from tests.forking import fork

GROUP = "billing"
TRANSACTIONAL_ID = "transfers"
INPUT = TopicPartition("in", 0)
FIRST_COMMITTED = 3
START_MS = 1_700_000_000_000
Records = dict[TopicPartition, list[eventlog.Record]]


class Batch(NamedTuple):
    """Where a batch lies in its segment, and the offsets that it holds: up to, but not including, ``end_offset``."""

    position: int
    size: int
    base_offset: int
    end_offset: int


@attrs.frozen
class Template:
    """A log's directory, and what was written to it: nothing here is asked of the library once it has been damaged."""

    path: Path
    records: Records
    committed: dict[TopicPartition, OffsetAndMetadata]
    batches: dict[str, list[Batch]]  # by the segment's path within the log
    files: tuple[str, ...]
    was_killed: bool


def make(path: Path, *, killed: bool) -> Template:
    """Write a log, and close it, or kill its process: then the last records have no recovery point behind them."""
    status = fork(lambda: _write(path, killed=killed))
    assert status == (-signal.SIGKILL if killed else 0)
    kept = path.with_name(path.name + "-read")
    shutil.copytree(path, kept)  # reading it recovers it: the template stays as it was left
    with eventlog.open(kept) as log:
        records, committed, batches = _records(log), _committed(log), _batches(log)
    files = tuple(sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file()))
    return Template(path, records, committed, batches, files, killed)


def _write(path: Path, *, killed: bool) -> None:
    log = eventlog.open(path)
    _fill(log)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    log.close()


def _fill(log: eventlog.EventLog) -> None:
    small = {"segment_bytes": 2048, "index_interval_bytes": 256}
    plain = log.create_topic("plain", partitions=2, **small).partitions
    for n in range(40):
        plain[0].append([b"value %d" % n], timestamps_ms=START_MS + n * 10)
        headers = [[("trace", b"%d" % n)], None, [("größe", None), ("", b"")]]
        plain[1].append([b"x" * n, None, b"%d" % n], [b"k", None, b"key %d" % n], START_MS + n, headers)
        if n == 20:
            plain[0].flush()
    packed = log.create_topic("packed", compression_type="gzip", **small).partitions[0]
    for n in range(20):
        times = [START_MS + (n * 7 + k) % 50 for k in range(10)]
        packed.append([b"record %d of %d " % (k, n) * 5 for k in range(10)], timestamps_ms=times)
    log.create_topic("in").partitions[0].append([b"%d" % n for n in range(30)], timestamps_ms=START_MS)
    log.create_topic("out", partitions=2, **small)
    with log.consumer("in", group=GROUP, auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
        consumer.poll(timeout=30)
        consumer.commit({INPUT: OffsetAndMetadata(FIRST_COMMITTED, "by hand")})
    with log.producer(transactional_id=TRANSACTIONAL_ID) as producer:
        producer.init_transactions()
        for n in range(8):
            producer.begin_transaction()
            for partition in range(2):
                producer.send_many(
                    "out", [b"%d, %d" % (n, k) for k in range(4)], partition=partition, timestamps_ms=START_MS
                )
            offset = OffsetAndMetadata(4 + n, f"after {n}")
            producer.send_offsets_to_transaction({INPUT: offset}, eventlog.GroupMetadata(GROUP))
            producer.commit_transaction()
    with log.producer() as producer:  # an idempotent one
        for n in range(10):
            producer.send("out", b"plain %d" % n, key=b"%d" % n, timestamp_ms=START_MS + n)


def _records(log: eventlog.EventLog) -> Records:
    return {
        TopicPartition(name, partition.number): [
            record for batch in partition.read(0, 1 << 30) for record in batch.records()
        ]
        for name in log.topics()
        for partition in log.topic(name).partitions
    }


def _committed(log: eventlog.EventLog) -> dict[TopicPartition, OffsetAndMetadata]:
    with log.consumer(group=GROUP) as consumer:
        found = consumer.committed(INPUT)
        assert found is not None
        return {INPUT: found}


def _batches(log: eventlog.EventLog) -> dict[str, list[Batch]]:
    found: dict[str, list[Batch]] = {}
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            if not partition.was_used:
                continue
            directory = Path("topics", name, str(partition.number))
            segments = sorted(Path(log.path, directory).glob("*.log"), reverse=True)
            bases = [int(segment.stem) for segment in segments]
            for batch in partition.read(0, 1 << 30) if partition.log_end_offset else []:
                base = next(base for base in bases if base <= batch.base_offset)
                place = Batch(batch.position, batch.size, batch.base_offset, batch.last_offset + 1)
                found.setdefault(str(directory / f"{base:020d}.log"), []).append(place)
    return found
