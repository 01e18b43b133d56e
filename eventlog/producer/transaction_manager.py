"""A transactional producer's state: what may be called when, and what an error leaves possible (KIP-98, KIP-447).

::

    UNINITIALIZED --init--> READY --begin--> OPEN --commit or abort--> READY
    any --another producer has begun with the same id--> FENCED, which only close() follows

A commit that fails leaves the transaction open: it may be committed again, or aborted. Unless it failed when the commit
point was behind it: then the transaction is committed, and over. Once a record has failed it can only be aborted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

from eventlog.clock import wall_ms
from eventlog.config import ProducerConfig
from eventlog.coordination.checked_offsets import checked_group
from eventlog.coordination.offset_partition import OffsetPartition
from eventlog.coordination.transaction_commit import TransactionCommit
from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.coordination.transaction_offsets import TransactionOffsets
from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart
from eventlog.coordination.transactional_id import who_began
from eventlog.errors import (
    ClosedError,
    EventLogError,
    IllegalStateError,
    ProducerFencedError,
    TransactionAbortedError,
    TransactionTimeoutError,
)
from eventlog.files.mutex import Mutex
from eventlog.files.signal_handlers import pass_on_handlers, suppress
from eventlog.format import layouts as L
from eventlog.format.batch_encoder import encode
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.producer.collected_records import CollectedRecords, TransactionLimits
from eventlog.producer.delivery import Delivery, ManyDelivery
from eventlog.producer.list_columns import ListColumns, Split
from eventlog.producer.placement import Placement
from eventlog.producer.sequence_numbers import SequenceNumbers
from eventlog.producer.transaction import Transaction
from eventlog.producer.transaction_state import HINTS, UNENDED, State
from eventlog.storage.prepared_append import PreparedAppend
from eventlog.topics.partition import Partition
from eventlog.topics.topic import Topic


class TransactionManager:
    """Runs one producer's transactions. Thread-safe: what several threads send goes into the one that is open."""

    def __init__(
        self, coordinator: TransactionCoordinator, config: ProducerConfig, codec: int, placement: Placement
    ) -> None:
        """Raises InvalidConfigError for a ``transactional_id`` that cannot be one."""
        assert config.transactional_id is not None
        self.state = State.UNINITIALIZED
        self._coordinator = coordinator
        self._config = config
        self._codec = codec
        self._placement = placement
        self._clock = coordinator.clock
        self._id = coordinator.transactional_id(config.transactional_id)
        self._offsets = TransactionOffsets(coordinator.group_directory)
        self._lock = Mutex()
        self._producer_id = self._epoch = -1
        self._sequences = SequenceNumbers()
        self._deadline = 0.0
        self._began_as = who_began(-1, -1)
        self._transaction = self._none = self._new_transaction()  # none: while none is open
        self._attempt: TransactionCommit | None = None  # the last one of the open transaction, and what it wrote
        self._appends: list[PreparedAppend] = []
        self._is_left_open = False  # open behind a block that could neither commit nor abort it
        self._began_ms = 0

    def _new_transaction(self) -> Transaction:
        limits = TransactionLimits(
            self._config.buffer_memory, self._clock.monotonic, self._deadline, self._id.fence(), self._began_as
        )
        return Transaction(self._config, self._codec, self._placement, limits, self._stamp_for)

    def _stamp_for(self, partition: Partition) -> ProducerStamp:
        sequence = self._sequences.next(partition.log.topic_id, partition.number)
        return ProducerStamp(self._producer_id, self._epoch, sequence, is_transactional=True)

    # --- beginning ---

    def init(self) -> None:
        """Take the transactional id over from the producer before."""
        with self._lock:
            self._init()

    def _init(self) -> None:
        self._refuse_unless(State.UNINITIALIZED)
        patience = self._config.max_block_ms / 1000
        timeout_ms = self._config.transaction_timeout_ms
        self._producer_id, self._epoch = self._coordinator.begin(self._id, patience, timeout_ms)
        self._began_as = who_began(self._producer_id, self._epoch)
        self.state = State.READY

    def begin(self) -> None:
        """Open a transaction."""
        with self._lock:
            self._refuse_unless(State.READY)
            self._refuse_fenced()
            self._began_ms = wall_ms(self._clock.time())
            self._deadline = self._clock.monotonic() + self._config.transaction_timeout_ms / 1000
            self._forget()
            self._transaction = self._new_transaction()
            self._id.note_begin(self._began_ms)
            self.state = State.OPEN

    # --- within ---

    def send(self, topic: Topic, number: int, delivery: Delivery) -> CollectedRecords | None:
        """Add one record to a partition; return what may collect those that follow, if anything may."""
        transaction = self._transaction
        try:
            with self._lock:
                self._refuse_unless_open()
                collected = self._transaction.collected(topic)
                self._transaction.add(topic.partitions[number], delivery)
                return collected if self._attempt is None else None
        except EventLogError as error:
            pass_on_handlers(error)
            transaction.run_callbacks()  # it may be over, as this call has found out
            raise

    def place(self, delivery: Delivery) -> None:
        """Find the partition of a record that was collected, which is at home there then."""
        with self._lock:
            if isinstance(delivery.home, CollectedRecords):
                self._transaction.place(delivery.home)

    def remove(self, collected: CollectedRecords, delivery: Delivery) -> bool:
        """Take a record out of what was closed meanwhile; False when the transaction has taken it before."""
        try:
            with self._lock:
                return collected.remove(delivery)
        except BaseException as error:
            collected.withdraw(delivery, error)
            raise

    def send_many(self, topic: Topic, split: Split, columns: ListColumns) -> tuple[ManyDelivery, int]:
        """Add many, which are in the order of the split, and return their delivery and size."""
        with self._transaction, self._lock:
            self._refuse_unless_open()
            return self._transaction.add_many(topic, split, columns)

    def fail(self, error: EventLogError) -> None:
        """A record of the open transaction has failed."""
        if self.state is State.OPEN:
            self._transaction.fail(error)

    def send_offsets(self, offsets: object, metadata: object) -> None:
        """Commit offsets of a group with the transaction."""
        with self._transaction, self._lock:
            self._refuse_unless_open()
            group = checked_group(metadata)
            name = self._coordinator.group_directory(group.group).group  # which refuses what is no name
            checked = self._coordinator.checked_offsets(offsets)
            if checked:
                self._offsets.add(checked, group._replace(group=name))

    # --- the end ---

    def commit(self) -> None:
        """Write everything that was sent, or nothing."""
        with self._transaction, self._lock:
            self._refuse_unless(State.OPEN)
            try:
                attempt = self._attempt
                if attempt is not None and attempt.resolve():
                    attempt.make_durable()
                else:
                    self._refuse_unless_current()
                    self._commit()
            except BaseException:
                if self._attempt is not None and self._attempt.is_committed:
                    self._finish_committed()
                raise
            self._finish_committed()

    def _commit(self) -> None:
        appends = self._transaction.prepare()
        if not appends and not self._offsets:
            self._appends = []
            return
        durable = self._is_durable(appends)
        everything, cared = self._with_offsets(appends)
        self._attempt, self._appends = None, appends
        if durable:
            for offsets in self._offsets.by_group().values():
                self._coordinator.sync_inputs(offsets)
        attempt = partial(self._attempt_to_commit, everything, durable=durable)
        self._id.while_locked(attempt, self._config.max_block_ms / 1000)
        for partition, append in cared:
            partition.care_for(append.end_offset - 1)
        for append in everything:
            append.flush_if_due()

    def _attempt_to_commit(self, everything: Sequence[PreparedAppend], *, durable: bool) -> None:
        self._refuse_fenced()
        try:
            self._run_attempt(everything, durable=durable)
        finally:
            self._offsets.let_go()  # once more: an interrupt may have come before the first

    def _run_attempt(self, everything: Sequence[PreparedAppend], *, durable: bool) -> None:
        try:
            self._offsets.hold()
            self._attempt = TransactionCommit(self._coordinator.journal, everything, durable=durable)
            self._id.note_commit(self._attempt.journal_offset)
            self._sequences.use_up(everything)
            self._attempt.run(lambda transaction: self._outcome(transaction, everything))
        finally:
            self._offsets.let_go()

    def _is_durable(self, appends: Sequence[PreparedAppend]) -> bool:
        durability = self._config.durability
        return durability == "disk" or (
            durability is None and any(append.log.config.durability == "disk" for append in appends)
        )

    def _with_offsets(
        self, appends: list[PreparedAppend]
    ) -> tuple[list[PreparedAppend], list[tuple[OffsetPartition, PreparedAppend]]]:
        """Return these and those of the committed offsets, in the order in which they are locked."""
        if not self._offsets:
            return appends, []
        found: dict[OffsetPartition, tuple[list[bytes], list[bytes]]] = {}
        now_ms = wall_ms(self._clock.time())
        for group, offsets in self._offsets.by_group().items():
            partition, keys, values = self._coordinator.offsets.prepare(group, offsets, now_ms)
            known = found.setdefault(partition, ([], []))
            known[0].extend(keys)
            known[1].extend(values)
        cared = []
        for partition, (keys, values) in found.items():
            log = partition.log
            stamp = ProducerStamp(
                self._producer_id, self._epoch, self._sequences.next(log.topic_id, log.partition), True
            )
            batch = encode(values, now_ms, keys, stamp=stamp)
            cared.append((partition, PreparedAppend(log, [batch], stamp.sequence)))
        everything = [*appends, *(append for _, append in cared)]
        return sorted(everything, key=lambda append: (append.log.topic, append.log.partition)), cared

    def _outcome(self, transaction: int, appends: Sequence[PreparedAppend]) -> TransactionOutcome:
        parts = []
        for append in appends:
            log, place = append.log, (append.base_offset, append.end_offset)
            parts.append(TransactionPart(log.topic, log.topic_id, log.partition, *place, append.sequence))
        now_ms = wall_ms(self._clock.time())
        return TransactionOutcome(
            transaction, True, self._id.transactional_id, self._producer_id, self._epoch, self._began_ms, now_ms,
            tuple(parts),
        )  # fmt: skip

    def _finish_committed(self) -> None:
        if self._appends:
            self._transaction.committed(self._appends, durable=self._attempt is not None and self._attempt.is_durable)
        self._reset(L.STATUS_COMMITTED)

    def abort(self) -> None:
        """Forget everything that was sent."""
        with self._transaction, self._lock:
            self._abort()

    def _abort(self) -> None:
        if self.state is not State.ABORTING:
            self._refuse_unless(State.OPEN)
            self._refuse_committed()
            self._refuse_fenced()
            self.state = State.ABORTING  # some deliveries may have failed when an interrupt comes
        self._transaction.failed(TransactionAbortedError("the transaction was aborted", hint="nothing was written"))
        self._reset(L.STATUS_ABORTED)

    def _refuse_committed(self) -> None:
        """Raise IllegalStateError when an attempt that ended with an error has committed the transaction after all."""
        if self._attempt is not None and self._attempt.resolve():
            self._finish_committed()
            raise IllegalStateError(
                "the transaction was committed, although the commit ended with an error",
                hint="its records are there; begin the next one",
            )

    def _reset(self, status: int) -> None:
        self._id.note(status)
        self.state = State.READY  # this ends it; what an interrupt leaves behind is forgotten when the next one begins
        self._forget()

    def _forget(self) -> None:
        self._transaction.close()
        self._transaction = self._none
        self._offsets.clear()
        self._attempt, self._appends, self._is_left_open = None, [], False

    # --- what may be called ---

    def _refuse_unless(self, state: State) -> None:
        if self.state is state:
            return
        if self.state is State.FENCED:
            raise self._fenced()
        if self.state is State.FORKED:
            raise ClosedError(
                "this transactional producer belongs to the parent process", hint="make a new one in the forked child"
            )
        if self.state is State.CLOSED:
            raise ClosedError("the producer is closed", hint="make a new one with log.producer()")
        hint = "it was done already" if state is State.UNINITIALIZED else HINTS[self.state]
        raise IllegalStateError(f"not possible in state {self.state.name}", hint=hint)

    def _refuse_unless_open(self) -> None:
        if self.state is not State.OPEN or self._attempt is not None:
            self._refuse_unless(State.OPEN)
            self._refuse_committed()
        self._refuse_unless_current()

    def _refuse_unless_current(self) -> None:
        self._refuse_fenced()
        if self._clock.monotonic() > self._deadline:
            raise TransactionTimeoutError(
                f"the transaction was open for longer than {self._config.transaction_timeout_ms} ms",
                hint="abort_transaction(), and do it again; a larger transaction_timeout_ms gives it more time",
            )
        self._transaction.refuse_failed()

    def _refuse_fenced(self) -> None:
        try:
            self._id.refuse_fenced(self._producer_id, self._epoch)
        except ProducerFencedError as error:
            self.state = State.FENCED
            self._transaction.failed(error)
            raise

    def _fenced(self) -> ProducerFencedError:
        named = f"transactional_id={self._id.transactional_id!r}"
        return ProducerFencedError(f"another producer has begun with {named}", hint="close this one")

    # --- closing ---

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block as one transaction: committed at its end, aborted when an error leaves it."""
        if self._is_left_open:
            self.abort()
        with self._lock:
            if self.state is State.UNINITIALIZED:
                self._init()
            self._refuse_unless(State.READY)
        try:
            self.begin()
            yield
            if self.state is not State.READY:  # the block may have ended the transaction by itself
                self.commit()
        except BaseException:
            if self.state in UNENDED:
                with suppress(EventLogError):  # the error that is under way says more
                    self.abort()
                self._is_left_open = self.state in UNENDED
            raise

    def close(self) -> None:
        """Abort what is open, and give back descriptors."""
        with self._transaction, self._lock:
            if self.state in UNENDED:
                try:
                    self._abort()
                except EventLogError as error:  # nobody can tell what became of a commit, and no later call will
                    pass_on_handlers(error)
                    self._transaction.failed(error)
            self.state = State.CLOSED
            self._id.close()
            self._offsets.close()

    def after_fork(self) -> None:
        """A forked child has no part in the transactions of its parent."""
        self._lock = Mutex()
        self.state = State.FORKED
        self._transaction = self._new_transaction()
