"""Deliveries: what a send returns, and what becomes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eventlog.errors import EventLogError, InvalidConfigError
from eventlog.files.mutex import calls_out
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_encoder import RecordHeaders
from eventlog.model import RecordMetadata
from eventlog.quantities import checked_timeout
from eventlog.texts import shown

logger = logging.getLogger("eventlog")
Callback = Callable[[RecordMetadata | None, BaseException | None], None]
Places = Sequence[int] | NDArray[np.intp]  # of records, in the list that they were sent as


class Outcome(NamedTuple):
    """What became of records that were written together: their offsets, or the error they share."""

    topic: str
    partition: int
    base_offset: int = -1
    durable: bool = False
    append_time_ms: int | None = None  # the log's own timestamp, where the topic uses LogAppendTime
    error: BaseException | None = None

    def behind(self, records: int) -> Outcome:
        """Return the outcome of the records that come so many later."""
        return self if not records else self._replace(base_offset=self.base_offset + records)


class Home(Protocol):
    """Where a record waits to be written: a partition's buffer, or records of a topic without partitions yet."""

    @property
    def name(self) -> str:
        """What is told of the deliveries that wait here: the topic, and the partition if it is known."""
        ...

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Have the record written, and return when the outcome is known; raises DeliveryTimeoutError."""
        ...

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback until the outcome is known; False when it is known already."""
        ...


class Delivery:
    """The pending acknowledgement of one record.

    A send fills in three slots and nothing else: this is the hot path. ``home`` is the buffer that holds the record,
    and later the outcome of the batch it was written in, with ``index`` its place there.
    """

    __slots__ = ("home", "index", "stamp", "value")

    value: bytes | None
    stamp: float  # seconds since the epoch: when it was sent
    home: Home | Outcome
    index: int

    # What the records of this class do not have, and those below do:
    key: bytes | None = None
    headers: RecordHeaders | None = None
    timestamp_ms: int = -1  # the record's own; less than 0 for the time when it was sent

    def done(self) -> bool:
        """Tell whether the outcome is known."""
        return type(self.home) is Outcome

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Return the record's metadata; writes the record now if it still waits for its batch to fill.

        ``timeout`` is in seconds. Raises DeliveryTimeoutError when it is over, or the error that kept this record
        from being written; InvalidConfigError for a timeout that is none.
        """
        if timeout is not None:
            timeout = checked_timeout(timeout)
        home = self.home
        if not isinstance(home, Outcome):
            home.settle(self, timeout)
            home = self.home
            assert isinstance(home, Outcome)
        if home.error is not None:
            raise home.error
        offset = home.base_offset + self.index if home.base_offset >= 0 else -1
        stamp = home.append_time_ms if home.append_time_ms is not None else self.sent_ms()
        return RecordMetadata(home.topic, home.partition, offset, stamp, home.durable)

    def sent_ms(self) -> int:
        """Return the record's CreateTime in milliseconds since the epoch."""
        return int(self.stamp * 1000)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error that kept the record from being written, or None once it was written."""
        try:
            self.result(timeout)
        except EventLogError as error:
            pass_on_handlers(error)
            if isinstance(self.home, Outcome):
                return error
            raise  # the time was over
        return None

    def __repr__(self) -> str:
        home = self.home
        if not isinstance(home, Outcome):
            return f"<{type(self).__name__} waiting for {home.name}>"
        place = f"{home.topic}-{home.partition}"
        if home.error is not None:
            return f"<{type(self).__name__} to {place} failed: {home.error}>"
        known = f" at offset {home.base_offset + self.index}" if home.base_offset >= 0 else ""
        return f"<{type(self).__name__} to {place}{known}>"

    def add_callback(self, callback: Callback) -> None:
        """Call ``callback(metadata, error)`` once the outcome is known, one of the two being None.

        It runs in the thread that wrote the batch, or here and now if the outcome is known. What it raises is
        logged, and harms nothing. Raises InvalidConfigError for what cannot be called.
        """
        if not callable(callback):
            raise InvalidConfigError(f"callback={shown(callback)} is not callable", hint="give a function")
        home = self.home
        if isinstance(home, Outcome) or not home.add_callback(self, callback):
            run_callback(self, callback)


class KeyedDelivery(Delivery):
    """The delivery of a record that has a key and a value."""

    __slots__ = ("key",)

    key: bytes | None


class FullDelivery(KeyedDelivery):
    """The delivery of a record that may have more: headers, or a timestamp of its own."""

    __slots__ = ("headers", "timestamp_ms")

    headers: RecordHeaders | None
    timestamp_ms: int

    def sent_ms(self) -> int:
        """Return the record's CreateTime in milliseconds since the epoch."""
        return self.timestamp_ms


class ManyDelivery(Delivery):
    """The acknowledgement of one `send_many`, whose records may lie in several partitions.

    ``result()`` is the metadata of the last record of the list, or the error of the first part that failed;
    ``results()`` has one for each record.
    """

    __slots__ = ("_last_timestamp", "_parts")

    def __init__(self, parts: list[Part], last: Part) -> None:
        self.complete(parts, last)

    @classmethod
    def waiting(cls, home: Home) -> ManyDelivery:
        """Return the delivery of records that wait for the commit of their transaction."""
        delivery = cls.__new__(cls)
        delivery._parts, delivery._last_timestamp, delivery.index = [], -1, 0
        delivery.home = home
        return delivery

    def complete(self, parts: list[Part], last: Part) -> None:
        """Note what became of each part."""
        self._parts = parts
        failed = last
        for part in parts:
            if part.outcome.error is not None:
                failed = part
                break
        self.index = len(failed.indices) - 1
        self._last_timestamp = failed.timestamp(self.index)
        self.home = failed.outcome  # last: it says that the outcome is known

    def parts_at(self, places: Sequence[int]) -> list[Part]:
        """Return the parts, for a list in which these records have other places."""
        return [part._replace(indices=[places[index] for index in part.indices]) for part in self._parts]

    def sent_ms(self) -> int:
        """Return the last record's CreateTime in milliseconds since the epoch."""
        return self._last_timestamp

    def results(self) -> list[RecordMetadata | BaseException]:
        """Return each record's metadata, or the error that kept it from being written, in the order of the list."""
        if not self.done():
            self.result()  # which says why
        found: dict[int, RecordMetadata | BaseException] = {}
        for part in self._parts:
            outcome = part.outcome
            for place, index in enumerate(np.array(part.indices).tolist()):
                found[index] = outcome.error or RecordMetadata(
                    outcome.topic, outcome.partition, outcome.base_offset + place, part.timestamp(place),
                    outcome.durable,
                )  # fmt: skip
        return [found[index] for index in range(len(found))]


class Part(NamedTuple):
    """The records of a `send_many` that went to one partition: their places in the list, and their timestamps."""

    outcome: Outcome
    indices: Places
    timestamps_ms: Sequence[int] | int

    def timestamp(self, place: int) -> int:
        """Return the timestamp of the record at ``place`` within the part, in milliseconds."""
        if self.outcome.append_time_ms is not None:
            return self.outcome.append_time_ms
        return self.timestamps_ms if isinstance(self.timestamps_ms, int) else int(self.timestamps_ms[place])


def unacknowledged(delivery: FullDelivery, number: int, topic: str) -> Delivery:
    """Return a delivery that is done although nobody waits for the outcome (acks=0): the offset is -1, as in Kafka."""
    done = FullDelivery()
    done.timestamp_ms, done.index, done.home = delivery.timestamp_ms, 0, Outcome(topic, number)
    return done


@calls_out
def run_callback(delivery: Delivery, callback: Callback) -> None:
    """Call back with the outcome, which must be known."""
    outcome = delivery.home
    assert isinstance(outcome, Outcome)
    try:
        callback(None if outcome.error else delivery.result(), outcome.error)
    except BaseException as error:
        pass_on_handlers(error)
        if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
            raise  # an interrupt, which comes to the main thread only
        logger.exception("a delivery callback raised")
