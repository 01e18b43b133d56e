"""Power cuts that keep just the wrong half of what was not synced, and flushes that come at just the wrong moment."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import eventlog
from eventlog.testing.power_cut import lay_out
from eventlog.testing.simulated_disk import SimulatedFile, Write
from tests.transactions.helpers import (
    PLACES,
    commit_stopped_before,
    create_topics,
    everything,
    send_everywhere,
    transact,
)
from tests.transactions.ledger import ID, JOURNAL, PLAIN, Ledger, read_all, reopened, transactions_in


def cut(ledger: Ledger, path: Path, part: str, keep: Callable[[list[Write]], list[Write]]) -> eventlog.EventLog:
    """Cut the power: one partition's segment holds what ``keep`` chooses of its unsynced writes, the rest all."""

    def content(file: SimulatedFile) -> bytes:
        if f"/{part}/" not in file.path or not file.path.endswith(".log"):
            return file.content()
        left = bytearray(file.durable)
        for write in keep(file.unsynced):
            write.apply(left)
        return bytes(left)

    ledger.fs.after_kill(path)  # which ends all processes
    shutil.rmtree(path)
    lay_out(ledger.fs.disk.top, str(path), lambda directory: directory.names, content)
    return reopened(path)


@pytest.mark.parametrize("by_another", [False, True])
def test_bytes_of_an_aborted_transaction_that_come_back_count_for_none(tmp_path: Path, by_another: bool) -> None:
    """A power cut may bring back what a failed commit had written, in the place of the next transaction's records, and
    keep that one's outcome: the aborted records are not taken for its own. Nor are they when that one is of another
    producer with the same id, and the same sequence numbers.
    """
    ledger = Ledger(tmp_path, "os")
    ledger.commit()
    if by_another:
        ledger.take_over(ledger.log)
    ledger.fail("debits")
    if by_another:
        ledger.take_over(ledger.log)
    ledger.commit()

    def until_the_aborted(writes: list[Write]) -> list[Write]:
        (last,) = [place for place, write in enumerate(writes) if b"02 first" in write.data]
        return writes[: last + 1]

    with cut(ledger, tmp_path / "disk", "credits/0", until_the_aborted) as log:
        assert transactions_in(log, "credits", 0) == [1]
        assert transactions_in(log, "debits", 0) == [1, 3]


def test_an_abort_is_on_the_device_before_what_it_clears_away(tmp_path: Path) -> None:
    """Who finds no outcome notes the abort, and syncs it: a power cut cannot bring back the outcome that a killed
    process had written, and not published, when a part of the transaction is already overwritten.
    """
    whole = Ledger(tmp_path / "whole", "disk")
    whole.commit()
    before = whole.fs.steps
    whole.commit()
    journal = f"topics/{JOURNAL}/0/"
    kinds = [(step.kind, step.path.startswith(journal)) for step in whole.fs.journal[before:]]
    ledger = Ledger(tmp_path, "disk")
    ledger.commit()
    other = ledger.another_process()
    ledger.fs.crash_at(ledger.fs.steps + kinds.index(("write", True)) + 1)
    assert ledger.work([("commit",)])
    other.topic("credits").partitions[0].append([PLAIN], durability="disk")

    def outcomes_of_commits(writes: list[Write]) -> list[Write]:
        return [write for write in writes if ID.encode() in write.data]

    with cut(ledger, tmp_path / "disk", f"{JOURNAL}/0", outcomes_of_commits) as log:
        assert ledger.check(log) == [1]
        assert read_all(log.topic("credits").partitions[0])[-1] == PLAIN


def test_a_flush_in_the_middle_of_a_commit_loses_nothing(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who flushes a partition between a transaction's outcome and its publishing there does not note that the outcomes
    of what follows stand behind it: after a kill the transaction is found.
    """
    create_topics(log)
    log.topic("a").partitions[0].append([b"0"])
    producer = log.producer(transactional_id="id")
    producer.init_transactions()
    producer.begin_transaction()
    send_everywhere(producer, b"1")
    with eventlog.open(log.path) as other:
        with commit_stopped_before("publish", PLACES[0], producer.commit_transaction, monkeypatch):
            other.topic("a").partitions[0].flush()
            assert other.topic("a").partitions[0].log_end_offset == 1
        shutil.copytree(log.path, tmp_path / "killed")
    with reopened(tmp_path / "killed") as again:
        assert everything(again) == {PLACES[0]: [b"0", b"1"], PLACES[1]: [b"1"], PLACES[2]: [b"1"]}


def test_outcomes_have_offsets_that_were_there_before_a_power_cut(tmp_path: Path) -> None:
    """A power cut may take outcomes that a partition's recovery point was noted behind: those that are written in their
    places count like any.
    """
    ledger = Ledger(tmp_path, "os")
    for _ in range(3):
        ledger.commit()
    inputs = ledger.log.topic("inputs").partitions[0]
    inputs.append([b"more"])
    inputs.flush()
    with cut(ledger, tmp_path / "cut", f"{JOURNAL}/0", lambda _: []) as log:
        assert log.topic(JOURNAL).partitions[0].log_end_offset == 0
        producer = log.producer(transactional_id=ID)
        with producer.transaction():
            producer.send("inputs", b"behind")
        assert read_all(log.topic("inputs").partitions[0])[-2:] == [b"more", b"behind"]
        shutil.copytree(log.path, tmp_path / "killed")
    with reopened(tmp_path / "killed") as log:
        assert read_all(log.topic("inputs").partitions[0])[-2:] == [b"more", b"behind"]


@pytest.mark.parametrize("when", ["before the answer", "behind it"])
@pytest.mark.parametrize("durability", ["os", "disk"])
def test_a_commit_in_the_middle_of_a_flush_loses_nothing(
    log: eventlog.EventLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, durability: str, when: str
) -> None:
    """Who flushes a partition, and asks the journal for its end at the moment at which a transaction gets its outcome
    there, does not note that the outcomes of what follows stand behind it: after a kill the transaction is found.
    """
    create_topics(log)
    producer = log.producer(transactional_id="id", durability=durability)
    transact(producer, b"0")
    log.topic("a").partitions[0].append([b"plain"])
    producer.begin_transaction()
    send_everywhere(producer, b"1")
    with eventlog.open(log.path) as other, contextlib.ExitStack() as commit:
        flushed = other.topic("a").partitions[0]
        journal = flushed.log.context.journal
        real = journal.durable_end_offset

        def ask() -> int:
            before = real()
            commit.enter_context(commit_stopped_before("publish", PLACES[0], producer.commit_transaction, monkeypatch))
            return before if when == "behind it" else real()

        with monkeypatch.context() as patch:
            patch.setattr(journal, "durable_end_offset", ask)
            flushed.flush()
        assert flushed.log_end_offset == 2
        shutil.copytree(log.path, tmp_path / "killed")
    with reopened(tmp_path / "killed") as again:
        assert everything(again) == {
            PLACES[0]: [b"0", b"plain", b"1"], PLACES[1]: [b"0", b"1"], PLACES[2]: [b"0", b"1"],
        }  # fmt: skip


def test_two_power_cuts_do_not_hide_an_outcome(tmp_path: Path) -> None:
    """A power cut takes outcomes, and their offsets are given out anew; another one brings back the head that a
    partition had before the first. A durable transaction in between is whole all the same.
    """
    ledger = Ledger(tmp_path, "os")
    for _ in range(3):
        ledger.commit()
    inputs = ledger.log.topic("inputs").partitions[0]
    inputs.append([b"more"], durability="disk")
    head = inputs.log.head.page.tobytes()
    with cut(ledger, tmp_path / "first", f"{JOURNAL}/0", lambda _: []) as log:
        assert log.topic(JOURNAL).partitions[0].log_end_offset == 0
        producer = log.producer(transactional_id=ID, durability="disk")
        with producer.transaction():
            producer.send("inputs", b"behind")
        shutil.copytree(log.path, tmp_path / "second")
    (tmp_path / "second" / "topics" / "inputs" / "0" / "head").write_bytes(head)
    with reopened(tmp_path / "second") as log:
        assert read_all(log.topic("inputs").partitions[0])[-2:] == [b"more", b"behind"]


def test_a_journal_that_is_lost_begins_anew(tmp_path: Path) -> None:
    """Without its journal a log keeps what it has, and outcomes of later transactions count from the first on."""
    ledger = Ledger(tmp_path, "disk")
    for _ in range(3):
        ledger.commit()
    inputs = ledger.log.topic("inputs").partitions[0]
    inputs.append([b"more"], durability="disk")
    assert inputs.log.head.recovery_journal() > 0
    ledger.fs.after_kill(tmp_path / "lost")
    shutil.rmtree(tmp_path / "lost" / "topics" / JOURNAL)
    with reopened(tmp_path / "lost") as log:
        producer = log.producer(transactional_id=ID)
        with producer.transaction():
            producer.send("inputs", b"behind")
        shutil.copytree(log.path, tmp_path / "killed")
    with reopened(tmp_path / "killed") as log:
        assert read_all(log.topic("inputs").partitions[0])[-2:] == [b"more", b"behind"]
        assert transactions_in(log, "credits", 0) == [1, 2, 3]
