"""``docs/benchmarks.md``: every sentence with a figure in it is made from the figures of the run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import plot, table
from benchmarks.contest import Contest, Goal
from benchmarks.results import Results
from benchmarks.workloads import FULL, NORMAL, QUICK, VALUE_BYTES

PAGE, PLOT = "benchmarks.md", "benchmarks.svg"

METHOD = f"""\
All contestants ran in one run: within each round one after the other, each measurement in a process of its
own and in a fresh directory on the same file system; a different contestant begins each round. A first round
warms up and is not counted; just before the clock starts, free memory is touched, since a virtual machine
may have given it back to its host. A ratio is taken within each round, and its median over the rounds is
shown.
Values have {VALUE_BYTES} bytes, the topic one partition, `durability="os"` unless the work says otherwise.
What a contestant needs as input is built before the clock starts, unless its name says otherwise. Garbage
collection is on. confluent-kafka talks to the mock cluster that is built into librdkafka: its figures
include neither a broker's disk nor a network.
"""


def write(results: Results, contests: list[Contest], directory: Path) -> None:
    """Write the page and its plot."""
    directory.mkdir(parents=True, exist_ok=True)
    plotted = plot.write(results, contests, directory / PLOT)
    (directory / PAGE).write_text("\n".join(_page(results, contests, plotted)) + "\n", encoding="utf-8")


def _page(results: Results, contests: list[Contest], plotted: bool) -> Iterator[str]:
    yield from ("# Benchmarks", "", _summary(results, contests), "")
    if plotted:
        yield from (f"![Rates of all contestants, by work]({PLOT})", "")
    yield from ("## Targets", "", *_targets(results, contests), "")
    yield from ("## How it was measured", "", METHOD, *_machine(results), "")
    yield from ("## Each work", "")
    for contest in contests:
        yield from _contest(results, contest)


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _summary(results: Results, contests: list[Contest]) -> str:
    goals = [(contest, goal) for contest in contests for goal in contest.goals]
    words = [table.verdict(results, contest, goal)[2] for contest, goal in goals]
    measured = len(words) - words.count("-")
    text = f"Measured on {results.run['date']}, {results.run['rounds']} rounds: "
    text += f"{words.count('met')} of {measured} targets met."
    if measured < len(words):
        text += f" {len(words) - measured} were not measured."
    if results.run["scale"] == QUICK.name:
        text += " This was a smoke test with tiny sizes: its figures say nothing about speed."
    return text


def _targets(results: Results, contests: list[Contest]) -> Iterator[str]:
    yield _row("work", "what", "median", "lowest and highest round", "target", "")
    yield _row(*["---"] * 6)
    for contest in contests:
        for goal in contest.goals:
            number, bound, met = table.verdict(results, contest, goal)
            yield _row(contest.title, goal.label, number, _range(results, contest, goal), bound, met)


def _range(results: Results, contest: Contest, goal: Goal) -> str:
    numbers = results.numbers(contest, goal)
    if len(numbers) < 2:
        return ""
    return f"{table.quantity(min(numbers), goal.unit)} to {table.quantity(max(numbers), goal.unit)}"


def _machine(results: Results) -> Iterator[str]:
    told = results.machine
    versions = ", ".join(f"{library} {version}" for library, version in told["versions"].items())
    rows = {
        "processor": f"{told['processor']}, {told['cores']} cores",
        "memory": f"{told['memory_gb']} GB",
        "system": f"{told['system']}, {told['file_system']}",
        "Python": f"{told['python']} ({told['build']})",
        "interpreter": f"{table.quantity(told['loops_per_second'], 'turns/s')} of an empty counting loop",
        "versions": versions,
        "command": f"`{results.run['command']}`",
        "sizes": results.run["scale"],
    }
    yield _row("", "")
    yield _row("---", "---")
    for name, value in rows.items():
        yield _row(name, value)


def _contest(results: Results, contest: Contest) -> Iterator[str]:
    yield from (f"### {contest.title}", "", _amount(results, contest), "")
    yield _row("contestant", "what it does", "median", "slowest and fastest round")
    yield _row(*["---"] * 4)
    for one in contest.contestants:
        medians = results.medians(contest, one)
        told = table.figures_text(contest, medians) if medians else "no figure"
        reason = results.reason(contest, one)
        yield _row(one.name, one.method, told, reason or table.spread(results, contest, one))
    yield ""
    for goal in contest.goals:
        if results.numbers(contest, goal):
            yield from (_sentence(results, contest, goal), "")


def _amount(results: Results, contest: Contest) -> str:
    """How much work one round was."""
    scale = {one.name: one for one in (QUICK, NORMAL, FULL)}[results.run["scale"]]
    text = f"One round: {getattr(scale, contest.name):,} {contest.counted}"
    shares = [f"{one.name} {one.share:.1%} of that" for one in contest.contestants if one.share < 1]
    return f"{text} ({', '.join(shares)})." if shares else f"{text}."


def _sentence(results: Results, contest: Contest, goal: Goal) -> str:
    """What came out for one goal, in words."""
    number, bound, met = table.verdict(results, contest, goal)
    rounds = len(results.numbers(contest, goal))
    if len(goal.names) == 2 and goal.unit == "x":
        times = statistics.median(results.numbers(contest, goal))
        what = f"{goal.names[0]} is {times:.2f} times as fast as {goal.names[1]}"
    else:
        what = f"{goal.label[0].upper()}{goal.label[1:]}: {number}"
    return f"{what} (median of {rounds} round{'s' * (rounds > 1)}; target {bound}: {met})."
