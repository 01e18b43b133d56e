"""The checker against random runs: whatever a correct log does is consistent, and one thing made wrong is found.

The runs are those of `simulated_run`. A mutation changes the history of a correct run in one place; a fault makes the
log itself do one wrong thing in the middle of the run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eventlog.model import TopicPartition
from eventlog.testing.checker import ANOMALIES, check, check_chain, observed_logs
from eventlog.testing.history import Action, Assign, Operation, Poll, Send, decode, encode
from tests.testing.simulated_run import PARTITIONS, SimulatedRun, simulate

History = list[Operation]
Mutation = Callable[[History, random.Random], History]
Fault = Callable[[SimulatedRun], None]

randoms = st.integers(0, 2**32).map(random.Random)
steps = st.integers(0, 40)  # what Hypothesis makes smaller, when a run fails


def renumbered(notes: History) -> History:
    """The same notes, one a nanosecond."""
    return [attrs.evolve(operation, time_ns=number) for number, operation in enumerate(notes)]


def with_actions(notes: History, change: Callable[[Action], Action]) -> History:
    """The same notes with every action changed."""
    return [attrs.evolve(note, actions=tuple(change(action) for action in note.actions)) for note in notes]


def without_record(partition: TopicPartition, offset: int) -> Callable[[Action], Action]:
    """As if no poll had ever returned the record."""

    def change(action: Action) -> Action:
        if not isinstance(action, Poll):
            return action
        return Poll({p: [r for r in rs if (p, r[0]) != (partition, offset)] for p, rs in action.records.items()})

    return change


def acknowledged(notes: History) -> list[Send]:
    return [a for note in notes if note.kind == "ok" for a in note.actions if isinstance(a, Send)]


def polls(notes: History) -> list[tuple[int, TopicPartition, list[tuple[int, int | str]]]]:
    """Every note's number with the records of each partition that its only poll returned."""
    return [
        (number, partition, list(records))
        for number, note in enumerate(notes) if note.what == "poll"
        for poll in note.actions if isinstance(poll, Poll)
        for partition, records in poll.records.items()
    ]  # fmt: skip


def ends(notes: History) -> dict[TopicPartition, int]:
    return {partition: max(log) + 1 for partition, log in observed_logs(notes).items() if log}


def choose(rng: random.Random, options: list) -> object:
    assume(options)
    return rng.choice(options)


def with_records(notes: History, number: int, partition: TopicPartition, records: list) -> History:
    """The history with other records of a partition in one poll."""
    poll = next(action for action in notes[number].actions if isinstance(action, Poll))
    changed = attrs.evolve(notes[number], actions=(Poll({**poll.records, partition: records}),))
    return [*notes[:number], changed, *notes[number + 1 :]]


def lose_a_write(notes: History, rng: random.Random) -> History:
    end = ends(notes)
    send = choose(rng, [s for s in acknowledged(notes) if s.offset < end[s.partition] - 1])
    return with_actions(notes, without_record(send.partition, send.offset))


def forget_the_last(notes: History, rng: random.Random) -> History:
    end = ends(notes)
    send = choose(rng, [s for s in acknowledged(notes) if s.offset == end[s.partition] - 1])
    return with_actions(notes, without_record(send.partition, send.offset))


def final_poll(notes: History, partition: TopicPartition, value: int) -> History:
    """The consumer that reads everything finds one record more."""
    records = {partition: [(ends(notes).get(partition, 0), value)]}
    return renumbered([*notes, Operation("drain", 0, "ok", "poll", (Poll(records),))])


def duplicate_a_record(notes: History, rng: random.Random) -> History:
    _, partition, records = choose(rng, polls(notes))
    return final_poll(notes, partition, records[0][1])


def make_a_record_up(notes: History, rng: random.Random) -> History:
    return final_poll(notes, rng.choice(PARTITIONS), 10**9)


def read_what_failed(notes: History, rng: random.Random) -> History:
    failed = [a for note in notes if note.kind == "fail" for a in note.actions if isinstance(a, Send)]
    send = choose(rng, failed)
    return final_poll(notes, send.partition, send.value)


def abort_a_commit(notes: History, rng: random.Random) -> History:
    """What was noted as committed was aborted."""
    number = choose(rng, [n for n, o in enumerate(notes) if (o.kind, o.what) == ("ok", "txn")])
    return [*notes[:number], attrs.evolve(notes[number], kind="fail"), *notes[number + 1 :]]


def answer_differently(notes: History, rng: random.Random) -> History:
    """One poll returns another value than all others say."""
    known = {(s.partition, s.offset) for s in acknowledged(notes)}
    number, partition, records = choose(
        rng, [p for p in polls(notes) if any((p[1], offset) in known for offset, _ in p[2])]
    )
    place = choose(rng, [i for i, (offset, _) in enumerate(records) if (partition, offset) in known])
    records[place] = (records[place][0], 10**9)
    return with_records(notes, number, partition, records)


def read_early(notes: History, rng: random.Random) -> History:
    """Somebody polls a record of a transaction before its commit is called."""
    found = []
    for number, note in enumerate(notes):
        if note.what == "commit":
            outcome = next((o for o in notes[number + 1 :] if o.process == note.process), None)
            if outcome is not None and (outcome.kind, outcome.what) == ("ok", "txn"):
                found.append((number, next(a for a in outcome.actions if isinstance(a, Send))))
    number, send = choose(rng, found)
    early = Operation("early", 0, "ok", "poll", (Poll({send.partition: [(send.offset, send.value)]}),))
    begin = max(n for n in range(number) if notes[n].process == notes[number].process and notes[n].what == "txn")
    place = rng.randint(begin, number)
    return renumbered([*notes[:place], early, *notes[place:]])


def skip_between_polls(notes: History, rng: random.Random) -> History:
    """A consumer's poll begins one record too late."""
    number, partition, records = choose(rng, [p for p in following_polls(notes) if len(p[2]) > 1])
    return with_records(notes, number, partition, records[1:])


def following_polls(notes: History) -> Iterator[tuple[int, TopicPartition, list]]:
    """The polls of a partition before which the position of their consumer was known."""
    known: set[tuple[str, TopicPartition]] = set()
    for number, note in enumerate(notes):
        if note.what in ("assign", "crash"):
            known = {(process, partition) for process, partition in known if process != note.process}
        for action in note.actions if note.kind != "invoke" else ():
            if isinstance(action, Assign):
                known |= {(note.process, p) for p, offset in action.positions.items() if offset is not None}
            for partition, records in action.records.items() if isinstance(action, Poll) else ():
                if note.what == "poll" and (note.process, partition) in known:
                    yield number, partition, list(records)
                known.add((note.process, partition))


def poll_twice(notes: History, rng: random.Random) -> History:
    number, *_ = choose(rng, polls(notes))
    return renumbered([*notes[: number + 1], notes[number], *notes[number + 1 :]])


def skip_within_a_poll(notes: History, rng: random.Random) -> History:
    number, partition, records = choose(rng, [p for p in polls(notes) if len(p[2]) > 2])
    return with_records(notes, number, partition, [records[0], *records[2:]])


def swap_within_a_poll(notes: History, rng: random.Random) -> History:
    number, partition, records = choose(rng, [p for p in polls(notes) if len(p[2]) > 1])
    return with_records(notes, number, partition, [records[1], records[0], *records[2:]])


def swap_sends(notes: History, rng: random.Random) -> History:
    """A producer says that it sent two records the other way round, in different operations."""
    return _swap(notes, rng, within=False)


def swap_sends_within(notes: History, rng: random.Random) -> History:
    """A producer says that it sent two records the other way round, in one operation."""
    return _swap(notes, rng, within=True)


def _swap(notes: History, rng: random.Random, *, within: bool) -> History:
    sent = [
        (number, note.process, action)
        for number, note in enumerate(notes) if note.kind == "ok"
        for action in note.actions if isinstance(action, Send)
    ]  # fmt: skip
    together = Counter((number, send.partition) for number, _, send in sent)
    pairs = [
        (first, second)
        for at, (n, process, first) in enumerate(sent)
        for m, other, second in sent[at + 1 :]
        if process == other and first.partition == second.partition and (n == m) == within
        if within or together[n, first.partition] == together[m, first.partition] == 1
    ]
    first, second = choose(rng, pairs)
    other = {first.value: second, second.value: first}

    def change(action: Action) -> Action:
        if not isinstance(action, Send) or action.value not in other:
            return action
        swapped = other[action.value]
        return swapped if action.offset is not None else attrs.evolve(swapped, offset=None)

    return with_actions(notes, change)


MUTATIONS: list[tuple[str, Mutation]] = [
    ("lost-write", lose_a_write),
    ("unseen", forget_the_last),
    ("duplicate", duplicate_a_record),
    ("unknown-value", make_a_record_up),
    ("aborted-read", read_what_failed),
    ("aborted-read", abort_a_commit),
    ("inconsistent-offsets", answer_differently),
    ("precommitted-read", read_early),
    ("poll-skip", skip_between_polls),
    ("nonmonotonic-poll", poll_twice),
    ("int-poll-skip", skip_within_a_poll),
    ("int-nonmonotonic-poll", swap_within_a_poll),
    ("nonmonotonic-send", swap_sends),
    ("int-nonmonotonic-send", swap_sends_within),
]


def interleave_a_transaction(run: SimulatedRun) -> None:
    """A plain record is written between two of a transaction."""
    partition = run.rng.choice(PARTITIONS)
    first, foreign, second = (Send(partition, run.values + number) for number in range(3))
    run.values += 3
    run.note("x", "invoke", "txn")
    run.note("x", "invoke", "commit", first, second)
    run.note("y", "invoke", "send", foreign)
    first, foreign, second = run.append([first, foreign, second])
    run.note("y", "ok", "send", foreign)
    run.note("x", "ok", "txn", first, second)


def tear_a_transaction(run: SimulatedRun) -> None:
    """The process is killed within a commit, which writes the second partition's record and not the first's."""
    first, second = (Send(partition, run.values + number) for number, partition in enumerate(PARTITIONS[:2]))
    run.values += 2
    run.note("x", "invoke", "txn")
    run.note("x", "invoke", "commit", first, second)
    run.append([second])


def interleave_two_transactions(run: SimulatedRun) -> None:
    """Two transactions are written in different order into two partitions."""
    p, q = run.rng.sample(PARTITIONS, 2)
    sends = {name: [Send(p, run.values + 2 * n), Send(q, run.values + 2 * n + 1)] for n, name in enumerate("xy")}
    run.values += 4
    for name in "xy":
        run.note(name, "invoke", "txn")
        run.note(name, "invoke", "commit", *sends[name])
    in_p = run.append([sends["x"][0], sends["y"][0]])
    in_q = run.append([sends["y"][1], sends["x"][1]])
    run.note("x", "ok", "txn", in_p[0], in_q[1])
    run.note("y", "ok", "txn", in_p[1], in_q[0])


def acknowledge_and_drop(run: SimulatedRun) -> None:
    """The log acknowledges a record, and gives its offset to the next one."""
    partition = run.rng.choice(PARTITIONS)
    dropped, kept = Send(partition, run.values), Send(partition, run.values + 1)
    run.values += 2
    run.note("x", "invoke", "send", dropped)
    run.note("x", "ok", "send", *run.append([dropped]))
    run.logs[partition].pop()
    run.note("x", "invoke", "send", kept)
    run.note("x", "ok", "send", *run.append([kept]))


def put_before_the_end(run: SimulatedRun) -> None:
    """A record is written before one that another process knows to be there."""
    partition = run.rng.choice(PARTITIONS)
    first, second = Send(partition, run.values), Send(partition, run.values + 1)
    run.values += 2
    offset = len(run.logs[partition])
    run.note("x", "invoke", "send", first)
    run.note("x", "ok", "send", attrs.evolve(first, offset=offset + 1))
    run.note("y", "invoke", "send", second)
    run.note("y", "ok", "send", *run.append([second]))
    run.append([first])


FAULTS: list[tuple[str, Fault]] = [
    ("int-send-skip", interleave_a_transaction),
    ("write-cycle", interleave_two_transactions),
    ("unseen", tear_a_transaction),
    ("inconsistent-offsets", acknowledge_and_drop),
    ("realtime-order", put_before_the_end),
]


@given(randoms, steps, st.booleans())
def test_a_correct_log_is_consistent(rng: random.Random, steps: int, dense: bool) -> None:
    """No run of a correct log is reported, whatever its clients do, and however they die."""
    run = simulate(rng, steps)
    report = check(run.history, dense=dense)
    assert report.ok, str(report)
    assert not report.found


@given(randoms, steps)
def test_the_observed_logs_are_the_true_ones(rng: random.Random, steps: int) -> None:
    """After a consumer read everything, the history tells each partition's log, record by record."""
    run = simulate(rng, steps)
    observed = observed_logs(run.history)
    assert {p: list(log.values()) for p, log in observed.items() if log} == {p: v for p, v in run.logs.items() if v}
    assert all(list(log) == list(range(len(log))) for log in observed.values())


@pytest.mark.parametrize(("name", "mutation"), MUTATIONS, ids=[mutation.__name__ for _, mutation in MUTATIONS])
@given(rng=randoms, steps=steps)
@settings(max_examples=60)
def test_a_history_with_one_thing_made_wrong_is_found(
    name: str, mutation: Mutation, rng: random.Random, steps: int
) -> None:
    """One record dropped, repeated, swapped or made up in the history of a correct run is reported by its name."""
    history = mutation(simulate(rng, steps).history, rng)
    report = check(history)
    assert name in report.found, str(report)
    assert not report.ok


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
@given(rng=randoms, steps=steps)
@settings(max_examples=60)
def test_a_log_that_does_one_wrong_thing_is_found(name: str, fault: Fault, rng: random.Random, steps: int) -> None:
    """A log that breaks a promise once, amid other work, is reported by the name of what it did."""
    report = check(simulate(rng, steps, fault).history)
    assert name in report.found or (name == "unseen" and "lost-write" in report.found), str(report)


def test_every_anomaly_is_made() -> None:
    """Each name is the work of at least one mutation or fault above."""
    assert {name for name, _ in [*MUTATIONS, *FAULTS]} == ANOMALIES.keys()


@given(randoms, steps)
@settings(max_examples=20)
def test_a_history_read_from_lines_gives_the_same_report(rng: random.Random, steps: int) -> None:
    """What was written down and read again is reported as what was noted."""
    history = poll_twice(simulate(rng, steps).history, rng)
    assert str(check([decode(encode(operation)) for operation in history])) == str(check(history))


@given(st.lists(st.integers(), unique=True), randoms)
def test_a_chain_that_is_exactly_once_is_the_only_one_that_passes(inputs: list[int], rng: random.Random) -> None:
    """A chain's outputs pass in any order, and no more with one of them dropped, repeated, or made up."""
    outputs = rng.sample(inputs, len(inputs))
    assert check_chain(inputs, outputs).ok
    assert not check_chain(inputs, [*outputs, max(inputs, default=0) + 1]).ok
    if outputs:
        assert not check_chain(inputs, outputs[1:]).ok
        assert not check_chain(inputs, [*outputs, rng.choice(outputs)]).ok
