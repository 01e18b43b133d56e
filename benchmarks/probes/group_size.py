"""A large group: how long until every partition is again some member's, and all have as many, give or take one.

All members but one are in this process, each polled in its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import eventlog
from benchmarks import process
from benchmarks.contestants.ours import GROUP, TOPIC, topic
from benchmarks.probes.group_member import MemberProcess, member_process

PARTITIONS_EACH = 10
SETTLE_SECONDS = 60.0


class _Group:
    """The members of this process."""

    def __init__(self, log: eventlog.EventLog, partitions: int) -> None:
        self.log = log
        self.partitions = partitions
        self.members: list[eventlog.Consumer] = []

    def join(self) -> None:
        member = self.log.consumer(group=GROUP)
        self.members.append(member)
        member.subscribe([TOPIC])

    def leave(self) -> None:
        self.members.pop(len(self.members) // 2).close()

    def settle(self, elsewhere: int = 0) -> None:
        """Poll until the members share all partitions but those of ``elsewhere`` evenly."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._is_settled(elsewhere):
            if time.monotonic() > deadline:
                raise process.ChildError(f"the group did not settle within {SETTLE_SECONDS:.0f} s")
            for member in self.members:
                member.poll()

    def _is_settled(self, elsewhere: int) -> bool:
        owned = [member.assignment() for member in self.members]
        counts = list(map(len, owned))
        distinct = len({tp for partitions in owned for tp in partitions})
        return sum(counts) == distinct == self.partitions - elsewhere and max(counts) - min(counts) <= 1


def change(directory: Path, amount: int) -> dict[str, float]:
    """Seconds for a member to join, to leave, and to be killed, in a group of ``amount`` members."""
    directory.mkdir(parents=True, exist_ok=True)
    partitions = PARTITIONS_EACH * amount
    with topic(directory, partitions=partitions) as (log, _), ExitStack() as ended:
        group = _Group(log, partitions)
        for _ in range(amount - 1):
            group.join()
        group.settle()
        joined = _seconds(group.join, group)
        left = _seconds(group.leave, group)
        victim = ended.enter_context(member_process(directory / "log"))
        _wait_for(victim, group)
        crashed = _seconds(victim.kill, group)
    return {"join_s": joined, "leave_s": left, "crash_s": crashed}


def _seconds(happens: Callable[[], object], group: _Group) -> float:
    start = time.perf_counter()
    happens()
    group.settle()
    return time.perf_counter() - start


def _wait_for(member: MemberProcess, group: _Group) -> None:
    """Let the other process have its share."""
    group.settle(elsewhere=PARTITIONS_EACH)
    member.assigned_in_all(PARTITIONS_EACH)
