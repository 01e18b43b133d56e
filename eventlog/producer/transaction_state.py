"""What a transactional producer can do next, and what a caller is told who wants something else."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What a transactional producer can do next."""

    UNINITIALIZED = enum.auto()
    READY = enum.auto()
    OPEN = enum.auto()
    ABORTING = enum.auto()
    FENCED = enum.auto()
    FORKED = enum.auto()
    CLOSED = enum.auto()


UNENDED = (State.OPEN, State.ABORTING)  # a transaction waits for its end
HINTS = {
    State.UNINITIALIZED: "call init_transactions() first, once",
    State.READY: "call begin_transaction() first",
    State.OPEN: "a transaction is open: commit_transaction() or abort_transaction() ends it",
    State.ABORTING: "an abort was interrupted: call abort_transaction() again",
}
