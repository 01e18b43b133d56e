"""Transactions that each wrote before the other: Adya's G0, found from the order of offsets in every partition."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import pairwise

import attrs

from eventlog.model import TopicPartition
from eventlog.testing.checker.anomaly import Anomalies, Anomaly, place
from eventlog.testing.checker.evidence import Evidence
from eventlog.testing.checker.transaction import Transaction
from eventlog.testing.history import Value


@attrs.frozen(eq=False)
class Step:
    """One transaction's record stands before the next one's."""

    partition: TopicPartition
    offsets: tuple[int, int]
    values: tuple[Value, Value]


Graph = dict[Transaction, dict[Transaction, Step]]


def write_cycles(evidence: Evidence) -> Anomalies:
    """Yield a cycle for each knot of transactions whose writes have no order: a shortest one through its first.

    An edge leads from each transaction to the one whose record follows next in a partition; records that were sent
    outside of transactions belong to none, and order nothing.
    """
    graph = _write_order(evidence)
    for knot in _knots(graph):
        yield _anomaly(graph, _cycle_through(graph, knot))


def _write_order(evidence: Evidence) -> Graph:
    graph: Graph = {transaction: {} for transaction in evidence.transactions}
    for partition, written in _written(evidence).items():
        written.sort(key=lambda entry: entry[0])
        for (offset, value, writer), (next_offset, next_value, next_writer) in pairwise(written):
            if writer is not next_writer and next_writer not in graph[writer]:
                graph[writer][next_writer] = Step(partition, (offset, next_offset), (value, next_value))
    return graph


def _written(evidence: Evidence) -> dict[TopicPartition, list[tuple[int, Value, Transaction]]]:
    written: defaultdict[TopicPartition, list[tuple[int, Value, Transaction]]] = defaultdict(list)
    for transaction in evidence.transactions:
        for send in transaction.sends() if transaction.committed else ():
            there = evidence.partitions[send.partition]
            offset = there.offset_of.get(send.value)
            if offset is not None and there.writer[send.value] is transaction:
                written[send.partition].append((offset, send.value, transaction))
    return written


def _knots(graph: Graph) -> Iterator[list[Transaction]]:
    """Yield the strongly connected components of more than one transaction (Kosaraju and Sharir's algorithm)."""
    backwards: dict[Transaction, list[Transaction]] = {node: [] for node in graph}
    for node, following in graph.items():
        for other in following:
            backwards[other].append(node)
    left = dict.fromkeys(reversed(_finished(graph)))
    while left:
        first = next(iter(left))
        del left[first]
        knot = [first]
        for node in knot:  # which grows meanwhile
            for other in backwards[node]:
                if other in left:
                    del left[other]
                    knot.append(other)
        if len(knot) > 1:
            yield knot


def _finished(graph: Graph) -> list[Transaction]:
    """Return all transactions in the order in which a depth-first search leaves them."""
    seen: set[Transaction] = set()
    finished: list[Transaction] = []
    for root in graph:
        if root in seen:
            continue
        seen.add(root)
        path = [(root, iter(graph[root]))]
        while path:
            node, following = path[-1]
            other = next((other for other in following if other not in seen), None)
            if other is None:
                finished.append(node)
                path.pop()
            else:
                seen.add(other)
                path.append((other, iter(graph[other])))
    return finished


def _cycle_through(graph: Graph, knot: list[Transaction]) -> list[Transaction]:
    """Return the transactions of a shortest cycle through the first one of a knot."""
    start, members = knot[0], set(knot)
    came_from: dict[Transaction, Transaction] = {}
    queue = deque([start])
    while start not in came_from:
        node = queue.popleft()
        for other in graph[node]:
            if other in members and other not in came_from:
                came_from[other] = node
                queue.append(other)
    return _path(came_from, start, came_from[start])


def _path(came_from: dict[Transaction, Transaction], start: Transaction, end: Transaction) -> list[Transaction]:
    path = [end]
    while path[-1] is not start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _anomaly(graph: Graph, cycle: list[Transaction]) -> Anomaly:
    steps = [graph[node][following] for node, following in pairwise([*cycle, cycle[0]])]
    told = [
        f"{node.process} wrote {step.values[0]!r} before {following.process} wrote {step.values[1]!r} "
        f"({place(step.partition)}, offsets {step.offsets[0]} and {step.offsets[1]})"
        for step, node, following in zip(steps, cycle, [*cycle[1:], cycle[0]], strict=True)
    ]
    return Anomaly(
        "write-cycle", f"{len(cycle)} transactions have no order: {'; '.join(told)}",
        values=tuple(value for step in steps for value in step.values),
        processes=tuple(sorted({node.process for node in cycle})),
    )  # fmt: skip
