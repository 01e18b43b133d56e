"""What a power cut leaves of a simulated disk: what was synced, and any part of the rest.

Every choice is asked of a function: ``choose(n)`` returns a whole number from 0 up to, not including, n. Give
``random.Random(seed).randrange``, or ``lambda n: data.draw(st.integers(0, n - 1))`` with Hypothesis. The choice 0 is
always the mildest, and n - 1 the one that loses most: a function that returns 0 keeps everything, and one that returns
n - 1 everything but what was synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from eventlog.testing.simulated_disk import Names, SimulatedDirectory, SimulatedFile, Write

Choose = Callable[[int], int]
T = TypeVar("T")

SECTOR_BYTES = 512
_KEEP_ALL, _SUBSET, _PREFIX, _LOSE_ALL = range(4)


class PowerCut:
    """One cut: a mood for names, one for bytes and one for mapped pages, then a choice for each of them.

    Moods make it likely that a disk of many files loses nothing, or everything, of one kind.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._names, self._bytes, self._pages = choose(4), choose(4), choose(4)

    def names(self, directory: SimulatedDirectory) -> Names:
        """Return the names that are left in a directory."""
        names = dict(directory.durable)
        for change in self._kept(directory.unsynced, self._names):
            change.apply(names)
        return names

    def content(self, file: SimulatedFile) -> bytes:
        """Return what is left of a file's bytes."""
        if file.page is not None:
            return self._page(file)
        content = bytearray(file.durable)
        kept = self._kept(file.unsynced, self._bytes)
        for write in kept:
            write.apply(content)
        if kept and kept[-1] is file.unsynced[-1]:
            content = self._torn(file, kept)
        return bytes(content)

    def _kept(self, changes: Sequence[T], mood: int) -> list[T]:
        if not changes or mood == _LOSE_ALL:
            return []
        way = _KEEP_ALL if mood == _KEEP_ALL else self._choose(4)
        if way == _SUBSET:
            return [change for change in changes if self._choose(2) == 0]
        if way == _PREFIX:
            return list(changes[: len(changes) - self._choose(len(changes) + 1)])
        return [] if way == _LOSE_ALL else list(changes)

    def _torn(self, file: SimulatedFile, kept: list[Write]) -> bytearray:
        """Return the content with the last write torn at a sector or a byte, and nothing or zeros behind the tear."""
        *whole, last = kept
        content = bytearray(file.durable)
        for write in whole:
            write.apply(content)
        way = 0 if self._bytes == _KEEP_ALL else self._choose(4)
        lost = self._choose(len(last.data) + 1) if way else 0
        end = last.position + len(last.data) - lost
        if way == 2:
            end = max(end // SECTOR_BYTES * SECTOR_BYTES, last.position)
        part = last.data[: end - last.position]
        zeros = way == 3 and end >= len(content)
        Write(last.position, part.ljust(len(last.data), b"\0") if zeros else part).apply(content)
        return content

    def _page(self, file: SimulatedFile) -> bytes:
        """Return one of the states that mapped pages had; or zeros, or what was there before, if never synced."""
        file.look()
        possible = file.states[::-1]
        if file.durable != possible[-1]:
            possible += [bytes(len(possible[0])), file.durable]
        if self._pages in (_KEEP_ALL, _LOSE_ALL):
            return possible[0 if self._pages == _KEEP_ALL else -1]
        return possible[self._choose(len(possible))]


def lay_out(directory: SimulatedDirectory, path: str, names: Callable[[SimulatedDirectory], Names],
            content: Callable[[SimulatedFile], bytes]) -> None:  # fmt: skip
    """Make real files of a simulated directory at ``path``, which is not there yet."""
    os.mkdir(path)
    for name, node in names(directory).items():
        below = os.path.join(path, name)
        if isinstance(node, SimulatedDirectory):
            lay_out(node, below, names, content)
        else:
            with open(below, "wb") as file:
                file.write(content(node))
