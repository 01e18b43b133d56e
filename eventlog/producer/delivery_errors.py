"""Why records were not written: the errors of their deliveries that no call below has raised."""

from __future__ import annotations

from eventlog.errors import DeliveryTimeoutError, EventLogError, InvalidRecordError, StorageError
from eventlog.topics.partition import Partition


def not_encoded(partition: Partition, error: Exception) -> EventLogError:
    """Return the error of a record that cannot be encoded, which is the record's own fault."""
    if isinstance(error, EventLogError):
        for name, place in (("topic", partition.topic), ("partition", partition.number)):
            error.coordinates.setdefault(name, place)
            setattr(error, name, error.coordinates[name])
        return error
    return _caused(error, InvalidRecordError(
        f"the record cannot be encoded: {type(error).__name__}: {error}",
        topic=partition.topic, partition=partition.number, hint="it alone was not written",
    ))  # fmt: skip


def not_appended(partition: Partition, error: Exception) -> EventLogError:
    """Return the error of records whose append raised what no append raises on purpose."""
    return _caused(error, StorageError(
        f"the append failed: {type(error).__name__}: {error}",
        topic=partition.topic, partition=partition.number, hint="these records were not written; later ones may be",
    ))  # fmt: skip


def expired(partition: Partition, count: int, seconds: float) -> EventLogError:
    """Return the error of records that have waited for ``delivery_timeout_ms``."""
    return DeliveryTimeoutError(
        f"{count} records were not written within {seconds:g} s", topic=partition.topic, partition=partition.number,
        hint="another process holds the partition's lock: is it stopped? delivery_timeout_ms is how long to wait",
    )  # fmt: skip


def not_in_time(partition: Partition, what: str, timeout: float | None, cause: EventLogError | None) -> EventLogError:
    """Return the error for who could not wait any longer; ``cause`` is why what waits could not be written yet."""
    hint = "another process holds the partition's lock; it may still be written"
    if cause is not None:
        hint = f"it is tried again, since: {cause}"
    error = DeliveryTimeoutError(
        f"{what} within {timeout} s", topic=partition.topic, partition=partition.number, hint=hint
    )
    error.__cause__ = cause
    return error


def _caused(cause: Exception, error: EventLogError) -> EventLogError:
    error.__cause__ = cause
    return error
