"""Verification of the journal of transactions: what it says has to be true of the partitions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.format.producer_stamp import ProducerStamp
from eventlog.monitoring.transaction_verification import _Verification
from tests.monitoring.transactions import create_topics, killed, transfer

JOURNAL = Path("topics", "__transaction_state", "0", f"{0:020d}.log")


def filled(log: eventlog.EventLog, transactions: int = 3) -> None:
    """Write transactions, with plain records between them."""
    create_topics(log)
    with log.producer(transactional_id="transfer") as producer:
        for _ in range(transactions):
            transfer(producer)
            log.topic("debits").partitions[0].append([b"plain"])


def claim(log: eventlog.EventLog, base_offset: int, end_offset: int, **changes: object) -> None:
    """Append an outcome that says these offsets of ``debits`` are the first transaction's, with changes."""
    first = log._coordinator.journal.outcomes().__next__()[1]
    part = next(part for part in first.parts if part.topic == "debits")
    sequence = changes.pop("base_sequence", part.base_sequence)
    made = part._replace(base_offset=base_offset, end_offset=end_offset, base_sequence=sequence)
    log._coordinator.journal.append(first._replace(parts=(made,), **changes))


def test_transactions_verify(log: eventlog.EventLog) -> None:
    """A log in which everything is as it should be has no problem and no note, and tells how much was looked at."""
    filled(log)
    report = log.verify_transactions()
    assert (report.outcomes, report.committed, report.problems, report.notes, report.ok) == (3, 3, (), (), True)


def test_many_records_and_compressed_ones_verify(log: eventlog.EventLog) -> None:
    """A part of several batches is whole, whatever the codec, over segments, with the offsets of groups."""
    log.create_topic("debits", segment_bytes=4096, max_message_bytes=1024)
    with log.producer(transactional_id="transfer", compression_type="gzip") as producer:
        for _ in range(5):
            with producer.transaction():
                producer.send_many("debits", [b"x" * 500] * 20)
                producer.send("debits", b"y", key=b"k")
                offsets = {eventlog.TopicPartition("debits", 0): 0}
                producer.send_offsets_to_transaction(offsets, eventlog.GroupMetadata("g"))
    assert log.verify_transactions() == eventlog.TransactionsReport(5, 5)


@pytest.mark.parametrize(
    ("base_offset", "end_offset", "says"),
    [
        (5, 6, "debits-0: offsets 5 to 5 are other records than a transaction has committed"),
        (5, 9, "debits-0: offsets 6 to 8 were committed, and are not there"),
        (4, 5, "debits-0: offsets 4 to 4 are of two transactions"),
    ],
    ids=["plain records", "behind the end", "twice"],
)
def test_a_journal_that_is_not_true_is_found(
    log: eventlog.EventLog, base_offset: int, end_offset: int, says: str
) -> None:
    """A committed range that holds other records, reaches beyond the end, or belongs to another one is a problem."""
    filled(log)
    claim(log, base_offset, end_offset)
    report = log.verify_transactions()
    assert not report.ok
    assert says in " | ".join(report.problems)


@pytest.mark.parametrize(
    ("change", "ok"),
    [({}, True), ({"producer_id": 6}, False), ({"epoch": 7}, False), ({"base_sequence": 1}, False)],
    ids=["same", "id", "epoch", "sequence"],
)
def test_records_of_another_producer_are_found(log: eventlog.EventLog, change: dict[str, int], ok: bool) -> None:
    """The batches in a committed range carry the id and epoch of the producer that committed it, and its sequence."""
    filled(log)
    partition = log.topic("debits").partitions[0]
    stamp = ProducerStamp(5, 0, 0, is_transactional=True)
    partition.log.writer.append(partition.encode([b"a"], stamp=stamp), None)
    claim(log, 6, 7, **{"producer_id": 5, "epoch": 0, "base_sequence": 0, **change})
    wrong = [] if ok else ["debits-0: offsets 6 to 6 are other records than a transaction has committed"]
    assert [problem.split(";")[0] for problem in log.verify_transactions().problems] == wrong


def test_a_transactional_batch_without_an_outcome_is_found(log: eventlog.EventLog) -> None:
    """A reader of it would see what was never committed."""
    filled(log)
    partition = log.topic("credits").partitions[0]
    stamp = ProducerStamp(5, 0, 0, is_transactional=True)
    partition.log.writer.append(partition.encode([b"a"], stamp=stamp), None)
    assert log.verify_transactions().problems == (
        "credits-0: 1 batches of transactions, from offset 3 on, which the journal does not know as committed",
    )


def test_a_topic_that_was_deleted_and_made_anew_is_another(log: eventlog.EventLog) -> None:
    """What was committed to a topic that is gone says nothing of the one that has its name now."""
    filled(log)
    log.delete_topic("debits")
    log.create_topic("debits").partitions[0].append([b"new"])
    assert log.verify_transactions().ok


def test_an_outcome_of_an_unknown_form_is_found(log: eventlog.EventLog) -> None:
    """Each record of the journal is decoded, and one that is not understood is named by its offset."""
    filled(log)
    journal = log._coordinator.journal.partition()
    assert journal is not None
    journal.append([b"\0\7what is this"])
    report = log.verify_transactions()
    assert [problem.split(": ")[:2] for problem in report.problems] == [["__transaction_state-0", "offset 3"]]


def test_a_lost_journal_is_found(log_path: Path) -> None:
    """Without the journal nobody can tell which batches of transactions were committed: all of them are named."""
    with eventlog.open(log_path) as log:
        filled(log)
    shutil.rmtree(log_path / "topics" / "__transaction_state")
    with eventlog.open(log_path, readonly=True) as log:
        assert log.verify_transactions().problems == tuple(
            f"{topic}-0: 3 batches of transactions, from offset 0 on,"
            " and there is no journal that says whether they were committed"
            for topic in ("credits", "debits")
        )


def test_a_damaged_journal_is_told_by_its_own_partition(log_path: Path) -> None:
    """Its damage is that of a segment; here there is a note for the batches whose outcome was in it."""
    with eventlog.open(log_path) as log:
        filled(log)
    content = bytearray((log_path / JOURNAL).read_bytes())
    content[100] ^= 1
    (log_path / JOURNAL).write_bytes(content)
    with eventlog.open(log_path, readonly=True) as log:
        report = log.verify_transactions()
        assert report.ok and report.outcomes == 2
        assert [note.split(":")[0] for note in report.notes] == ["credits-0", "debits-0"]
        assert not log.topic("__transaction_state").partitions[0].verify().ok


def test_a_damaged_partition_is_told_by_itself(log_path: Path) -> None:
    """A batch of a transaction that is damaged is damage of its segment, and no second problem of the journal."""
    with eventlog.open(log_path) as log:
        filled(log)
    path = log_path / "topics" / "debits" / "0" / f"{0:020d}.log"
    content = bytearray(path.read_bytes())
    content[16] ^= 1  # the magic number of the first batch
    path.write_bytes(content)
    with eventlog.open(log_path, readonly=True) as log:
        assert log.verify_transactions().ok
        assert not log.topic("debits").partitions[0].verify().ok


@pytest.mark.parametrize(("where", "says"), [("journal", "finds out from the journal"), ("publish", "it is committed")])
def test_what_a_killed_process_left_is_a_note(log_path: Path, where: str, says: str) -> None:
    """While nobody has come to the partitions, verification that changes nothing tells of it; afterwards it is gone."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        killed(log_path, where)
        with eventlog.open(log_path, readonly=True) as reader:
            report = reader.verify_transactions()
        assert report.ok
        assert [note.split(":")[0] for note in report.notes] == ["credits-0", "debits-0"]
        assert all(says in note for note in report.notes)
        for topic in ("credits", "debits"):
            log.topic(topic).partitions[0].append([b"next"])
        report = log.verify_transactions()
        assert (report.ok, report.notes) == (True, ())


def test_who_verifies_while_others_commit_finds_nothing(
    log: eventlog.EventLog, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed between the reading of the journal and that of a partition is no stranger."""
    check = _Verification._check
    with log.producer(transactional_id="transfer") as producer, eventlog.open(log_path) as other:
        create_topics(log)
        transfer(producer)

        def check_late(self: _Verification, *arguments: Any) -> None:
            transfer(producer)
            check(self, *arguments)

        monkeypatch.setattr(_Verification, "_check", check_late)
        report = other.verify_transactions()
    assert (report.problems, report.notes) == ((), ())
    assert report.outcomes == 3
