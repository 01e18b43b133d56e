"""The rates as an SVG: one panel for each contest, one bar for each contestant."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Contest
from benchmarks.results import Results
from benchmarks.table import quantity, rate_unit

OURS_COLOUR, PEER_COLOUR, TEXT_COLOUR = "#2a6f97", "#b8c4cc", "#444444"
WIDTH_INCHES, BAR_INCHES, GAP_INCHES = 8.0, 0.27, 0.75

Bars = list[tuple[str, bool, list[float]]]  # name, is ours, the rates of all rounds


def write(results: Results, contests: list[Contest], path: Path) -> bool:
    """Write the plot; False where no contest has two rates to compare."""
    panels = [(contest, bars) for contest in contests if len(bars := _bars(results, contest)) > 1]
    if panels:
        _draw(panels, path)
    return bool(panels)


def _bars(results: Results, contest: Contest) -> Bars:
    rounds = {one: results.rounds(contest, one) for one in contest.contestants}
    bars = [
        (one.name, one.is_ours, [figures["rate"] for figures in measured])
        for one, measured in rounds.items()
        if measured and "rate" in measured[0]
    ]
    return sorted(bars, key=lambda bar: median(bar[2]))


def _draw(panels: list[tuple[Contest, Bars]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "eventlog", "svg.fonttype": "none", "font.size": 8})
    heights = [len(bars) * BAR_INCHES + GAP_INCHES for _, bars in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(WIDTH_INCHES, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, (contest, bars) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, contest, bars)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def _panel(axis: Any, contest: Contest, bars: Bars) -> None:
    names = [name for name, _, _ in bars]
    medians = [median(rates) for _, _, rates in bars]
    below = [middle - min(rates) for middle, (_, _, rates) in zip(medians, bars, strict=True)]
    above = [max(rates) - middle for middle, (_, _, rates) in zip(medians, bars, strict=True)]
    colours = [OURS_COLOUR if is_ours else PEER_COLOUR for _, is_ours, _ in bars]
    axis.barh(names, medians, color=colours, xerr=[below, above], ecolor=TEXT_COLOUR, height=0.7)
    for row, (middle, extra) in enumerate(zip(medians, above, strict=True)):
        label = f"  {quantity(middle, rate_unit(contest))}"
        axis.text(middle + extra, row, label, va="center", color=TEXT_COLOUR)
    axis.set_title(contest.title, loc="left", fontweight="bold")
    axis.set_xlim(0, 1.25 * max(middle + extra for middle, extra in zip(medians, above, strict=True)))
    axis.xaxis.set_visible(False)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
