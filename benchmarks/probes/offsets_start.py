"""Learning where a group goes on must not take longer because more was committed before.

What a start reads depends on how many commits followed the last snapshot of them, so it is taken many times, with some
more commits before each.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import GROUP, HERE, member, topic, write
from benchmarks.workloads import PER_CALL, expect

REPEATS = 15
SMALL_COMMITS = 1_000
MORE_COMMITS = 97


def start(directory: Path, amount: int) -> dict[str, float]:
    """Milliseconds to open the log and ask for a committed offset: after many commits and after few."""
    sizes = {"large": amount, "small": min(SMALL_COMMITS, amount // 5)}
    logs = {name: _log_of(directory, commits) for name, commits in sizes.items()}
    taken: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(REPEATS):
        for name, path in logs.items():
            committed = _commit(path, MORE_COMMITS)
            taken[name].append(1e3 * _start_seconds(path, committed))
    figures = {f"{name}_ms": statistics.median(times) for name, times in taken.items()}
    return {**figures, "longest_ms": max(taken["large"])}


def _start_seconds(path: Path, committed: int) -> float:
    begin = time.perf_counter()
    with eventlog.open(path) as log, log.consumer(group=GROUP) as consumer:
        found = consumer.committed(HERE)
        seconds = time.perf_counter() - begin
    expect(-1 if found is None else found.offset, committed)
    return seconds


def _commit(path: Path, commits: int) -> int:
    """Commit one offset after the other; return the last."""
    with eventlog.open(path) as log, member(log, enable_auto_commit=False) as consumer:
        consumer.poll()
        for number in range(commits):
            consumer.commit({HERE: 1 + number % PER_CALL})
    return 1 + (commits - 1) % PER_CALL


def _log_of(directory: Path, commits: int) -> Path:
    """A cleanly closed log of at least so many commits, kept beside the rounds' directories."""
    path = directory.parent / "shared" / f"{commits}-commits"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.mkdir(parents=True)
        with topic(draft) as (log, _):
            write(log, PER_CALL)
        _commit(draft / "log", commits)
        draft.rename(path)
    return path / "log"
