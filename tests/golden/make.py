"""Write the golden files of a format version: ``python tests/golden/make.py <empty directory>``.

What lies under ``version-1`` was written once and never changes: every later version must go on reading it. A new
format version gets a directory of its own beside it. The log is copied while it is open in one part (``crashed``),
so that it also holds records that were never flushed, and after it was closed in the other (``closed``).
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import eventlog

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
CLOCK = eventlog.ManualClock(start=1_700_000_000.0)
KEEP = ("head", ".log", ".index", ".timeindex", ".json", "control")


def fill(log: eventlog.EventLog) -> None:
    """Topics with everything that version 1 can store."""
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


def text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        if path.is_file() and not path.name.endswith(KEEP):
            path.unlink()


def main(target: Path) -> None:
    target.mkdir(parents=True)
    scratch = target / "scratch"
    with eventlog.open(scratch, clock=CLOCK) as log:
        fill(log)
        expected = json.dumps(describe(log), indent=1, ensure_ascii=False)
        copy(scratch, target / "crashed")
    (target / "expected.json").write_text(expected + "\n", encoding="utf-8")
    copy(scratch, target / "closed")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
