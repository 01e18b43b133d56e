"""What is done to the workers, and when: drawn from the seed alone, so that the same seed plans the same again."""

from __future__ import annotations

import random
from collections.abc import Collection

import attrs

MOMENTARY = ("kill", "stop", "full")  # happen while the workers run
AT_THE_END = ("power", "tail")  # end a round: every worker is gone before the next one begins
KINDS = (*MOMENTARY, "eio", *AT_THE_END)  # "eio" is each worker's own affair: its file system fails by its own seed

_ROUND_SECONDS = 5.0
_FEWEST_ROUNDS = 3
_TIMES_A_ROUND = {"kill": 3, "stop": 3, "full": 1}
_PAUSES = (0.05, 0.3, 0.8, 2.5)  # seconds; the longest one is longer than the groups' patience
_FULL_SECONDS = (0.2, 1.2)


@attrs.frozen
class Fault:
    """``at`` seconds into the round; ``choice`` is a large number that picks the victim among those there are then."""

    at: float
    kind: str
    choice: int
    lasts: float = 0.0


@attrs.frozen
class Round:
    """For ``seconds`` the workers run and ``faults`` happen; ``end`` is "quiet", "kill", "power" or "tail"."""

    seconds: float
    faults: tuple[Fault, ...]
    end: str


def plan(seed: int, seconds: float, kinds: Collection[str]) -> tuple[Round, ...]:
    """Return the rounds of a run: each of ``kinds`` occurs at least once."""
    rng = random.Random(f"plan {seed}")
    count = max(_FEWEST_ROUNDS, round(seconds / _ROUND_SECONDS))
    ends = _ends(rng, count, kinds)
    return tuple(Round(seconds / count, _faults(rng, seconds / count, kinds), end) for end in ends)


def _ends(rng: random.Random, count: int, kinds: Collection[str]) -> list[str]:
    possible = [*(kind for kind in AT_THE_END if kind in kinds), "quiet" if "kill" not in kinds else "kill"]
    ends: list[str] = []
    while len(ends) < count:
        rng.shuffle(possible)
        ends += possible
    return ends[:count]


def _faults(rng: random.Random, seconds: float, kinds: Collection[str]) -> tuple[Fault, ...]:
    faults = []
    for kind in MOMENTARY:
        if kind in kinds:
            for _ in range(_TIMES_A_ROUND[kind]):
                at = rng.uniform(min(0.5, seconds / 4), seconds * 0.9)
                faults.append(Fault(at, kind, rng.randrange(1 << 30), _duration(rng, kind)))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _duration(rng: random.Random, kind: str) -> float:
    if kind == "stop":
        return rng.choice(_PAUSES)
    return rng.uniform(*_FULL_SECONDS) if kind == "full" else 0.0
