"""Opening after a writer was killed, its last bytes never flushed to the device.

Run as a program it is that writer, or the reader that finds what the writer left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import eventlog
from benchmarks import process
from benchmarks.contestants.ours import TOPIC
from benchmarks.workloads import PER_CALL, VALUE_BYTES, expect, values

SECONDS = 600.0


def after_kill(directory: Path, amount: int) -> dict[str, float]:
    """The writer was killed; every file is as it left it."""
    _write_and_die(directory, amount)
    return _open(directory)


def after_loss_of_head(directory: Path, amount: int) -> dict[str, float]:
    """The writer was killed and the control page is gone, as after a power cut: every batch is verified."""
    _write_and_die(directory, amount)
    for head in (directory / "log").rglob("head"):
        head.unlink()
    return _open(directory)


def _write_and_die(directory: Path, amount: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    child = process.start(__name__, "write", directory, amount, stderr=subprocess.DEVNULL)
    try:
        status = child.wait(SECONDS)
    finally:
        process.kill(child)
    if status != -signal.SIGKILL:
        raise process.ChildError(f"the writer ended with status {status} before it was killed")


def _open(directory: Path) -> dict[str, float]:
    child = process.start(__name__, "open", directory, stderr=subprocess.PIPE)
    return process.answer(process.finish(child, SECONDS))


def _write(directory: Path, amount: int) -> None:
    log = eventlog.open(directory / "log")
    partition = log.create_topic(TOPIC).partitions[0]
    batch = list(values(PER_CALL))
    for offset in range(0, amount, PER_CALL):
        partition.append(batch[: amount - offset])
    (directory / "amount").write_text(str(amount))
    os.kill(os.getpid(), signal.SIGKILL)


def _recover(directory: Path) -> None:
    amount = int((directory / "amount").read_text())
    start = time.perf_counter()
    with eventlog.open(directory / "log") as log:
        partition = log.topic(TOPIC).partitions[0]
        offset = partition.append([b"after"]).base_offset
        seconds = time.perf_counter() - start
    expect(offset, amount)
    print(json.dumps({"rate": amount * VALUE_BYTES / seconds, "seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        _write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _recover(Path(sys.argv[2]))
