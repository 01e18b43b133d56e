"""Which syncs of a partition are under way, in all processes, and which were never finished.

Linux reports a failed write-back once to each descriptor that was open by then. Who opens one later is told nothing,
and its sync succeeds, though records are lost. Who was told says so in the head (`Head.note_failure`). The danger is
the time from the report to that store, which never comes if the process is killed in between. So each sync is marked in
the head, in a word of its process, from before it begins until its outcome has been noted. A mark is the life of the
log, the token of the process, and a number, so that another sync has another mark; without a number it was interrupted.

A descriptor can be *trusted* when all syncs that were under way after it was opened have come to their end, and none of
them failed: what went wrong before was noted, and what goes wrong later it is told itself. Whoever syncs with one that
cannot be trusted yet:

1. marks its own sync, opens the descriptor, and looks which others are under way (`others`);
2. syncs;
3. waits until those are over, which they mostly are by now (`wait`), and looks whether a sync has failed.
4. If one is not over, since its process is dead, or stopped, or its device takes its time, nobody knows what it was
   told. Then all records behind the recovery point are written again, and synced (``write_again.py``): if descriptors
   that were open before that are told of no error, these records are on the device, whatever happened before.
5. The marks of dead processes can be cleared now.

A crash at any step leaves the own mark, which says the same to whoever has this number next.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eventlog.format import layouts as L
from eventlog.storage.sync_slots import SHARED, SyncSlots

if TYPE_CHECKING:
    from eventlog.storage.head import Head

GROUP, HOLDER = 0, 1  # a process has two words: for its group commit, and for who holds the partition's lock
_WORD_MASK = 2**64 - 1
_WORDS = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 50e-6, 2e-3  # seconds
_NUMBERS = 2**L.SYNC_TOKEN_SHIFT - 1
_TOKENS = 2 ** (L.SYNC_LIFE_SHIFT - L.SYNC_TOKEN_SHIFT) - 1
_FIRST, _TOKEN_SHIFT = L.HEAD_SYNCS, L.SYNC_TOKEN_SHIFT
_FIRST_SHARED = _FIRST + _WORDS * SHARED  # of the words that no process has for itself
_MARKS = slice(L.HEAD_SYNCS, L.HEAD_SYNCS + _WORDS * L.HEAD_MOST_SYNCERS)

Seen = dict[int, int]  # marks by the word of the head that they were seen in


def _of_life(life: int) -> int:
    """Return the upper part of a mark. A damaged head may have any number for its life."""
    return life << L.SYNC_LIFE_SHIFT & _WORD_MASK


class Mark(NamedTuple):
    """The word in which a sync of this process is marked; whether an earlier one there never came to its end."""

    word: int
    was_left: bool


_new_mark = partial(tuple.__new__, Mark)


class SyncMarks:
    """The marks in one partition's head."""

    def __init__(self, head: Head, slots: SyncSlots) -> None:
        self._words = head.words
        self._slots = slots
        self._next = 1
        self._own: set[int] = set()  # words in which a sync is marked that is under way here

    def begin(self, kind: int, life: int) -> Mark:
        """Mark a sync of this process."""
        words, slots = self._words, self._slots
        word = _FIRST + _WORDS * slots.enter() + kind
        was_left = words.item(word) != 0 or word >= _FIRST_SHARED
        self._own.add(word)
        self._next = number = self._next % _NUMBERS + 1
        words[word] = _of_life(life) | slots.token << _TOKEN_SHIFT | number
        return _new_mark((word, was_left))

    def end(self, mark: Mark) -> None:
        """The outcome of this process's sync is noted."""
        word = mark.word
        if word < _FIRST_SHARED:
            self._words[word] = 0
        self._own.discard(word)
        self._slots.leave()

    def leave(self, mark: Mark, life: int) -> None:
        """This process's sync was interrupted: it is over, and nobody knows its outcome."""
        self._words[mark.word] = _of_life(life)
        self._own.discard(mark.word)
        self._slots.leave()

    def others(self, mark: Mark) -> Seen:
        """Return the marks of all other syncs."""
        seen = self.all()
        seen.pop(mark.word, None)
        return seen

    def older_than(self, life: int) -> Seen:
        """Return the marks of syncs that began in a life before this one."""
        found = {word: mark for word, mark in self.all().items() if mark >> L.SYNC_LIFE_SHIFT < life}
        return {word: mark for word, mark in found.items() if not self._slots.is_shared(_number(word))}

    def all(self) -> Seen:
        """Return all marks."""
        marks = self._words[_MARKS].copy()  # NumPy raises when another process changes what it counts
        found = np.flatnonzero(marks).tolist()
        return {L.HEAD_SYNCS + place: mark for place in found if (mark := marks.item(place))}

    def wait(self, seen: Seen, seconds: float) -> Seen:
        """Wait until these syncs are over, but no longer than that; return those that are not, or will never be."""
        left, pause, deadline = self._left(seen), _FIRST_PAUSE, time.monotonic() + seconds
        while self.living(left) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            left = self._left(left)
        return left

    def _left(self, seen: Seen) -> Seen:
        return {word: mark for word, mark in seen.items() if self._words.item(word) == mark}

    def living(self, seen: Seen) -> Seen:
        """Return those that are under way: the process lives, and was not interrupted."""
        return {word: mark for word, mark in seen.items() if mark & _NUMBERS and self._is_alive(word, mark)}

    def _is_alive(self, word: int, mark: int) -> bool:
        number = _number(word)
        if self._slots.is_own(number):
            return word in self._own  # or else it is that of a dead process, which had the number before
        return self._slots.is_alive(number, mark >> L.SYNC_TOKEN_SHIFT & _TOKENS)

    def forget_dead(self, seen: Seen) -> None:
        """Clear those of which the process is dead."""
        for word, mark in seen.items():
            number = _number(word)
            clear = partial(self._clear, word, mark)
            if not self._slots.is_own(number):
                self._slots.while_free(number, clear)
            elif word not in self._own:
                clear()

    def _clear(self, word: int, mark: int) -> None:
        if self._words.item(word) == mark:
            self._words[word] = 0


def _number(word: int) -> int:
    return (word - L.HEAD_SYNCS) // _WORDS
