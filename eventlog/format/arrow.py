"""A record batch as an Arrow record batch that shares its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventlog.errors import MissingExtraError

if TYPE_CHECKING:
    import pyarrow

    from eventlog.format.columns import BytesColumn
    from eventlog.format.record_batch import RecordBatch


def record_batch_to_arrow(batch: RecordBatch) -> pyarrow.RecordBatch:
    """Build the Arrow batch; see `RecordBatch.to_arrow`."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError.of("arrow", "pyarrow is not installed") from error
    columns = batch._found()
    headers = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(batch.offsets),
            pa.array(batch.timestamps_ms).cast(pa.timestamp("ms", tz="UTC")),
            _binary(pa, columns.keys, batch),
            _binary(pa, columns.values, batch),
            pa.array([[{"key": k, "value": v} for k, v in pairs] for pairs in batch.headers()], type=headers),
        ],
        names=["offset", "timestamp", "key", "value", "headers"],
    )


def _binary(pa: Any, column: BytesColumn | None, batch: RecordBatch) -> Any:
    if column is None:
        return pa.nulls(len(batch), type=pa.binary())
    validity = None if column.validity is None else pa.py_buffer(column.validity)
    buffers = [validity, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    return pa.Array.from_buffers(pa.binary(), len(batch), buffers, offset=batch._first)
