"""What transactional producers share: the journal, the transactional ids, the offsets of groups.

There is no coordinator process. Each producer commits its own transactions, under locks that the kernel frees when it
dies; whoever comes next finds out from the journal what became of the last one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from eventlog.coordination.checked_offsets import checked_offsets
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.offset_store import OffsetStore
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.coordination.transaction_records import TransactionOutcome
from eventlog.coordination.transactional_id import TransactionalId
from eventlog.errors import EventLogError, UnknownTopicError
from eventlog.files.signal_handlers import suppress
from eventlog.format import layouts as L
from eventlog.model import OffsetAndMetadata, TopicPartition
from eventlog.storage.context import LogContext
from eventlog.topics.registry import TopicRegistry


class TransactionCoordinator:
    """Makes what a producer needs for its transactions. One for each open log."""

    def __init__(self, context: LogContext, root: str, registry: TopicRegistry, offsets: OffsetStore) -> None:
        self.journal = TransactionJournal(context, root)
        self.offsets = offsets
        self.clock = context.clock
        self._context = context
        self._root = root
        self._registry = registry

    def transactional_id(self, transactional_id: str) -> TransactionalId:
        """Return the files of a transactional id. Raises InvalidConfigError for a text that cannot be one."""
        return TransactionalId(self._context, self._root, transactional_id)

    def checked_offsets(self, offsets: object) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what a caller wants to commit; see `checked_offsets` for what is raised."""
        return checked_offsets(self._registry, offsets)

    def sync_inputs(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Bring the records before these offsets to the device, where they are not yet.

        Otherwise a power cut could take one that a durable transaction has consumed, and the offset would pass over
        the record that is written in its place.
        """
        for (topic, partition), wanted in offsets.items():
            with contextlib.suppress(UnknownTopicError):  # deleted meanwhile
                log = self._registry.get(topic).partitions[partition].log
                life, end_offset = log.present()
                log.flusher.sync_to(min(wanted.offset, end_offset), life)  # less when it was made anew

    def group_directory(self, group: str) -> GroupDirectory:
        """Return the files of a group. Raises InvalidGroupError."""
        return GroupDirectory(self._context.fs, self._root, group, root=self._context.root)

    def begin(self, known: TransactionalId, patience: float, timeout_ms: int) -> tuple[int, int]:
        """Return producer id and epoch for a new producer, once the last transaction of the one before is whole."""
        self.journal.create(self._registry)
        words = known.words()
        since = 0 if words is None else words.item(L.TX_JOURNAL)
        producer_id, epoch = known.begin(patience, timeout_ms)
        for outcome in self._last_outcomes(known.transactional_id, min(since, self.journal.end_offset())):
            self._settle(outcome)
        return producer_id, epoch

    def _last_outcomes(self, transactional_id: str, since: int) -> Iterator[TransactionOutcome]:
        for _, outcome in self.journal.outcomes(since):
            if outcome.is_committed and outcome.transactional_id == transactional_id:
                yield outcome

    def _settle(self, outcome: TransactionOutcome) -> None:
        """Publish what a producer had no more time to publish; anyone who comes to these partitions would."""
        for part in outcome.parts:
            with suppress(EventLogError, OSError, IndexError):
                topic = self._registry.get(part.topic)
                if topic.topic_id != part.topic_id:
                    raise UnknownTopicError("deleted, and made anew", topic=part.topic)
                topic.partitions[part.partition].log.settled_end_offset()

    def after_fork(self) -> None:
        """Start with free locks in a forked child."""
        self.journal.after_fork()

    def close(self) -> None:
        """Bring the journal to the device, and give back descriptors."""
        self.journal.close()
