"""The records of ``__consumer_offsets``: Kafka's own keys and values, and which partition a group's are in.

A key names group, topic and partition; its value is the newest commit for them. No value, a tombstone: nothing is
committed (any more).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import crc32c

from eventlog.errors import InvalidGroupError, UnsupportedFormatError
from eventlog.format import layouts as L
from eventlog.model import OffsetAndMetadata, TopicPartition
from eventlog.texts import shown

_UNKNOWN_EPOCH = -1
_LONGEST_TEXT = 2**15 - 1  # bytes that Kafka's length of a text can tell
_KEY_START = L.OFFSET_KEY_GROUP.pack(L.OFFSET_KEY_VERSION, 0)[:2]
_pack_value = L.OFFSET_VALUE.pack
_pack_time = L.OFFSET_VALUE_TIME.pack
_crc = crc32c.crc32c


class Committed(NamedTuple):
    """What a group has committed for a partition, and when, in milliseconds since the epoch."""

    position: OffsetAndMetadata
    timestamp_ms: int


@lru_cache(maxsize=1024)
def partition_of(group: str, partitions: int) -> int:
    """Return the partition that holds a group's commits: Java's hash of its name, as in Kafka.

    >>> partition_of("billing", 50)
    9
    """
    code = 0
    raw = group.encode("utf-16-be", "surrogatepass")
    for unit in range(0, len(raw), 2):
        code = (31 * code + (raw[unit] << 8 | raw[unit + 1])) & 0xFFFFFFFF
    signed = code - 2**32 if code >= 2**31 else code
    return 0 if signed == -(2**31) else abs(signed) % partitions  # Java has no absolute value of its least number


# --- keys ---


@lru_cache(maxsize=1024)
def group_prefix(group: str) -> bytes:
    """Return what all keys of a group begin with, and no other's do. Raises InvalidGroupError."""
    try:
        name = group.encode()
    except (AttributeError, UnicodeEncodeError):
        name = b""
    if not 0 < len(name) <= _LONGEST_TEXT:
        raise InvalidGroupError(
            f"{shown(group)} is no group's name", group=group, hint="give a text, such as 'billing'"
        )
    return L.OFFSET_KEY_GROUP.pack(L.OFFSET_KEY_VERSION, len(name)) + name


@lru_cache(maxsize=4096)
def encode_key(group: str, topic: str, partition: int) -> bytes:
    """Return the key of a group's commits for one partition."""
    name = topic.encode()
    return group_prefix(group) + L.OFFSET_KEY_TOPIC.pack(len(name)) + name + L.OFFSET_KEY_PARTITION.pack(partition)


@lru_cache(maxsize=4096)
def prefix_of(key: bytes | None) -> bytes | None:
    """Return the group's part of a key; None for what is no key of a commit, or one of a version not known here."""
    if key is None or not key.startswith(_KEY_START) or len(key) < L.OFFSET_KEY_GROUP.size:
        return None
    end = L.OFFSET_KEY_GROUP.size + L.OFFSET_KEY_GROUP.unpack_from(key)[1]
    if not L.OFFSET_KEY_GROUP.size < end <= len(key) - L.OFFSET_KEY_TOPIC.size:
        return None
    start = end + L.OFFSET_KEY_TOPIC.size
    stop = start + L.OFFSET_KEY_TOPIC.unpack_from(key, end)[0]
    if not start <= stop == len(key) - L.OFFSET_KEY_PARTITION.size:
        return None
    is_text = _is_text(key[L.OFFSET_KEY_GROUP.size : end]) and _is_text(key[start:stop])
    return key[:end] if is_text else None


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def group_of(prefix: bytes) -> str:
    """Return the name of the group.

    >>> group_of(group_prefix("billing"))
    'billing'
    """
    return prefix[L.OFFSET_KEY_GROUP.size :].decode()


def decode_key(key: bytes, prefix: bytes) -> TopicPartition:
    """Return what a key is for, besides the group.

    >>> decode_key(encode_key("billing", "orders", 3), group_prefix("billing"))
    TopicPartition(topic='orders', partition=3)
    """
    topic = key[len(prefix) + L.OFFSET_KEY_TOPIC.size : -L.OFFSET_KEY_PARTITION.size].decode()
    return TopicPartition(topic, *L.OFFSET_KEY_PARTITION.unpack_from(key, len(key) - L.OFFSET_KEY_PARTITION.size))


# --- values ---


def encode_value(position: OffsetAndMetadata, timestamp_ms: int) -> bytes:
    """Return the value of a commit."""
    offset, metadata, epoch = position
    text = metadata.encode() if metadata else b""
    return (
        _pack_value(L.OFFSET_VALUE_VERSION, offset, _UNKNOWN_EPOCH if epoch is None else epoch, len(text))
        + text + _pack_time(timestamp_ms)
    )  # fmt: skip


def decode_value(value: bytes) -> Committed:
    """Return the commit. Raises UnsupportedFormatError for a value that this version does not write.

    >>> decode_value(encode_value(OffsetAndMetadata(7, "a"), 1700000000000))
    Committed(position=OffsetAndMetadata(offset=7, metadata='a', leader_epoch=None), timestamp_ms=1700000000000)
    """
    start = L.OFFSET_VALUE.size
    if len(value) >= start + L.OFFSET_VALUE_TIME.size:
        version, offset, epoch, length = L.OFFSET_VALUE.unpack_from(value)
        is_whole = len(value) == start + length + L.OFFSET_VALUE_TIME.size and _is_text(value[start : start + length])
        if version == L.OFFSET_VALUE_VERSION and is_whole:
            metadata = value[start : start + length].decode()
            position = OffsetAndMetadata(offset, metadata, None if epoch == _UNKNOWN_EPOCH else epoch)
            return Committed(position, *L.OFFSET_VALUE_TIME.unpack_from(value, start + length))
    raise UnsupportedFormatError(
        "a committed offset in a form that is not known here", hint="use the newest version of eventlog"
    )


# --- both ---


def fingerprint(offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int) -> int:
    """Return a checksum by which a record is known again."""
    return _crc(value or b"", _crc(key or b"", _crc(L.FINGERPRINT.pack(offset, timestamp_ms))))
