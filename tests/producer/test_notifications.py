"""Whoever asks to be called back is called back once, whatever other threads do in that moment."""

from __future__ import annotations

from typing import Any

from eventlog.producer.delivery import Delivery, Outcome
from eventlog.producer.notifications import Notifications


class SettledMeanwhile(Delivery):
    """Another thread gives it its outcome, and tells, when it is asked for the ``moment``-th time if it is done."""

    def __init__(self, told: Notifications, moment: int) -> None:
        self.told, self.moment = told, moment
        self.home: Any = None
        self.index = 0
        self.stamp = 0.0

    def done(self) -> bool:
        is_done = super().done()
        self.moment -= 1
        if self.moment == 0:
            self.home = Outcome("t", 0, 5)
            self.told.settled([self])
        return is_done


def test_a_record_that_is_settled_while_a_callback_is_added() -> None:
    """It is called here and now, or by whoever has settled the record, and never by both."""
    for moment in (1, 2, 3):
        told = Notifications()
        delivery = SettledMeanwhile(told, moment)
        calls: list[object] = []

        def callback(*outcome: object, calls: list[object] = calls) -> None:
            calls.append(outcome)

        if not told.add_callback(delivery, callback):
            callback()
        told.run()
        if moment == 3:  # it was not asked that often: so it is settled now
            assert not calls
            delivery.done()
            told.run()
        assert len(calls) == 1
