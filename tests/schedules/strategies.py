"""Who has the next turn: at random, or systematically."""

from __future__ import annotations

import random

from tests.schedules.scheduler import Task


class Random:
    """Turns are given up at random lines; perhaps a process is killed."""

    def __init__(self, seed: int, *, kills: bool) -> None:
        self._random = random.Random(seed)
        self._chance = self._random.choice([0.003, 0.01, 0.03, 0.1])
        self._kill_at = self._random.randrange(1500) if kills else -1
        self._lines = 0

    def next(self, task: Task, where: tuple[str, int], others: list[Task]) -> Task | None:
        chance = 0.4 if where[0] == "device" else self._chance
        return self._random.choice(others) if self._random.random() < chance else None

    def kills(self, task: Task, where: tuple[str, int]) -> bool:
        self._lines += 1
        return self._lines == self._kill_at


class OneStop:
    """The first task stops before its line of one number until the others can do nothing more."""

    def __init__(self, line: int, *, kills: bool = False) -> None:
        self._line = line
        self._kills = kills
        self.was_reached = False

    def next(self, task: Task, where: tuple[str, int], others: list[Task]) -> Task | None:
        if task.scheduler.tasks[0] is not task or task.lines != self._line:
            return None
        self.was_reached = True
        return others[0]

    def kills(self, task: Task, where: tuple[str, int]) -> bool:
        if not self._kills or task.scheduler.tasks[0] is not task or task.lines != self._line:
            return False
        self.was_reached = True
        return True


class TwoStops:
    """The first task stops before its line ``first``; the second goes on from there, until before its line ``second``.

    Then the first one goes on to its end.
    """

    def __init__(self, first: int, second: int) -> None:
        self._lines = first, second
        self._stopped = 0
        self.was_reached = [False, False]

    def next(self, task: Task, where: tuple[str, int], others: list[Task]) -> Task | None:
        number = self._stopped
        if number == len(self._lines) or task.scheduler.tasks[number] is not task or task.lines != self._lines[number]:
            return None
        self._stopped += 1
        self.was_reached[number] = True
        return others[0]

    def kills(self, task: Task, where: tuple[str, int]) -> bool:
        return False
