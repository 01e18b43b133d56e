"""A member of a group in a process of its own, which waits in ``poll`` and says when it is given partitions.

Run as a program it is that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

import eventlog
from benchmarks import process
from benchmarks.contestants.ours import GROUP, TOPIC

POLL_SECONDS = 0.5
SECONDS = 300.0  # a member ends by itself after that


@attrs.frozen
class Assigned:
    """When a member was given how many partitions. The clock is the system's monotonic one, the same everywhere."""

    at_ns: int
    count: int


@attrs.frozen
class MemberProcess:
    """The process, from outside."""

    child: subprocess.Popen[str]

    def assigned(self) -> Assigned:
        """The next time that it was given partitions, waited for."""
        line = self.child.stdout.readline() if self.child.stdout is not None else ""
        if not line:
            process.finish(self.child, SECONDS)
            raise process.ChildError("the member ended")
        return Assigned(**json.loads(line))

    def assigned_in_all(self, count: int) -> None:
        """Wait until it was given that many, in however many steps."""
        while count > 0:
            count -= self.assigned().count

    def kill(self) -> int:
        """End it as a crash would; return the time just before that, in nanoseconds."""
        at = time.monotonic_ns()
        os.kill(self.child.pid, signal.SIGKILL)
        return at


@contextmanager
def member_process(log: Path) -> Iterator[MemberProcess]:
    """A member of the group that is ended when it is not needed any more."""
    child = process.start(__name__, log, stderr=subprocess.PIPE)
    try:
        yield MemberProcess(child)
    finally:
        process.kill(child)


class _Reporter(eventlog.RebalanceListener):
    def on_partitions_assigned(self, partitions: list[eventlog.TopicPartition]) -> None:
        if partitions:  # a round that gives none tells nothing
            told = Assigned(time.monotonic_ns(), len(partitions))
            print(json.dumps(attrs.asdict(told)), flush=True)


def _take_part(path: Path) -> None:
    end = time.monotonic() + SECONDS
    with eventlog.open(path) as log, log.consumer(group=GROUP) as consumer:
        consumer.subscribe([TOPIC], listener=_Reporter())
        while time.monotonic() < end:
            consumer.poll(POLL_SECONDS)


if __name__ == "__main__":
    _take_part(Path(sys.argv[1]))
