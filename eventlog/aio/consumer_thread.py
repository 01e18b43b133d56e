"""The one thread that uses a consumer, and the order in which the tasks of a loop have their calls done by it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from eventlog.aio.read_ahead import ReadAhead
from eventlog.aio.rebalance_listener import LoopCallback
from eventlog.aio.worker import Worker
from eventlog.consumer.consumer import Consumer
from eventlog.errors import ClosedError, ConcurrentAccessError, IllegalStateError, WakeupError
from eventlog.quantities import deadline_of

logger = logging.getLogger("eventlog")


class Kind(enum.Enum):
    """What a call does to the others."""

    POLL = enum.auto()  # waits for records, and makes way for any other call
    CHOOSE = enum.auto()  # says what to read, in place of what was said before; not possible within a listener
    PLAIN = enum.auto()


class Call:
    """A call of the consumer, and the future of the task that waits for it."""

    __slots__ = ("function", "future", "in_a_hurry", "is_nested", "is_over", "kind", "not_taken", "thread")

    def __init__(
        self, thread: ConsumerThread, function: Callable[[Call], Any], future: asyncio.Future[Any], kind: Kind
    ) -> None:
        self.thread = thread
        self.function = function
        self.future = future
        self.kind = kind
        self.in_a_hurry = False  # somebody waits for the end of this poll
        self.is_nested = False  # made while a listener runs
        self.not_taken: Sequence[Any] = ()  # to be given back first
        self.is_over = False

    def run(self) -> None:
        """Call, in the consumer's thread."""
        try:
            if not self.is_nested:
                self.thread.prepare(self)
            result = self.function(self)
        except StopIteration as error:  # which no future can hold
            self.thread.tell(self, None, RuntimeError(f"a call raised {error!r}"))
        except BaseException as error:
            self.thread.tell(self, None, error)
        else:
            self.thread.tell(self, result, None)

    def refuse(self) -> None:
        """The consumer is closed."""
        if self.not_taken:
            self.thread.read_ahead.fill(self.not_taken)
        self.thread.tell(self, None, closed())


class ConsumerThread:
    """Does calls one at a time. What the loop's side keeps is touched on the loop alone.

    A call is given to the thread when the one before is over and its task has taken the result: records that no task
    took, since it was cancelled, are given back before the next call. A poll that waits is interrupted when another
    call comes, and goes on behind it. While a listener's coroutine runs inside a poll, calls are done inside it.
    """

    def __init__(self, consumer: Consumer, topics: Sequence[str], at_first: Callable[[], None] | None) -> None:
        """The first call does ``at_first``, and subscribes to ``topics``, since both may read files."""
        self.consumer = consumer
        self.read_ahead = ReadAhead(consumer)
        self.is_ending = False
        self.autocommit = True  # commit automatically, if the consumer does, when it is closed
        self._at_first = at_first
        self._topics = list(topics)
        self._worker = Worker("eventlog-async-consumer", self._finish)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[Call] = deque()
        self._running: Call | None = None
        self._is_polling = False
        self._is_woken = False
        self._callback: LoopCallback | None = None  # on the loop's side: the coroutine that runs
        self._waits_for: LoopCallback | None = None  # on the thread's side: that which it waits for
        self._waits_for_no_loop = False
        self._closing: asyncio.Future[None] | None = None
        self._has_ended = False
        self._is_dropped = False
        self._failure: BaseException | None = None

    # --- calls, on the loop ---

    async def call(self, function: Callable[[], Any], kind: Kind = Kind.PLAIN) -> Any:
        """Call in the thread; return what it returns, or raise what it raises."""
        return await self._call(lambda call: function(), kind)

    async def _call(self, function: Callable[[Call], Any], kind: Kind) -> Any:
        self._worker.refuse_forked()
        call = Call(self, function, self._bound_loop().create_future(), kind)
        self._submit(call)
        try:
            return await call.future
        finally:
            if not call.is_over:
                self._abandon(call)

    def _bound_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise IllegalStateError("the consumer belongs to another event loop", hint="make one for each loop")
        return loop

    def _submit(self, call: Call) -> None:
        callback = self._callback
        if callback is not None and not callback.is_aborted:
            if call.kind is Kind.PLAIN:
                self._put_within(callback, call)
                return
            self._refuse_within(callback)
        if self.is_ending:
            raise closed()
        self._pending.append(call)
        if self._running is None:
            self._next()
        else:
            self._interrupt()

    def _put_within(self, callback: LoopCallback, call: Call) -> None:
        call.is_nested = True
        callback.calls.put(call)

    def _refuse_within(self, callback: LoopCallback | None) -> None:
        if callback is not None and callback.is_here:
            raise IllegalStateError("not within a listener", hint="call it when poll() has returned")

    def _next(self) -> None:
        while self._pending and self._running is None:
            call = self._pending.popleft()
            if not call.future.cancelled():
                call.in_a_hurry = bool(self._pending) or self.is_ending
                self._running = call
                call.not_taken = self.read_ahead.take_all()  # here and now: another task may be about to take it
                self._worker.put(call)
        if self.is_ending and self._running is None:
            self._worker.stop()

    def _abandon(self, call: Call) -> None:
        """The task that waited does so no longer."""
        if call is self._running:
            self._interrupt()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and this task destroyed
            call.future.cancel()

    def _interrupt(self) -> None:
        if self._running is not None and self._running.kind is Kind.POLL:
            self.consumer.wakeup()

    def _finished(self, call: Call, result: Any, error: BaseException | None) -> None:
        call.is_over = True
        if call.future.done():
            if error is not None and not isinstance(error, ClosedError):
                logger.warning("a call that was cancelled failed: %s", error)
        elif error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(result)
        if call is self._running:
            assert self._loop is not None
            self._loop.call_soon(self._release)  # behind the step of the task that takes the result

    def _release(self) -> None:
        self._running = None
        self._next()

    # --- polling, on the loop ---

    async def poll(self, read: Callable[[float | None], Sequence[Any]], timeout: float | None) -> None:
        """Have ``read(seconds)`` fill `read_ahead`; it stays empty when the time is over."""
        deadline = deadline_of(timeout)
        self.refuse_second_poll()
        self._is_polling = True
        try:
            await self._poll(read, deadline)
        finally:
            self._is_polling = False

    async def _poll(self, read: Callable[[float | None], Sequence[Any]], deadline: float) -> None:
        is_done = False
        while not is_done:
            self.raise_if_woken()
            is_done = await self._call(lambda call: self._read(call, read, deadline), Kind.POLL)

    def refuse_second_poll(self) -> None:
        """Raise ConcurrentAccessError while a task is in a poll."""
        if self._is_polling:
            self._worker.refuse_forked()
            self._refuse_within(self._callback)
            raise ConcurrentAccessError(
                "another task polls this consumer", hint="let one task poll, or make two consumers"
            )

    def wakeup(self) -> None:
        """Make the present or the next poll raise WakeupError. In any thread."""
        self._is_woken = True
        self.consumer.wakeup()

    def raise_if_woken(self) -> None:
        """Raise WakeupError, once for one or more `wakeup`."""
        if self._is_woken:
            self._is_woken = False
            raise WakeupError("wakeup() was called")

    # --- in the thread ---

    def prepare(self, call: Call) -> None:
        """Let reading go on behind what was handed out, and subscribe if that is still to be done."""
        self.read_ahead.give_back(call.not_taken)
        call.not_taken = ()
        if self._at_first is not None:
            self._at_first()
            self._at_first = None
        if call.kind is Kind.CHOOSE:
            self._topics = []
        elif self._topics:
            self.consumer.subscribe(self._topics)
            self._topics = []

    def _read(self, call: Call, read: Callable[[float | None], Sequence[Any]], deadline: float) -> bool:
        """Read; False when interrupted before the time was over. An interrupt meant for an earlier poll is no harm."""
        for _ in range(2):
            left = 0.0 if call.in_a_hurry else max(0.0, deadline - time.monotonic())
            try:
                found = read(None if left == float("inf") else left)
            except WakeupError:
                if self._is_woken:
                    return False
                call.in_a_hurry = True
                continue
            self.read_ahead.fill(found)
            return bool(found) or time.monotonic() >= deadline
        return False

    def tell(self, call: Call, result: Any, error: BaseException | None) -> None:
        """Bring the outcome to the loop. When that is closed, nobody waits for it."""
        self._on_loop(self._finished, call, result, error)

    def _on_loop(self, function: Callable[..., None], *arguments: Any) -> bool:
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return loop is not None

    def wait_for(self, awaitable: Awaitable[Any]) -> None:
        """Have the loop await a listener's coroutine; do calls meanwhile."""
        callback = self._waits_for = LoopCallback(awaitable)
        loop = self._loop
        try:
            if self._waits_for_no_loop:  # behind the store: who closes the log sets this before it looks for callbacks
                callback.abort()
            elif loop is None or not self._on_loop(self._begin, callback):
                raise callback.no_loop()
            if loop is not None:
                callback.serve(loop)
        finally:
            self._waits_for = None
            callback.give_up()

    def _begin(self, callback: LoopCallback) -> None:
        if callback.is_aborted:
            return
        assert self._loop is not None
        self._callback = callback
        waiting = [call for call in self._pending if call.kind is Kind.PLAIN]
        self._pending = deque(call for call in self._pending if call.kind is not Kind.PLAIN)
        callback.begin(self._loop, self._callback_ended)
        for call in waiting:  # the coroutine may wait for their tasks
            self._put_within(callback, call)

    def _callback_ended(self) -> None:
        self._callback = None

    # --- closing ---

    async def aclose(self) -> None:
        """Close the consumer and end the thread, behind the calls so far; a poll under way raises ClosedError.

        When this is cancelled, both happen all the same.
        """
        if self._worker.is_forked or self._has_ended:
            return
        if not self._worker.is_started:
            self.is_ending = True
            self.consumer.close(autocommit=self.autocommit)
            return
        self._refuse_within(self._callback)
        loop = self._bound_loop()
        if self._closing is None:
            self.is_ending = True
            self._closing = loop.create_future()
            self._interrupt()
            if self._running is None:
                self._next()
        await asyncio.shield(self._closing)

    def _finish(self) -> None:
        try:
            self.read_ahead.give_back(self.read_ahead.take_all())
            self.consumer.close(autocommit=self.autocommit)
        except BaseException as error:
            self._failure = error
            if self._is_dropped:
                logger.warning("closing a consumer that was dropped failed: %s", error)
        self._on_loop(self._ended)

    def _ended(self) -> None:
        self._has_ended = True
        self._worker.join()  # which has nothing left to do
        for call in self._pending:
            if not call.future.done():
                call.is_over = True
                call.future.set_exception(closed())
        self._pending.clear()
        failure, self._failure = self._failure, None
        if self._closing is None or self._closing.done():
            return
        if failure is not None:
            self._closing.set_exception(failure)
        else:
            self._closing.set_result(None)

    def drop(self) -> None:
        """Nobody uses this any more: close and end. Called by a finalizer, so it waits for nothing."""
        self.is_ending = self._is_dropped = True
        if self._worker.is_started and not self._worker.is_forked:
            self.consumer.wakeup()
            self._worker.stop()

    def close(self, *, autocommit: bool = True) -> None:
        """Close and wait for it, in any thread, also that of the loop: listeners' coroutines are not waited for."""
        self.autocommit &= autocommit
        self.is_ending = self._waits_for_no_loop = True
        if self._worker.is_forked:
            return
        if not self._worker.is_started:
            self.consumer.close(autocommit=self.autocommit)
            return
        callback = self._waits_for
        if callback is not None:
            callback.abort()
        self.consumer.wakeup()
        self._worker.stop()
        self._worker.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def closed() -> ClosedError:
    """Return the error of a call that comes too late."""
    return ClosedError("the consumer is closed", hint="make a new one with log.async_consumer()")
