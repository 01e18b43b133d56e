"""What a log holds after a power cut, and what that says of the history before: some of it may be forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

import eventlog
from eventlog.model import TopicPartition
from eventlog.testing.history import Action, Operation, Poll, Send
from eventlog.testing.soak.topics import TOPICS

Ranges = list[tuple[int, int]]


@attrs.frozen
class Survey:
    """What one cut has left: where each partition ends, and which offsets cannot be read.

    ``went_ns`` is right before the power went; at ``back_ns`` nobody was left who had not noticed.
    """

    went_ns: int
    back_ns: int
    ends: dict[TopicPartition, int]
    damaged: dict[TopicPartition, Ranges]

    def whole(self, place: TopicPartition, before: Ranges) -> int:
        """Return up to where nothing is missing that was there ``before``."""
        return min([self.ends[place], *(low for low, high in self.damaged[place] if (low, high) not in before)])


def survey(log_path: Path, dark: tuple[int, int], into: Path) -> None:
    """Read every partition of the workload to its end, and write down what is there; ``dark``: see `Survey`."""
    with eventlog.open(log_path) as log:
        places = [place for topic in TOPICS for place in topic.all()]
        found = [_look_at(log.topic(place.topic).partitions[place.partition]) for place in places]
    into.write_text(json.dumps([dark, found]))


def _look_at(partition: eventlog.Partition) -> tuple[str, int, int, Ranges]:
    offset, damaged = partition.log_start_offset, []
    while offset < partition.log_end_offset:
        try:
            offset = partition.read(offset)[-1].last_offset + 1
        except eventlog.CorruptSegmentError as error:
            following = error.next_offset or partition.log_end_offset
            damaged.append((offset, following))
            offset = following
    return partition.topic, partition.number, partition.log_end_offset, damaged


def read_survey(path: Path) -> Survey:
    """Return what `survey` wrote."""
    (went, back), found = json.loads(path.read_text())
    places = [(TopicPartition(topic, number), end, damaged) for topic, number, end, damaged in found]
    return Survey(
        went,
        back,
        {place: end for place, end, _ in places},
        {place: [(low, high) for low, high in damaged] for place, _, damaged in places},
    )


def forget_lost(history: Iterable[Operation], surveys: Sequence[Survey], lazy: Iterable[str]) -> list[Operation]:
    """Return the history without what the cuts were free to take.

    What was read before a cut, and is gone after it, was not on the device yet: its reading is left out, since others
    may have its offset now. What was acknowledged to a process whose name begins as one of ``lazy`` did not wait for
    the device: of what is gone, nobody knows. Whatever else was acknowledged stays in the history, to be found.

    When the power goes, every process is gone in the same instant. Here some live for a few milliseconds more, in which
    a sync may even seem to succeed: they do not count.
    """
    prefixes = tuple(lazy)
    known = list(history)
    before: dict[TopicPartition, Ranges] = {place: [] for place in (surveys[0].ends if surveys else ())}
    for cut in surveys:
        wholes = {place: cut.whole(place, before[place]) for place in cut.ends}
        known = [
            _known(note, wholes, prefixes) if note.time_ns < cut.went_ns else _begun(note, cut.back_ns)
            for note in known
            if note.kind == "invoke" or not cut.went_ns <= note.time_ns < cut.back_ns
        ]
        before = cut.damaged
    return known


def _begun(note: Operation, back_ns: int) -> Operation:
    """Return a note without what was read in the dark."""
    if note.time_ns >= back_ns:
        return note
    return attrs.evolve(note, actions=tuple(action for action in note.actions if not isinstance(action, Poll)))


def _known(note: Operation, wholes: dict[TopicPartition, int], lazy: tuple[str, ...]) -> Operation:
    if not any(isinstance(action, Poll | Send) for action in note.actions):
        return note
    if note.kind == "ok" and note.what == "send" and note.process.startswith(lazy):
        lost = [act for act in note.actions if isinstance(act, Send) and (act.offset or 0) >= wholes[act.partition]]
        if lost:  # each send has a note of its own
            return attrs.evolve(note, kind="info", actions=tuple(attrs.evolve(act, offset=None) for act in lost))
        return note
    return attrs.evolve(note, actions=tuple(_seen(action, wholes) for action in note.actions))


def _seen(action: Action, wholes: dict[TopicPartition, int]) -> Action:
    if not isinstance(action, Poll):
        return action
    kept = {
        place: [(offset, value) for offset, value in pairs if offset < wholes[place]]
        for place, pairs in action.records.items()
    }
    return Poll({place: pairs for place, pairs in kept.items() if pairs})
