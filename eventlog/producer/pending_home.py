"""Where the deliveries of an open transaction are at home, and what they can ask for there."""

from __future__ import annotations

import contextlib

from eventlog.errors import IllegalStateError
from eventlog.producer.delivery import Callback, Delivery

Callbacks = list[tuple[Delivery, Callback]]


class PendingHome:
    """Records that wait for the end of their transaction: of a partition, or of a topic (``number`` None)."""

    __slots__ = ("_callbacks", "number", "topic_name")

    def __init__(self, topic_name: str, number: int | None, callbacks: Callbacks) -> None:
        """``callbacks`` are those of the whole transaction: with the transaction itself it would be a circle."""
        self.topic_name = topic_name
        self.number = number
        self._callbacks = callbacks

    @property
    def name(self) -> str:
        """What is told of the deliveries that wait here: the topic, and the partition if it is known."""
        return self.topic_name if self.number is None else f"{self.topic_name}-{self.number}"

    def settle(self, delivery: Delivery, timeout: float | None) -> None:
        """Raise IllegalStateError: what becomes of the record is known when the transaction ends."""
        raise IllegalStateError(
            "the record waits for its transaction", topic=self.topic_name, partition=self.number,
            hint="its offset is known when commit_transaction() has returned",
        )  # fmt: skip

    def add_callback(self, delivery: Delivery, callback: Callback) -> bool:
        """Keep the callback for later; False when the outcome is known already."""
        entry = delivery, callback
        self._callbacks.append(entry)
        if delivery.done():  # by now, in another thread, which may have told already
            with contextlib.suppress(ValueError):
                self._callbacks.remove(entry)
                return False
        return True
