"""The lives of a log in the hands of one of its writers: what was published in one that is over may be lost.

See ``head.py`` for what a life is. An acknowledgement as durable counts for one life: `Flusher.sync_to` is told the one
in which the records were published. Records that were not to be durable at once are remembered here, so that the next
flush of this process does not call durable what is gone.
"""

from __future__ import annotations

from eventlog.errors import StorageError
from eventlog.storage.partition_files import PartitionFiles


class WriterLives:
    """What one process has published in which life."""

    __slots__ = ("_flushed", "_life", "_log", "_may_have_lost")

    def __init__(self, log: PartitionFiles) -> None:
        self._log = log
        self._life = 0  # the one that this process has published in last; 0: none
        self._flushed = 0, 0  # a life, and an end that was on the device in it
        self._may_have_lost = False

    def enter(self, end_offset: int) -> int:
        """Return the present life. For who takes over; ``end_offset`` is behind all that it has published before."""
        self._look(end_offset)
        self._life = self._log.head.life
        return self._life

    def refuse_lost(self, end_offset: int) -> None:
        """Raise StorageError, once, if what this process published before the offset may have gone with its life."""
        self._look(end_offset)
        if self._may_have_lost:
            self._may_have_lost, self._flushed = False, (self._life, end_offset)
            raise ended_error(self._log)

    def flushed(self, life: int, end_offset: int) -> None:
        """Note that all records of this life before the offset are on the device."""
        self._flushed = max(self._flushed, (life, end_offset))

    def _look(self, end_offset: int) -> None:
        head, life = self._log.head, self._life
        if life in (0, head.life) or head.was_durable(life, end_offset):
            return
        if self._flushed[0] != life or self._flushed[1] < end_offset:
            self._may_have_lost = True


def poisoned_error(log: PartitionFiles) -> StorageError:
    """Return the error that a poisoned partition answers with."""
    return StorageError(
        "an earlier sync failed, so the partition refuses writes", path=log.directory, topic=log.topic,
        partition=log.partition, hint="close the log in every process and open it again: it is verified then",
    )  # fmt: skip


def ended_error(log: PartitionFiles) -> StorageError:
    """Return the error for records that were published before a recovery, and not known to be on the device by then."""
    return StorageError(
        "a sync failed, and the partition was recovered before these records were known to be on the device",
        path=log.directory, topic=log.topic, partition=log.partition,
        hint="they may be lost, and their offsets given to others: read what is there, and append again",
    )  # fmt: skip
