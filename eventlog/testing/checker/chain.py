"""Exactly once from end to end: every input of a read-process-write chain has one output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from eventlog.testing.checker.anomaly import CHAIN_ANOMALIES, Anomalies, Anomaly
from eventlog.testing.checker.report import Report

OutputT = TypeVar("OutputT")


def check_chain(
    inputs: Iterable[Hashable], outputs: Iterable[OutputT], *, source_of: Callable[[OutputT], Hashable] | None = None
) -> Report:
    """Check that each input was processed once: that it is the source of exactly one output.

    ``inputs`` are the values of the topics that the chain reads, ``outputs`` those of the topic that it writes, both
    read to the end after the run. ``source_of`` returns the input that an output was made from; without it, an output
    is equal to its input. Chains of several links are checked link by link, or from the first topic to the last.

    >>> report = check_chain([1, 2, 3], ["1 paid", "3 paid", "3 paid"], source_of=lambda paid: int(paid.split()[0]))
    >>> report.ok, sorted(report.found)
    (False, ['processed-twice', 'unprocessed'])
    """
    given = Counter(inputs)
    made: Counter[Hashable] = Counter()
    made.update(map(source_of, outputs) if source_of is not None else outputs)
    anomalies: dict[str, list[Anomaly]] = {name: [] for name in CHAIN_ANOMALIES}
    for anomaly in _anomalies(given, made):
        anomalies[anomaly.name].append(anomaly)
    return Report(anomalies, {"inputs": given.total(), "outputs": made.total()})


def _anomalies(given: Counter[Hashable], made: Counter[Hashable]) -> Anomalies:
    for value, count in given.items():
        if made[value] < count:
            yield Anomaly("unprocessed", f"no output was made from {value!r}", values=(value,))
        elif made[value] > count:
            yield Anomaly("processed-twice", f"{made[value]} outputs were made from {value!r}", values=(value,))
    for value in made.keys() - given.keys():
        yield Anomaly("unknown-source", f"an output was made from {value!r}, which is no input", values=(value,))
