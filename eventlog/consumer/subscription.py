"""Which partitions a consumer reads: assigned by hand, or all of the topics it subscribed to."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from eventlog.errors import IllegalStateError, InvalidConfigError
from eventlog.model import TopicPartition
from eventlog.texts import shown
from eventlog.topics.checked_partitions import checked_partitions
from eventlog.topics.internal import is_internal
from eventlog.topics.registry import TopicRegistry, check_topic_name

_log = logging.getLogger("eventlog")
_NAMED = 3  # partitions, or topics, that are named one by one


def partitions_text(partitions: Iterable[TopicPartition]) -> str:
    """Return them in a few words: the names of up to three, and how many of which topics otherwise.

    >>> partitions_text([TopicPartition("t", 0), TopicPartition("t", 2)])
    't-0, t-2'
    """
    found = list(partitions)
    if len(found) <= _NAMED:
        return ", ".join(f"{tp.topic}-{tp.partition}" for tp in found) or "nothing"
    topics = sorted({tp.topic for tp in found})
    names = ", ".join(topics) if len(topics) <= _NAMED else f"{len(topics)} topics"
    return f"{len(found)} partitions of {names}"


class Subscription:
    """Topics by name, topics by pattern, or partitions by hand: one of the three at a time, as in Kafka.

    A topic that is named and does not exist is waited for, with one warning. One that was there is another matter: it
    was deleted, and what was not read yet is lost.
    """

    def __init__(self, registry: TopicRegistry, *, exclude_internal: bool) -> None:
        self._registry = registry
        self._exclude_internal = exclude_internal
        self._topics: list[str] = []
        self._pattern: re.Pattern[str] | None = None
        self._assigned: list[TopicPartition] = []
        self._were_there: set[str] = set()  # of the topics named
        self._told: set[str] = set()  # the same: a warning was logged

    # --- choosing ---

    def subscribe(self, topics: Sequence[str] | None, pattern: str | re.Pattern[str] | None) -> None:
        """Subscribe to topics by name or by pattern; replaces an earlier subscription of the same kind."""
        if (topics is None) == (pattern is None):
            raise IllegalStateError("subscribe takes topics or a pattern", hint="give one of the two")
        names = [] if topics is None else _checked_names(topics)
        compiled = None if pattern is None else _compiled(pattern)
        self._refuse_mixing(bool(self._assigned) or bool(names and self._pattern) or bool(compiled and self._topics))
        self._topics, self._pattern = names, compiled
        self._were_there.clear()
        self._told.clear()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read exactly these partitions."""
        self._refuse_mixing(bool(self._topics or self._pattern))
        self._assigned = checked_partitions(partitions)

    def unsubscribe(self) -> None:
        """Read nothing."""
        self._topics, self._pattern, self._assigned = [], None, []

    def _refuse_mixing(self, is_mixed: bool) -> None:
        if is_mixed:
            raise IllegalStateError(
                "topics, a pattern and partitions by hand exclude each other",
                hint="call unsubscribe() before changing from one to the other",
            )

    # --- what was chosen ---

    def is_active(self) -> bool:
        """Tell whether anything was subscribed to or assigned."""
        return bool(self._topics or self._pattern or self._assigned)

    def is_by_hand(self) -> bool:
        """Tell whether the caller chose the partitions."""
        return bool(self._assigned)

    def names(self) -> list[str]:
        """Return the topics named, or those that match the pattern now; sorted."""
        return self._matching() if self._pattern is not None else sorted(self._topics)

    def topics(self) -> list[str]:
        """Return the topics to be read that exist, sorted. Raises UnknownTopicError when all are gone that did."""
        if self._pattern is not None:
            return self._matching()
        counts, gone = self._look()
        if gone and not counts:
            self._registry.get(gone[0])  # raises
        return sorted(counts)

    def partitions(self) -> list[TopicPartition]:
        """Return what is to be read now. Raises UnknownTopicError when a topic named by the caller was deleted."""
        if self._assigned:
            return self._assigned
        if self._pattern is not None:
            counts = self._registry.usable_partition_counts(self._matching())
        else:
            counts, gone = self._look()
            for name in gone:
                self._registry.get(name)  # raises
        return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]

    def _look(self) -> tuple[dict[str, int], list[str]]:
        """Return how many partitions each topic has that was named and exists, and which of the others did exist."""
        counts = self._registry.partition_counts(self._topics)
        self._were_there.update(counts)
        self._told.difference_update(counts)
        missing = [name for name in self._topics if name not in counts]
        for name in missing:
            if name not in self._told:
                self._told.add(name)
                then = "was deleted" if name in self._were_there else "does not exist, and is read once it does"
                _log.warning("the topic %s is subscribed to: it %s", name, then)
        return counts, [name for name in missing if name in self._were_there]

    def _matching(self) -> list[str]:
        assert self._pattern is not None
        names = self._registry.names()
        if self._exclude_internal:
            names = [name for name in names if not is_internal(name)]
        return [name for name in names if self._pattern.fullmatch(name)]


def _checked_names(topics: object) -> list[str]:
    """Return topics' names, each once. Raises IllegalStateError for no list, InvalidTopicError for no legal name."""
    if not isinstance(topics, list | tuple | set | frozenset):
        raise IllegalStateError(f"topics is a {type(topics).__name__}", hint=f"give a list: [{shown(topics)}]")
    return list(dict.fromkeys(map(check_topic_name, topics)))


def is_empty(topics: object) -> bool:
    """Tell whether these are topics' names, but none."""
    return isinstance(topics, list | tuple | set | frozenset) and not topics


def _compiled(pattern: object) -> re.Pattern[str]:
    try:
        compiled: re.Pattern[str] = re.compile(pattern)  # type: ignore[call-overload]  # what is no pattern ends below
        compiled.fullmatch("")  # which a pattern for bytes cannot
    except (re.error, TypeError) as error:
        raise InvalidConfigError(f"pattern={shown(pattern)}: {error}", hint="give a regular expression") from error
    if not compiled.pattern:
        raise InvalidConfigError("the pattern is empty, and matches no topic", hint="give a regular expression")
    return compiled
