"""Records that were read but not handed out: they are given back before anything else is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventlog.consumer.consumer import Consumer
from eventlog.format.record_batch import RecordBatch

_SHORT, _LONG = 0.01, 0.1  # seconds


class ReadAhead:
    """What a poll has found. The consumer's position is behind all of it, so what nobody takes is given back.

    `fill` and `give_back` are for the consumer's thread, the others for the loop.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.cut_after: int | None = None  # how many had been handed out when a call came in between
        self._consumer = consumer
        self._items: Sequence[Any] = ()
        self._next = 0
        self._is_begun = False

    @property
    def left(self) -> int:
        """How many items an iteration may take. None of what a poll has found that was cancelled."""
        return len(self._items) - self._next if self._is_begun else 0

    def begin(self) -> None:
        """Hand out what was found one by one."""
        self._is_begun = True

    def take(self) -> Any:
        """Hand one out."""
        item = self._items[self._next]
        self._next += 1
        return item

    def take_all(self) -> list[Any]:
        """Hand out what is left."""
        items, place = self._items, self._next
        self._items, self._next, self._is_begun = (), 0, False
        if place < len(items):
            self.cut_after = place
        return items if isinstance(items, list) and place == 0 else list(items[place:])

    def fill(self, items: Sequence[Any]) -> None:
        """Keep what a poll has found until it is taken."""
        self._next, self._is_begun = 0, False
        self._items = items
        self.cut_after = None

    def give_back(self, items: Sequence[Any]) -> None:
        """Let reading go on with these."""
        first: dict[tuple[str, int], int] = {}
        for item in items:
            offset = item.base_offset if isinstance(item, RecordBatch) else item.offset
            first.setdefault((item.topic, item.partition), offset)
        # Not seek(): where the topic was deleted and made anew, that would go to the same place in another topic.
        self._consumer._fetcher.give_back([(*place, offset) for place, offset in first.items()])


class Pace:
    """How many records an iteration reads ahead: few where each takes long, so that the consumer polls often.

    It doubles when all was used up within `_SHORT` seconds, of which the hop to the thread is a small part. After
    `_LONG` seconds what is left is given back: neither the group nor automatic commits should wait longer.
    """

    def __init__(self, most: int) -> None:
        self.count = 1
        self._most = most
        self._since = 0.0

    def filled(self, now: float) -> None:
        """A poll has returned records."""
        self._since = now

    def is_over(self, now: float) -> bool:
        """Tell whether what is left should be given back."""
        return now - self._since > _LONG

    def choose(self, now: float, cut_after: int | None) -> int:
        """Return how many to read next: if the last were cut short, as many as were handed out of them."""
        taken = now - self._since
        if cut_after is not None:
            self.count = max(1, cut_after)
        elif taken > _LONG:
            self.count = max(1, self.count // 2)
        elif taken < _SHORT:
            self.count = min(self.count * 2, self._most)
        return self.count
