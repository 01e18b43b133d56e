"""Rounds, and round-robin over the contestants within each round.

Every measurement runs in a process of its own, in a fresh directory, with a deadline. The first round only
warms up and is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import attrs

from benchmarks import process
from benchmarks.contest import Contest, Contestant
from benchmarks.results import FAILED, Results
from benchmarks.workloads import Scale

WARM_UP = -1


@attrs.define
class Harness:
    """Runs contests below ``directory`` and adds what they measure to ``results``."""

    directory: Path
    scale: Scale
    results: Results
    ours_only: bool = False

    def run(self, contests: list[Contest], rounds: int) -> None:
        for number in range(WARM_UP, rounds):
            for contest in contests:
                if contest.warm_up if number == WARM_UP else number < contest.rounds:
                    self._round(contest, number)

    def _round(self, contest: Contest, number: int) -> None:
        """One measurement of each contestant; who begins changes with the round."""
        taking_part = contest.contestants
        first = max(number, 0) % len(taking_part)
        for contestant in taking_part[first:] + taking_part[:first]:
            if self._can_run(contest, contestant):
                self._measure(contest, contestant, number)

    def _can_run(self, contest: Contest, contestant: Contestant) -> bool:
        reason = self.results.reason(contest, contestant)
        if reason is None and self.ours_only and not contestant.is_ours:
            reason = "left out: this run measures eventlog only"
        if reason is None and contestant.library and importlib.util.find_spec(contestant.library) is None:
            reason = f"{contestant.library} is not installed"
        if reason is not None:
            self.results.miss(contest, contestant, reason)
        return reason is None

    def _measure(self, contest: Contest, contestant: Contestant, number: int) -> None:
        amount = max(1, int(getattr(self.scale, contest.name) * contestant.share))
        place = self.directory / "measurement"
        try:
            got = process.call("benchmarks.child", contestant.target, place, amount, timeout=contest.seconds)
        except process.ChildError as error:
            got = {"skipped": f"{FAILED}{error}"}
        finally:
            shutil.rmtree(place, ignore_errors=True)
            os.sync()  # what this one left to the device must not slow down the next one
        self._keep(contest, contestant, number, got)

    def _keep(self, contest: Contest, contestant: Contestant, number: int, got: dict) -> None:
        if "skipped" in got:
            self.results.miss(contest, contestant, got["skipped"])
        elif number != WARM_UP:
            self.results.add(contest, contestant, got)
        told = ", ".join(f"{key} {value:,.4g}" for key, value in got.items() if not isinstance(value, str))
        turn = "warm-up" if number == WARM_UP else f"round {number + 1}"
        print(f"{turn}: {contest.name}: {contestant.name}: {told or got}", file=sys.stderr, flush=True)
