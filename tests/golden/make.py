"""Write golden files: ``python tests/golden/make.py <empty directory> [transactions]``.

What lies beside it was written once by each format version and never changes: every later version must go on reading
it. A new format version gets directories of its own beside them. The log is copied while it is open in one
part (``crashed``), so that it also holds records that were never flushed, and after it was closed in the other
(``closed``).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlog
from eventlog.storage.prepared_append import PreparedAppend

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
CLOCK = eventlog.ManualClock(start=1_700_000_000.0)
KEEP = ("head", ".log", ".index", ".timeindex", ".snapshot", ".json", "control", "owner")
INPUT = eventlog.TopicPartition("in", 0)
GROUP = "billing"


def fill(log: eventlog.EventLog) -> None:
    """Topics with everything that a log can store."""
    plain = log.create_topic("plain", partitions=2).partitions
    plain[0].append([b"first", b"second"], timestamps_ms=1_000)
    plain[0].append([b"", None, b"third"], [b"k", None, b""], [3_000, 2_000, 4_000])
    plain[1].append([None, None], [b"gone", b"away"], 5_000)
    headers = [[("trace", b"\x00\xff"), ("trace", None)], [], None, [("", b""), ("größe", "✓".encode())]]
    log.create_topic("headers").partitions[0].append([b"a", b"b", None, b"d"], timestamps_ms=7, headers=headers)
    for codec in CODECS:
        partition = log.create_topic(f"codec-{codec}", compression_type=codec).partitions[0]
        values = [f"record {n} ".encode() * 20 for n in range(50)]
        partition.append(values, [b"%d" % (n % 7) for n in range(50)], list(range(50)))
        partition.append([None, b""], timestamps_ms=99)
    stamped = log.create_topic("append-time", message_timestamp_type="LogAppendTime").partitions[0]
    stamped.append([b"x", b"y"], timestamps_ms=[1, 2])
    CLOCK.advance(60)
    stamped.append([b"z"])
    rolled = log.create_topic("rolled", segment_bytes=2048, index_interval_bytes=256).partitions[0]
    for n in range(40):
        rolled.append([b"%03d" % n * 10, b"again"], timestamps_ms=10_000 + (n * 37) % 500)
    log.create_topic("untouched", partitions=3)


def fill_with_transactions(log: eventlog.EventLog) -> None:
    """Committed and aborted transactions with offsets, beside plain records; of the last one not all is published."""
    for topic in ("a", "b"):
        log.create_topic(topic, partitions=2, segment_bytes=2048, index_interval_bytes=256)
    log.create_topic("in").partitions[0].append([b"%d" % n for n in range(20)], timestamps_ms=1_000)
    with log.producer(transactional_id="golden") as producer, log.producer() as plain:
        producer.init_transactions()
        for n in range(12):
            producer.begin_transaction()
            transact(producer, n)
            if n % 3 == 1:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
            plain.send("a", b"plain %d" % n, b"key", partition=1, timestamp_ms=2_000 + n)
            plain.flush()
    died = subprocess.run([sys.executable, __file__, "die", log.path], check=False)
    assert died.returncode == -signal.SIGKILL


def transact(producer: eventlog.Producer, n: int) -> None:
    """Send to all partitions, and the offset."""
    for topic in ("a", "b"):
        for partition in range(2):
            values = [b"transaction %d, %d" % (n, k) for k in range(3)]
            producer.send_many(topic, values, partition=partition, timestamps_ms=1_000 + n)
    offset = eventlog.OffsetAndMetadata(n + 1, f"after {n}")
    producer.send_offsets_to_transaction({INPUT: offset}, eventlog.GroupMetadata(GROUP))


def die_in_a_commit(path: str) -> None:
    """Commit once more, and die when two of five parts are published."""
    publish, published = PreparedAppend.publish, []

    def publish_two(append: PreparedAppend, **how: Any) -> None:
        if len(published) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        published.append(append)
        publish(append, **how)

    PreparedAppend.publish = publish_two  # type: ignore[method-assign]
    producer = eventlog.open(path, clock=CLOCK).producer(transactional_id="golden")
    producer.init_transactions()
    producer.begin_transaction()
    transact(producer, 12)
    producer.commit_transaction()


def describe(log: eventlog.EventLog) -> dict[str, Any]:
    """Every record of every partition, as JSON."""
    return {
        f"{name}-{partition.number}": [
            [
                record.offset, record.timestamp_ms, int(record.timestamp_type), text(record.key), text(record.value),
                [[header, text(value)] for header, value in record.headers],
            ]
            for batch in partition.read(0, 1 << 30) for record in batch.records()
        ]
        for name in log.topics() for partition in log.topic(name).partitions
    }  # fmt: skip


def committed(log: eventlog.EventLog) -> list[Any] | None:
    """What the group committed last."""
    with log.consumer(group=GROUP) as consumer:
        found = consumer.committed(INPUT)
    return None if found is None else [found.offset, found.metadata]


def text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        if path.is_file() and not path.name.endswith(KEEP):
            path.unlink()


def main(target: Path, fill: Callable[[eventlog.EventLog], None] = fill) -> None:
    target.mkdir(parents=True)
    scratch = target / "scratch"
    with eventlog.open(scratch, clock=CLOCK) as log:
        fill(log)
        copy(scratch, target / "crashed")
        expected = json.dumps(describe(log), indent=1, ensure_ascii=False)
    (target / "expected.json").write_text(expected + "\n", encoding="utf-8")
    copy(scratch, target / "closed")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["die", path]:
            die_in_a_commit(path)
        case [directory, "transactions"]:
            main(Path(directory), fill_with_transactions)
        case [directory]:
            main(Path(directory))
