"""Commits of which nobody knew at first what had become of them, and that were made: they keep what they promise."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog.coordination import transaction_commit, transaction_journal
from eventlog.storage import prepared_append
from eventlog.testing.crash_filesystem import CrashFileSystem
from tests.interrupting import interrupted_before_line
from tests.transactions.helpers import PLACES, check_locks_are_free, create_topics, everything, send_everywhere, values

JOURNAL = os.path.join("topics", "__transaction_state", "0")


class InterruptedFileSystem(CrashFileSystem):
    """Interrupts the next sync of the journal, or lets it fail, when it is told to."""

    error: BaseException | None = None

    def sync(self, fd: int) -> None:  # type: ignore[override]
        if self.error is not None and JOURNAL in os.readlink(f"/proc/self/fd/{fd}"):
            error, self.error = self.error, None
            raise error
        super().sync(fd)


@pytest.fixture
def fs(tmp_path: Path) -> InterruptedFileSystem:
    (tmp_path / "disk").mkdir()
    return InterruptedFileSystem(tmp_path / "disk")


@pytest.fixture
def log(fs: InterruptedFileSystem, tmp_path: Path) -> Iterator[eventlog.EventLog]:
    opened = eventlog.open(tmp_path / "disk" / "log", filesystem=fs)
    create_topics(opened)
    yield opened
    fs.kill()


@pytest.fixture
def producer(log: eventlog.EventLog) -> eventlog.Producer:
    producer = log.producer(transactional_id="t", durability="disk")
    producer.init_transactions()
    producer.begin_transaction()
    return producer


def commit_in_doubt(producer: eventlog.Producer, fs: InterruptedFileSystem, error: BaseException) -> None:
    """Commit; the sync of the outcome ends with this error, and an interrupt comes before the journal was asked."""
    fs.error = error
    where = interrupted_before_line(
        0,
        producer.commit_transaction,
        lambda code: code.co_name == "is_committed" and code.co_filename == transaction_journal.__file__,
    )
    assert where is not None
    assert fs.error is None


def test_who_commits_again_may_count_on_the_device(
    producer: eventlog.Producer, fs: InterruptedFileSystem, tmp_path: Path
) -> None:
    """The outcome was written, and its sync interrupted: a commit that is repeated brings all to the device before it
    returns. A power cut that takes whatever was not synced leaves the transaction, and its deliveries say so.
    """
    sent = send_everywhere(producer, b"1")
    commit_in_doubt(producer, fs, KeyboardInterrupt())
    assert not any(delivery.done() for delivery in sent)
    producer.commit_transaction()
    assert [(each.result().offset, each.result().durable) for each in sent] == [(0, True)] * 3
    fs.after_power_cut(tmp_path / "cut", lambda count: count - 1)
    with eventlog.open(tmp_path / "cut" / "log") as log:
        assert everything(log) == {place: [b"1"] for place in PLACES}


def test_a_commit_that_is_repeated_on_a_failed_device_says_so(
    producer: eventlog.Producer, fs: InterruptedFileSystem
) -> None:
    """If the sync of the outcome has failed, the repeated commit raises StorageError, as the first would have: the
    transaction is committed and over, and its deliveries say that it is not known to be on the device.
    """
    sent = send_everywhere(producer, b"1")
    commit_in_doubt(producer, fs, OSError(5, "Input/output error"))
    with pytest.raises(eventlog.StorageError, match="refuses writes"):
        producer.commit_transaction()
    assert [(each.result().offset, each.result().durable) for each in sent] == [(0, False)] * 3
    with pytest.raises(eventlog.IllegalStateError):
        producer.commit_transaction()


def test_a_commit_that_is_repeated_can_be_interrupted_too(
    log: eventlog.EventLog, producer: eventlog.Producer, fs: InterruptedFileSystem
) -> None:
    """Interrupted before any line of it, it leaves no lock; committed once more, the transaction is over."""
    files = (transaction_commit.__file__, prepared_append.__file__)
    unseen = ("self._end._mutex.release()",)  # between a plain store and the call that follows no signal is looked for
    for number in range(200):
        sent = send_everywhere(producer, b"%d" % number)
        commit_in_doubt(producer, fs, KeyboardInterrupt())
        where = interrupted_before_line(
            number, producer.commit_transaction, lambda code: code.co_filename in files, unseen
        )
        try:
            check_locks_are_free(log)
            assert not any(log.topic(tp.topic).partitions[tp.partition].log.writer._mutex.locked() for tp in PLACES)
            with contextlib.suppress(eventlog.IllegalStateError):  # it may be over
                producer.commit_transaction()
            assert [each.result().offset for each in sent] == [number] * 3
            assert [len(here) for here in everything(log).values()] == [number + 1] * 3
        except BaseException as error:
            error.add_note(f"interrupted at {where}")
            raise
        producer.begin_transaction()
        if where is None:
            assert number > 20
            return
    raise AssertionError("no end")


def test_a_topic_that_was_deleted_meanwhile_is_left_out(
    log: eventlog.EventLog, producer: eventlog.Producer, fs: InterruptedFileSystem, tmp_path: Path
) -> None:
    """What is left of the topics is on the device when the repeated commit returns."""
    send_everywhere(producer, b"1")
    commit_in_doubt(producer, fs, KeyboardInterrupt())
    log.delete_topic("b")
    producer.commit_transaction()
    fs.after_power_cut(tmp_path / "cut", lambda count: count - 1)
    with eventlog.open(tmp_path / "cut" / "log") as again:
        assert [values(again, "a", number) for number in (0, 1)] == [[b"1"], [b"1"]]
