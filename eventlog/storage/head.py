"""The head: one mapped page per partition that tells every process what is published.

One aligned 8-byte store of the log end offset publishes an append. What only the next writer needs (where the
segment ends, how many index entries count) lies in one of two slots: a writer fills the slot that is not in force,
then stores the end. The slot whose end equals the published one is in force, so neither a reader nor the next writer
ever sees half of it, whenever the writer dies.

The head is derived, never truth. After every process has closed the log, the first to open it again rebuilds the
head from the recovery point (what was known to be on the device, under its own checksum) and a scan of what follows.

A *life* is what passes between two recoveries. In one and the same session there is a new one after a failed sync:
records that were published, and are not on the device, may be gone then, and others have their offsets. So a durable
end counts for one life alone. There are two words for it, and two recovery points, for lives of even and of odd number:
a process that was stopped before such a store changes nothing of the life that has begun meanwhile, and the one after
that does not begin while a sync is under way that the process belongs to (`SyncMarks`).
"""

from __future__ import annotations

import os
import secrets
from functools import partial
from typing import NamedTuple

import crc32c
import numpy as np

from eventlog.errors import CorruptMetadataError
from eventlog.files.filesystem import FileSystem
from eventlog.files.mapping import Bytes
from eventlog.files.page import PAGE_BYTES, create_page, open_page
from eventlog.format import layouts as L
from eventlog.format.batch_home import NOWHERE

_CHECK_BYTES = L.END_SLOT.size + L.SLOT_CHECKSUM.size

# What each durable append asks several times is looked up here, and not in the module of all layouts.
_END, _WRITER, _LIFE, _FAILED = L.HEAD_END, L.HEAD_WRITER, L.HEAD_LIFE, L.HEAD_FAILED
_POISONED = L.WRITER_POISONED
_DURABLES, _SECOND_SLOT, _SLOT_BYTES = L.HEAD_DURABLES, L.HEAD_SLOTS[1], tuple(slot * 8 for slot in L.HEAD_SLOTS)
_pack_slot, _unpack_slot = L.END_SLOT.pack, L.END_SLOT.unpack_from
_crc = crc32c.crc32c

_LOOKS = 10_000  # at a page that changes all the time: a writer publishes in microseconds


class EndState(NamedTuple):
    """Where a log ends. Positions are bytes within the segment, timestamps milliseconds (-1: none yet).

    Each checksum is the CRC-32C of all entries of an index that count.
    """

    end_offset: int = 0
    segment_base: int = 0
    position: int = 0
    index_checksum: int = 0
    last_indexed: int = 0
    time_checksum: int = 0
    index_entries: int = 0
    time_entries: int = 0
    max_timestamp: int = -1
    last_time_indexed: int = -1
    first_timestamp: int = -1

    def is_possible(self) -> bool:
        """Tell whether a log could end there: each batch has one entry at most in an index."""
        is_in_order = self.segment_base <= self.end_offset < 2**63 and self.last_indexed <= self.position
        return is_in_order and self.index_entries <= self.position and self.time_entries <= self.position + 1

    def with_indexes_of(self, other: EndState) -> EndState:
        """Return the same end, with what ``other`` says of the indexes."""
        return self._replace(
            index_checksum=other.index_checksum, index_entries=other.index_entries, last_indexed=other.last_indexed,
            time_checksum=other.time_checksum, time_entries=other.time_entries,
            last_time_indexed=other.last_time_indexed,
        )  # fmt: skip


_made_state = partial(tuple.__new__, EndState)


class Head:
    """The mapped page: ``words`` for single stores and loads, ``page`` for packing a slot."""

    def __init__(self, page: Bytes, path: str = "", *, home: int = NOWHERE, is_private: bool = False) -> None:
        """``home`` is the partition's `home_of`, which the recovery point has mixed into its checksum."""
        self.path = path
        self._home = home
        self.is_private = is_private
        self.page = memoryview(page)  # type: ignore[arg-type]  # an array is a buffer
        self.words = page.view(np.uint64)

    @classmethod
    def open(cls, fs: FileSystem, path: str, *, writable: bool, home: int = NOWHERE) -> Head | None:
        """Map the page at ``path``; None when there is none, or when it is no head."""
        page = open_page(fs, path, L.HEAD_MAGIC, writable=writable)
        return None if page is None else cls(page, path, home=home)

    @classmethod
    def create(cls, fs: FileSystem, path: str, home: int = NOWHERE) -> Head:
        """Put a fresh page at ``path``. An older page of this name lives on for those who have it mapped."""
        head = cls(create_page(fs, path, L.HEAD_MAGIC), path, home=home)
        head.words[L.HEAD_IDENTITY] = secrets.randbits(64)
        head.words[L.HEAD_LIFE] = L.FIRST_LIFE
        return head

    def is_in_place(self, fs: FileSystem, path: str) -> bool:
        """Tell whether this is the head at ``path``, and not that of another topic of the same name."""
        if self.is_private:
            return fs.exists(os.path.dirname(path))
        other = Head.open(fs, path, writable=False)
        return other is not None and other.words.item(L.HEAD_IDENTITY) == self.words.item(L.HEAD_IDENTITY)

    @classmethod
    def private(cls) -> Head:
        """Return a page of this process alone, for a log that may only be read."""
        head = cls(np.zeros(PAGE_BYTES, dtype=np.uint8), is_private=True)
        head.words[0] = L.HEAD_MAGIC
        return head

    @property
    def end_offset(self) -> int:
        """The published log end offset; END_DELETED when the topic is gone."""
        return self.words.item(_END)

    @property
    def session(self) -> int:
        """The session in which this page was last made true."""
        return self.words.item(L.HEAD_SESSION)

    def slot_in_force(self) -> int:
        """Return the index, 0 or 1, of the slot that belongs to the published end."""
        return int(self.words.item(L.HEAD_SLOTS[1]) == self.words.item(L.HEAD_END))

    def end_state(self) -> EndState:
        """Return the slot in force, consistent even while others publish. Raises CorruptMetadataError when none is."""
        words = self.words
        for _ in range(_LOOKS):
            end = words.item(_END)
            state = _made_state(_unpack_slot(self.page, _SLOT_BYTES[words.item(_SECOND_SLOT) == end]))
            if words.item(_END) == end == state.end_offset:
                if state.is_possible():
                    return state
                break
            if end == L.END_DELETED:
                return EndState()
        raise CorruptMetadataError(
            "the head does not say where the log ends", path=self.path,
            hint="open the log again: the head is made anew from the segments",
        )  # fmt: skip

    def is_whole(self) -> bool:
        """Tell whether the page says where the log ends: if it does not, somebody else has written to it."""
        try:
            self.end_state()
        except CorruptMetadataError:
            return False
        return True

    def reset(self, state: EndState, session: int, start_offset: int, outcomes: int = L.NO_OUTCOMES) -> None:
        """Make the page true again after recovery; the session comes last, since it vouches for the rest."""
        slots = L.HEAD_SLOTS if self.slot_in_force() else L.HEAD_SLOTS[::-1]  # the one in force as the last one
        L.END_SLOT.pack_into(self.page, slots[0] * 8, *state)
        self.words[L.HEAD_END] = state.end_offset  # at no moment, and after no crash, is none in force
        L.END_SLOT.pack_into(self.page, slots[1] * 8, *state)
        self.words[L.HEAD_START] = start_offset
        self.words[L.HEAD_SLEEPING] = 0
        self.words[L.HEAD_PREPARED : L.HEAD_JOURNAL + 1] = 0
        self.words[L.HEAD_TRANSACTION_END] = state.end_offset  # for all that is known here
        self.words[L.HEAD_OUTCOMES] = outcomes
        self.words[L.HEAD_WRITER] = L.WRITER_NONE  # only now: it may tell of a failed sync
        self.words[L.HEAD_SESSION] = session

    # --- transactions ---

    def is_pending(self) -> bool:
        """Tell whether a transaction is being committed here, or was when whoever did so died."""
        return self.words.item(_WRITER) == L.WRITER_PENDING

    def prepare(self, state: EndState, transaction: int, journal_offset: int) -> None:
        """Note the end that a transaction will publish; from the last store on, the next writer must settle it."""
        L.END_SLOT.pack_into(self.page, L.HEAD_SLOTS[1 - self.slot_in_force()] * 8, *state)
        words = self.words
        words[L.HEAD_PREPARED] = state.end_offset
        words[L.HEAD_TRANSACTION] = transaction
        words[L.HEAD_JOURNAL] = journal_offset
        words[L.HEAD_WRITER] = L.WRITER_PENDING

    def transaction(self) -> tuple[int, int]:
        """Return the id of the transaction that is pending, and where its outcome is to be looked for."""
        return self.words.item(L.HEAD_TRANSACTION), self.words.item(L.HEAD_JOURNAL)

    def publish_prepared(self, journal_life: int) -> None:
        """Publish what was prepared, unless that was done already. The outcome was written in a life of the journal."""
        words = self.words
        before = words.item(L.HEAD_OUTCOMES)
        if before == L.NO_OUTCOMES or words.item(L.HEAD_TRANSACTION_END) <= self.durable_end:
            words[L.HEAD_OUTCOMES] = journal_life
        elif before != journal_life:
            words[L.HEAD_OUTCOMES] = 0
        prepared = words.item(L.HEAD_PREPARED)
        words[L.HEAD_TRANSACTION_END] = prepared
        if words.item(L.HEAD_END) < prepared:
            words[L.HEAD_END] = prepared

    # --- lives ---

    @property
    def life(self) -> int:
        """The number of the present life; 0 in a head from before there were any."""
        return self.words.item(_LIFE)

    @property
    def durable_end(self) -> int:
        """Every record before this offset is on the device."""
        words = self.words
        return words.item(_DURABLES[words.item(_LIFE) & 1])

    def was_durable(self, life: int, end_offset: int) -> bool:
        """Tell whether every record that was published in this life before the offset is known to be on the device.

        True stays true when the life has ended: recovery finds them there.
        """
        words = self.words
        is_durable = words.item(_DURABLES[life & 1]) >= end_offset
        # Asked last: from the next but one on, the word is another life's.
        return is_durable and words.item(_LIFE) - life <= 1

    def has_failed(self) -> bool:
        """Tell whether a sync has failed in the present life: until recovery nobody may write."""
        words = self.words
        return words.item(_WRITER) == L.WRITER_POISONED or words.item(_FAILED) == words.item(_LIFE) != 0

    def is_sound(self, life: int) -> bool:
        """Tell whether this is the present life, and no sync has failed in it. Of life 0, False says nothing."""
        words = self.words
        return words.item(_LIFE) == life and words.item(_WRITER) != _POISONED and words.item(_FAILED) != life

    def note_failure(self) -> None:
        """Note that a sync has failed: all that is asked of the device from now on is in doubt. Takes no lock.

        To be called when the error is there. If a recovery has begun before, it may have brought back what the error is
        about, or not: the life that is found now has failed. One that begins later reads everything once more.
        """
        self.words[L.HEAD_FAILED] = self.life

    def next_life(self, session: int) -> int:
        """Return the number of the life that a recovery now begins; in another session it is even again."""
        old = self.life
        if not 0 < old < L.LAST_LIFE:
            return L.FIRST_LIFE
        return old + 1 if self.session == session else (old | 1) + 1

    def begin_life(self, new: int) -> None:
        """Begin a new life. For recovery, which holds the partition's lock, before it looks at anything.

        No sync may be under way that began earlier than in the life before the new number.

        1. Hold off all writers, until recovery is through: a crash in between leaves a partition to be recovered.
        2. Clear the durable end that the new life will use: whoever still asks for an earlier life, whose it was, now
           finds that it is over.
        3. Copy the recovery point to the place that the new life uses.
        4. Store the number. A failed sync of the old life is forgotten by that, and a later one is not.
        """
        words, old = self.words, self.life
        words[L.HEAD_WRITER] = L.WRITER_POISONED
        words[L.HEAD_DURABLES[new & 1]] = 0
        start, target = L.HEAD_RECOVERY_POINTS[old & 1], L.HEAD_RECOVERY_POINTS[new & 1]
        words[target : target + L.RECOVERY_WORDS] = words[start : start + L.RECOVERY_WORDS]
        words[L.HEAD_LIFE] = new

    # --- deletion, recovery ---

    def mark_deleted(self) -> None:
        """Tell every process that the topic is gone. The caller holds the partition's lock."""
        self.words[L.HEAD_END] = L.END_DELETED
        self.words[L.HEAD_WRITER] = L.WRITER_NONE

    def recovery_point(self) -> EndState | None:
        """Return what is known to be on the device, or None when that cannot be read, or is another partition's."""
        start = L.HEAD_RECOVERY_POINTS[self.life & 1] * 8
        raw = bytes(self.page[start : start + _CHECK_BYTES])
        (checksum,) = L.SLOT_CHECKSUM.unpack_from(raw, L.END_SLOT.size)
        state = EndState(*L.END_SLOT.unpack_from(raw))
        plain = crc32c.crc32c(raw[: L.END_SLOT.size])  # as versions before this one stored it
        return state if checksum in (plain ^ self._home, plain) and state.is_possible() else None

    def recovery_journal(self) -> int:
        """Return where in the journal the outcomes of all transactions behind the recovery point are; 0: anywhere."""
        start = (L.HEAD_RECOVERY_POINTS[self.life & 1] + L.HEAD_RECOVERY_JOURNAL) * 8
        end_offset, journal_offset, checksum = L.RECOVERY_JOURNAL.unpack_from(self.page, start)
        point = self.recovery_point()
        is_whole = checksum == crc32c.crc32c(self.page[start : start + 16])
        return journal_offset if is_whole and point is not None and point.end_offset == end_offset else 0

    def set_recovery_point(self, state: EndState, journal_offset: int = 0, life: int | None = None) -> None:
        """Note that everything up to ``state`` is on the device, a state of this ``life``: None is the present one.

        The outcomes of all transactions that end behind it stand in the journal from ``journal_offset`` on.
        """
        parity = (self.life if life is None else life) & 1
        point = L.HEAD_RECOVERY_POINTS[parity]
        journal = point + L.HEAD_RECOVERY_JOURNAL
        # The place first: it counts for this recovery point alone, and none is as good as 0. One from before may be for
        # the same point, so 0 replaces it.
        if journal_offset or self.words.item(journal + 1):
            place = (state.end_offset, journal_offset)
            raw = L.RECOVERY_JOURNAL.pack(*place, 0)[:16]
            L.RECOVERY_JOURNAL.pack_into(self.page, journal * 8, *place, crc32c.crc32c(raw))
        raw = _pack_slot(*state)
        raw += L.SLOT_CHECKSUM.pack(_crc(raw) ^ self._home)
        self.page[point * 8 : point * 8 + len(raw)] = raw  # in one copy: a kill leaves the old or the new
        self.words[_DURABLES[parity]] = state.end_offset
