"""The outcomes of the transactions in a partition, which are in the journal: a log of its own, whose device may fail.

Recovery ends the log before the first batch of a transaction that the journal does not know as committed. So nothing in
a partition may be called durable while the outcome of a transaction before it is not on the device:

1. Before the durable end goes beyond the end of a transaction, the journal is synced (`sync`).
2. After a failed sync of its own, the journal is recovered in the same session, and outcomes may be gone, of
   transactions that were published by then. So the head says in which life of the journal the outcomes of all
   transactions behind the durable end were written. If the journal's life is another one by now, they are written once
   more, under the partition's lock, from what the batches say, before the journal is synced. A crash in between leaves
   outcomes that say the same twice.
3. A life of the journal that ends meanwhile is an error: its records are known to be durable for one life alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventlog.format import layouts as L
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.log_cursor import LogCursor
from eventlog.storage.partition_files import PartitionFiles

_TRANSACTION_END = L.HEAD_TRANSACTION_END


class Outcomes:
    """Brings the outcomes of one partition's transactions to the device."""

    def __init__(self, log: PartitionFiles) -> None:
        self._log = log

    def has_new(self) -> bool:
        """Tell whether transactions have ended here behind what is known to be on the device."""
        head = self._log.head
        return bool(head.words.item(_TRANSACTION_END) > head.durable_end)

    def sync(self, *, is_held: bool) -> None:
        """Bring the outcomes to the device; ``is_held``: the caller holds the partition's lock. Raises StorageError."""
        if not self.has_new():
            return
        self._log.context.journal.sync(self.write_lost(is_held=is_held))

    def write_lost(self, *, is_held: bool) -> int:
        """Write the outcomes again if the journal may have lost some; return the life of it in which all are now."""
        log, journal = self._log, self._log.context.journal
        life = journal.life()
        if self.has_new() and log.head.words.item(L.HEAD_OUTCOMES) not in (life, L.NO_OUTCOMES):
            log.writer.while_held(lambda: self._write_again(life), is_held=is_held)
        return life

    def _write_again(self, life: int) -> None:
        log = self._log
        log.context.journal.write_again(log.topic, log.topic_id, log.partition, self._batches())
        log.head.words[L.HEAD_OUTCOMES] = life

    def _batches(self) -> Iterator[RecordBatch]:
        """Yield the batches of transactions behind the durable end."""
        cursor = LogCursor(self._log, min(self._log.head.durable_end, self._log.head.end_offset))
        while (batch := cursor.next_batch()) is not None:
            if batch.is_transactional:
                yield batch
