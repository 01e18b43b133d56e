"""Find the partitions of records that were sent one by one, all at once, and move the records there in one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from operator import call
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.partitioners import FEW_KEYS, partition_for_key, partitions_for_keys
from eventlog.producer.delivery import Delivery
from eventlog.producer.placement import Placement, split_by_number

Step = Callable[[], object]
_Sink = deque[None]


def split_by_key(records: list[Delivery], partitions: int) -> list[tuple[int, list[Delivery]]]:
    """Return the records of each partition that has any. Raises TypeError for one without a key."""
    if partitions == 1:
        return [(0, records)]
    keys: list[Any] = [record.key for record in records]
    if len(records) < FEW_KEYS:
        few: dict[int, list[Delivery]] = {}
        for record, key in zip(records, keys, strict=True):
            few.setdefault(partition_for_key(key, partitions), []).append(record)
        return list(few.items())
    return _by_number(records, partitions_for_keys(keys, partitions))


def split_any(
    records: list[Delivery], topic: str, partitions: int, placement: Placement
) -> list[tuple[int, list[Delivery]]]:
    """Do the same where some may have no key."""
    try:
        return split_by_key(records, partitions)
    except TypeError as error:  # a key is None
        pass_on_handlers(error)
    keys = [record.key for record in records if record.key is not None]
    missing = np.array([record.key is None for record in records])
    numbers = np.empty(len(records), np.int32)
    sizes = [len(record.value or b"") for record in records if record.key is None]
    numbers[missing] = placement.keyless_all(topic, partitions, sizes)
    if keys:
        numbers[~missing] = partitions_for_keys(keys, partitions)
    return _by_number(records, numbers)


def _by_number(records: list[Delivery], numbers: NDArray[np.int32]) -> list[tuple[int, list[Delivery]]]:
    order, parts = split_by_number(numbers)
    if order is not None:
        records = np.fromiter(records, object, len(records)).take(order).tolist()
    return [(number, records[low:high]) for number, low, high in parts]


def run_all(steps: Sequence[Step]) -> None:
    """Make the calls one after the other, without a bytecode in between: no interrupt comes, and no other thread."""
    deque(map(call, steps), maxlen=0)


def give_home(records: Sequence[Delivery], home: object) -> Step:
    """Return the step that makes this the home of the records."""
    return partial(_Sink(maxlen=0).extend, map(setattr, records, repeat("home"), repeat(home)))
