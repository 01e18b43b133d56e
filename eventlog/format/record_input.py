"""Check what callers give to be written: once, before anything is accepted.

What passes can be encoded, whatever happens to the caller's own objects afterwards: it comes out as ``bytes`` or None,
as ``str`` that UTF-8 can say, as whole milliseconds that fit into 63 bits. Encoding itself trusts its columns.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from eventlog.errors import InvalidRecordError
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format import layouts as L
from eventlog.model import Headers
from eventlog.quantities import whole, whole_ms
from eventlog.serializers import Side, as_bytes
from eventlog.texts import shown

LATEST_MS = 2**63 - 1  # a timestamp on disk has 64 bits and a sign
_HINT_TIME = "give whole milliseconds since the epoch, or a datetime with a time zone: datetime.now(UTC)"
_HINT_HEADERS = 'give headers as [("name", b"value"), ...]'


def checked_columns(
    values: object, keys: object, headers: object
) -> tuple[Sequence[bytes | None], Sequence[bytes | None] | None, Sequence[Headers | None] | None]:
    """Return the columns of one call as they can be encoded. Raises InvalidRecordError, SerializationError."""
    listed = checked_sequence(values)
    column = checked_column(keys, "keys", len(listed))
    return (
        checked_bytes(listed, "value"),
        None if column is None else checked_bytes(column, "key"),
        checked_header_column(headers, len(listed)),
    )


# --- values and keys ---


def checked_sequence(values: object) -> Sequence[Any]:
    """Return a copy of ``values`` if it is a non-empty list or tuple. Raises InvalidRecordError for anything else."""
    if not isinstance(values, list | tuple):
        raise InvalidRecordError(
            f"values are a {type(values).__name__}, not a list",
            hint="give a list, also for one record: [value]",
        )
    listed = _listed(values, "values")
    if not listed:
        raise InvalidRecordError("no values", hint="give at least one record")
    return listed


def checked_column(column: object, name: str, count: int) -> Sequence[Any] | None:
    """Return a copy of a column that has one item a value, None for none. Raises InvalidRecordError."""
    if column is None:
        return None
    if isinstance(column, Mapping | str) or not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
        raise InvalidRecordError(
            f"{name} are a {type(column).__name__}, not a list", hint="give a list, one item a value"
        )
    listed = _listed(column, name)
    if len(listed) != count:
        raise InvalidRecordError(
            f"{count} values but {len(listed)} {name}", hint="the columns of one call have one length"
        )
    return listed


def checked_bytes(column: Sequence[Any], side: Side) -> Sequence[bytes | None]:
    """Return the column as bytes and None; the column itself if it is so already. Raises SerializationError."""
    types = list(map(type, column))
    missing = len(column) - types.count(bytes)
    if not missing or missing == types.count(type(None)):  # to count what there is not takes four times as long
        return column
    return [
        item if item is None or type(item) is bytes else as_bytes(item, side, index)
        for index, item in enumerate(column)
    ]


def _listed(column: Any, name: str) -> Sequence[Any]:
    """Return a list or tuple that no other thread can change."""
    if type(column) is tuple:
        return column
    if type(column) is list:
        return column[:]
    try:
        return list(column)
    except Exception as error:
        pass_on_handlers(error)
        raise InvalidRecordError(
            f"{name} are a {type(column).__name__} that cannot be read: {type(error).__name__}: {error}",
            hint="give a plain list",
        ) from error


# --- headers ---


def checked_header_column(column: object, count: int) -> Sequence[Headers | None] | None:
    """Return the headers of ``count`` records, None for none. Raises InvalidRecordError, with the record's index."""
    listed = checked_column(column, "headers", count)
    return None if listed is None else [checked_headers(headers, index) for index, headers in enumerate(listed)]


def checked_headers(headers: Any, index: int | None = None) -> Headers | None:
    """Return a record's headers as a tuple of pairs; ``index`` is its place in a list. Raises InvalidRecordError."""
    if headers is None:
        return None
    if type(headers) is not list and type(headers) is not tuple:
        headers = _listed_headers(headers, index)
    pairs = tuple(headers)  # which no other thread can change
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2:
            break
        name, value = pair
        if type(name) is not str or not name.isascii() or (type(value) is not bytes and value is not None):
            break
    else:
        return pairs
    return tuple([checked_header(pair, index) for pair in pairs])


def _listed_headers(headers: Any, index: int | None) -> list[Any]:
    if isinstance(headers, Mapping) or not hasattr(headers, "__iter__"):
        hint = "give list(headers.items())" if isinstance(headers, Mapping) else _HINT_HEADERS
        raise InvalidRecordError(f"headers{_of(index)} are a {type(headers).__name__}, not a list of pairs", hint=hint)
    try:
        return list(headers)
    except Exception as error:
        pass_on_handlers(error)
        raise InvalidRecordError(
            f"headers{_of(index)} cannot be read: {type(error).__name__}: {error}", hint=_HINT_HEADERS
        ) from error


def checked_header(pair: object, index: int | None) -> tuple[str, bytes | None]:
    """Return the pair if it is a header, as a plain one. Raises InvalidRecordError if it is none."""
    if (type(pair) is tuple or type(pair) is list) and len(pair) == 2:
        name, value = pair
        if type(name) is str and name.isascii() and (value is None or type(value) is bytes):
            return name, value
    match pair:
        case (str() as name, (None | bytes() | bytearray() | memoryview()) as value):
            return _checked_name(name, index), as_bytes(value, "value")
    raise InvalidRecordError(f"header {shown(pair)}{_of(index)} is not a (str, bytes or None) pair", hint=_HINT_HEADERS)


def _checked_name(name: str, index: int | None) -> str:
    """Return a header's name as a plain str that UTF-8 can say."""
    if getattr(type(name), "encode", None) is not str.encode:
        raise InvalidRecordError(
            f"a header's name{_of(index)} is a {type(name).__name__}, which has an encode() of its own",
            hint="give str(name), or whatever is meant to be stored",
        )
    plain = str.__str__(name)
    try:
        plain.encode()
        return plain
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"header {plain!a}{_of(index)} is not possible in UTF-8: {error.reason}",
            hint="if it is the name of a file, give os.fsencode(name) as the value",
        ) from error


# --- timestamps ---


def checked_time(timestamp_ms: object) -> int:
    """Return the timestamp of a record as an int, in milliseconds. Raises InvalidRecordError."""
    if type(timestamp_ms) is int and 0 <= timestamp_ms <= LATEST_MS:
        return timestamp_ms
    stamp = whole_ms(timestamp_ms)
    if stamp is not None and 0 <= stamp <= LATEST_MS:
        return stamp
    _refuse_time(timestamp_ms)


def checked_times(timestamps_ms: Any, count: int) -> NDArray[np.int64] | int:
    """Return one timestamp for all ``count`` records, or an array ``int64[count]`` of the caller's; milliseconds."""
    if whole(timestamps_ms) is not None or isinstance(timestamps_ms, float | datetime.datetime):
        return checked_time(timestamps_ms)
    column = np.asarray(timestamps_ms) if isinstance(timestamps_ms, np.ndarray) else _listed_times(timestamps_ms, count)
    if column.shape != (count,):
        raise InvalidRecordError(
            f"{count} values but timestamps of the shape {column.shape}", hint="give one for all, or one each"
        )
    if column.dtype.kind not in "iu":
        raise InvalidRecordError(f"timestamps are {column.dtype}, not whole numbers", hint=_HINT_TIME)
    stamps = column.astype(L.TIMESTAMPS)  # a copy in any case
    if stamps.min() < 0:  # or too large to be signed
        index = int((stamps < 0).argmax())
        _refuse_time(column[index], index)
    return stamps


def _listed_times(timestamps_ms: Any, count: int) -> NDArray[Any]:
    listed = checked_column(timestamps_ms, "timestamps", count)
    assert listed is not None
    if list(map(type, listed)).count(int) != count:
        listed = [_checked_time_of(stamp, index) for index, stamp in enumerate(listed)]
    try:
        return np.array(listed, L.TIMESTAMPS)
    except OverflowError:
        index = next(index for index, stamp in enumerate(listed) if not 0 <= stamp <= LATEST_MS)
        _refuse_time(listed[index], index)


def _checked_time_of(timestamp_ms: object, index: int) -> int:
    stamp = whole_ms(timestamp_ms)
    if stamp is None:
        _refuse_time(timestamp_ms, index)
    return stamp


def clock_ms(seconds: float) -> int:
    """Return what a clock says in milliseconds. Raises InvalidRecordError for what no record can be stamped with."""
    if 0 <= seconds <= LATEST_MS // 1000:
        return int(seconds * 1000)
    raise InvalidRecordError(
        f"the clock says {seconds!r} seconds since 1970, which is no time of a record", hint="set the machine's clock"
    )


def _refuse_time(timestamp_ms: object, index: int | None = None) -> NoReturn:
    stamp, where = whole_ms(timestamp_ms), _of(index)
    if stamp is None:
        zone = "has no time zone" if isinstance(timestamp_ms, datetime.datetime) else "is not a whole number"
        reason, hint = f"timestamp {shown(timestamp_ms)}{where} {zone}", _HINT_TIME
    elif stamp < 0:
        reason, hint = (
            f"timestamp {shown(stamp)}{where} is negative",
            "milliseconds since the epoch are 0 or more",
        )
    else:
        reason, hint = (
            f"timestamp {shown(stamp)}{where} is too large",
            f"milliseconds go up to {LATEST_MS}",
        )
    raise InvalidRecordError(reason, hint=hint)


def _of(index: int | None) -> str:
    return "" if index is None else f" of record {index}"
