"""Cycles among transactions, compared with the slow way: who can be reached from whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventlog.model import TopicPartition
from eventlog.testing.checker import Anomaly, check
from eventlog.testing.history import Operation, Send

# For each partition, which transaction each record is of; -1 for one outside of transactions.
logs = st.lists(st.lists(st.integers(-1, 6), max_size=8), min_size=1, max_size=4)


def history_of(written: list[list[int]]) -> list[Operation]:
    """Transactions t0, t1, ... that were all open at once, and acknowledged with these offsets."""
    sends: dict[int, list[Send]] = {}
    for number, log in enumerate(written):
        for offset, writer in enumerate(log):
            send = Send(TopicPartition("t", number), f"{number}/{offset}", offset)
            sends.setdefault(writer, []).append(send)
    plain = [Operation("plain", 0, "ok", "send", (send,)) for send in sends.pop(-1, [])]
    return plain + [Operation(f"t{writer}", 0, "ok", "txn", tuple(sent)) for writer, sent in sends.items()]


def before(written: list[list[int]]) -> set[tuple[int, int]]:
    """Pairs of transactions of which the first wrote before the second, itself or by way of others."""
    pairs = {
        (first, second)
        for log in written
        for at, first in enumerate(log)
        for second in log[at + 1 :]
        if first != second and -1 not in (first, second)
    }
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    return pairs


def knots(written: list[list[int]]) -> set[frozenset[int]]:
    """Groups of transactions each of which is before all others of its group."""
    pairs = before(written)
    return {
        frozenset(other for other in range(7) if (one, other) in pairs and (other, one) in pairs)
        for one in range(7) if (one, one) in pairs
    }  # fmt: skip


def steps(anomaly: Anomaly, written: list[list[int]]) -> list[tuple[int, int]]:
    """The transactions of each step of a reported cycle; fails for one that the logs do not show."""
    found = []
    for first, second in zip(anomaly.values[::2], anomaly.values[1::2], strict=True):
        (log, offset), (other, later) = (map(int, str(value).split("/")) for value in (first, second))
        assert log == other
        assert offset < later
        found.append((written[log][offset], written[log][later]))
    return found


@given(logs)
def test_a_cycle_is_reported_for_each_knot_of_transactions(written: list[list[int]]) -> None:
    """Each group of transactions without an order gives one anomaly, whose steps are true and lead round once."""
    reported = check(history_of(written), allow={"unseen"}).anomalies["write-cycle"]
    groups = []
    for anomaly in reported:
        path = steps(anomaly, written)
        members = [first for first, _ in path]
        assert len(set(members)) == len(members) > 1
        assert [second for _, second in path] == [*members[1:], members[0]]
        groups.append(next(knot for knot in knots(written) if set(members) <= knot))
    assert len(groups) == len(knots(written))
    assert set(groups) == knots(written)


def test_a_short_cycle_is_told_rather_than_a_long_one() -> None:
    """A knot's cycle is a shortest one through its first transaction."""
    ring = [[0, 1], [1, 2], [2, 3], [3, 0]]
    [long] = check(history_of(ring)).anomalies["write-cycle"]
    [short] = check(history_of([*ring, [1, 0]])).anomalies["write-cycle"]
    assert sorted(steps(long, ring)) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert sorted(steps(short, [*ring, [1, 0]])) == [(0, 1), (1, 0)]


def test_thousands_of_transactions_are_searched_without_recursion() -> None:
    """A long chain of transactions, which a recursive search could not follow, has no cycle until its end is tied."""
    chain = [[number, number + 1] for number in range(5_000)]
    assert not check(history_of(chain)).anomalies["write-cycle"]
    [tied] = check(history_of([*chain, [5_000, 0]])).anomalies["write-cycle"]
    assert len(tied.processes) == 5_001
