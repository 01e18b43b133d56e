"""What the processes of a run did to a log, in their own words: the input of `eventlog.testing.checker`.

A history is a list of operations. Each process notes an operation before it begins (``invoke``) and when it knows
what became of it: ``ok``, ``fail`` (it did not happen, and never will) or ``info`` (nobody knows: an error that
leaves it open). An operation whose process was killed has no second note, and counts as ``info``.

========  ==========================  ===================================================================
what      actions                     note
========  ==========================  ===================================================================
send      `Send`, ...                 ``invoke`` before sending; ``ok`` with the offsets, once acknowledged
poll      `Poll`                      ``ok`` with what the poll returned; an ``invoke`` is not needed
txn       `Send` and `Poll` in order  ``invoke`` at its beginning, with or without actions; ``ok`` when the
                                      commit returned, ``fail`` when it was aborted
commit    all actions of the          ``invoke`` right before the commit is called: note it for every
          transaction so far          transaction of a history, or for none
assign    `Assign`                    ``ok`` whenever a consumer's partitions or positions were set
crash     none                        ``info``: a consumer of this process forgets where it was
fault     none                        ``info``: something was broken on purpose; the checker passes over it
========  ==========================  ===================================================================

A *process* is one logical thread: one producer or consumer at a time, at most one transaction open. Sends may be
on their way together: an outcome belongs to the sends that it names. Values are unique within a partition.

On disk a history is lines of JSON, one for each note, in any number of files. A line is written by one
``write(2)``, so that what was noted outlives the process, and noted before the call that it announces::

    {"time_ns": 71, "process": "p1", "kind": "ok", "what": "send", "actions": [{"send": ["orders", 0, "v1", 17]}]}
    {"time_ns": 85, "process": "c1", "kind": "ok", "what": "poll", "actions": [{"poll": [["orders", 0, [[17, "v1"]]]]}]}
    {"time_ns": 98, "process": "c1", "kind": "ok", "what": "assign", "actions": [{"assign": [["orders", 0, 18]]}]}
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import attrs

from eventlog.errors import EventLogError
from eventlog.model import TopicPartition

Value = int | str
Kind = Literal["invoke", "ok", "fail", "info"]
What = Literal["send", "poll", "txn", "commit", "assign", "crash", "fault"]

_KINDS = frozenset(("invoke", "ok", "fail", "info"))
_WHATS = frozenset(("send", "poll", "txn", "commit", "assign", "crash", "fault"))
_TORN = b"#torn\n"  # ends a line that an earlier writer did not finish


class HistoryError(EventLogError, ValueError):
    """A history that says what cannot be: a line that is none, or notes that contradict each other."""


@attrs.frozen
class Send:
    """One record sent. ``offset`` is None as long as, or because, nobody was told."""

    partition: TopicPartition
    value: Value
    offset: int | None = None


@attrs.frozen
class Poll:
    """What one poll returned: for each partition the ``(offset, value)`` pairs in the order in which they came."""

    records: Mapping[TopicPartition, Sequence[tuple[int, Value]]]


@attrs.frozen
class Assign:
    """All partitions that a consumer has from now on, and the offset that it is to return next in each.

    None where the program does not know, or does not want it checked: then any offset may come next.
    """

    positions: Mapping[TopicPartition, int | None]


Action = Send | Poll | Assign


@attrs.frozen
class Operation:
    """One note. ``time_ns`` is the monotonic clock's, which all processes of one machine share.

    >>> Operation("p1", 71, "ok", "send", (Send(TopicPartition("orders", 0), "v1", 17),)).actions[0].offset
    17
    """

    process: str
    time_ns: int
    kind: Kind = attrs.field(validator=attrs.validators.in_(_KINDS))
    what: What = attrs.field(validator=attrs.validators.in_(_WHATS))
    actions: tuple[Action, ...] = ()


class Recorder:
    """Appends what one process does to a file. Threads may share it, and processes may share the file.

    Raises OSError when a note cannot be written whole: keep histories on another disk than the one that is made
    to fail.

    >>> import os, tempfile
    >>> path, orders = os.path.join(tempfile.mkdtemp(), "p1.jsonl"), TopicPartition("orders", 0)
    >>> with Recorder(path, "p1") as recorder:
    ...     recorder.invoke("send", Send(orders, "v1"))
    ...     recorder.ok("send", Send(orders, "v1", 0))
    >>> [operation.kind for operation in read_history([path])]
    ['invoke', 'ok']
    """

    def __init__(
        self, path: str | os.PathLike[str], process: str, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.process = process
        self._clock = clock
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(_TORN)

    def invoke(self, what: What, *actions: Action) -> None:
        """Note that an operation is about to begin."""
        self.note(Operation(self.process, self._clock(), "invoke", what, actions))

    def ok(self, what: What, *actions: Action) -> None:
        """Note that an operation succeeded."""
        self.note(Operation(self.process, self._clock(), "ok", what, actions))

    def fail(self, what: What, *actions: Action) -> None:
        """Note that an operation did not happen, and never will."""
        self.note(Operation(self.process, self._clock(), "fail", what, actions))

    def info(self, what: What, *actions: Action) -> None:
        """Note that nobody knows whether an operation happened."""
        self.note(Operation(self.process, self._clock(), "info", what, actions))

    def note(self, operation: Operation) -> None:
        """Write one operation: when this returns, the death of the process cannot lose it."""
        self._write(encode(operation))

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of a note were written: is the disk full?")


def read_history(paths: Iterable[str | os.PathLike[str]]) -> list[Operation]:
    """Return the notes of all files in order of time; those of one file keep its order where times are equal.

    A last line without its end is dropped: its writer died, or is still at it. Raises HistoryError for any other
    line that is no operation.
    """
    operations = [operation for path in paths for operation in _read_file(path)]
    operations.sort(key=lambda operation: operation.time_ns)
    return operations


def write_history(path: str | os.PathLike[str], operations: Iterable[Operation]) -> None:
    """Write a whole history into a new file."""
    with open(path, "xb") as file:
        file.writelines(map(encode, operations))


def encode(operation: Operation) -> bytes:
    """Return the line of an operation. Raises TypeError for values that are neither int nor str."""
    fields = {
        "time_ns": operation.time_ns,
        "process": operation.process,
        "kind": operation.kind,
        "what": operation.what,
        "actions": [_action_to_json(action) for action in operation.actions],
    }
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Operation:
    """Return the operation of a line. Raises HistoryError for what is none."""
    try:
        fields = json.loads(line)
        actions = tuple(_action_from_json(*action.popitem()) for action in fields["actions"])
        return Operation(fields["process"], fields["time_ns"], fields["kind"], fields["what"], actions)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HistoryError(f"no operation: {line[:120]!r} ({error!r})") from error


def _read_file(path: str | os.PathLike[str]) -> Iterator[Operation]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") or line.endswith(_TORN):
                continue
            try:
                yield decode(line)
            except HistoryError as error:
                raise HistoryError(error.reason, path=os.fspath(path), line=number) from error


def _action_to_json(action: Action) -> dict[str, Any]:
    match action:
        case Send((topic, number), value, offset):
            return {"send": [topic, number, value, offset]}
        case Poll(records):
            return {"poll": [[topic, number, list(pairs)] for (topic, number), pairs in records.items()]}
        case Assign(positions):
            return {"assign": [[topic, number, offset] for (topic, number), offset in positions.items()]}


def _action_from_json(name: str, given: list[Any]) -> Action:
    if name == "send":
        topic, number, value, offset = given
        return Send(TopicPartition(topic, number), value, offset)
    if name == "poll":
        return Poll({TopicPartition(topic, number): tuple(map(tuple, pairs)) for topic, number, pairs in given})
    if name == "assign":
        return Assign({TopicPartition(topic, number): offset for topic, number, offset in given})
    raise HistoryError(f"unknown action {name!r}")
