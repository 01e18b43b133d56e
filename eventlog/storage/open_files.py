"""A bounded set of open descriptors and mappings, so that ten thousand partitions fit into one process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from eventlog.files.mutex import Mutex


class Evictable(Protocol):
    """Something that holds descriptors or mappings and can do without them for a while."""

    recently_used: bool

    def try_release(self) -> bool:
        """Give the resources back; False when they are in use right now."""
        ...


class OpenFiles:
    """The second-chance approximation of least recently used: a use only sets a flag, which costs a hot path nothing.

    >>> OpenFiles(capacity=2).capacity
    2
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = Mutex()
        self._members: OrderedDict[int, Evictable] = OrderedDict()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Evictable) -> None:
        """Note that ``member`` opened its resources; release others when there are too many."""
        with self._lock:
            self._members[id(member)] = member
            for _ in range(2 * len(self._members)):
                if len(self._members) <= self.capacity:
                    return
                self._try_oldest(keep=member)

    def discard(self, member: Evictable) -> None:
        """Note that ``member`` gave its resources back by itself."""
        with self._lock:
            self._members.pop(id(member), None)

    def after_fork(self) -> None:
        """Forget everything in a forked child: another thread of the parent may have held the lock."""
        self._lock = Mutex()
        self._members.clear()

    def _try_oldest(self, keep: Evictable) -> None:
        key, oldest = next(iter(self._members.items()))
        second_chance = oldest is keep or oldest.recently_used
        oldest.recently_used = False
        if second_chance or not oldest.try_release():
            self._members.move_to_end(key)
        else:
            self._members.pop(key, None)
