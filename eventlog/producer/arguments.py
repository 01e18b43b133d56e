"""Check the arguments of a send, before anything is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from eventlog.errors import InvalidRecordError
from eventlog.format.batch_encoder import RecordHeaders, checked_header
from eventlog.quantities import whole
from eventlog.serializers import Side, as_bytes

_BYTES_OR_NONE = frozenset((bytes, type(None)))


def chosen(column: Any, places: Sequence[int], count: int) -> Any:
    """Return the items at ``places``; the column itself when that is all of it, or one value for all."""
    if column is None or isinstance(column, int) or len(places) == count:
        return column
    return list(itemgetter(*places)(column)) if len(places) > 1 else [column[places[0]]]


def check_lengths(topic: str, count: int, **columns: Any) -> None:
    """Raise InvalidRecordError unless each column that is given has one item a value."""
    for name, column in columns.items():
        if column is None or (name == "timestamps" and isinstance(column, int)):
            continue
        if not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
            raise InvalidRecordError(
                f"{name} are a {type(column).__name__}, not a list", topic=topic, hint="give a list, one item a value"
            )
        if len(column) != count:
            raise InvalidRecordError(
                f"{count} values but {len(column)} {name}", topic=topic, hint="the columns of one call have one length"
            )


def plain_times(timestamps_ms: Any, now_ms: int) -> Any:
    """Return one time for all as an int, ``now_ms`` when none is given, and a column as it is."""
    if timestamps_ms is None:
        return now_ms
    one = whole(timestamps_ms)
    return timestamps_ms if one is None else one


def serialized(column: Sequence[Any], serialize: Any, *, of_bytes: Side | None = None) -> Sequence[Any]:
    """Return the column as its serializer makes it.

    With ``of_bytes`` each item is bytes or None then, buffers copied. Raises SerializationError for any other type.
    """
    items = column if serialize is None else [serialize(item) for item in column]
    if of_bytes is None or _BYTES_OR_NONE.issuperset(map(type, items)):
        return items
    return [as_bytes(item, of_bytes) for item in items]


def checked_headers(headers: Any) -> RecordHeaders | None:
    """Return one record's headers as a tuple of pairs. Raises InvalidRecordError."""
    if headers is None:
        return None
    if not isinstance(headers, Iterable):
        raise InvalidRecordError(
            f"headers are a {type(headers).__name__}, not a list", hint='give headers as [("name", b"value"), ...]'
        )
    return tuple(checked_header(pair, 0) for pair in headers)


def header_bytes(headers: RecordHeaders | None) -> int:
    """Return what the headers take in a batch at most, in bytes."""
    return 0 if headers is None else 32 + sum(len(name) * 4 + len(value or b"") + 8 for name, value in headers)


def checked_time(timestamp_ms: object) -> int:
    """Return the timestamp if it is one. Raises InvalidRecordError."""
    stamp = whole(timestamp_ms)
    if stamp is not None and 0 <= stamp < 2**63:
        return stamp
    raise InvalidRecordError(
        f"timestamp {timestamp_ms!r}", hint="give whole milliseconds since the epoch: int(time.time() * 1000)"
    )
