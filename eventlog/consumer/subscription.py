"""Which partitions a consumer reads: assigned by hand, or all of the topics it subscribed to."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from eventlog.errors import IllegalStateError, InvalidConfigError, UnknownTopicError
from eventlog.model import TopicPartition
from eventlog.topics.checked_partitions import checked_partitions
from eventlog.topics.registry import TopicRegistry

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


def _compiled(pattern: object) -> re.Pattern[str]:
    try:
        return re.compile(pattern)  # type: ignore[call-overload, no-any-return]  # what is no pattern ends below
    except (re.error, TypeError) as error:
        raise InvalidConfigError(f"pattern={pattern!r}: {error}", hint="give a regular expression") from error


class Subscription:
    """Topics by name, topics by pattern, or partitions by hand: one of the three at a time, as in Kafka."""

    def __init__(self, registry: TopicRegistry, *, exclude_internal: bool) -> None:
        self._registry = registry
        self._exclude_internal = exclude_internal
        self._topics: list[str] | None = None
        self._pattern: re.Pattern[str] | None = None
        self._assigned: list[TopicPartition] | None = None

    def subscribe(self, topics: Sequence[str] | None, pattern: str | re.Pattern[str] | None) -> None:
        """Subscribe to topics by name or by pattern; replaces an earlier subscription."""
        self._refuse_mixing(assigning=False)
        if (topics is None) == (pattern is None):
            raise IllegalStateError("subscribe takes topics or a pattern", hint="give one of the two")
        if topics is not None and not isinstance(topics, list | tuple | set | frozenset):
            raise IllegalStateError(f"topics is a {type(topics).__name__}", hint=f"give a list: [{topics!r}]")
        compiled = None if pattern is None else _compiled(pattern)
        for topic in topics or ():
            self._registry.get(topic)
        self._topics = None if topics is None else list(topics)
        self._pattern = compiled

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read exactly these partitions."""
        self._refuse_mixing(assigning=True)
        self._assigned = checked_partitions(partitions)

    def unsubscribe(self) -> None:
        """Read nothing."""
        self._topics = self._pattern = self._assigned = None

    def is_active(self) -> bool:
        """Tell whether anything was subscribed to or assigned."""
        return not (self._topics is None and self._pattern is None and self._assigned is None)

    def is_by_hand(self) -> bool:
        """Tell whether the caller chose the partitions."""
        return self._assigned is not None

    def topics(self) -> list[str]:
        """Return the topics subscribed to, without those that are gone. Raises UnknownTopicError when all are."""
        if self._topics is None:
            return self._matching()
        there = sorted(self._registry.partition_counts(self._topics))
        if self._topics and not there:
            self._registry.get(self._topics[0])  # raises
        for name in set(self._topics).difference(there):
            _log.warning("the topic %s is subscribed to, and does not exist (any more)", name)
        return there

    def partitions(self) -> list[TopicPartition]:
        """Return what is to be read now. Raises UnknownTopicError when a topic named by the caller is gone."""
        if self._assigned is not None:
            return self._assigned
        names = self._topics if self._topics is not None else self._matching()
        found = []
        for name in names:
            try:
                count = len(self._registry.get(name).partitions)
            except UnknownTopicError:
                if self._pattern is None:
                    raise
                continue  # deleted since it was listed
            found += [TopicPartition(name, number) for number in range(count)]
        return found

    def _matching(self) -> list[str]:
        if self._pattern is None:
            return []
        names = self._registry.names()
        if self._exclude_internal:
            names = [name for name in names if not name.startswith("__")]
        return [name for name in names if self._pattern.fullmatch(name)]

    def _refuse_mixing(self, *, assigning: bool) -> None:
        subscribed = self._topics is not None or self._pattern is not None
        if (assigning and subscribed) or (not assigning and self._assigned is not None):
            raise IllegalStateError(
                "assign and subscribe exclude each other",
                hint="call unsubscribe() before changing from one to the other",
            )
