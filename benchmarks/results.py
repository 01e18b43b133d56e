"""The figures of all rounds, and what follows from them: medians, ratios, JSON."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import attrs

from benchmarks.contest import Contest, Contestant, Figures, Goal

FAILED = "failed: "


@attrs.define
class Results:
    """What a run measured.

    ``contests`` names what was run. ``figures[contest][contestant]`` is a list over the rounds; where it is
    empty, ``missing`` says why.
    """

    run: dict[str, Any]
    machine: dict[str, Any]
    contests: list[str]
    figures: dict[str, dict[str, list[Figures]]] = attrs.field(factory=dict)
    missing: dict[str, dict[str, str]] = attrs.field(factory=dict)

    def add(self, contest: Contest, contestant: Contestant, figures: Figures) -> None:
        self.figures.setdefault(contest.name, {}).setdefault(contestant.name, []).append(figures)

    def miss(self, contest: Contest, contestant: Contestant, reason: str) -> None:
        """Note that a contestant has no figure, in one round or in all."""
        self.missing.setdefault(contest.name, {})[contestant.name] = reason

    def reason(self, contest: Contest, contestant: Contestant) -> str | None:
        return self.missing.get(contest.name, {}).get(contestant.name)

    def failures(self) -> list[str]:
        """The reasons that are defects: not those for leaving something out."""
        reasons = [reason for contest in self.missing.values() for reason in contest.values()]
        return [reason for reason in reasons if reason.startswith(FAILED)]

    def rounds(self, contest: Contest, contestant: Contestant) -> list[Figures]:
        return self.figures.get(contest.name, {}).get(contestant.name, [])

    def medians(self, contest: Contest, contestant: Contestant) -> Figures:
        """The median of each figure over the rounds; empty where nothing was measured."""
        rounds = self.rounds(contest, contestant)
        return {key: statistics.median([one[key] for one in rounds]) for key in (rounds[0] if rounds else ())}

    def numbers(self, contest: Contest, goal: Goal) -> list[float]:
        """The goal's number in each round that every contestant it needs took part in."""
        measured = self.figures.get(contest.name, {})
        columns = [measured.get(name, []) for name in goal.names]
        return [goal.of(dict(zip(goal.names, row, strict=True))) for row in zip(*columns, strict=False)]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(attrs.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text()))
