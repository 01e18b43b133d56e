"""The results as text: rates and ratios against their bounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.contest import Contest, Contestant, Figures, Goal
from benchmarks.results import Results

UNITS = {"ns": "ns", "us": "us", "ms": "ms", "s": "s", "mb": "MB", "percent": "%", "syncs": "syncs"}


def quantity(number: float, unit: str) -> str:
    """A number as people read it.

    >>> quantity(1_234_567, "records/s"), quantity(2.5e9, "B/s"), quantity(2, "x"), quantity(41.26, "us")
    ('1.23 M records/s', '2.50 GB/s', '2.00x', '41.3 us')
    """
    if unit == "x":
        return f"{number:.2f}x"
    if not unit.endswith("/s"):
        return f"{number:.3g} {unit}" if number < 1_000 else f"{number:,.0f} {unit}"
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            gap = "" if unit == "B/s" else " "
            return f"{number / limit:.3g} {prefix}{gap}{unit}".replace("e+03", "000")
    return f"{number:.3g} {unit}"


def rate_unit(contest: Contest) -> str:
    return "B/s" if contest.unit == "bytes" else f"{contest.unit}/s"


def figures_text(contest: Contest, medians: Figures) -> str:
    """A rate where there is one, else every figure by its name."""
    if "rate" in medians:
        return quantity(medians["rate"], rate_unit(contest))
    told = []
    for key, number in medians.items():
        name, _, unit = key.rpartition("_")
        told.append(f"{name.replace('_', ' ')} {quantity(number, UNITS[unit])}")
    return ", ".join(told)


def spread(results: Results, contest: Contest, contestant: Contestant) -> str:
    """Slowest and fastest round."""
    rates = [one["rate"] for one in results.rounds(contest, contestant) if "rate" in one]
    if len(rates) < 2:
        return ""
    unit = rate_unit(contest)
    return f"{quantity(min(rates), unit)} to {quantity(max(rates), unit)}"


def verdict(results: Results, contest: Contest, goal: Goal) -> tuple[str, str, str]:
    """The number, its bound, and whether it is met."""
    bound = f"{'at least' if goal.at_least is not None else 'at most'} {quantity(goal.bound, goal.unit)}"
    numbers = results.numbers(contest, goal)
    if not numbers:
        return "not measured", bound, "-"
    number = statistics.median(numbers)
    return quantity(number, goal.unit), bound, "met" if goal.is_met(number) else "missed"


def lines(results: Results, contests: list[Contest]) -> Iterator[str]:
    """The whole table, one contest after the other."""
    for contest in contests:
        yield f"{contest.name}: {contest.title}"
        for contestant in contest.contestants:
            medians = results.medians(contest, contestant)
            told = figures_text(contest, medians) if medians else "no figure"
            reason = results.reason(contest, contestant)
            more = f"({reason})" if reason else spread(results, contest, contestant)
            yield f"    {contestant.name:<28} {told:<24} {more}".rstrip()
        for goal in contest.goals:
            number, bound, met = verdict(results, contest, goal)
            yield f"  > {goal.label:<42} {number:<14} {bound:<20} {met}"
        yield ""
