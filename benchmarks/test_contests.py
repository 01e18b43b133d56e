"""The same work under pytest-benchmark: ``pytest benchmarks/ --benchmark-group-by=group``.

Sizes are tiny unless ``BENCHMARK_SCALE=normal`` is set. Nothing is asserted about time. Times of
one group compare where the amounts do: a contestant that does a share of the work has the share in its name,
and every result carries its amount and its rate.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.child import resolve
from benchmarks.contest import Contest, Contestant
from benchmarks.contests import CONTESTS
from benchmarks.workloads import FULL, NORMAL, QUICK, NotMeasurableError, Work, is_timed

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed: extra 'bench'")

SCALE = {scale.name: scale for scale in (QUICK, NORMAL, FULL)}[os.environ.get("BENCHMARK_SCALE", "quick")]
ROUNDS = 3


def label(contest: Contest, contestant: Contestant) -> str:
    share = f"-{contestant.share:.1%}" if contestant.share < 1 else ""
    return f"{contest.name}-{contestant.name}{share}".replace(" ", "_")


PAIRS = [
    pytest.param(contest, contestant, id=label(contest, contestant))
    for contest in CONTESTS
    for contestant in contest.contestants
]


def time_rounds(benchmark: Any, case: Any, directory: Path, amount: int) -> None:
    """Prepare afresh for each round; only the work itself is timed."""
    numbers = itertools.count()
    with ExitStack() as prepared:

        def prepare() -> tuple[tuple[Work], dict[str, Any]]:
            prepared.close()
            place = directory / str(next(numbers))
            place.mkdir()
            return (prepared.enter_context(case(place, amount)),), {}

        done = benchmark.pedantic(lambda work: work(), setup=prepare, rounds=ROUNDS)
    assert done > 0
    if benchmark.enabled:
        benchmark.extra_info.update(amount=done, rate=done / benchmark.stats.stats.median)


def run_probe(benchmark: Any, probe: Any, directory: Path, amount: int) -> None:
    """A probe takes its own times: they go into the extra information."""
    try:
        figures = benchmark.pedantic(probe, args=(directory / "probe", amount))
    except NotMeasurableError as reason:
        pytest.skip(str(reason))
    assert all(figure >= 0 for figure in figures.values())
    benchmark.extra_info.update(figures)


@pytest.mark.parametrize(("contest", "contestant"), PAIRS)
def test_contestant(contest: Contest, contestant: Contestant, benchmark: Any, tmp_path: Path) -> None:
    """Every contestant does all of the work that its contest asks for."""
    if contestant.library:
        pytest.importorskip(contestant.library, reason=f"{contestant.library} is not installed")
    benchmark.group = contest.name
    function = resolve(contestant.target)
    amount = max(1, int(getattr(SCALE, contest.name) * contestant.share))
    run = time_rounds if is_timed(function) else run_probe
    run(benchmark, function, tmp_path, amount)
