"""How far a record's own timestamp may be from now: ``message_timestamp_before_max_ms`` and ``..._after_max_ms``.

As Kafka's brokers since KIP-937: a record beyond them is refused, there with INVALID_TIMESTAMP. A topic whose log
stamps the records (LogAppendTime) asks nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventlog.config import TopicConfig
from eventlog.errors import InvalidRecordError


def refuse_out_of_bounds(
    config: TopicConfig, topic: str, stamps: NDArray[np.int64] | int, now_ms: int, *, in_list: bool = True
) -> None:
    """Raise InvalidRecordError for the first timestamp that the topic does not take, with its place ``in_list``."""
    places = out_of_bounds(config, stamps, now_ms)
    if len(places):
        raise bounds_error(config, topic, stamps, now_ms, int(places[0]) if in_list else None)


def out_of_bounds(config: TopicConfig, stamps: NDArray[np.int64] | int, now_ms: int) -> NDArray[np.intp]:
    """Return the places of the timestamps that the topic does not take; of one for all records only place 0."""
    if config.message_timestamp_type != "CreateTime":
        return _NONE
    earliest, latest = now_ms - config.message_timestamp_before_max_ms, now_ms + config.message_timestamp_after_max_ms
    if isinstance(stamps, int):
        return _NONE if earliest <= stamps <= latest else _FIRST
    if earliest <= stamps.min() and stamps.max() <= latest:  # compared as Python's ints, which have no limit
        return _NONE
    return np.flatnonzero((stamps < max(earliest, 0)) | (stamps > min(latest, _LARGEST)))


def bounds_error(
    config: TopicConfig, topic: str, stamps: NDArray[np.int64] | int, now_ms: int, place: int | None = None
) -> InvalidRecordError:
    """Return the error of the record at this place."""
    stamp: Any = stamps if isinstance(stamps, int) else int(stamps[place or 0])
    where = "" if place is None else f" of record {place}"
    if stamp > now_ms:
        how, name = "ahead of", "message_timestamp_after_max_ms"
    else:
        how, name = "behind", "message_timestamp_before_max_ms"
    return InvalidRecordError(
        f"timestamp {stamp}{where} is {abs(stamp - now_ms)} ms {how} the clock, and {name} is {getattr(config, name)}",
        topic=topic, hint=f"correct it, leave it out, or give the topic a larger {name}",
    )  # fmt: skip


_NONE, _FIRST = np.arange(0), np.arange(1)
_LARGEST = 2**63 - 1
