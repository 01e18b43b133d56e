"""Side-by-side measurements of eventlog and of what a Python program would use in its place.

``compare.py`` runs everything and prints, writes JSON or a report; ``test_contests.py`` offers the same
workloads to pytest-benchmark. From the bottom up:

    workloads.py      values, sizes, and what a case is
    process.py        child processes with a deadline
    contestants/      one file per library: its documented fast path for each piece of work
    probes/           measurements that are no plain rate: latency, memory, opening, recovery
    contest.py        what a contest, a contestant and a goal are
    contests.py       who meets whom in which work, and the figure to reach
    exactly_once.py   the same for transactions and idempotence
    keyed.py          the same for records with keys, headers and JSON
    child.py          one measurement, in a process of its own
    harness.py        rounds, round-robin over the contestants
    results.py        figures of all rounds, medians, JSON
    machine.py        what it ran on
    table.py  plot.py  report.py    the three views of the results
"""
