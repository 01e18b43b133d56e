"""One partition of ``__consumer_offsets``, as this process knows it: appends to its log, and follows it.

Truth is the log. A commit appends one batch and is done; the table is brought up to the log end when somebody asks.
Who commits alone has its table follow without reading, and whoever finds, after a commit, that many records follow the
last snapshot writes a new one. The cost of that is shared by all those commits, and failing costs nothing but time.

The lock guards the table. A commit never waits for it: what it does not put into the table is read from the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import TypeVar

from eventlog.coordination.offset_records import fingerprint
from eventlog.coordination.offset_snapshot import Snapshot, read_snapshot, write_snapshot
from eventlog.coordination.offset_table import OffsetTable
from eventlog.errors import CorruptSegmentError, EventLogError
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import encode, encode_one_keyed
from eventlog.format.columns import BatchDamage
from eventlog.format.filenames import OFFSET_SNAPSHOT
from eventlog.storage.partition_log import PartitionLog
from eventlog.topics.topic import Topic

LEAST_RECORDS = 1000  # that a start replays in some ten milliseconds; a snapshot takes a tenth of one to write
RECORDS_PER_ENTRY = 2  # a snapshot of many entries is worth writing when many records have followed the one before

logger = logging.getLogger("eventlog")
_Answer = TypeVar("_Answer")


class OffsetPartition:
    """Commits, and what they add up to. Safe for any number of threads and processes.

    ``replayed`` counts the batches that were read from the log.
    """

    def __init__(self, topic: Topic, number: int) -> None:
        context = topic.files.context
        self.replayed = 0
        self._fs = context.fs
        self._readonly = context.readonly
        self._topic_id = topic.topic_id
        self._partition = topic.partitions[number]
        self._directory = os.path.join(topic.files.directory, str(number))
        self._path = os.path.join(self._directory, OFFSET_SNAPSHOT)
        self._lock = Mutex()
        self._table: OffsetTable | None = None
        self._due_at = 0  # the log end offset from which on a snapshot is due

    def exists(self) -> bool:
        """Tell whether anything was ever committed here. Does not make the partition's files, as opening it does."""
        return self._table is not None or self._fs.exists(self._directory)

    # --- committing ---

    @property
    def log(self) -> PartitionLog:
        """The partition's log, for a transaction that commits offsets among other things."""
        return self._partition.log

    def care_for(self, last_offset: int) -> None:
        """Write a snapshot if one is due, now that a transaction has committed up to ``last_offset``."""
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._lock,))
            if taken and last_offset >= self._due_at:
                self._care()
        finally:
            if taken:
                self._lock.release()

    def commit(self, keys: list[bytes], values: list[bytes] | list[None], timestamp_ms: int) -> None:
        """Append the records as one batch, all or none, also in a power cut; raises what an append does."""
        value = values[0]
        if len(keys) == 1 and value is not None:  # nearly always
            batch = encode_one_keyed(keys[0], value, timestamp_ms)
        else:
            batch = encode(values, timestamp_ms, keys)
        base_offset, last_offset, _, _ = self._partition.log.writer.append_batch(batch)
        taken = False
        try:
            (taken,) = map(Mutex.take_if_free, (self._lock,))
            if taken:
                table = self._table
                if table is not None and table.next_offset == base_offset:
                    table.apply(keys, values, timestamp_ms, last_offset + 1)
                if last_offset >= self._due_at:
                    self._care()
        finally:
            if taken:
                self._lock.release()

    def _care(self) -> None:
        """Write a snapshot if it is still due. The caller's commit is done, whatever becomes of this."""
        try:
            table = self._follow()
            if table.next_offset > self._due_at and not self._is_cared_for(table):
                self._put_off(table, table.next_offset)  # first: who fails does not try again at once
                write_snapshot(self._fs, self._path, table, self._topic_id)
        except (OSError, EventLogError) as error:
            pass_on_handlers(error)
            logger.debug("%s: not written: %s", self._path, error)

    def _is_cared_for(self, table: OffsetTable) -> bool:
        """Tell whether another process has written one meanwhile."""
        snapshot = read_snapshot(self._fs, self._path, self._topic_id)
        if snapshot is not None and self._is_true(snapshot, table.next_offset):
            self._put_off(table, snapshot.offset)
        return table.next_offset <= self._due_at

    def _put_off(self, table: OffsetTable, offset: int) -> None:
        """Note that there is a snapshot at ``offset``."""
        self._due_at = offset + max(LEAST_RECORDS, RECORDS_PER_ENTRY * table.count)

    # --- asking ---

    def ask(self, question: Callable[[OffsetTable], _Answer], *, settled: bool = True) -> _Answer:
        """Ask the table as of now.

        Not before a transaction is ``settled`` that is being committed, as whoever takes a partition over must not miss
        its offsets. Who only looks does not wait for a process that may have been stopped in the middle of that.
        """
        if settled:
            self._partition.log.settled_end_offset()  # without the lock: others look meanwhile
        with self._lock:
            return question(self._follow())

    def _follow(self) -> OffsetTable:
        """Bring the table up to the log end offset. The caller has the lock."""
        end = self._partition.log.end_offset
        table = self._table
        if table is None or table.next_offset > end or end - table.next_offset > LEAST_RECORDS:
            self._table = table = self._from_snapshot(table, end)
        if table.next_offset < end:
            self._replay(table, end)
        return table

    def _from_snapshot(self, table: OffsetTable | None, end: int) -> OffsetTable:
        """Return the table that has the least to read: the one there is, that of the snapshot, or an empty one."""
        if table is not None and table.next_offset > end:
            table = None  # the log has lost records, as after a failed sync
        snapshot = read_snapshot(self._fs, self._path, self._topic_id)
        if snapshot is not None and snapshot.offset > (0 if table is None else table.next_offset):
            with contextlib.suppress(BatchDamage):
                if self._is_true(snapshot, end):
                    table = snapshot.table(self._partition.topic, self._partition.number)
                    self._put_off(table, snapshot.offset)
                    return table
        if table is not None:
            return table
        table = OffsetTable(self._partition.topic, self._partition.number, self._partition.log_start_offset)
        self._put_off(table, table.next_offset)
        return table

    def _is_true(self, snapshot: Snapshot, end: int) -> bool:
        """Tell whether the log has the record that was the last one before the snapshot, and no more damage."""
        if snapshot.offset > end or (snapshot.damage is not None and self._reads(snapshot.damage.base_offset)):
            return False
        if not self._reads(snapshot.offset - 1):
            return False
        batch = self._partition.cursor(snapshot.offset - 1).next_batch()
        if batch is None:
            return False
        found = fingerprint(snapshot.offset - 1, batch.keys()[0], batch.values()[0], batch.max_timestamp)
        return bool(batch.last_offset == snapshot.offset - 1 and found == snapshot.fingerprint)

    def _reads(self, offset: int) -> bool:
        try:
            return self._partition.cursor(offset).next_batch() is not None
        except CorruptSegmentError:
            return False

    def _replay(self, table: OffsetTable, end: int) -> None:
        cursor = self._partition.cursor(table.next_offset)
        while table.next_offset < end:
            try:
                batch = cursor.next_batch()
                if batch is None:
                    return
                self.replayed += 1
                table.apply(batch.keys(), batch.values(), batch.max_timestamp, batch.last_offset + 1)
            except CorruptSegmentError as error:
                following = error.next_offset
                logger.warning("committed offsets are lost: %s", error)
                table.lose(following if following is not None and following > table.next_offset else end)
                cursor.seek(table.next_offset)
