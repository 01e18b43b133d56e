"""What a program does when partitions come and go, in coroutines."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import queue
from collections.abc import Awaitable, Callable
from typing import Any

from eventlog.aio.worker import JobQueue
from eventlog.consumer.rebalance_listener import RebalanceListener
from eventlog.errors import IllegalStateError, InvalidConfigError
from eventlog.model import TopicPartition
from eventlog.texts import shown

_LOOK_UP = 0.5  # seconds: how often a waiting thread looks whether the loop still exists, which tells nobody

logger = logging.getLogger("eventlog")


class AsyncRebalanceListener:
    """Override what you need. All three run on the event loop while the rebalance waits for them.

    They may await the consumer's methods, except for ``poll``, ``subscribe``, ``unsubscribe`` and ``close``. Until one
    returns, calls by other tasks are done inside the rebalance, too: a listener may wait for a task that commits.
    An error that one raises comes out of the poll under way once the rebalance is done.
    """

    async def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        """These partitions are this consumer's alone from now on; positions are set, and may be changed by ``seek``."""

    async def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        """These partitions will be given up when this returns: until then they are this consumer's, and may commit."""

    async def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        """These partitions are another member's already: it is too late to commit. By default as if revoked."""
        await self.on_partitions_revoked(partitions)


class ListenerBridge(RebalanceListener):
    """Calls a listener's methods in the consumer's thread, and has ``wait_for`` await what awaitable they return."""

    def __init__(
        self, listener: RebalanceListener | AsyncRebalanceListener, wait_for: Callable[[Awaitable[Any]], None]
    ) -> None:
        self._listener = listener
        self._wait_for = wait_for

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        """Tell the listener."""
        self._tell(self._listener.on_partitions_assigned, partitions)

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        """Tell the listener."""
        self._tell(self._listener.on_partitions_revoked, partitions)

    def on_partitions_lost(self, partitions: list[TopicPartition]) -> None:
        """Tell the listener."""
        method: Callable[..., Any] = self._listener.on_partitions_lost
        if getattr(method, "__func__", None) is RebalanceListener.on_partitions_lost:
            method = self._listener.on_partitions_revoked  # itself: the default would await nothing
        self._tell(method, partitions)

    def _tell(self, method: Callable[[list[TopicPartition]], Any], partitions: list[TopicPartition]) -> None:
        answer = method(partitions)
        if inspect.isawaitable(answer):
            self._wait_for(answer)


def checked_listener(listener: object) -> RebalanceListener | AsyncRebalanceListener:
    """Return the listener. Raises InvalidConfigError for what is none."""
    if isinstance(listener, RebalanceListener | AsyncRebalanceListener):
        return listener
    raise InvalidConfigError(
        f"listener={shown(listener)} is not possible",
        hint="give an instance of a class that extends AsyncRebalanceListener or RebalanceListener",
    )


class _Ending:
    """The last job of a callback: how it ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def run(self) -> None:
        """Nothing is left to do."""

    def refuse(self) -> None:
        """Nobody waits for it."""


class LoopCallback:
    """A coroutine that runs on the loop while the consumer's thread waits for it, and does the calls made meanwhile."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.calls = JobQueue()
        self.is_aborted = False
        self._awaitable = awaitable
        self._task: asyncio.Task[None] | None = None

    # --- on the loop ---

    @property
    def is_here(self) -> bool:
        """Tell whether the caller is the coroutine, or a task that it started."""
        return _inside.get() is self

    def begin(self, loop: asyncio.AbstractEventLoop, done: Callable[[], None]) -> None:
        """Start the coroutine; call ``done`` when it has ended."""
        context = contextvars.copy_context()
        context.run(_inside.set, self)
        self._task = loop.create_task(self._run(), context=context)
        self._task.add_done_callback(lambda task: self._ended(task, done))

    async def _run(self) -> None:
        await self._awaitable

    def _ended(self, task: asyncio.Task[None], done: Callable[[], None]) -> None:
        done()
        if task.cancelled():
            self.calls.put(_Ending(IllegalStateError("the listener was cancelled", hint="the loop is about to end")))
        else:
            self.calls.put(_Ending(task.exception()))

    # --- in the consumer's thread ---

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do calls until the coroutine has ended; raise what it raised."""
        while True:
            try:
                job = self.calls.get(_LOOK_UP)
            except queue.Empty:
                if loop.is_closed():
                    raise self.no_loop() from None
                continue
            if isinstance(job, _Ending):
                break
            if job is not None:
                job.run()
            del job
        if job.error is not None:
            raise job.error

    @staticmethod
    def no_loop() -> IllegalStateError:
        """Return the error of a coroutine that cannot run."""
        return IllegalStateError(
            "the event loop was closed before the listener has run", hint="close the consumer first"
        )

    def give_up(self) -> None:
        """Nothing is served any more."""
        self.calls.shut()
        if self._task is None and inspect.iscoroutine(self._awaitable):
            self._awaitable.close()

    # --- in any thread ---

    def abort(self) -> None:
        """Wait no longer: the log is being closed, maybe by the very thread that the coroutine needs."""
        self.is_aborted = True
        logger.warning("a listener was not waited for: the log was closed before the consumer")
        self.calls.put(_Ending(None))


_inside: contextvars.ContextVar[LoopCallback | None] = contextvars.ContextVar("eventlog_callback", default=None)
