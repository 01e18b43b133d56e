"""Looking at transactional ids, and at what became of the last transactions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import TopicPartition
from tests.monitoring.transactions import child, create_topics, killed, transfer

CREDITS, DEBITS = TopicPartition("credits", 0), TopicPartition("debits", 0)
JOURNAL = Path("topics", "__transaction_state", "0", f"{0:020d}.log")


def only(log: eventlog.EventLog) -> eventlog.TransactionDescription:
    """The description of the only transactional id."""
    (found,) = log.transactions()
    return found


def test_a_log_without_transactions_has_none_to_show(log: eventlog.EventLog) -> None:
    """Neither ids nor outcomes, and nothing was created by the look."""
    assert (log.transactions(), log.recent_transactions()) == ([], [])
    assert log.topics(include_internal=True) == []


def test_each_state_is_seen_in_turn(log_path: Path) -> None:
    """From its first producer on, an id shows what that is doing, with Kafka's names and the log's own time."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(log_path, clock=clock) as log:
        create_topics(log)
        producer = log.producer(transactional_id="transfer", transaction_timeout_ms=5_000)
        assert log.transactions() == []
        producer.init_transactions()
        found = only(log)
        assert (found.state, found.producer_epoch, found.is_alive, found.started_ms) == ("Empty", 0, True, None)
        assert (found.timeout_ms, found.changed_ms, found.is_pending) == (5_000, 1_700_000_000_000, False)
        clock.advance(1)
        producer.begin_transaction()
        producer.send("debits", b"1")
        clock.advance(1)
        found = only(log)
        assert (found.state, found.started_ms, found.is_pending) == ("Ongoing", 1_700_000_001_000, True)
        assert found.partitions == ()
        producer.abort_transaction()
        assert only(log).state == "CompleteAbort"
        transfer(producer)
        found = only(log)
        assert (found.state, found.partitions) == ("CompleteCommit", (CREDITS, DEBITS))
        assert (found.started_ms, found.changed_ms) == (1_700_000_002_000, 1_700_000_002_000)
        producer.close()
        assert (only(log).state, only(log).is_alive) == ("CompleteCommit", False)


def test_a_transaction_without_records_has_no_partitions(log_path: Path) -> None:
    """One that committed nothing does not show the partitions of the one before."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(log_path, clock=clock) as log:
        create_topics(log)
        with log.producer(transactional_id="transfer") as producer:
            transfer(producer)
            clock.advance(0.005)
            with producer.transaction():
                pass
            assert (only(log).state, only(log).partitions) == ("CompleteCommit", ())


def test_a_producer_that_is_kept_waiting_as_it_begins_shows_its_own_commit(log_path: Path) -> None:
    """However long it takes from one line to the next, the outcome in the journal is known for that of the id."""

    class Slow(eventlog.ManualClock):
        def time(self) -> float:
            self.advance(0.003)
            return super().time()

    with eventlog.open(log_path, clock=Slow(1_700_000_000.0)) as log:
        create_topics(log)
        with log.producer(transactional_id="transfer") as producer:
            transfer(producer)
            assert (only(log).state, only(log).partitions) == ("CompleteCommit", (CREDITS, DEBITS))


def test_committed_offsets_are_among_the_partitions(log: eventlog.EventLog) -> None:
    """The partition of the offsets' topic that a transaction wrote to is named like any other."""
    create_topics(log)
    with log.producer(transactional_id="transfer") as producer, producer.transaction():
        producer.send_offsets_to_transaction({DEBITS: 0}, eventlog.GroupMetadata("billing"))
    assert [tp.topic for tp in only(log).partitions] == ["__consumer_offsets"]


def test_an_open_transaction_of_another_process_is_seen_until_it_is_killed(log_path: Path) -> None:
    """Its process and that it lives are told; from its death on the transaction is aborted. Also for who only reads."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        with child(log_path, "stay") as process, eventlog.open(log_path, readonly=True) as reader:
            assert process.stdout is not None and process.stdout.readline() == "open\n"
            for looking in (log, reader):
                found = only(looking)
                assert (found.state, found.pid, found.is_alive) == ("Ongoing", process.pid, True)
            process.kill()
            process.wait(timeout=60)
            for looking in (log, reader):
                assert (only(looking).state, only(looking).is_alive) == ("CompleteAbort", False)


@pytest.mark.parametrize(("where", "state"), [("journal", "CompleteAbort"), ("publish", "CompleteCommit")])
def test_the_journal_tells_what_became_of_a_commit_whose_process_died(log_path: Path, where: str, state: str) -> None:
    """Killed before the commit point it is aborted, behind it committed, whether or not anybody has settled it."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        killed(log_path, where)
        with eventlog.open(log_path, readonly=True) as reader:
            assert only(reader).state == state
        assert log.topic("debits").partitions[0].log_end_offset == (where == "publish")  # which settles it
        found = only(log)
        assert (found.state, found.is_alive) == (state, False)
        assert found.partitions == ((CREDITS, DEBITS) if where == "publish" else ())


def test_a_newer_producer_shows_its_epoch(log: eventlog.EventLog) -> None:
    """The producer that has fenced another is the one that is shown, from its beginning."""
    create_topics(log)
    first, second = (log.producer(transactional_id="transfer") for _ in range(2))
    transfer(first)
    second.init_transactions()
    found = only(log)
    assert (found.state, found.producer_epoch, found.partitions) == ("Empty", 1, ())
    first.close()
    transfer(second)
    assert only(log).producer_epoch == 1


@pytest.mark.parametrize("learns", [False, True], ids=["closed", "fenced"])
def test_who_began_while_another_was_alive_is_seen_to_live(log: eventlog.EventLog, learns: bool) -> None:
    """The newer producer holds the id from its next transaction on, once the older was closed or knows it is fenced."""
    create_topics(log)
    first, second = (log.producer(transactional_id="transfer") for _ in range(2))
    transfer(first)
    transfer(second)
    if learns:
        with pytest.raises(eventlog.ProducerFencedError):
            first.begin_transaction()
    else:
        first.close()
    second.begin_transaction()
    assert (only(log).state, only(log).is_alive) == ("Ongoing", True)
    second.close()
    assert (only(log).state, only(log).is_alive) == ("CompleteAbort", False)


def test_ids_are_sorted_whatever_they_hold(log: eventlog.EventLog) -> None:
    """An id may have any characters, and is shown as it was given."""
    for name in ("b/c", "a b", "é"):
        log.producer(transactional_id=name).init_transactions()
    assert [found.transactional_id for found in log.transactions()] == ["a b", "b/c", "é"]


def test_an_id_without_its_page_shows_what_its_file_says(log: eventlog.EventLog, log_path: Path) -> None:
    """The control page is derived: without it the producer's id and epoch are still known, and the times are not."""
    with log.producer(transactional_id="transfer") as producer:
        producer.init_transactions()
    before = only(log)
    (log_path / "transactions" / "transfer" / "control").unlink()
    found = only(log)
    assert (found.state, found.producer_id, found.producer_epoch) == ("Empty", before.producer_id, 0)
    assert (found.started_ms, found.changed_ms, found.timeout_ms, found.pid) == (None, None, None, None)


def test_a_damaged_id_hides_no_other(log: eventlog.EventLog, log_path: Path) -> None:
    """Of an id whose files are damaged the name is shown; verification says which file it is."""
    for name in ("one", "two"):
        log.producer(transactional_id=name).init_transactions()
    (log_path / "transactions" / "one" / "control").unlink()
    (log_path / "transactions" / "one" / "state.json").write_text("{}")
    assert [(one.transactional_id, one.producer_id < 0) for one in log.transactions()] == [
        ("one", True),
        ("two", False),
    ]
    assert [problem.split(": ")[0] for problem in log.verify_transactions().problems] == [
        str(log_path / "transactions" / "one" / "state.json")
    ]


# --- the last ones ---


def test_the_last_transactions_come_newest_last(log: eventlog.EventLog) -> None:
    """Of five, the last two are those that were committed last, with where their records lie; aborted ones are none."""
    create_topics(log)
    with log.producer(transactional_id="transfer") as producer:
        for number in range(5):
            transfer(producer, b"%d" % number)
            producer.begin_transaction()
            producer.send("debits", b"never")
            producer.abort_transaction()
    everything = log.recent_transactions(100)
    assert [outcome.parts[1].base_offset for outcome in everything] == [0, 1, 2, 3, 4]
    assert log.recent_transactions(2) == everything[-2:]
    assert log.recent_transactions(0) == []
    last = everything[-1]
    assert (last.is_committed, last.transactional_id, last.epoch) == (True, "transfer", 0)
    assert [(part.topic, part.partition, part.end_offset) for part in last.parts] == [
        ("credits", 0, 5),
        ("debits", 0, 5),
    ]


def test_one_that_others_had_to_abort_is_among_the_last(log_path: Path) -> None:
    """A process that died while committing leaves an aborted transaction once somebody has come to a partition."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        killed(log_path, "journal")
        assert log.recent_transactions() == []
        log.topic("debits").partitions[0].append([b"next"])
        (outcome,) = log.recent_transactions()
        assert (outcome.is_committed, outcome.parts) == (False, ())


def test_the_last_ones_are_found_without_reading_the_others(log_path: Path) -> None:
    """Damage at the journal's beginning is not even noticed by who asks for its end, and passed by who asks for all."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        with log.producer(transactional_id="transfer") as producer:
            for _ in range(10):
                transfer(producer)
    content = bytearray((log_path / JOURNAL).read_bytes())
    content[100] ^= 1
    (log_path / JOURNAL).write_bytes(content)
    with eventlog.open(log_path) as log:
        assert [outcome.parts[0].base_offset for outcome in log.recent_transactions(3)] == [7, 8, 9]
        assert len(log.recent_transactions(100)) == 9


@pytest.mark.parametrize("count", [-1, 1.5, None, "3"])
def test_a_count_that_is_none_is_refused(log: eventlog.EventLog, count: Any) -> None:
    """What is no whole number from 0 on is an error that says so."""
    with pytest.raises(eventlog.InvalidConfigError, match="whole number"):
        log.recent_transactions(count)


def test_a_look_changes_nothing(log_path: Path) -> None:
    """In a log that may only be read everything is there to see, and no byte is another afterwards."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        with log.producer(transactional_id="transfer") as producer:
            transfer(producer)
    copy = log_path.parent / "copy"
    shutil.copytree(log_path, copy)
    with eventlog.open(copy, readonly=True) as log:
        assert only(log).state == "CompleteCommit"
        assert len(log.recent_transactions()) == 1 and log.verify_transactions().ok
    files = [path.relative_to(log_path) for path in log_path.rglob("*") if path.is_file()]
    assert all((log_path / path).read_bytes() == (copy / path).read_bytes() for path in files)
    assert len(files) == sum(path.is_file() for path in copy.rglob("*"))


def test_a_closed_log_shows_nothing(log_path: Path) -> None:
    """Each of the three calls raises ClosedError then."""
    log = eventlog.open(log_path)
    log.close()
    for look in (log.transactions, log.recent_transactions, log.verify_transactions):
        with pytest.raises(eventlog.ClosedError):
            look()
