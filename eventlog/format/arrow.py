"""A record batch as an Arrow record batch that shares its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventlog.errors import MissingExtraError
from eventlog.format.columns import BytesColumn, Columns
from eventlog.model import Headers

if TYPE_CHECKING:
    import pyarrow


def to_arrow(
    columns: Columns,
    first: int,
    offsets: NDArray[np.int64],
    timestamps_ms: NDArray[np.int64],
    headers: Sequence[Headers],
) -> pyarrow.RecordBatch:
    """Build the Arrow batch of n records; see `RecordBatch.to_arrow`.

    Keys and values are those of ``columns`` from the place ``first`` on; ``offsets`` and ``timestamps_ms`` are of the
    shape [n], and ``headers`` has n items.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError.of("arrow", "pyarrow is not installed") from error
    count = len(offsets)
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(offsets),
            pa.array(timestamps_ms).cast(pa.timestamp("ms", tz="UTC")),
            _binary(pa, columns.keys, first, count),
            _binary(pa, columns.values, first, count),
            pa.array([[{"key": k, "value": v} for k, v in one] for one in headers], type=pairs),
        ],
        names=["offset", "timestamp", "key", "value", "headers"],
    )


def _binary(pa: Any, column: BytesColumn | None, first: int, count: int) -> Any:
    if column is None:
        return pa.nulls(count, type=pa.binary())
    validity = None if column.validity is None else pa.py_buffer(column.validity)
    buffers = [validity, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    return pa.Array.from_buffers(pa.binary(), count, buffers, offset=first)
