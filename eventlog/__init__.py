"""An embeddable event log: Kafka's model as a library over plain files, without a server.

The floors, lowest first; a file imports only from floors below its own, or from earlier files of the same floor:

0. ``texts  errors  model  clock  config  quantities  read_limits  partitioners  notebooks  pickling``: values, no files
1. ``files``: the only code that touches the operating system
2. ``format  serializers``: the only code that knows bytes
3. ``storage``: one partition's files, crash by crash
5. ``topics``: topics and partitions by name
6. ``coordination``: groups: who reads what, and how far they have come; transactions: what was committed
7. ``producer  consumer``
8. ``monitoring  aio  settings  clients  event_log  opening``: ties the floors together
9. ``cli``: parses, calls, prints
"""

from __future__ import annotations

from eventlog.aio.async_consumer import AsyncConsumer
from eventlog.aio.async_producer import AsyncProducer
from eventlog.aio.rebalance_listener import AsyncRebalanceListener
from eventlog.clock import Clock, ManualClock, SystemClock
from eventlog.config import ConsumerConfig, ProducerConfig, TopicConfig
from eventlog.consumer.consumer import Consumer
from eventlog.consumer.rebalance_listener import RebalanceListener
from eventlog.coordination.assignors.assignor import Assignor, MemberSubscription
from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart
from eventlog.errors import (
    BufferExhaustedError,
    ClosedError,
    CommitFailedError,
    ConcurrentAccessError,
    CorruptMetadataError,
    CorruptSegmentError,
    DeliveryTimeoutError,
    EventLogError,
    FencedInstanceIdError,
    FencedMemberError,
    ForeignFileError,
    GroupNotEmptyError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    InvalidConfigError,
    InvalidGroupError,
    InvalidPartitionsError,
    InvalidRecordError,
    InvalidTopicError,
    LockTimeoutError,
    LogFullError,
    LogMovedError,
    MissingExtraError,
    NoOffsetForPartitionError,
    NotALogError,
    NotAssignedError,
    OffsetOutOfRangeError,
    OutOfOrderSequenceError,
    ProducerFencedError,
    ReadOnlyLogError,
    RecordTooLargeError,
    ReentrantCallError,
    RetriableCommitFailedError,
    SerializationError,
    StorageError,
    TopicExistsError,
    TransactionAbortableError,
    TransactionAbortedError,
    TransactionTimeoutError,
    UnknownGroupError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedFileSystemError,
    UnsupportedFormatError,
    WakeupError,
)
from eventlog.event_log import EventLog
from eventlog.files.installation import refuse_mixture as _refuse_mixture
from eventlog.format.record_batch import RecordBatch
from eventlog.model import (
    AppendResult,
    GroupMetadata,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    Record,
    RecordMetadata,
    TimestampType,
    TopicPartition,
)
from eventlog.monitoring.group_description import GroupDescription, MemberDescription, PartitionLag
from eventlog.monitoring.transaction_description import TransactionDescription
from eventlog.monitoring.transaction_verification import TransactionsReport
from eventlog.opening import open
from eventlog.producer.delivery import Delivery, ManyDelivery
from eventlog.producer.producer import Producer
from eventlog.read_limits import Limits, limits
from eventlog.serializers import AvroDeserializer, AvroSerializer
from eventlog.settings import ConsumerSettings, ProducerSettings, TopicSettings
from eventlog.storage.recovery import RecoveryReport
from eventlog.storage.scan import DamagedRange
from eventlog.storage.verification import PartitionReport
from eventlog.topics.partition import Partition
from eventlog.topics.topic import Topic

__all__ = [
    "AppendResult",
    "Assignor",
    "AsyncConsumer",
    "AsyncProducer",
    "AsyncRebalanceListener",
    "AvroDeserializer",
    "AvroSerializer",
    "BufferExhaustedError",
    "Clock",
    "ClosedError",
    "CommitFailedError",
    "ConcurrentAccessError",
    "Consumer",
    "ConsumerConfig",
    "ConsumerSettings",
    "CorruptMetadataError",
    "CorruptSegmentError",
    "DamagedRange",
    "Delivery",
    "DeliveryTimeoutError",
    "EventLog",
    "EventLogError",
    "FencedInstanceIdError",
    "FencedMemberError",
    "ForeignFileError",
    "GroupDescription",
    "GroupMetadata",
    "GroupNotEmptyError",
    "IllegalStateError",
    "InconsistentGroupProtocolError",
    "InvalidConfigError",
    "InvalidGroupError",
    "InvalidPartitionsError",
    "InvalidRecordError",
    "InvalidTopicError",
    "Limits",
    "LockTimeoutError",
    "LogFullError",
    "LogMovedError",
    "ManualClock",
    "ManyDelivery",
    "MemberDescription",
    "MemberSubscription",
    "MissingExtraError",
    "NoOffsetForPartitionError",
    "NotALogError",
    "NotAssignedError",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "OffsetOutOfRangeError",
    "OutOfOrderSequenceError",
    "Partition",
    "PartitionLag",
    "PartitionReport",
    "Producer",
    "ProducerConfig",
    "ProducerFencedError",
    "ProducerSettings",
    "ReadOnlyLogError",
    "RebalanceListener",
    "Record",
    "RecordBatch",
    "RecordMetadata",
    "RecordTooLargeError",
    "RecoveryReport",
    "ReentrantCallError",
    "RetriableCommitFailedError",
    "SerializationError",
    "StorageError",
    "SystemClock",
    "TimestampType",
    "Topic",
    "TopicConfig",
    "TopicExistsError",
    "TopicPartition",
    "TopicSettings",
    "TransactionAbortableError",
    "TransactionAbortedError",
    "TransactionDescription",
    "TransactionOutcome",
    "TransactionPart",
    "TransactionTimeoutError",
    "TransactionsReport",
    "UnknownGroupError",
    "UnknownPartitionError",
    "UnknownTopicError",
    "UnsupportedFileSystemError",
    "UnsupportedFormatError",
    "WakeupError",
    "__version__",
    "limits",
    "open",
]

__version__ = "0.1.0"

_refuse_mixture(__path__[0])
