"""Checks the histories of a group's members. Knows nothing of how groups work, only what they promise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

_SILENCE = 10**9  # ns: a member that polls writes down ten lines in it
Event = list[Any]  # time in ns, what happened, details


class History(NamedTuple):
    """One member's process: what it wrote down, when it ended, and when it was stopped (from, to), all in ns."""

    name: str
    events: list[Event]
    ended: int
    stops: list[tuple[int, int]]


class Ownership(NamedTuple):
    """From ``start`` to ``end`` a member had a partition, as far as it knew."""

    partition: int
    start: int
    end: int
    member: str

    def __str__(self) -> str:
        return f"{self.member} ({self.start / 1e9:.4f} to {self.end / 1e9:.4f} s)"


def read_journal(path: Path) -> list[Event]:
    """Return the events of a journal; the last line may be torn."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("]")]


def ownerships(history: History) -> Iterator[Ownership]:
    """Yield what the member had, and when."""
    held: dict[int, int] = {}
    for time, event, *details in history.events:
        if event == "assigned":
            held.update({partition: time for partition, _ in details[0]})
        elif event in ("revoked", "lost"):
            for partition in details[0]:
                start = held.pop(partition)
                yield Ownership(partition, start, time, history.name)
    for partition, start in held.items():
        yield Ownership(partition, start, history.ended, history.name)


def double_owners(histories: list[History], interval: int) -> list[str]:
    """Return where two live members had one partition at one time; one that hung for ``interval`` ns is not live.

    A member that polls writes that down often. So one that wrote nothing for so long hung: it was stopped, waited for
    the lock of one that was, or for a processor, or the disk. What it has from before it loses soon after it goes on.
    """
    hangs = {history.name: _hangs(history, interval) for history in histories}
    found = []
    by_partition: dict[int, list[Ownership]] = {}
    for history in histories:
        for owned in ownerships(history):
            by_partition.setdefault(owned.partition, []).append(owned)
    for owned in by_partition.values():
        owned.sort(key=lambda one: one.start)
        for place, before in enumerate(owned):
            for after in owned[place + 1 :]:
                if after.start < before.end and not any(
                    began + interval * 0.9 <= after.start and one.end <= ended + interval
                    for one in (before, after)
                    for began, ended in hangs[one.member]
                ):
                    found.append(f"{before} and {after} both have partition {after.partition}")
    return found


def _hangs(history: History, interval: int) -> list[tuple[int, int]]:
    """Return from when to when the member wrote nothing, where that is about the interval or longer."""
    times = [*(time for time, *_ in history.events), history.ended]
    return [(before, after) for before, after in pairwise(times) if after - before > interval * 0.9]


def positions(events: Iterable[Event]) -> dict[int, int]:
    """Return the partitions that a member has after these events, and the place in each where it reads on."""
    held: dict[int, int] = {}
    for _, event, *details in events:
        if event == "assigned":
            held.update(dict(details[0]))
        elif event in ("revoked", "lost"):
            for partition in details[0]:
                held.pop(partition)
        elif event == "read":
            held[details[0]] = details[2] + 1
    return held


def stale_reads(histories: Iterable[History]) -> list[str]:
    """Return polls that returned records of a partition which the member did not have when the poll ended."""
    found = []
    for history in histories:
        held: set[int] = set()
        for _, event, *details in history.events:
            if event == "assigned":
                held |= {partition for partition, _ in details[0]}
            elif event in ("revoked", "lost"):
                held -= set(details[0])
            elif event == "read" and details[0] not in held:
                found.append(f"{history.name} reads partition {details[0]}, which it has not")
    return found


def gaps_and_repeats(histories: Iterable[History]) -> list[str]:
    """Return where a member, while it had a partition, left a record out or read one twice."""
    found = []
    for history in histories:
        place: dict[int, int] = {}
        for _, event, *details in history.events:
            if event == "assigned":
                place.update(dict(details[0]))
            elif event == "read":
                partition, first, last, count, _ = details
                if first != place.get(partition) or last - first + 1 != count:
                    found.append(f"{history.name} reads {first} to {last} of {partition} at {place.get(partition)}")
                place[partition] = last + 1
    return found


def unread(histories: Iterable[History], ends: dict[int, int]) -> list[str]:
    """Return records that nobody has read."""
    read: dict[int, list[tuple[int, int]]] = {}
    for history in histories:
        for _, event, *details in history.events:
            if event == "read":
                read.setdefault(details[0], []).append((details[1], details[2]))
    found = []
    for partition, end in ends.items():
        reached = 0
        for first, last in sorted(read.get(partition, [])):
            if first > reached:
                break
            reached = max(reached, last + 1)
        if reached < end:
            found.append(f"nobody reads offset {reached} of partition {partition}, which ends at {end}")
    return found


def backward_commits(commits: list[tuple[int, int]]) -> list[str]:
    """Return commits that go backwards. ``commits`` are (partition, offset) in the order of the log."""
    found = []
    last: dict[int, int] = {}
    for partition, offset in commits:
        if offset < last.get(partition, 0):
            found.append(f"the commit of partition {partition} goes back from {last[partition]} to {offset}")
        last[partition] = offset
    return found


def unowned(histories: list[History], partitions: int, bound: int) -> list[str]:
    """Return where a partition belonged to nobody for longer than ``bound`` ns, while a member was there all along.

    Time in which any process was stopped does not count: it may have been stopped while it held a lock. Nor does that
    in which one wrote nothing for a second, though it had things to do: the machine is busy with others.
    """
    absences = [absence for history in histories for absence in history.stops + _hangs(history, _SILENCE)]
    absences = sorted(absences + _empty_times(histories))
    spans: dict[int, list[tuple[int, int]]] = {partition: [] for partition in range(partitions)}
    for history in histories:
        for owned in ownerships(history):
            spans[owned.partition].append((owned.start, owned.end))
    found = []
    for partition, owned in spans.items():
        reached = None
        for start, end in sorted(owned):
            if reached is not None and start - reached - _covered(absences, reached, start) > bound:
                found.append(f"partition {partition} has no owner for {(start - reached) / 1e9:.1f} s")
            reached = end if reached is None else max(reached, end)
    return found


def _empty_times(histories: list[History]) -> list[tuple[int, int]]:
    """Return when no member was there; each is there from the first thing that it wrote down."""
    found, reached = [], 0
    for start, end in sorted((history.events[0][0], history.ended) for history in histories if history.events):
        if start > reached:
            found.append((reached, start))
        reached = max(reached, end)
    return found


def _covered(intervals: list[tuple[int, int]], start: int, end: int) -> int:
    """Return how much of the time from ``start`` to ``end`` lies in at least one of the intervals, which are sorted."""
    total, reached = 0, start
    for began, ended in intervals:
        first, last = max(began, reached), min(ended, end)
        if last > first:
            total += last - first
            reached = last
    return total
