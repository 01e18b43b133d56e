"""One transaction of a history, as its notes tell of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from eventlog.testing.history import Action, Kind, Poll, Send

NEVER = (1 << 63) - 1
"""A time that no note has."""


@attrs.define(eq=False)
class Transaction:
    """What a process sent and polled between a begin and a commit or an abort.

    ``kind`` is what became of it: ``ok``, ``fail`` or ``info``. Times are None, or `NEVER`, where nothing was noted.
    """

    process: str
    began_ns: int | None
    actions: tuple[Action, ...] = ()
    kind: Kind = "info"
    commit_ns: int | None = None
    ended_ns: int = NEVER
    proven: bool = False
    polls_counted: int = 0

    @property
    def committed(self) -> bool:
        """True when it was acknowledged, or a poll proves that it must have been committed."""
        return self.kind == "ok" or self.proven

    def sends(self) -> Iterator[Send]:
        """Yield what it sent, in order."""
        return (action for action in self.actions if isinstance(action, Send))

    def polls(self) -> tuple[Poll, ...]:
        """Return what it polled, in order."""
        return tuple(action for action in self.actions if isinstance(action, Poll))

    def visible_from(self, commits_are_noted: bool) -> int:
        """Return the earliest time at which a poll may see its records, in ns.

        That is when its commit was called, or else its beginning, if that is all that the history tells.
        """
        if commits_are_noted:
            return NEVER if self.commit_ns is None else self.commit_ns
        return -1 if self.began_ns is None else self.began_ns
