"""``eventlog consume --group``: reads as a member of a group, and commits what was printed.

Printed first, committed then: who is killed in between prints those records again, and none is left out. Where the
group has committed nothing yet, the start is committed at once: what comes after it is not passed by either.
"""

from __future__ import annotations

from collections.abc import Callable

from eventlog.cli.terminal import tell
from eventlog.consumer.consumer import Consumer
from eventlog.consumer.rebalance_listener import RebalanceListener
from eventlog.errors import FencedMemberError
from eventlog.event_log import EventLog
from eventlog.model import Record, TopicPartition

Places = dict[TopicPartition, int]

_PAUSE = 0.1  # seconds: how often a member that has nothing to print looks whether the others have settled


class _Starter(RebalanceListener):
    """Begins where the caller wants to, in partitions for which the group has committed nothing."""

    def __init__(self, consumer: Consumer, starts: Places) -> None:
        self._consumer = consumer
        self._starts = starts

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            if self._consumer.committed(tp) is None:
                start = self._starts.get(tp, 0)  # 0: the partition is newer than this command
                self._consumer.seek(tp, start)
                self._consumer.commit({tp: start})


class GroupReading:
    """Records of one topic for a member of a group, up to ``ends`` (None: for ever) and ``limit`` records."""

    def __init__(self, log: EventLog, consumer: Consumer, topic: str, starts: Places, ends: Places | None) -> None:
        self._log = log
        self._consumer = consumer
        self._ends = ends
        consumer.subscribe([topic], listener=_Starter(consumer, starts))

    def run(self, show: Callable[[list[Record]], None], limit: int | None, records_a_poll: int) -> None:
        """Show records and commit them, until there are no more to be had."""
        left, wait = limit, None if self._ends is None else 0.0
        while left is None or left > 0:
            count = records_a_poll if left is None else min(left, records_a_poll)
            found = self._wanted(self._consumer.poll(wait, count))
            if found:
                show(found)
                self._commit(found)
            elif self._is_done():
                return
            elif wait is not None:
                wait = _PAUSE
            left = None if left is None else left - len(found)

    def _wanted(self, records: list[Record]) -> list[Record]:
        ends = self._ends
        if ends is None:
            return records
        return [record for record in records if record.offset < ends.get(TopicPartition(*record[:2]), 0)]

    def _commit(self, shown: list[Record]) -> None:
        offsets = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in shown}
        try:
            self._consumer.commit(dict(offsets))
        except FencedMemberError:
            tell("the group went on without this consumer: what it printed last will be printed again")

    def _is_done(self) -> bool:
        """Tell whether everything has been read that is, or may still become, this member's."""
        if self._ends is None:
            return False
        for tp in self._consumer.assignment():
            if self._consumer.position(tp) < self._ends.get(tp, 0):
                return False
        metadata = self._consumer.group_metadata()
        group = self._log.group(metadata.group)
        return group.state == "stable" and any(member.member_id == metadata.member_id for member in group.members)
