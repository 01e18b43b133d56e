"""What a check can find: the kinds of anomalies, and one that was found."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType

import attrs

from eventlog.model import TopicPartition

ANOMALIES: Mapping[str, str] = MappingProxyType({
    "lost-write": "acknowledged, never polled, although later records were",
    "unseen": "acknowledged, never polled, and nothing behind it was",
    "duplicate": "one value at several offsets",
    "inconsistent-offsets": "several values at one offset",
    "unknown-value": "polled, although nobody sent it",
    "aborted-read": "polled, although it was aborted or had failed (G1a)",
    "precommitted-read": "polled before its transaction's commit began",
    "poll-skip": "a consumer was not given records between two polls",
    "nonmonotonic-poll": "a consumer was given records again, or went back",
    "int-poll-skip": "one poll or transaction left out records",
    "int-nonmonotonic-poll": "one poll or transaction went back",
    "nonmonotonic-send": "a process's later record has a lower offset",
    "int-nonmonotonic-send": "within one send or transaction, a later record has a lower offset",
    "realtime-order": "sent after another record was acknowledged, and stands before it",
    "int-send-skip": "foreign records within one transaction's",
    "write-cycle": "transactions that each wrote before the other (G0)",
})  # fmt: skip
"""Every anomaly that `check` looks for, and what it means."""

CHAIN_ANOMALIES: Mapping[str, str] = MappingProxyType({
    "unprocessed": "an input without an output",
    "processed-twice": "an input with several outputs",
    "unknown-source": "an output without an input",
})  # fmt: skip
"""Every anomaly that `check_chain` looks for, and what it means."""


@attrs.frozen
class Anomaly:
    """One thing that cannot be in a log that keeps its promises: a sentence, and where to look.

    ``offsets`` and ``values`` are those concerned, in ``partition`` if there is only one; ``processes`` are those
    that noted it. ``time_ns`` is the time of the note that proves it, None where no single one does.
    """

    name: str
    sentence: str
    partition: TopicPartition | None = None
    offsets: tuple[int, ...] = ()
    values: tuple[Hashable, ...] = ()
    processes: tuple[str, ...] = ()
    time_ns: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


Anomalies = Iterator[Anomaly]

SHOWN_OFFSETS = 100
"""How many offsets an anomaly names that concerns a whole range: a hole may be millions wide."""


def place(partition: TopicPartition, offset: int | None = None) -> str:
    """Return a partition, and an offset in it, as sentences name them.

    >>> place(TopicPartition("orders", 0)), place(TopicPartition("orders", 0), 17)
    ('orders-0', 'orders-0 at offset 17')
    """
    name = f"{partition.topic}-{partition.partition}"
    return name if offset is None else f"{name} at offset {offset}"


def listing(values: Sequence[object]) -> str:
    """Return values as a sentence lists them: all, or the first few.

    >>> listing([1]), listing("ab"), listing(range(9))
    ('1', "'a' and 'b'", '0, 1, 2 and 6 more')
    """
    if len(values) > 4:
        return f"{', '.join(map(repr, values[:3]))} and {len(values) - 3} more"
    return " and ".join(filter(None, (", ".join(map(repr, values[:-1])), repr(values[-1]))))
