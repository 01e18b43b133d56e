"""Writes into a history what a member of a group has to read, each time it changes."""

from __future__ import annotations

import eventlog
from eventlog.model import TopicPartition
from eventlog.testing.history import Assign, Recorder


class AssignmentNotes(eventlog.RebalanceListener):
    """The listener of a consumer. ``may_be_reset``: a power cut may have taken records that were read before."""

    def __init__(self, consumer: eventlog.Consumer, recorder: Recorder, *, may_be_reset: bool) -> None:
        self._consumer = consumer
        self._recorder = recorder
        self._may_be_reset = may_be_reset
        self._held: set[TopicPartition] = set()

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        """Note all that the consumer has now, and where it goes on."""
        self._held |= set(partitions)
        self.note()

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        """Note what is left."""
        self._held -= set(partitions)
        self.note()

    def note(self) -> None:
        """Note what the consumer has, and where it goes on: after a seek, too."""
        self._recorder.ok("assign", Assign({place: self._position(place) for place in sorted(self._held)}))

    def _position(self, place: TopicPartition) -> int | None:
        position = self._consumer.position(place)
        if self._may_be_reset and position > self._consumer.end_offsets([place])[place]:
            return None
        return position
