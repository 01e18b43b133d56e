"""What being in a group costs each record that is polled.

The difference is of a few per cent, less than that between two processes that do the same. So both consumers are in
one process, and read the same records by turns.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import eventlog
from benchmarks.contestants.ours import HERE, WAIT_SECONDS, member, poll_one, reader, topic, write
from benchmarks.probes import by_turns
from benchmarks.workloads import expect

PASSES = 30


def side_by_side(directory: Path, amount: int) -> dict[str, float]:
    """Nanoseconds a record of ``poll()`` with ``.value``: as a group's member with automatic commits, and alone.

    Both begin at the second record. The group's first commit, which makes files, is made before.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with topic(directory) as (log, _):
        write(log, 1 + amount)
        with member(log) as in_group, reader(log) as alone:
            poll_one(in_group)  # joins
            poll_one(alone)
            in_group.commit()
            taken = by_turns.passes_ns(
                lambda: _read(in_group, amount), lambda: _read(alone, amount), amount, passes=PASSES
            )
    group_ns, alone_ns = (statistics.median(column) for column in zip(*taken, strict=True))
    return {"group_ns": group_ns, "alone_ns": alone_ns}


def _read(consumer: eventlog.Consumer, amount: int) -> None:
    consumer.seek(HERE, 1)
    done = 0
    while done < amount and (records := consumer.poll(WAIT_SECONDS)):
        done += len([record.value for record in records])
    expect(done, amount)
