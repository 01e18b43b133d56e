"""A log's clients: how producers and consumers are made, and which types their records have.

A type checker tells the types of a consumer's keys and values by its deserializers: bytes, strings, or what a function
returns, each of which may be None. For JSON, and where it cannot tell, they are Any.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar, Unpack, overload

import attrs

from eventlog.aio.async_consumer import AsyncConsumer
from eventlog.aio.async_producer import AsyncProducer
from eventlog.aio.consumer_thread import ConsumerThread
from eventlog.aio.producer_thread import ProducerThread
from eventlog.config import ConsumerConfig, ProducerConfig, configure
from eventlog.consumer.consumer import Consumer
from eventlog.coordination.group_directory import GroupDirectory
from eventlog.coordination.offset_store import OffsetStore
from eventlog.coordination.transaction_coordinator import TransactionCoordinator
from eventlog.monitoring.group_monitor import GroupMonitor
from eventlog.producer.producer import Producer
from eventlog.settings import ConsumerSettings, ProducerSettings, ReadSettings
from eventlog.storage.context import LogContext
from eventlog.storage.log_root import LogRoot
from eventlog.storage.session import Session
from eventlog.topics.registry import TopicRegistry, check_names

Key = TypeVar("Key")
Value = TypeVar("Value")
Raw: TypeAlias = Literal["bytes"] | None
Text: TypeAlias = Literal["str"]
Decoder: TypeAlias = Callable[[bytes], Value]
Bytes: TypeAlias = bytes | None
Str: TypeAlias = str | None


class Clients(ABC):
    """Makes the clients of one log, and remembers those that live."""

    _registry: TopicRegistry
    _session: Session
    _context: LogContext
    _root: LogRoot
    _offsets: OffsetStore
    _coordinator: TransactionCoordinator
    _groups: GroupMonitor
    _real_path: str
    _clients: weakref.WeakSet[Producer | Consumer[Any, Any] | ProducerThread | ConsumerThread]

    @abstractmethod
    def _check_open(self) -> None: ...

    @abstractmethod
    def _refuse_closed(self) -> None: ...

    def producer(self, **settings: Unpack[ProducerSettings]) -> Producer:
        """Return a producer; ``settings`` are those of `ProducerSettings`.

        Raises InvalidConfigError, and ReadOnlyLogError when the log was opened for reading only.
        """
        producer = self._made_producer(configure(ProducerConfig, settings))
        self._clients.add(producer)
        return producer

    def _made_producer(self, config: ProducerConfig) -> Producer:
        self._refuse_closed()
        self._registry.refuse_readonly()
        return Producer(self._registry, config, self._context.clock, self._coordinator)

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Bytes, Bytes]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Bytes, Str]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Bytes, Value | None]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Str, Bytes]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Str, Str]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Str, Value | None]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Key | None, Bytes]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Key | None, Str]: ...

    @overload
    def consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> Consumer[Key | None, Value | None]: ...

    @overload
    def consumer(self, *topics: str, **settings: Unpack[ConsumerSettings]) -> Consumer[Any, Any]: ...

    def consumer(self, *topics: str, **settings: Unpack[ConsumerSettings]) -> Consumer[Any, Any]:
        """Return a consumer, subscribed to ``topics`` if any; ``settings`` are those of `ConsumerSettings`.

        With ``group="..."`` it shares the topics' partitions with the other members of that group, and commits how far
        it has come. A topic that does not exist is waited for. Raises InvalidConfigError, InvalidTopicError,
        InvalidGroupError, and ReadOnlyLogError for a group in a log that may only be read.
        """
        self._check_open()
        check_names(topics)
        consumer = self._made_consumer(settings)
        if consumer.config.group is not None:
            self._groups.expire()
        if topics:
            consumer.subscribe(list(topics))
        self._clients.add(consumer)
        return consumer

    def _made_consumer(self, settings: ConsumerSettings) -> Consumer[Any, Any]:
        """Make one without a look at any file."""
        config = configure(ConsumerConfig, settings)
        directory = None if config.group is None else self._group_directory(config.group)
        return Consumer(self._registry, self._session, config, self._context.clock, self._offsets, directory)

    def async_producer(self, **settings: Unpack[ProducerSettings]) -> AsyncProducer:
        """Return a producer for asyncio; ``settings`` and errors are those of `producer`."""
        config = configure(ProducerConfig, settings)
        producer = self._made_producer(attrs.evolve(config, key_serializer=None, value_serializer=None))
        made = AsyncProducer(producer, config)
        self._clients.add(made.thread)
        return made

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Bytes, Bytes]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Bytes, Str]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Raw = None,
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Bytes, Value | None]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Str, Bytes]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Str, Str]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Text,
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Str, Value | None]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Raw = None,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Key | None, Bytes]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Text,
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Key | None, Str]: ...

    @overload
    def async_consumer(
        self,
        *topics: str,
        key_deserializer: Decoder[Key],
        value_deserializer: Decoder[Value],
        **settings: Unpack[ReadSettings],
    ) -> AsyncConsumer[Key | None, Value | None]: ...

    @overload
    def async_consumer(self, *topics: str, **settings: Unpack[ConsumerSettings]) -> AsyncConsumer[Any, Any]: ...

    def async_consumer(self, *topics: str, **settings: Unpack[ConsumerSettings]) -> AsyncConsumer[Any, Any]:
        """Return a consumer for asyncio; ``settings`` and errors are those of `consumer`.

        Except that nothing is read yet: ``async with``, or else the first call, subscribes to ``topics``.
        """
        self._refuse_closed()
        check_names(topics)
        consumer = self._made_consumer(settings)
        made = AsyncConsumer(consumer, topics, None if consumer.config.group is None else self._groups.expire)
        self._clients.add(made.thread)
        return made

    def _group_directory(self, group: str) -> GroupDirectory:
        self._registry.refuse_readonly()
        return GroupDirectory(self._context.fs, self._real_path, group, root=self._root)
