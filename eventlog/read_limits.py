"""How much a batch may claim to hold before a reader believes it."""

from __future__ import annotations

from typing import Any

import attrs

from eventlog.errors import InvalidConfigError
from eventlog.texts import shown

MAX_DECOMPRESSED_BYTES = 1 << 28  # also what a writer compresses into one batch: whoever reads may have these defaults
MAX_EMPTY_RECORDS = 1 << 20


def _positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not int or not 0 < value <= 2**31 - 1:
        raise InvalidConfigError(
            f"{attribute.name}={shown(value)} is not possible", hint="give a whole number from 1 to 2147483647"
        )


@attrs.define
class Limits:
    """What this process reads, whatever a file claims; set the fields of `eventlog.limits`.

    A batch beyond a limit is `CorruptSegmentError`, and damage for `Partition.verify`. Nothing that this version writes
    is beyond the defaults.

    >>> import eventlog
    >>> eventlog.limits.max_decompressed_bytes
    268435456
    """

    max_decompressed_bytes: int = attrs.field(default=MAX_DECOMPRESSED_BYTES, validator=_positive)
    """Bytes of a compressed batch once it is decompressed."""

    max_empty_records: int = attrs.field(default=MAX_EMPTY_RECORDS, validator=_positive)
    """Records of a batch that has no bytes for any of them: all null, without keys, of one time."""


limits = Limits()
