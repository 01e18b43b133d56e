"""What is an anomaly and what is none: for each of them small histories that have it, and near ones that do not."""

from __future__ import annotations

from itertools import count
from typing import Any

import attrs
import pytest

import eventlog
from eventlog.model import TopicPartition
from eventlog.testing.checker import ANOMALIES, CHAIN_ANOMALIES, Report, check, check_chain, observed_logs
from eventlog.testing.history import Assign, HistoryError, Kind, Operation, Poll, Send, What

P = TopicPartition("t", 0)
Q = TopicPartition("t", 1)

Note = tuple[str, Kind, What, tuple[Any, ...]]


def note(process: str, kind: Kind, what: What, *actions: Any) -> Note:
    return process, kind, what, actions


def sent(process: str, *sends: Send) -> Note:
    """Sent and acknowledged."""
    return note(process, "ok", "send", *sends)


def polled(process: str, *records: tuple[int, Any], partition: TopicPartition = P) -> Note:
    return note(process, "ok", "poll", Poll({partition: records}))


def committed(process: str, *actions: Any) -> Note:
    return note(process, "ok", "txn", *actions)


def history(*notes: Note) -> list[Operation]:
    """One note a nanosecond."""
    times = count()
    return [Operation(process, next(times), kind, what, actions) for process, kind, what, actions in notes]


A, B, C = Send(P, "a", 0), Send(P, "b", 1), Send(P, "c", 2)
ABC = sent("p", A, B, C)
READ_ALL = polled("reader", (0, "a"), (1, "b"), (2, "c"))

# For each anomaly: histories that have it, and that one alone unless more are named.
GUILTY: list[tuple[str, str, tuple[Note, ...]]] = [
    ("lost-write", "an acknowledged record was never polled, a later one was",
        (ABC, polled("c", (0, "a")), note("c", "ok", "assign", Assign({P: None})), polled("c", (2, "c")))),
    ("lost-write", "the beginning of the log was never polled", (ABC, polled("c", (2, "c")))),
    ("lost-write", "one record of a transaction was polled, so that it was committed, and an earlier one was not",
        (note("p", "info", "txn", A, B), polled("c", (1, "b")))),
    ("lost-write", "an error came after the offset was known",
        (note("p", "info", "send", A, Send(P, "?")), sent("p", B), polled("c", (1, "b")))),
    ("unseen", "the consumer stopped before the end", (ABC, polled("c", (0, "a"), (1, "b")))),
    ("unseen", "nobody polled at all", (sent("p", A),)),
    ("unseen", "the offset was not noted", (ABC, sent("p", Send(P, "d")), READ_ALL)),
    ("unseen", "one record of a transaction was polled, those in another partition were not",
        (note("p", "info", "txn", A, Send(Q, "x")), polled("c", (0, "a")))),
    ("duplicate", "a consumer found it twice",
        (ABC, READ_ALL, polled("reader", (3, "a")))),
    ("duplicate", "it was acknowledged at one offset, and polled at another",
        (note("p", "invoke", "send", A), sent("p", A), polled("c", (0, "a"), (1, "a")))),
    ("inconsistent-offsets", "two consumers disagree",
        (note("p", "info", "send", Send(P, "a")), note("q", "info", "send", Send(P, "b")), polled("c", (0, "a")),
         polled("d", (0, "b")))),
    ("inconsistent-offsets", "two producers were told the same offset", (sent("p", Send(P, "a", 0)),
        sent("q", Send(P, "b", 0)), note("c", "ok", "poll", Poll({P: [(0, "a")]})), polled("d", (0, "b")))),
    ("unknown-value", "it came from nowhere", (ABC, READ_ALL, polled("reader", (3, "d")))),
    ("unknown-value", "it was sent to another partition", (ABC, READ_ALL, polled("reader", (0, "a"), partition=Q))),
    ("aborted-read", "the transaction was aborted",
        (note("p", "invoke", "txn"), note("p", "fail", "txn", Send(P, "a")), polled("c", (0, "a")))),
    ("aborted-read", "it was polled before the abort",
        (note("p", "invoke", "txn"), polled("c", (0, "a")), note("p", "fail", "txn", Send(P, "a")))),
    ("aborted-read", "the send failed",
        (note("p", "invoke", "send", Send(P, "a")), note("p", "fail", "send", Send(P, "a")), polled("c", (0, "a")))),
    ("aborted-read", "it failed whenever it was tried",
        (note("p", "fail", "txn", Send(P, "a")), note("p", "fail", "txn", Send(P, "a")), polled("c", (0, "a")))),
    ("aborted-read", "a transaction that was aborted itself polled it",
        (note("p", "fail", "txn", Send(P, "a")), note("q", "fail", "txn", Poll({P: [(0, "a")]})))),
    ("precommitted-read", "polled before the commit was called", (note("p", "invoke", "txn"), polled("c", (0, "a")),
        note("p", "invoke", "commit", Send(P, "a")), committed("p", A))),
    ("precommitted-read", "the commit was never called", (note("q", "invoke", "txn"), note("q", "invoke", "commit"),
        committed("q"), note("p", "invoke", "txn", Send(P, "a")), polled("c", (0, "a")))),
    ("precommitted-read", "polled before the transaction began",
        (polled("c", (0, "a")), note("p", "invoke", "txn"), committed("p", A))),
    ("precommitted-read", "the transaction polled its own record", (committed("p", A, Poll({P: [(0, "a")]})),)),
    ("precommitted-read", "it polled its own record, and said so when it committed", (note("p", "invoke", "txn"),
        note("p", "invoke", "commit", Send(P, "a"), Poll({P: [(0, "a")]})), committed("p", A))),
    ("precommitted-read", "polled before it was sent at all", (polled("c", (0, "a")),
        note("p", "invoke", "send", Send(P, "a")), sent("p", A))),
    ("precommitted-read", "polled between an attempt that failed and the one that did not",
        (note("p", "invoke", "send", Send(P, "a")), note("p", "fail", "send", Send(P, "a")), polled("c", (0, "a")),
         note("p", "invoke", "send", Send(P, "a")), sent("p", A))),
    ("poll-skip", "the next poll begins too late", (ABC, READ_ALL, polled("c", (0, "a")), polled("c", (2, "c")))),
    ("poll-skip", "the first poll begins behind the position", (ABC, READ_ALL,
        note("c", "ok", "assign", Assign({P: 0})), polled("c", (1, "b")))),
    ("poll-skip", "an offset that nobody knows anything of is missing",
        (sent("p", A, C), polled("c", (0, "a")), polled("c", (2, "c")))),
    ("poll-skip", "a transaction's poll skips, after that of another",
        (ABC, READ_ALL, committed("c", Poll({P: [(0, "a")]})), committed("c", Poll({P: [(2, "c")]})))),
    ("nonmonotonic-poll", "the same record again", (ABC, READ_ALL, polled("c", (0, "a")), polled("c", (0, "a")))),
    ("nonmonotonic-poll", "back to an earlier one", (ABC, READ_ALL, polled("c", (1, "b")), polled("c", (0, "a")))),
    ("nonmonotonic-poll", "the first poll begins before the position", (ABC, READ_ALL,
        note("c", "ok", "assign", Assign({P: 1})), polled("c", (0, "a")))),
    ("nonmonotonic-poll", "a transaction that was aborted moved the position all the same, and nobody sought back",
        (ABC, READ_ALL, note("c", "fail", "txn", Poll({P: [(0, "a")]})), polled("c", (0, "a")))),
    ("int-poll-skip", "within one poll", (ABC, READ_ALL, polled("c", (0, "a"), (2, "c")))),
    ("int-poll-skip", "between the polls of one transaction",
        (ABC, READ_ALL, committed("c", Poll({P: [(0, "a")]}), Poll({P: [(2, "c")]})))),
    ("int-nonmonotonic-poll", "within one poll", (ABC, READ_ALL, polled("c", (1, "b"), (0, "a")))),
    ("int-nonmonotonic-poll", "twice in one poll", (ABC, READ_ALL, polled("c", (0, "a"), (0, "a")))),
    ("int-nonmonotonic-poll", "between the polls of one transaction",
        (ABC, READ_ALL, committed("c", Poll({P: [(1, "b")]}), Poll({P: [(0, "a")]})))),
    ("nonmonotonic-send", "the second send stands first", (sent("p", B), sent("p", A), sent("p", C), READ_ALL)),
    ("nonmonotonic-send", "on their way together, noted in the order of acknowledgement",
        (note("p", "invoke", "send", Send(P, "b")), note("p", "invoke", "send", Send(P, "a")),
         sent("p", A), sent("p", B), sent("p", C), READ_ALL)),
    ("nonmonotonic-send", "the outcome of one was unknown, but it was polled",
        (note("p", "info", "send", Send(P, "b")), sent("p", A), sent("p", C), READ_ALL)),
    ("nonmonotonic-send", "a transaction before a plain send",
        (committed("p", B), sent("p", A), sent("p", C), READ_ALL)),
    ("int-nonmonotonic-send", "within one send", (sent("p", B, A), sent("p", C), READ_ALL)),
    ("int-nonmonotonic-send", "within one transaction", (committed("p", B, A), sent("p", C), READ_ALL)),
    ("realtime-order", "another process began after the first had finished", (sent("p", B),
        note("q", "invoke", "send", Send(P, "a")), sent("q", A), sent("p", C), READ_ALL)),
    ("realtime-order", "a transaction was committed before the other's commit began", (note("p", "invoke", "txn"),
        note("q", "invoke", "txn"), note("p", "invoke", "commit"), committed("p", B), note("q", "invoke", "commit"),
        committed("q", A), sent("r", C), READ_ALL)),
    ("int-send-skip", "another's record within a transaction", (sent("q", B), committed("p", A, C), READ_ALL)),
]  # fmt: skip

WRITE_CYCLE = (
    committed("s", Send(P, "a", 0), Send(Q, "x", 1)),
    committed("t", Send(P, "b", 1), Send(Q, "y", 0)),
    note("c", "ok", "poll", Poll({P: [(0, "a"), (1, "b")], Q: [(0, "y"), (1, "x")]})),
)
CYCLE_OF_THREE = (
    committed("r", Send(P, "a", 0), Send(Q, "z", 2)),
    committed("s", Send(P, "b", 1), Send(TopicPartition("u", 0), 1, 0)),
    committed("t", Send(TopicPartition("u", 0), 2, 1), Send(Q, "x", 0)),
    sent("p", Send(Q, "y", 1)),
    note(
        "c", "ok", "poll",
        Poll({P: [(0, "a"), (1, "b")], Q: [(0, "x"), (1, "y"), (2, "z")], TopicPartition("u", 0): [(0, 1), (1, 2)]}),
    ),
)  # fmt: skip
GUILTY += [
    ("write-cycle", "two transactions, each before the other", WRITE_CYCLE),
    ("write-cycle", "three in a ring, with a record outside of transactions between them", CYCLE_OF_THREE),
    ("write-cycle", "the outcome of one is unknown, but it was polled",
        (note("s", "info", "txn", Send(P, "a"), Send(Q, "x")), *WRITE_CYCLE[1:])),
]  # fmt: skip

INNOCENT: list[tuple[str, tuple[Note, ...]]] = [
    ("nothing happened", ()),
    ("everything was read", (ABC, READ_ALL)),
    ("a send of unknown outcome may not be there", (note("p", "info", "send", Send(P, "z")), ABC, READ_ALL)),
    ("a send of unknown outcome may be there",
        (note("p", "invoke", "send", Send(P, "a")), polled("c", (0, "a")))),
    ("a transaction of unknown outcome may not be there", (note("p", "info", "txn", Send(P, "z")), ABC, READ_ALL)),
    ("a transaction of unknown outcome may be there, whole",
        (note("p", "info", "txn", Send(P, "a"), Send(P, "b")), sent("p", C), READ_ALL)),
    ("what failed is not there", (note("p", "fail", "send", Send(P, "z")), note("p", "fail", "txn", Send(P, "y")),
        ABC, READ_ALL)),
    ("sent again after it failed", (note("p", "fail", "txn", Send(P, "a")), committed("p", A), sent("p", B, C),
        READ_ALL)),
    ("sent again while nobody knew, and it was there once", (note("p", "info", "send", Send(P, "a")), sent("p", A),
        polled("c", (0, "a")))),
    ("a first attempt of unknown outcome wrote it, a second failed", (note("p", "invoke", "send", Send(P, "a")),
        note("p", "invoke", "send", Send(P, "a")), note("p", "fail", "send", Send(P, "a")), polled("c", (0, "a")))),
    ("polled between two attempts, the first of unknown outcome", (note("p", "invoke", "send", Send(P, "a")),
        polled("c", (0, "a")), note("p", "invoke", "send", Send(P, "a")), sent("p", A))),
    ("polled while the commit was on its way", (note("p", "invoke", "txn"),
        note("p", "invoke", "commit", Send(P, "a")), polled("c", (0, "a")), committed("p", A))),
    ("polled while the transaction was open, and commits are not noted",
        (note("p", "invoke", "txn"), polled("c", (0, "a")), committed("p", A))),
    ("read again from the beginning, after saying so", (ABC, READ_ALL, note("reader", "ok", "assign", Assign({P: 0})),
        READ_ALL)),
    ("anything may come first where the position is not told", (ABC, READ_ALL,
        note("c", "ok", "assign", Assign({P: None})), polled("c", (2, "c")))),
    ("a partition that went away and came back", (ABC, READ_ALL, note("reader", "ok", "assign", Assign({Q: 0})),
        note("reader", "ok", "assign", Assign({P: None})), polled("reader", (1, "b")))),
    ("a consumer of the same name after a crash", (ABC, READ_ALL, note("reader", "info", "crash"), READ_ALL)),
    ("an aborted transaction's consumer sought back", (ABC, READ_ALL, note("c", "fail", "txn", Poll({P: [(0, "a")]})),
        note("c", "ok", "assign", Assign({P: 0})), polled("c", (0, "a")))),
    ("the commit and the outcome tell of the same polls", (ABC, READ_ALL, note("c", "invoke", "txn"),
        note("c", "invoke", "commit", Poll({P: [(0, "a")]})), committed("c", Poll({P: [(0, "a")]})),
        polled("c", (1, "b")))),
    ("records of two partitions in any order", (sent("p", A, Send(Q, "x", 0)), note("c", "ok", "poll",
        Poll({Q: [(0, "x")], P: [(0, "a")]})))),
    ("transactions that were open together in any order", (note("p", "invoke", "txn"), note("q", "invoke", "txn"),
        committed("p", B), committed("q", A), sent("r", C), READ_ALL)),
    ("two processes' sends in any order", (note("p", "invoke", "send", Send(P, "b")),
        note("q", "invoke", "send", Send(P, "a")), sent("p", B), sent("q", A), sent("p", C), READ_ALL)),
    ("another's record within one send outside of a transaction", (sent("q", B), sent("p", A, C), READ_ALL)),
    ("what failed has no order", (note("p", "fail", "send", Send(P, "z", 5)), ABC, READ_ALL)),
    ("a process that was killed within a transaction begins another", (note("p", "invoke", "txn", Send(P, "z")),
        note("p", "invoke", "txn"), committed("p", A, B, C), READ_ALL)),
    ("two transactions one after the other in both partitions", (
        committed("s", Send(P, "a", 0), Send(Q, "x", 0)), committed("t", Send(P, "b", 1), Send(Q, "y", 1)),
        note("c", "ok", "poll", Poll({P: [(0, "a"), (1, "b")], Q: [(0, "x"), (1, "y")]})))),
    ("the cycle's second transaction has no transaction around it", (
        WRITE_CYCLE[0], sent("t", Send(P, "b", 1), Send(Q, "y", 0)), WRITE_CYCLE[2])),
    ("faults are no business of the log's clients", (note("nemesis", "info", "fault"), ABC, READ_ALL)),
    ("an empty poll", (ABC, READ_ALL, note("reader", "ok", "poll", Poll({})), polled("reader"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "why", "notes"), GUILTY, ids=lambda value: value if isinstance(value, str) else "")
def test_an_anomaly_is_found_and_nothing_else(name: str, why: str, notes: tuple[Note, ...]) -> None:
    """A history that has an anomaly is not consistent, and the report names the anomaly."""
    report = check(history(*notes))
    assert not report.ok
    assert report.found == {name}, str(report)
    assert all(anomaly.name == name and anomaly.sentence for anomaly in report.anomalies[name])


def test_every_anomaly_has_a_history_that_contains_it() -> None:
    """None of the checks is without a proof that it can fail."""
    assert {name for name, _, _ in GUILTY} == ANOMALIES.keys()


@pytest.mark.parametrize("notes", [notes for _, notes in INNOCENT], ids=[why for why, _ in INNOCENT])
def test_what_is_legal_is_no_anomaly(notes: tuple[Note, ...]) -> None:
    """A history that a correct log may produce is consistent, however odd."""
    report = check(history(*notes))
    assert report.ok, str(report)
    assert not report.found


def test_what_is_allowed_is_reported_all_the_same() -> None:
    """Anomalies that the caller expects leave the report in order, and stay in it."""
    notes = history(ABC, polled("c", (0, "a")))
    report = check(notes, allow={"unseen"})
    assert report.ok
    assert report.found == {"unseen"}
    assert [anomaly.offsets for anomaly in report.anomalies["unseen"]] == [(1,), (2,)]
    assert not check(notes, allow={"lost-write"}).ok


def test_a_name_that_no_anomaly_has_is_refused() -> None:
    """A slip in ``allow`` is an error that lists the names there are."""
    with pytest.raises(eventlog.InvalidConfigError, match="lost-write"):
        check([], allow={"lost-writes"})


def test_gaps_between_offsets_are_no_anomaly_where_there_may_be_some() -> None:
    """With ``dense=False`` an offset that nobody knows of may be missing, and one with a record may not."""
    with_gaps = [note("p", "ok", "txn", Send(P, "a", 0), Send(P, "b", 2)), polled("c", (0, "a")), polled("c", (2, "b"))]
    assert check(history(*with_gaps), dense=False).ok
    assert check(history(*with_gaps)).found == {"poll-skip", "int-send-skip"}
    known = [*with_gaps, sent("q", Send(P, "z", 1)), polled("d", (1, "z"))]
    assert check(history(*known), dense=False).found == {"poll-skip", "int-send-skip"}


def test_an_anomaly_says_where_to_look() -> None:
    """It names partition, offsets, values, processes and time, for programs, and in a sentence for people."""
    [skip] = check(history(ABC, READ_ALL, polled("c", (0, "a")), polled("c", (2, "c")))).anomalies["poll-skip"]
    assert (skip.partition, skip.offsets, skip.values, skip.processes, skip.time_ns) == (P, (1,), ("b",), ("c",), 3)
    assert str(skip) == "poll-skip: c was given offset 2 where 1 was due, and never 1, in t-0"


SENTENCES: list[tuple[str, tuple[Note, ...], str, tuple[Any, ...]]] = [
    ("lost-write", (sent("p", A), sent("q", B), polled("c", (1, "b"))),
        "'a' was acknowledged by p in t-0 at offset 0, and nobody ever polled it, although offset 1 was polled",
        (P, (0,), ("a",), ("p",), None)),
    ("lost-write", (committed("p", A), sent("q", B), polled("c", (1, "b"))),
        "'a' was acknowledged by a transaction of p in t-0 at offset 0, and nobody ever polled it, "
        "although offset 1 was polled",
        (P, (0,), ("a",), ("p",), None)),
    ("duplicate", (sent("p", A), polled("c", (0, "a"), (1, "a"), (2, "a"))), "'a' stands in t-0 at offsets 0, 1 and 2",
        (P, (0, 1, 2), ("a",), ("p",), None)),
    ("inconsistent-offsets", (sent("p", A), sent("q", Send(P, "b", 0))),
        "t-0 at offset 0 holds 'a' and 'b', depending on who says so", (P, (0,), ("a", "b"), ("p", "q"), None)),
    ("unknown-value", (polled("c", (0, "a")),), "c polled 'a' in t-0 at offset 0: nobody sent it",
        (P, (0,), ("a",), ("c",), 0)),
    ("aborted-read", (note("p", "fail", "txn", A), polled("c", (0, "a"))),
        "c polled 'a' in t-0 at offset 0: it was sent by a transaction of p, and that failed",
        (P, (0,), ("a",), ("c", "p"), 1)),
    ("precommitted-read", (note("p", "invoke", "txn"), polled("c", (0, "a")), note("p", "invoke", "commit"),
        committed("p", A)),
        "c polled 'a' in t-0 at offset 0: it was sent by a transaction of p, whose commit began at 2",
        (P, (0,), ("a",), ("c", "p"), 1)),
    ("precommitted-read", (note("q", "invoke", "txn"), note("q", "invoke", "commit"), committed("q"),
        note("p", "invoke", "txn", A), polled("c", (0, "a"))),
        "c polled 'a' in t-0 at offset 0: it was sent by a transaction of p, whose commit was never called",
        (P, (0,), ("a",), ("c", "p"), 4)),
    ("precommitted-read", (polled("c", (0, "a")), note("p", "invoke", "send", A)),
        "c polled 'a' in t-0 at offset 0: it was sent by p, whose send began at 1", (P, (0,), ("a",), ("c", "p"), 0)),
    ("precommitted-read", (committed("p", A, Poll({P: [(0, "a")]})),),
        "p polled 'a' in t-0 at offset 0: it was sent by the same transaction", (P, (0,), ("a",), ("p",), 0)),
    ("nonmonotonic-poll", (ABC, READ_ALL, polled("reader", (1, "b"))),
        "reader was given offset 1 where 3 was due, in t-0", (P, (1,), ("b",), ("reader",), 2)),
    ("int-nonmonotonic-poll", (ABC, READ_ALL, polled("c", (2, "c"), (1, "b"))),
        "c was given offset 1 where 3 was due, in t-0 within one operation", (P, (1,), ("b",), ("c",), 2)),
    ("int-poll-skip", (ABC, READ_ALL, polled("c", (0, "a"), (2, "c"))),
        "c was given offset 2 where 1 was due, and never 1, in t-0 within one operation",
        (P, (1,), ("b",), ("c",), 2)),
    ("nonmonotonic-send", (sent("p", B), sent("p", A)),
        "p sent 'b' before 'a', but they stand in t-0 at offsets 1 and 0", (P, (1, 0), ("b", "a"), ("p",), None)),
    ("int-nonmonotonic-send", (sent("p", B, A),),
        "p sent 'b' before 'a' within one operation, but they stand in t-0 at offsets 1 and 0",
        (P, (1, 0), ("b", "a"), ("p",), None)),
    ("int-send-skip", (sent("q", B), committed("p", A, C)),
        "a transaction of p sent 'a' and then 'c' to t-0, but foreign records stand between them, at offsets 1",
        (P, (1,), ("b",), ("p",), None)),
    ("realtime-order", (note("p", "invoke", "send", B), sent("p", B), note("q", "invoke", "send", A), sent("q", A)),
        "p had 'b' acknowledged before q began to send 'a', but they stand in t-0 at offsets 1 and 0",
        (P, (0, 1), ("a", "b"), ("q", "p"), 2)),
    ("write-cycle", WRITE_CYCLE,
        "2 transactions have no order: s wrote 'a' before t wrote 'b' (t-0, offsets 0 and 1); "
        "t wrote 'y' before s wrote 'x' (t-1, offsets 0 and 1)",
        (None, (), ("a", "b", "y", "x"), ("s", "t"), None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "notes", "sentence", "where"), SENTENCES, ids=[entry[0] for entry in SENTENCES])
def test_an_anomaly_is_told_in_a_sentence_and_in_coordinates(
    name: str, notes: tuple[Note, ...], sentence: str, where: tuple[Any, ...]
) -> None:
    """Who did what, in which partition, at which offsets, when: for people and for programs."""
    [found] = check(history(*notes)).anomalies[name]
    assert found.sentence == sentence
    assert (found.partition, found.offsets, found.values, found.processes, found.time_ns) == where


def test_what_happened_at_one_moment_has_no_order() -> None:
    """Clocks are coarse: notes of one nanosecond may have happened in any order, and prove nothing."""
    notes = [
        note("p", "invoke", "txn"), note("p", "invoke", "commit"), polled("c", (0, "a")), committed("p", A),
        note("q", "invoke", "send", B), sent("q", B), note("r", "invoke", "send", C), sent("r", C),
        polled("c", (1, "b"), (2, "c")),
    ]  # fmt: skip
    assert check([attrs.evolve(operation, time_ns=7) for operation in history(*notes)]).ok
    backwards = [note("q", "invoke", "send", B), sent("q", B), note("p", "invoke", "send", A), sent("p", A)]
    assert check(history(*backwards)).found == {"realtime-order", "unseen"}
    assert check([attrs.evolve(operation, time_ns=7) for operation in history(*backwards)]).found == {"unseen"}


def test_half_a_transaction_is_told_as_such() -> None:
    """Where one record of a transaction was polled and another is missing, the sentence says why it must be there."""
    notes = history(note("p", "info", "txn", Send(P, "a"), Send(Q, "x")), polled("c", (0, "a")))
    [missing] = check(notes).anomalies["unseen"]
    assert missing.sentence == (
        "'x' must have been written by a transaction of p, another of whose records was polled, in t-1, "
        "and nobody ever polled it"
    )


def test_a_long_gap_is_told_in_few_words() -> None:
    """A hole of millions of records does not make a report of millions of numbers."""
    notes = [polled("c", (0, "a")), polled("c", (9_000_000, "b")), sent("p", Send(P, "a", 0), Send(P, "b"))]
    [skip] = check(history(*notes)).anomalies["poll-skip"]
    assert "1, 2, 3 and 8999996 more" in skip.sentence
    assert skip.offsets == tuple(range(1, 101))


def test_the_report_prints_every_name_and_what_was_found() -> None:
    """The table has a line for each anomaly, how much was looked at, and the first sentences of what was found."""
    many = sent("p", *(Send(P, value, value) for value in range(8)))
    text = str(check(history(many), allow={"unseen"}))
    assert text.startswith("consistent: 1 partitions, 8 records sent, 8 acknowledged, 0 polled, 0 transactions, 1 pro")
    assert all(f"\n{name} " in text for name in ANOMALIES)
    assert [line.split()[0] for line in text.splitlines() if line.endswith("(allowed)")] == ["unseen"]
    assert "0 was acknowledged by p in t-0 at offset 0, and nobody ever polled it" in text
    assert text.endswith("and 3 more")
    assert str(check(history(many))).startswith("NOT CONSISTENT")
    five = sent("p", *(Send(P, value, value) for value in range(5)))
    assert " more" not in str(check(history(five)))


@pytest.mark.parametrize(
    ("reason", "notes"),
    [
        ("order of time", [*reversed(history(ABC, READ_ALL))]),
        ("invoke within a transaction", history(note("p", "invoke", "commit", A))),
        ("invoke within a transaction", history(note("p", "invoke", "txn"), note("p", "ok", "commit", A))),
        ("invoke within a transaction",
            history(note("p", "invoke", "txn"), note("p", "info", "crash"), note("p", "invoke", "commit", A))),
        ("without a note of the commit",
            history(note("p", "invoke", "txn"), note("p", "invoke", "commit"), committed("p", A), committed("p", B))),
        ("about no send", history(note("p", "invoke", "send", A), note("p", "fail", "send"))),
        ("no part of a send", history(note("p", "ok", "send", Poll({P: [(0, "a")]})))),
    ],
)  # fmt: skip
def test_notes_that_contradict_each_other_are_refused(reason: str, notes: list[Operation]) -> None:
    """A history that was recorded wrongly is an error, and not an empty report."""
    with pytest.raises(HistoryError, match=reason):
        check(notes)


def test_reports_do_not_depend_on_chance(run_python: Any) -> None:
    """Two checks of one history print the same, whatever the order of sets is in their process."""
    script = (
        "from tests.testing.test_checker import *\n"
        "many = sent('p', *(Send(P, f'v{n}', n) for n in range(50)))\n"
        "notes = [many, polled('c', *((n, f'v{n}') for n in range(60, 70)))]\n"
        "answer(str(check(history(*notes))))\n"
    )
    first, second = (run_python(script, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2"))
    assert "lost-write" in first
    assert first == second


def test_the_observed_logs_are_what_anybody_saw() -> None:
    """Values by offset, from acknowledgements and polls, in order of offsets."""
    logs = observed_logs(history(note("p", "info", "send", Send(P, "a")), sent("q", C, B), polled("c", (0, "a"))))
    assert {partition: list(log.items()) for partition, log in logs.items()} == {P: [(0, "a"), (1, "b"), (2, "c")]}


def chain(inputs: list[Any], outputs: list[Any], **options: Any) -> Report:
    return check_chain(inputs, outputs, **options)


def test_a_chain_makes_one_output_of_each_input() -> None:
    """Exactly once: nothing is left out, nothing is done twice, nothing comes from nowhere."""
    assert chain([1, 2, 3], [3, 1, 2]).ok
    assert chain([], []).ok
    assert chain([1, 2], ["a1", "a2"], source_of=lambda output: int(output[1:])).ok
    assert chain([1, 2, 3], [1, 3]).found == {"unprocessed"}
    assert chain([1, 2, 3], [1, 2, 3, 2]).found == {"processed-twice"}
    assert chain([1, 2, 3], [1, 2, 3, 4]).found == {"unknown-source"}


def test_a_chain_report_names_the_inputs() -> None:
    """What was left out, done twice or made up is in the report, and every name is, found or not."""
    report = chain([1, 2, 3], [1, 1, 9, 3])
    assert report.anomalies.keys() == CHAIN_ANOMALIES.keys()
    assert {name: [anomaly.values for anomaly in found] for name, found in report.anomalies.items()} == {
        "unprocessed": [(2,)], "processed-twice": [(1,)], "unknown-source": [(9,)]
    }  # fmt: skip
    assert str(report).startswith("NOT CONSISTENT: 3 inputs, 4 outputs")
