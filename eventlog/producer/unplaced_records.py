"""Records with a key whose partitions are still to be computed: for many at once, which costs a tenth.

Sends append to ``records`` as they do to a `RecordBuffer`'s: ``list.append`` is one atomic step, and the list is never
exchanged for another one. To place them is to move a prefix to the buffers of its partitions:

1. Note whose turn it is, then copy the records. Compute their partitions.
2. In one step: end the turn; give each record its new home; append each part to its buffer; delete the prefix; begin
   the next turn. An interrupt comes before or after all of it, since it is made of calls in C alone. Where another
   thread, or a signal handler, has placed records meanwhile, the turn is not there any more: nothing has happened, and
   all begins again.

So there is no lock, and a record is in this list or in its buffer's, and never in both or neither. Whatever is sent to
a partition of the topic by another way is sent after what waits here was placed: a partition keeps the order of sends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import delitem
from typing import final

from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.producer.delivery import Callback, Delivery, Outcome
from eventlog.producer.placing import Step, give_home, run_all, split_by_key
from eventlog.producer.record_buffer import RecordBuffer
from eventlog.topics.topic import Topic

_MOST = 128  # records placed at once for each partition: more would make its last batch larger, and gain little
_FIRST = 64


@final
class UnplacedRecords:
    """The records of one topic that have a key, and no partition yet."""

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_turn",
        "at_once",
        "is_congested",
        "last",
        "limit",
        "most",
        "records",
        "topic",
    )

    def __init__(
        self, topic: Topic, buffer: Callable[[Topic, int], RecordBuffer], *, most: int, is_serialized: bool
    ) -> None:
        """``buffer`` finds that of a partition; records of up to ``most`` bytes of key and value come here."""
        self.topic = topic
        self.records: list[Delivery] = []
        self.limit = _FIRST  # when to place them
        self.last = False  # the producer was closed: whatever still slips in is written at once
        self.most = most
        self.at_once = -1 if is_serialized else most  # the same for records that need no serializer
        self.is_congested = False  # its partitions have more waiting than they should
        self._buffer = buffer
        self._turn = [object()]
        topic.users.add(self)

    @property
    def name(self) -> str:
        """What is told of the deliveries that wait here: the topic, since the partition is not known yet."""
        return self.topic.name

    def place(self) -> list[RecordBuffer]:
        """Move what waits to the buffers of its partitions; return those."""
        while self.records and (turn := self._turn[:]):
            records = self.records[:]
            parts = self._parts(records)
            steps: list[Step] = [
                partial(self._turn.remove, *turn),
                *(give_home(part, buffer) for buffer, part in parts),
                *(partial(buffer.records.extend, part) for buffer, part in parts),
                partial(delitem, self.records, slice(len(records))),
                partial(self._turn.append, object()),
            ]
            try:
                run_all(steps)
            except ValueError as error:
                pass_on_handlers(error)
                continue  # another one was faster
            touched = [buffer for buffer, _ in parts]
            full = sum(buffer.full for buffer in touched)
            self.limit = 0 if self.last else max(1, min(_MOST * len(touched), full // 2))
            return touched
        return []

    def _parts(self, records: list[Delivery]) -> list[tuple[RecordBuffer, list[Delivery]]]:
        split = split_by_key(records, len(self.topic.partitions))
        return [(self._buffer(self.topic, number), part) for number, part in split]

    # --- what a delivery asks of its home ---

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Place what waits; then the delivery's home is another one, which settles it."""
        self.place()
        home = delivery.home
        if not isinstance(home, Outcome):
            home.settle(delivery, timeout)

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Have the callback kept by the delivery's buffer; False when the outcome is known already."""
        self.place()
        home = delivery.home
        return not isinstance(home, Outcome) and home.add_callback(delivery, callback)

    # --- care ---

    def topic_is_gone(self) -> None:
        """Take no more records without the topic being looked up again: it was deleted."""
        self.most = self.at_once = -1

    def begin_last(self) -> None:
        """The producer ends: a record that slips in later is written at once."""
        self.last, self.limit = True, 0

    def after_fork(self) -> None:
        """In a forked child: the records are the parent's, who writes them."""
        self.records.clear()
        self._turn[:] = [object()]
