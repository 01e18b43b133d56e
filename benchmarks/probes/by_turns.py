"""Two works that differ by little, in one process by turns: two processes that do the same differ by more."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Work = Callable[[], object]

PASSES = 50
UNCOUNTED = 4


def passes_ns(first: Work, second: Work, amount: int, passes: int = PASSES) -> list[tuple[float, float]]:
    """Nanoseconds for one of ``amount``, pass by pass. The second work comes first in every other pass.

    For it finds in the processor's caches what the other one left there.
    """
    taken = []
    for number in range(UNCOUNTED + passes):
        if number % 2:
            later, earlier = _timed_ns(second, amount), _timed_ns(first, amount)
            taken.append((earlier, later))
        else:
            taken.append((_timed_ns(first, amount), _timed_ns(second, amount)))
    return taken[UNCOUNTED:]


def relative_rate(taken: list[tuple[float, float]]) -> float:
    """The first work's rate over the second's, in per cent: the median over the passes of that within each."""
    return statistics.median(100 * second / first for first, second in taken)


def _timed_ns(work: Work, amount: int) -> float:
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / amount
