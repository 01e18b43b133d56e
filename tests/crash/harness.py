"""What the crash drivers share: forked children, acknowledgements over a pipe, and the check of what must survive.

A driver is a small process without threads that has imported everything once: a child costs a fork, not a start of
the interpreter, and it has never seen the log before it opens it.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import eventlog

TOPIC = "orders"
SMALL_SEGMENTS = {"segment_bytes": 1024, "index_interval_bytes": 256}
RECORDS = 9
_ROOM = 1 << 20  # bytes that a pipe holds: as many as an unprivileged process may ask for
_living: set[int] = set()  # children that nobody has waited for yet


def calls_in(trace: str, *, failed: bool = True) -> list[str]:
    """Return the names of the system calls in the output of ``strace -f -o``, in order; failed ones only if asked."""
    with open(trace) as file:
        lines = [line for line in file if failed or " = -1 " not in line]
    # The second line of an interrupted call, "4711 <... futex resumed>) = -1 EAGAIN (...)", is none of its own.
    found = [match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))]
    return [call for call in found if call not in ("restart_syscall", "exit_group")]


class Pipe:
    """One direction, line by line; whole lines only count, since a killed writer may leave half of one."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _ROOM)  # it is read only when the child has ended
        self._data = b""

    def put(self, message: Any) -> None:
        """Send one message; returns when the kernel has it."""
        os.write(self.writer, json.dumps(message).encode() + b"\n")

    def take(self, count: int) -> list[Any]:
        """Return the first messages, at least ``count`` unless the writer ends before."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1
        while self._data.count(b"\n") < count and (chunk := os.read(self.reader, 1 << 16)):
            self._data += chunk
        *lines, self._data = self._data.split(b"\n")
        return [json.loads(line) for line in lines]

    def take_all(self) -> list[Any]:
        """Return every message up to the end: all writers are dead or have closed."""
        messages = self.take(1 << 60)
        os.close(self.reader)
        return messages

    def wait(self) -> bytes:
        """Wait for a sign."""
        return os.read(self.reader, 1)

    def sign(self) -> None:
        """Give the sign."""
        os.write(self.writer, b"!")

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


def child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child and return its process id; an exception there is printed, and exit status 1."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _living.add(pid)
        return pid
    _living.clear()
    status = 0
    try:
        work()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def status_of(pid: int) -> int:
    """Wait for the child: its exit status, or minus the signal that ended it."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _living.discard(pid)
    return status


@atexit.register
def _end_children() -> None:
    """A driver that fails leaves nobody behind."""
    for pid in _living:
        os.kill(pid, signal.SIGKILL)


def run(work: Callable[[], None]) -> None:
    """Run ``work`` in a child that must succeed."""
    status = status_of(child(work))
    if status:
        raise SystemExit(f"a child ended with {status}")


def kill_self() -> None:
    """Die here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


def record(number: int) -> tuple[bytes, bytes | None]:
    """Return value and key of a record: of different sizes, so that the segments roll at different places."""
    return b"%d:" % number + b"v" * (number * 37 % 300), None if number % 3 == 0 else b"key-%d" % number


def read_all(partition: eventlog.Partition) -> list[tuple[bytes | None, bytes | None]]:
    """Return (value, key) of every record, having checked that offsets are dense from 0 on."""
    found: list[tuple[bytes | None, bytes | None]] = []
    offset = 0
    while batches := partition.read(offset):
        for batch in batches:
            assert batch.base_offset == offset, f"offset {batch.base_offset} where {offset} belongs"
            found += zip(batch.values(), batch.keys(), strict=True)
            offset = batch.last_offset + 1
    assert offset == partition.log_end_offset == len(found)
    return found


def check_clean(log: eventlog.EventLog) -> None:
    """Every partition of every topic verifies without a finding."""
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            report = partition.verify()
            assert report.ok, report


def check_goes_on(path: str, expected: list[tuple[bytes | None, bytes | None]], possible: int) -> None:
    """Exactly ``expected`` is there, or up to ``possible`` records of `record` more; appending goes on, and lasts."""
    with eventlog.open(path) as log:
        partition = log.topic(TOPIC).partitions[0]
        found = read_all(partition)
        full = expected + [record(number) for number in range(len(expected), len(expected) + possible)]
        assert len(found) >= len(expected), f"{len(expected) - len(found)} acknowledged records are lost"
        assert found == full[: len(found)]
        check_clean(log)
        for number in range(len(found), len(found) + 5):
            value, key = record(number)
            assert partition.append([value], [key]).base_offset == number
            found.append((value, key))
    with eventlog.open(path) as log:
        assert read_all(log.topic(TOPIC).partitions[0]) == found
        check_clean(log)
