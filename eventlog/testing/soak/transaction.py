"""One transaction of a worker, and what the history says of it."""

from __future__ import annotations

import attrs

import eventlog
from eventlog.model import TopicPartition
from eventlog.producer.delivery import Delivery
from eventlog.testing.history import Poll, Recorder, Send
from eventlog.testing.soak.value import value_of


class Transaction:
    """Begins one, sends into it, and ends it. A context manager: after an error it aborts, and notes what it knows."""

    def __init__(self, producer: eventlog.Producer, recorder: Recorder, *, may_lose_power: bool) -> None:
        """``may_lose_power``: what is not known to be on the device may be lost."""
        self._producer = producer
        self._recorder = recorder
        self._may_lose_power = may_lose_power
        self._actions: list[Send | Poll] = []
        self._deliveries: list[Delivery] = []  # of the sends among the actions
        self._is_noted = False

    def __enter__(self) -> Transaction:
        self._recorder.invoke("txn")
        self._producer.begin_transaction()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not self._is_noted:
            self._end_after(error)

    def polled(self, poll: Poll) -> None:
        """Note what was read for this transaction."""
        self._actions.append(poll)

    def send(self, place: TopicPartition, name: str) -> None:
        """Send a value with this name."""
        self._actions.append(Send(place, name))
        self._deliveries.append(self._producer.send(place.topic, value_of(name), partition=place.partition))

    def commit(self, tries: int) -> None:
        """Commit, and note the offsets; one that fails because of the disk is tried again."""
        self._recorder.invoke("commit", *self._actions)
        while not self._is_noted:
            tries -= 1
            try:
                self._producer.commit_transaction()
                self._note_committed()
            except (eventlog.StorageError, eventlog.LogFullError):
                if not tries:
                    raise
            except eventlog.IllegalStateError:
                self._note_committed_with_error()

    def abort(self) -> None:
        """Abort."""
        self._producer.abort_transaction()
        self._note_failed()

    def _end_after(self, error: BaseException) -> None:
        """Abort, which tells whether the commit that ended with an error has committed after all."""
        try:
            if not isinstance(error, eventlog.ProducerFencedError):
                self._producer.abort_transaction()
            self._note_failed()
        except eventlog.ProducerFencedError:
            self._note_open()
        except eventlog.IllegalStateError:
            self._note_committed_with_error()
        except eventlog.EventLogError:
            self._note_open()

    def _note_committed(self) -> None:
        offsets = iter([delivery.result().offset for delivery in self._deliveries])
        done = [attrs.evolve(act, offset=next(offsets)) if isinstance(act, Send) else act for act in self._actions]
        self._is_noted = True
        self._recorder.ok("txn", *done)

    def _note_committed_with_error(self) -> None:
        """Note a commit that has failed to sync behind the commit point: it is not known to outlast a power cut."""
        if self._may_lose_power and not all(delivery.result().durable for delivery in self._deliveries):
            self._note_open()
        else:
            self._note_committed()

    def _note_failed(self) -> None:
        self._is_noted = True
        self._recorder.fail("txn", *self._actions)

    def _note_open(self) -> None:
        self._is_noted = True
        self._recorder.info("txn", *self._actions)
