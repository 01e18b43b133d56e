"""An asynchronous producer's transactions, as callers see them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from types import TracebackType

from eventlog.aio.producer_thread import ProducerThread
from eventlog.errors import ClosedError
from eventlog.model import GroupMetadata, OffsetAndMetadata, TopicPartition
from eventlog.producer.producer import Producer


class AsyncTransactional:
    """What an `AsyncProducer` with a ``transactional_id`` can do besides: `Producer`'s methods, to be awaited.

    All tasks send into the one transaction that is open. In it an awaited ``send`` returns when the record was taken:
    its offset is -1, since it is not known before the commit. The future of ``send_nowait`` is done when the
    transaction has ended, and so is the delivery of ``send_many``. A call that is cancelled is done to its end if it
    has begun.
    """

    _producer: Producer
    _thread: ProducerThread

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Run an ``async with`` block as one transaction, as `Producer.transaction` does.

        It is aborted when the block is cancelled. When the commit is cancelled it is done to its end all the same.

        >>> import asyncio, eventlog, tempfile
        >>> log = eventlog.open(tempfile.mkdtemp())
        >>> _ = log.create_topic("debits"), log.create_topic("credits")
        >>> async def main():
        ...     async with log.async_producer(transactional_id="transfers") as producer:
        ...         async with producer.transaction():
        ...             await producer.send("debits", b"5")
        ...             sent = producer.send_nowait("credits", b"5")
        ...         return (await sent).offset
        >>> asyncio.run(main())
        0
        """
        return _Transaction(self._thread, self._producer.transaction())

    async def init_transactions(self) -> None:
        """As `Producer.init_transactions`."""
        await self._thread.put(self._producer.init_transactions)

    async def begin_transaction(self) -> None:
        """As `Producer.begin_transaction`."""
        await self._thread.put(self._producer.begin_transaction)

    async def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata | int], group: GroupMetadata
    ) -> None:
        """As `Producer.send_offsets_to_transaction`; ``group`` is ``await consumer.group_metadata()``."""
        await self._thread.put(partial(self._producer.send_offsets_to_transaction, offsets, group))

    async def commit_transaction(self) -> None:
        """As `Producer.commit_transaction`."""
        await self._thread.put(self._producer.commit_transaction)

    async def abort_transaction(self) -> None:
        """As `Producer.abort_transaction`."""
        await self._thread.put(self._producer.abort_transaction)


class _Transaction(AbstractAsyncContextManager[None]):
    """The synchronous ``block``, entered and left in the producer's thread."""

    def __init__(self, thread: ProducerThread, block: AbstractContextManager[None]) -> None:
        self._thread = thread
        self._block = block
        self._is_entered = False

    async def __aenter__(self) -> None:
        try:
            await self._thread.put(self._enter)
        except asyncio.CancelledError as error:
            with contextlib.suppress(ClosedError):  # which has aborted it
                self._thread.put(partial(self._leave, error))
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ClosedError) if error is not None else contextlib.nullcontext():
            await asyncio.shield(self._thread.put(partial(self._leave, error)))

    # --- in the thread ---

    def _enter(self) -> None:
        self._block.__enter__()
        self._is_entered = True

    def _leave(self, error: BaseException | None) -> None:
        if self._is_entered:
            self._block.__exit__(type(error) if error is not None else None, error, None)
