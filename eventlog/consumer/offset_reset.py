"""Where a consumer begins without a position, or with one that is not in the log: ``auto_offset_reset``."""

from __future__ import annotations

import logging

from eventlog.clock import Clock, wall_ms
from eventlog.config import BY_DURATION
from eventlog.errors import NoOffsetForPartitionError
from eventlog.quantities import duration_ms
from eventlog.topics.partition import Partition

_log = logging.getLogger("eventlog")


class OffsetReset:
    """Finds the place in a partition, and logs it. ``policy`` is the setting, which may be a duration (KIP-1106)."""

    def __init__(self, policy: str, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock
        self._back_ms = duration_ms(policy.removeprefix(BY_DURATION)) if policy.startswith(BY_DURATION) else None

    @property
    def is_error(self) -> bool:
        """Tell whether nothing is found here: the caller wants an error instead."""
        return self.policy == "none"

    def first(self, partition: Partition) -> int:
        """Return where to begin without a position. Raises NoOffsetForPartitionError for the policy ``none``."""
        if self.is_error:
            raise NoOffsetForPartitionError(
                "no position, and auto_offset_reset is 'none'", topic=partition.topic, partition=partition.number,
                hint="seek first, or set auto_offset_reset to 'earliest' or 'latest'",
            )  # fmt: skip
        place = self._find(partition)
        _log.info(
            "%s-%d: no position: begins at %d (auto_offset_reset=%s)",
            partition.topic, partition.number, place, self.policy,
        )  # fmt: skip
        return place

    def again(self, partition: Partition, position: int) -> int:
        """Return where to go on from a position that is not in the log (any more, or yet)."""
        place = self._find(partition)
        _log.warning(
            "%s-%d: position %d is not in the log: goes on at %d (auto_offset_reset=%s)",
            partition.topic, partition.number, position, place, self.policy,
        )  # fmt: skip
        return place

    def _find(self, partition: Partition) -> int:
        if self.policy == "earliest":
            return partition.log_start_offset
        end = partition.log_end_offset  # before the search: what comes during it is young enough
        if self._back_ms is None:
            return end
        found = partition.first_at_or_after(max(0, wall_ms(self._clock.time()) - self._back_ms))
        return end if found is None else found.offset
