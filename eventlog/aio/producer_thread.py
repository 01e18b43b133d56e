"""The one thread that sends for an asynchronous producer, and what of its records is still to be acknowledged."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from eventlog.aio.worker import Worker
from eventlog.errors import BufferExhaustedError, ClosedError, DeliveryTimeoutError, EventLogError, IllegalStateError
from eventlog.files.signal_handlers import suppress
from eventlog.model import RecordMetadata
from eventlog.producer.delivery import Delivery
from eventlog.producer.pending_home import PendingHome
from eventlog.producer.producer import Producer
from eventlog.producer.record_buffer import RecordBuffer

logger = logging.getLogger("eventlog")
_TAKEN = object()  # in the place of a result: the record waits for its transaction
_LAST_WAIT = 30.0  # seconds, at the end of the interpreter
_every_thread: weakref.WeakSet[ProducerThread] = weakref.WeakSet()


class Item:
    """A call to be made in the thread, and the future of its outcome; ``size`` counts against ``buffer_memory``.

    That of a send returns the `Delivery` whose outcome it is. It is written when it has lingered, unless it
    ``is_urgent``. Once ``is_taken`` into a transaction it waits for that, and counts against the transaction's limit.
    """

    __slots__ = ("call", "future", "is_taken", "is_urgent", "size")

    def __init__(self, call: Callable[[], Any], future: asyncio.Future[Any], size: int, *, is_urgent: bool) -> None:
        self.call = call
        self.future = future
        self.size = size
        self.is_urgent = is_urgent
        self.is_taken = False


class ProducerThread:
    """Makes the calls in order. The loop's side only appends to a list, and is told outcomes many at a time.

    Whatever came while the thread was busy makes the next round; the urgent records of a round are written at its end,
    so that a thousand tasks that each await one send share a few appends.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self._worker = Worker("eventlog-async-producer", self._finish)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._items: deque[Item] = deque()
        self._round_is_due = False
        self._outcomes: deque[tuple[Item, Any, BaseException | None]] = deque()
        self._settling_is_due = False
        self._unsettled: set[Item] = set()
        self._used = 0  # bytes of what is unsettled, or has been promised room
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_making_room = False
        self._is_ending = False
        self._has_ended = False
        self._timeout: float | None = None
        self._closing: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        _every_thread.add(self)

    # --- on the loop ---

    def bound_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, which has to be that of all calls."""
        self._worker.refuse_forked()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise IllegalStateError("the producer belongs to another event loop", hint="make one for each loop")
        if self._is_ending:
            raise _closed()
        return loop

    def put(self, call: Callable[[], Any], size: int = 0, *, is_urgent: bool = False) -> asyncio.Future[Any]:
        """Have the thread make the call; return the future of what comes of it."""
        item = Item(call, self.bound_loop().create_future(), size, is_urgent=is_urgent)
        self._unsettled.add(item)
        self._items.append(item)
        if not self._round_is_due:
            self._round_is_due = True
            self._worker.put(self)
        return item.future

    def unsettled(self) -> list[Item]:
        """Return all that is not acknowledged yet."""
        return list(self._unsettled)

    def _settle(self) -> None:
        self._settling_is_due = False
        while self._outcomes:
            item, result, error = self._outcomes.popleft()
            self._used -= item.size
            if result is _TAKEN:
                item.size, item.is_taken = 0, True
                continue
            self._unsettled.discard(item)
            if item.future.done():
                continue
            if error is not None:
                item.future.set_exception(_for_future(error))
            else:
                item.future.set_result(result)
        self._admit()

    # --- buffer_memory, on the loop ---

    def has_room(self, size: int) -> bool:
        """Take room for a record, if there is any and nobody waits for it."""
        if self._waiting or not self._fits(size):
            self._make_room()
            return False
        self._used += size
        return True

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self.producer.config.buffer_memory

    async def wait_for_room(self, size: int) -> None:
        """Take room for a record, in turn. Raises BufferExhaustedError after ``max_block_ms``."""
        place = size, self.bound_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.producer.config.max_block_ms / 1000):
                await place[1]
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise self.exhausted() from None
            raise

    def _give_up(self, place: tuple[int, asyncio.Future[None]]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        elif place[1].done() and not place[1].cancelled() and place[1].exception() is None:
            self._used -= place[0]
        self._admit()

    def give_back_room(self, size: int) -> None:
        """A record for which there was room does not come."""
        self._used -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, future = self._waiting.popleft()
            if not future.done():
                self._used += size
                future.set_result(None)

    def _make_room(self) -> None:
        """Write now what lingers."""
        if not self._is_making_room:
            self._is_making_room = True
            self.put(self._drain)

    def exhausted(self) -> BufferExhaustedError:
        """Return the error of a record for which there was no room."""
        return BufferExhaustedError(
            f"{self._used} bytes wait to be written, and buffer_memory is {self.producer.config.buffer_memory}",
            hint="another process holds the partition, or the device is slow; nothing was taken",
        )

    # --- in the thread ---

    def run(self) -> None:
        """Make the calls that wait, a round at a time."""
        self._round_is_due = False
        while self._items:
            urgent: list[Delivery] = []
            for _ in range(len(self._items)):
                self._make(self._items.popleft(), urgent)
            for delivery in urgent:
                self._write(delivery)

    def _write(self, delivery: Delivery) -> None:
        """Write one record now; if that fails, the producer's background thread does."""
        try:
            self.producer.place(delivery)
            if isinstance(delivery.home, RecordBuffer):  # what has to be tried again keeps nobody else waiting
                delivery.home.drain(wanted=delivery, patient=False)
        except BaseException:  # also what ends other threads: somebody waits for each of the calls to come
            logger.exception("writing a record failed")

    def _make(self, item: Item, urgent: list[Delivery]) -> None:
        if item.future.cancelled():
            self._tell(item, None, None)
            return
        try:
            made = item.call()
            if item.size and item.is_urgent and isinstance(made.home, PendingHome):
                self.producer.place(made)  # who awaits it is told the partition
        except BaseException as error:
            if item.size and not item.is_urgent and isinstance(error, EventLogError):
                self.producer.fail_transaction(error)  # nobody may ever look at the future
            self._tell(item, None, error)
            return
        if not item.size:
            self._tell(item, made, None)
            return
        if isinstance(made.home, PendingHome):
            self._tell(item, _taken(made.home, made) if item.is_urgent else _TAKEN, None)
            if item.is_urgent:
                return
        made.add_callback(partial(self._tell, item))
        if item.is_urgent:
            urgent.append(made)

    def _drain(self) -> None:
        self._is_making_room = False
        with contextlib.suppress(DeliveryTimeoutError):
            self.producer.flush(self.producer.config.max_block_ms / 1000)

    def refuse(self) -> None:
        """The producer was closed."""
        while self._items:
            self._tell(self._items.popleft(), None, _closed())

    def _finish(self) -> None:
        try:
            self.run()
            self.producer.close(self._timeout)
        except BaseException as error:
            self._failure = error
        self._on_loop(self._ended)

    # --- outcomes, in any thread ---

    def _tell(self, item: Item, result: object, error: BaseException | None) -> None:
        self._outcomes.append((item, result, error))
        if not self._settling_is_due:  # behind the append, as it is cleared before they are taken out
            self._settling_is_due = True
            self._on_loop(self._settle)

    def _on_loop(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    # --- closing ---

    async def aclose(self, timeout: float | None) -> None:
        """Write everything, and end the thread. Both happen also when this is cancelled."""
        if self._worker.is_forked or self._has_ended:
            return
        if not self._worker.is_started:
            self._is_ending = True
            self.producer.close()
            return
        if self._closing is None:
            self._closing = self.bound_loop().create_future()
            self._is_ending, self._timeout = True, timeout
            self._refuse_waiting()
            self._worker.stop()
        await asyncio.shield(self._closing)

    def _refuse_waiting(self) -> None:
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(_closed())

    def _ended(self) -> None:
        self._has_ended = True
        self._worker.join()  # which has nothing left to do
        self._settle()
        self._refuse_waiting()
        failure, self._failure = self._failure, None
        for item in self._unsettled:
            if not item.future.done():
                item.future.set_exception(_for_future(failure or _closed()))
        self._unsettled.clear()
        if self._closing is None or self._closing.done():
            return
        if failure is not None:
            self._closing.set_exception(_for_future(failure))
        else:
            self._closing.set_result(None)

    def drop(self) -> None:
        """Nobody uses this any more: write everything and end. Called by a finalizer, so it waits for nothing."""
        self._is_ending = True
        if self._worker.is_started:
            self._worker.stop()

    def close(self, timeout: float | None = None) -> None:
        """Write everything and end, and wait for that; in any thread."""
        self._is_ending = True
        if self._worker.is_forked:
            return
        if not self._worker.is_started:
            self.producer.close()
            return
        self._timeout = timeout
        self._worker.stop()
        self._worker.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _taken(home: PendingHome, delivery: Delivery) -> RecordMetadata:
    """Return what is known of a record before its transaction is committed: not its offset."""
    return RecordMetadata(home.topic_name, -1 if home.number is None else home.number, -1, delivery.sent_ms(), False)


def _for_future(error: BaseException) -> BaseException:
    """Return an error that a future takes: StopIteration, as of a partitioner, ends a generator there (PEP 479)."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError("a call raised StopIteration")
    wrapped.__cause__ = error
    return wrapped


def _closed() -> ClosedError:
    return ClosedError("the producer is closed", hint="make a new one with log.async_producer()")


def _close_all() -> None:
    for thread in list(_every_thread):
        with suppress(EventLogError):
            thread.close(_LAST_WAIT)


atexit.register(_close_all)  # before that of the producers, which were imported first
