"""A topic, as callers see it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Protocol, overload

from eventlog.config import TopicConfig
from eventlog.errors import UnknownPartitionError
from eventlog.files.mutex import Mutex
from eventlog.notebooks import table
from eventlog.pickling import OfOneProcess
from eventlog.quantities import whole
from eventlog.texts import shown
from eventlog.topics.partition import Partition
from eventlog.topics.topic_files import TopicFiles


class Keeper(Protocol):
    """Who keeps the topics, and changes them."""

    def add_partitions(self, name: str, total: int) -> None:
        """Grow a topic; see `Topic.add_partitions`."""
        ...


class Partitions(Sequence[Partition]):
    """A topic's partitions by number, each made when first asked for."""

    def __init__(self, files: TopicFiles) -> None:
        self._files = files
        self._made: dict[int, Partition] = {}
        self._making = Mutex()

    def __len__(self) -> int:
        return self._files.partition_count

    @overload
    def __getitem__(self, number: int) -> Partition: ...

    @overload
    def __getitem__(self, number: slice) -> list[Partition]: ...

    def __getitem__(self, number: int | slice) -> Partition | list[Partition]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        made = self._made.get(number)
        return made if made is not None else self._make(number)

    def __iter__(self) -> Iterator[Partition]:
        return (self[number] for number in range(len(self)))

    def _make(self, number: int) -> Partition:
        count = len(self)
        place = whole(number)
        if place is None or not -count <= place < count:
            raise UnknownPartitionError(
                f"{self._files.name} has no partition {shown(number)}",
                topic=self._files.name,
                partition=number,
                hint=f"it has {count}, numbered from 0",
            )
        place %= count
        with self._making:
            return self._made.setdefault(place, Partition(self._files, place))

    def after_fork(self) -> None:
        """Start with free locks in a forked child."""
        self._making = Mutex()
        for partition in self.made():
            partition.after_fork()

    def __repr__(self) -> str:
        return f"<{len(self)} partitions of {self._files.name}>"

    def made(self) -> list[Partition]:
        """Return the partitions that were used so far."""
        return list(self._made.values())


class TopicUser(Protocol):
    """Who keeps a topic without asking for it by name again, and has to be told when it is gone."""

    def topic_is_gone(self) -> None:
        """Note that the topic was deleted: what has its name from here on is another one."""


class Topic(OfOneProcess):
    """A named set of partitions with one configuration.

    >>> import eventlog, tempfile
    >>> topic = eventlog.open(tempfile.mkdtemp()).create_topic("orders", partitions=3)
    >>> topic.name, len(topic.partitions), topic.partitions[2].log_end_offset
    ('orders', 3, 0)
    """

    def __init__(self, registry: Keeper, files: TopicFiles) -> None:
        self._registry = registry
        self.files = files
        self.partitions = Partitions(files)
        self.users: weakref.WeakSet[TopicUser] = weakref.WeakSet()

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.files.name

    @property
    def topic_id(self) -> str:
        """The topic's own id: a topic that is deleted and created again gets another one (KIP-516)."""
        return self.files.topic_id

    @property
    def config(self) -> TopicConfig:
        """The topic's configuration."""
        return self.files.config

    def add_partitions(self, total: int) -> None:
        """Grow to ``total`` partitions; keys may hash to other partitions from then on, as in Kafka.

        Raises InvalidPartitionsError when that would remove partitions: their records would be lost, and every
        key would move.
        """
        self._registry.add_partitions(self.name, total)

    def tell_users(self) -> None:
        """Tell all who keep the topic that it was deleted."""
        for user in list(self.users):
            user.topic_is_gone()

    def release(self) -> None:
        """Give back descriptors and mappings until the next use, which tells that the topic is gone if it is."""
        for partition in self.partitions.made():
            partition.release()

    def close(self) -> None:
        """Close the partitions that were used."""
        for partition in self.partitions.made():
            partition.close()

    def __repr__(self) -> str:
        return f"<Topic {self.name} with {len(self.partitions)} partitions>"

    def _repr_html_(self) -> str:
        rows = ([one.number, *(one.extent() or (0, 0, 0))] for one in self.partitions)
        return table(repr(self), ["partition", "log start offset", "log end offset", "bytes"], rows)
