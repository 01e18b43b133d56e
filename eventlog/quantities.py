"""Numbers that callers give: whole ones of any integer type, NumPy's included, and seconds."""

from __future__ import annotations

import math
import operator
import time
from numbers import Real

from eventlog.errors import InvalidConfigError


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
    except TypeError:
        return None


def checked_timeout(timeout: object) -> float | None:
    """Return a timeout in seconds as a float, None for ever. Raises InvalidConfigError for what is none."""
    if timeout is None:
        return None
    if type(timeout) is float and timeout >= 0:  # nearly always
        return timeout
    if type(timeout) is not bool and isinstance(timeout, Real) and not math.isnan(timeout):
        return float(timeout)
    raise InvalidConfigError(
        f"timeout={timeout!r} is not possible", hint="give seconds as a number, or None to wait for ever"
    )


def checked_count(max_records: object) -> int:
    """Return how many records a call may return. Raises InvalidConfigError for what is no whole number from 1 on."""
    count = whole(max_records)
    if count is not None and count > 0:
        return count
    raise InvalidConfigError(f"max_records={max_records!r} is not possible", hint="give a whole number from 1 on")


def deadline_of(timeout: float | None) -> float:
    """Return when a timeout that begins now is over, on the monotonic clock in seconds."""
    return float("inf") if timeout is None else time.monotonic() + timeout
