"""How many partitions each member has, and who has least."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable


class Loads:
    """The loads of members that are numbered from 0 on; a set of members is the bits of an integer.

    Members of equal load are one such set, so that the least loaded of any set is found with one AND for each distinct
    load. These are few: members with loads 0 to n together have n * (n + 1) / 2 partitions.

    >>> loads = Loads([2, 1, 1])
    >>> loads.least(0b111), loads.least(0b101)
    (1, 2)
    >>> loads.change(1, +2)
    >>> loads.least(0b111), loads.of(1)
    (2, 3)
    """

    def __init__(self, loads: Iterable[int]) -> None:
        self._loads = list(loads)
        self._members: dict[int, int] = {}  # by load, as bits
        for member, load in enumerate(self._loads):
            self._members[load] = self._members.get(load, 0) | 1 << member
        self._distinct = sorted(self._members)

    def of(self, member: int) -> int:
        """Return the load of one member."""
        return self._loads[member]

    def least(self, among: int) -> int:
        """Return the least loaded member of the set, the lowest number of several. Raises ValueError for none."""
        for load in self._distinct:
            found = self._members[load] & among
            if found:
                return (found & -found).bit_length() - 1  # the lowest bit
        raise ValueError("none of these is a member")

    def change(self, member: int, by: int) -> None:
        """Add ``by`` to the load of one member."""
        before = self._loads[member]
        self._leave(before, 1 << member)
        self._join(before + by, 1 << member)
        self._loads[member] = before + by

    def _leave(self, load: int, bit: int) -> None:
        self._members[load] ^= bit
        if not self._members[load]:
            del self._members[load]
            self._distinct.remove(load)

    def _join(self, load: int, bit: int) -> None:
        if load not in self._members:
            self._members[load] = 0
            insort(self._distinct, load)
        self._members[load] |= bit

    def check(self) -> None:
        """Raise AssertionError unless the sets by load say what the loads say."""
        assert self._distinct == sorted(set(self._loads))
        for load, members in self._members.items():
            assert [bool(members >> member & 1) for member in range(len(self._loads))] == [
                own == load for own in self._loads
            ]
