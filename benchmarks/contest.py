"""What a contest is.

A contest has contestants and goals. A goal takes the figures of one round to one number, and the median of
that number over the rounds is held against its bound.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.workloads import VALUE_BYTES

Figures = dict[str, float]  # one contestant in one round: "rate", "p50_us", ...
OURS = "eventlog"
CONFLUENT = "confluent_kafka"  # the import


@attrs.frozen
class Contestant:
    """``target`` is the case or probe; ``library`` the import it needs; ``share`` scales down slow ones."""

    name: str
    target: str
    method: str
    library: str = ""
    share: float = 1.0

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)


@attrs.frozen
class Goal:
    """A number computed from one round, and its bound. ``names`` are the contestants it is computed from."""

    label: str
    names: tuple[str, ...]
    of: Callable[[dict[str, Figures]], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    def is_met(self, number: float) -> bool:
        if self.at_least is not None:
            return number >= self.at_least
        return self.at_most is not None and number <= self.at_most

    @property
    def bound(self) -> float:
        return self.at_most if self.at_least is None else self.at_least


@attrs.frozen
class Contest:
    """``unit`` is what the rates count; empty where the contestants report other figures than rates.

    ``counted`` is what the amount of work is a number of.
    """

    name: str
    title: str
    contestants: tuple[Contestant, ...]
    goals: tuple[Goal, ...]
    unit: str = "records"
    counted: str = f"records of {VALUE_BYTES} bytes"
    rounds: int = 1_000  # no more than this: what takes long, or does not vary, runs less often
    warm_up: bool = True
    seconds: float = 120.0  # deadline of one measurement


def ratio(peer: str, at_least: float, ours: str = OURS) -> Goal:
    label = f"{ours} / {peer}"
    return Goal(label, (ours, peer), lambda got: got[ours]["rate"] / got[peer]["rate"], at_least=at_least)


def figure(label: str, key: str, at_most: float, unit: str, name: str = OURS) -> Goal:
    return Goal(label, (name,), lambda got: got[name][key], at_most=at_most, unit=unit)
