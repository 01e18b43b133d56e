"""What can be said of a group at one moment: its state, its members, and how far behind it is."""

from __future__ import annotations

import attrs

from eventlog.model import TopicPartition
from eventlog.notebooks import table


@attrs.frozen
class MemberDescription:
    """One consumer of a group.

    ``assignment`` is what it owns now, ``last_poll_ms_ago`` None when that is not known. ``is_alive`` tells whether its
    process holds the member's lock: False from the moment of its death, noticed by the others or not, and for a static
    member that is expected back. Of a member whose group has lost its state only the id is known: ``client_id`` and
    ``host`` are empty and ``pid`` is None, until it has joined again.
    """

    member_id: str
    client_id: str = ""
    host: str = ""
    pid: int | None = None
    group_instance_id: str | None = None
    assignment: tuple[TopicPartition, ...] = ()
    topics: tuple[str, ...] = ()
    last_poll_ms_ago: int | None = None
    is_alive: bool = False


@attrs.frozen
class PartitionLag:
    """How far a group is in one partition.

    ``current_offset`` is the committed one, None when nothing is committed; ``log_end_offset`` is None when the
    partition cannot be read, as after its topic was deleted. ``lag`` is the one less the other: None when either is not
    known, and when the commit lies beyond the end: who begins there is reset. ``member_id`` is the owner, None when
    nobody owns the partition.
    """

    topic: str
    partition: int
    current_offset: int | None = None
    log_end_offset: int | None = None
    metadata: str = ""
    member_id: str | None = None
    lag: int | None = attrs.field(init=False)

    @lag.default
    def _lag(self) -> int | None:
        if self.current_offset is None or self.log_end_offset is None or self.current_offset > self.log_end_offset:
            return None
        return self.log_end_offset - self.current_offset

    def _repr_html_(self) -> str:
        return table(f"Lag of {self.topic}-{self.partition}", _COLUMNS, [_row(self)])


@attrs.frozen
class GroupDescription:
    """A group at one moment. Made by `EventLog.group`.

    ``state`` is one of

    - ``"stable"``: every member has what it should have,
    - ``"rebalancing"``: partitions are on their way to other members, or a member has died and nobody has noticed yet,
    - ``"empty"``: offsets are committed, but no member lives,
    - ``"dead"``: neither members nor offsets are left.

    ``partitions`` are those that are committed or owned, sorted.
    """

    group: str
    state: str
    generation: int = 0
    assignor: str = ""
    members: tuple[MemberDescription, ...] = ()
    partitions: tuple[PartitionLag, ...] = ()

    @property
    def total_lag(self) -> int:
        """The lag of all partitions together, as far as it is known."""
        return sum(found.lag or 0 for found in self.partitions)

    @property
    def records_lag_max(self) -> int:
        """The largest lag of a partition, as far as it is known; 0 without any."""
        return max((found.lag or 0 for found in self.partitions), default=0)

    def _repr_html_(self) -> str:
        caption = f"Group {self.group}: {self.state}, {len(self.members)} members, total lag {self.total_lag}"
        return table(caption, _COLUMNS, map(_row, self.partitions))


_COLUMNS = ["topic", "partition", "current offset", "log end offset", "lag", "member"]


def _row(lag: PartitionLag) -> list[object]:
    return [lag.topic, lag.partition, lag.current_offset, lag.log_end_offset, lag.lag, lag.member_id]
