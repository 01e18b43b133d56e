"""What callers give, checked: whole numbers of any integer type, NumPy's included, seconds, durations and names."""

from __future__ import annotations

import datetime
import logging
import operator
import re
import threading
import time
from collections.abc import Mapping
from numbers import Real
from typing import TypeGuard

from eventlog.errors import InvalidConfigError
from eventlog.model import EPOCH
from eventlog.texts import plain, shown

logger = logging.getLogger("eventlog")
_LIKELY_MS = 100  # seconds that nobody waits, but milliseconds that many do
_warned: list[bool] = []
LONGEST = threading.TIMEOUT_MAX  # seconds, some 290 years: what waits in C takes no more
_ONE_MS = datetime.timedelta(milliseconds=1)
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
_BLANK = "".join(map(chr, range(0x21)))  # what Java's trim() takes away
_MS = {"days": 24 * 3600 * 1000, "hours": 3600 * 1000, "minutes": 60 * 1000, "seconds": 1000}
_LONGEST_NS = (2**63 - 1) * 10**6  # Kafka counts milliseconds in 64 bits
_ISO_8601 = re.compile(  # as Java's Duration.parse
    r"(?P<sign>[-+]?)P(?:(?P<days>[-+]?[0-9]+)D)?"
    r"(?P<time>T(?:(?P<hours>[-+]?[0-9]+)H)?(?:(?P<minutes>[-+]?[0-9]+)M)?"
    r"(?:(?P<seconds>[-+]?[0-9]+)(?:[.,](?P<fraction>[0-9]{0,9}))?S)?)?",
    re.IGNORECASE,
)


def whole(number: object) -> int | None:
    """Return a whole number as an int; None for whatever is none: floats, texts, and also True and False.

    >>> import numpy as np
    >>> whole(np.uint32(7)), whole(7.0), whole(True)
    (7, None, None)
    """
    if type(number) is int:
        return number
    if isinstance(number, bool):
        return None
    try:
        return operator.index(number)  # type: ignore[arg-type]  # what has no __index__ ends below
    except Exception:  # its own __index__ may raise anything
        return None


def checked_timeout(timeout: object) -> float | None:
    """Return a timeout in seconds as a float, None for ever. Raises InvalidConfigError for what is none."""
    if timeout is None:
        return None
    if type(timeout) is float and 0 <= timeout <= LONGEST:  # nearly always
        return timeout
    if type(timeout) is not bool and isinstance(timeout, Real) and timeout == timeout:  # NaN does not
        return float(min(max(timeout, -LONGEST), LONGEST))  # type: ignore[arg-type]  # typeshed's Real has no order
    raise InvalidConfigError(
        f"timeout={shown(timeout)} is not possible", hint="give seconds as a number, or None to wait for ever"
    )


def checked_count(number: object, name: str = "max_records") -> int:
    """Return how many records, or bytes, a call may return. Raises InvalidConfigError for no whole number from 1 on."""
    count = whole(number)
    if count is not None and count > 0:
        return count
    raise InvalidConfigError(f"{name}={shown(number)} is not possible", hint="give a whole number from 1 on")


def poll_timeout(timeout: object, unknown: Mapping[str, object]) -> float | None:
    """Return how long a poll waits, as `checked_timeout`; a likely mistake of who comes from Kafka is told.

    ``unknown`` are arguments that poll does not have: TypeError. A whole number of 100 or more may be milliseconds: a
    warning is logged, once in this process.
    """
    if unknown:
        name = next(iter(unknown))
        raise TypeError(f"poll has no argument {name!r}; the time to wait is in seconds: poll(timeout=0.5)")
    seconds = checked_timeout(timeout)
    if type(timeout) is int and timeout >= _LIKELY_MS and not _warned:
        _warned.append(True)
        given = shown(timeout)  # it may have more digits than Python writes
        logger.warning("poll(%s) waits %s seconds: the timeout is in seconds, not in milliseconds", given, given)
    return seconds


def whole_ms(time: object) -> int | None:
    """Return a time in whole milliseconds since the epoch; None if it is no whole number and no aware datetime.

    What a datetime has beyond whole milliseconds is cut off.

    >>> whole_ms(5), whole_ms(EPOCH + datetime.timedelta(hours=1)), whole_ms(datetime.datetime(2024, 5, 1))
    (5, 3600000, None)
    """
    if isinstance(time, datetime.datetime):
        return None if time.tzinfo is None else (time - EPOCH) // _ONE_MS
    return whole(time)


def deadline_of(timeout: float | None) -> float:
    """Return when a timeout that begins now is over, on the monotonic clock in seconds."""
    return float("inf") if timeout is None else time.monotonic() + timeout


def duration_ms(text: str) -> int:
    """Return an ISO 8601 duration in whole milliseconds. Raises ValueError for what is none, or is negative.

    Days, hours, minutes and seconds in this order, as Kafka takes them; years, months and weeks are refused.

    >>> duration_ms("PT1H"), duration_ms("P1DT12H"), duration_ms("PT1.5S")
    (3600000, 129600000, 1500)
    """
    found = _ISO_8601.fullmatch(text)
    if found is None or found["time"] in ("T", "t") or not any(found[unit] for unit in _MS):
        raise ValueError(f"{text!r} is no duration")
    fraction = int((found["fraction"] or "").ljust(9, "0"))
    total = sum(int(found[unit] or 0) * ms for unit, ms in _MS.items()) * 10**6
    total += -fraction if (found["seconds"] or "").startswith("-") else fraction
    total = -total if found["sign"] == "-" else total
    if not 0 <= total <= _LONGEST_NS:
        raise ValueError(f"{text!r} is negative, or too long")
    return total // 10**6


def is_legal_name(name: object) -> TypeGuard[str]:
    """Tell whether Kafka allows this as the name of a topic, or as a ``group_instance_id``.

    >>> is_legal_name("orders.eu-1"), is_legal_name("a b"), is_legal_name("..")
    (True, False, False)
    """
    return isinstance(name, str) and _LEGAL_NAME.match(name) is not None and plain(name) not in (".", "..")


def is_blank(text: str) -> bool:
    """Tell whether a text is empty, or nothing but spaces and control characters; Kafka takes none as a name or id.

    >>> is_blank("  "), is_blank(" g ")
    (True, False)
    """
    return not text.strip(_BLANK)
