"""Compares the journal of transactions with the partitions: what one says is in the other, has to be there.

Walks through the journal, and then through the headers of every partition's batches; the bytes of both are for
`verify_partition` to check. What is damaged is passed by here: it is reported there.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from itertools import pairwise

import attrs

from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.coordination.transaction_records import TransactionOutcome, decode
from eventlog.errors import ClosedError, CorruptMetadataError, CorruptSegmentError, EventLogError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.filenames import HEAD
from eventlog.format.producer_stamp import records_between
from eventlog.format.record_batch import RecordBatch
from eventlog.monitoring.transaction_monitor import TransactionMonitor
from eventlog.storage.head import Head
from eventlog.topics.internal import TRANSACTIONS_TOPIC
from eventlog.topics.partition import Partition
from eventlog.topics.registry import TopicRegistry

_OTHERS = "are other records than a transaction has committed"
_POWER_CUT = 'with durability="os" a power cut can do that'
_FIELDS = 5  # of each part: first offset, offset behind the last, producer id, producer epoch, first sequence number
_Part = tuple[int, int, int, int, int]


@attrs.frozen
class TransactionsReport:
    """What `EventLog.verify_transactions` found. ``problems`` and ``notes`` are sentences; a note is no damage.

    ``outcomes`` is how many the journal holds, ``committed`` how many of them are of transactions that were committed.
    """

    outcomes: int = 0
    committed: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def verify_transactions(
    registry: TopicRegistry, journal: TransactionJournal, monitor: TransactionMonitor
) -> TransactionsReport:
    """Check every outcome, and that every batch of a transaction has one."""
    return _Verification(registry, journal).run(monitor)


class _Verification:
    def __init__(self, registry: TopicRegistry, journal: TransactionJournal) -> None:
        self._registry = registry
        self._journal = journal
        self._outcomes = self._committed = 0
        self._next = 0  # the journal is read up to here
        self._is_whole = True
        self._parts: dict[tuple[str, int], array[int]] = {}  # by the topic's id and the partition
        self._problems: list[str] = []
        self._notes: list[str] = []

    def run(self, monitor: TransactionMonitor) -> TransactionsReport:
        for name in monitor.ids():
            try:
                monitor.files(name).read()
            except CorruptMetadataError as error:
                self._problems.append(f"{error.path}: {error.reason}")
        self._read_journal()
        for partition, topic_id in self._partitions():
            parts = self._parts[topic_id, partition.number] = _joined(
                self._parts.get((topic_id, partition.number), array("q"))
            )
            for first, second in pairwise(_ranges(parts)):
                if second[0] < first[1]:
                    self._wrong(partition, *second[:2], "are of two transactions")
            self._check(partition, topic_id)
            partition.release()
        return TransactionsReport(self._outcomes, self._committed, tuple(self._problems), tuple(self._notes))

    def _partitions(self) -> Iterator[tuple[Partition, str]]:
        for name in self._registry.names():
            if name == TRANSACTIONS_TOPIC:
                continue
            try:
                topic = self._registry.get(name)
                yield from ((partition, topic.topic_id) for partition in topic.partitions if partition.was_used)
            except ClosedError:
                raise
            except EventLogError as error:
                pass_on_handlers(error)
                continue  # whoever verifies the topic is told

    # --- the journal ---

    def _read_journal(self) -> None:
        """Read what was not read yet."""
        partition = self._journal.partition()
        if partition is None:
            return
        cursor = partition.cursor(self._next)
        while True:
            try:
                batch = cursor.next_batch()
            except CorruptSegmentError as error:
                self._is_whole = False
                if error.next_offset is None:
                    break
                cursor.seek(error.next_offset)
                continue
            if batch is None:
                break
            self._read(batch)
        self._next = cursor.next_offset

    def _read(self, batch: RecordBatch) -> None:
        for offset, key, value in zip(batch.offsets.tolist(), batch.keys(), batch.values(), strict=True):
            self._outcomes += 1
            try:
                self._add(decode(key, value))
            except EventLogError as error:
                pass_on_handlers(error)
                self._is_whole = False
                self._problems.append(f"{TRANSACTIONS_TOPIC}-0: offset {offset}: {error.reason}")

    def _add(self, outcome: TransactionOutcome) -> None:
        self._committed += outcome.is_committed
        if outcome.is_committed:
            for part in outcome.parts:
                parts = self._parts.setdefault((part.topic_id, part.partition), array("q"))
                parts.extend(
                    (part.base_offset, part.end_offset, outcome.producer_id, outcome.epoch, part.base_sequence)
                )

    # --- a partition ---

    def _check(self, partition: Partition, topic_id: str) -> None:
        try:
            end = partition.log_end_offset
            known = len(self._parts.get((topic_id, partition.number), ()))
            strangers = self._compare(partition, topic_id, end)
            if strangers and self._is_whole:  # committed since the journal was read?
                self._read_journal()
                parts = list(_ranges(self._parts.get((topic_id, partition.number), array("q"))[known:]))
                strangers = [found for found in strangers if not _is_within(found, parts)]
            self._report_strangers(partition, strangers)
            self._check_end(partition, topic_id)
        except ClosedError:
            raise
        except (EventLogError, OSError) as error:
            pass_on_handlers(error)
            return  # whoever verifies the partition is told

    def _compare(self, partition: Partition, topic_id: str, end: int) -> list[tuple[int, int]]:
        """Compare each part with the batches that lie there; return the ranges of transactional batches besides."""
        parts = iter(_ranges(self._parts.get((topic_id, partition.number), array("q"))))
        part = next(parts, None)
        strangers: list[tuple[int, int]] = []
        for batch in _batches(partition, end):
            while part is not None and part[1] <= batch.base_offset:
                part = next(parts, None)
            if part is not None and part[0] <= batch.last_offset:
                if not _belongs(batch, part):
                    self._wrong(partition, *part[:2], f"{_OTHERS}; {_POWER_CUT}")
                    part = next(parts, None)
            elif batch.is_transactional:
                strangers.append((batch.base_offset, batch.last_offset + 1))
        return strangers

    def _report_strangers(self, partition: Partition, strangers: list[tuple[int, int]]) -> None:
        if not strangers:
            return
        which = f"{_name(partition)}: {len(strangers)} batches of transactions, from offset {strangers[0][0]} on"
        if self._journal.partition() is None:
            self._problems.append(f"{which}, and there is no journal that says whether they were committed")
        elif self._is_whole:
            self._problems.append(f"{which}, which the journal does not know as committed")
        else:
            self._notes.append(f"{which}, whose outcome was in the damaged part of the journal")

    def _check_end(self, partition: Partition, topic_id: str) -> None:
        """Tell of what was committed and is not there: it is on its way, or gone."""
        log = partition.log
        head = Head.open(log.context.fs, os.path.join(log.directory, HEAD), writable=False, home=log.segments.home)
        is_pending = head is not None and head.is_pending()
        end = partition.log_end_offset
        last = max((part[1] for part in _ranges(self._parts.get((topic_id, partition.number), array("q")))), default=0)
        if is_pending:
            self._notes.append(f"{_name(partition)}: {_pending(last > end)}")
        elif last > end:
            self._wrong(partition, end, last, f"were committed, and are not there; {_POWER_CUT}")

    def _wrong(self, partition: Partition, base_offset: int, end_offset: int, what: str) -> None:
        self._problems.append(f"{_name(partition)}: offsets {base_offset} to {end_offset - 1} {what}")


def _name(partition: Partition) -> str:
    return f"{partition.topic}-{partition.number}"


def _pending(is_committed: bool) -> str:
    found = "a transaction is being committed here, or its process died at that"
    if is_committed:
        return f"{found}; it is committed, and whoever comes to the partition next publishes its records"
    return f"{found}; whoever comes to the partition next finds out from the journal what became of it"


def _ranges(parts: array[int]) -> Iterator[_Part]:
    for start in range(0, len(parts), _FIELDS):
        base_offset, end_offset, producer_id, epoch, sequence = parts[start : start + _FIELDS]
        yield base_offset, end_offset, producer_id, epoch, sequence


def _joined(parts: array[int]) -> array[int]:
    """Return the parts by their offsets, those as one that overlap and say the same: the outcome was written again."""
    joined: array[int] = array("q")
    last: _Part | None = None
    for part in sorted(_ranges(parts), key=_base_offset):
        if last is not None and _says_the_same(last, part):
            last = (last[0], max(last[1], part[1]), *last[2:])
            joined[1 - _FIELDS] = last[1]
        else:
            last = part
            joined.extend(part)
    return joined


def _base_offset(part: _Part) -> int:
    return part[0]


def _says_the_same(first: _Part, second: _Part) -> bool:
    is_same_line = records_between(first[4], second[4]) == second[0] - first[0]
    return second[0] < first[1] and first[2:4] == second[2:4] and is_same_line


def _is_within(found: tuple[int, int], parts: list[_Part]) -> bool:
    return any(part[0] <= found[0] and found[1] <= part[1] for part in parts)


def _belongs(batch: RecordBatch, part: _Part) -> bool:
    return (
        batch.is_transactional
        and (batch.producer_id, batch.producer_epoch) == part[2:4]
        and part[0] <= batch.base_offset
        and batch.last_offset < part[1]
        and records_between(part[4], batch.base_sequence) == batch.base_offset - part[0]
    )


def _batches(partition: Partition, end: int) -> Iterator[RecordBatch]:
    """Yield the batches before ``end``, without those that are damaged."""
    cursor = partition.cursor(partition.log_start_offset, check_crcs=False)
    while cursor.next_offset < end:
        try:
            batch = cursor.next_batch()
        except CorruptSegmentError as error:
            if error.next_offset is None:
                return
            cursor.seek(error.next_offset)
            continue
        if batch is None:
            return
        yield batch
