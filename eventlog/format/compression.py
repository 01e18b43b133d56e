"""Compression of a batch's body: Kafka's codecs under Kafka's ids.

==  ======  =======================================================  =====================
id  name    what is stored                                           needs
==  ======  =======================================================  =====================
0   none    the body
1   gzip    one gzip member (RFC 1952)                               Python alone
2   snappy  one raw Snappy block, not the framing format             extra ``compression``
3   lz4     one LZ4 frame: independent blocks, no content checksum   extra ``compression``
4   zstd    one Zstandard frame (RFC 8878)                           extra ``compression``
==  ======  =======================================================  =====================

This is the format on disk, and the ids are bits 0 to 2 of a batch's attributes: never change them. No reader
relies on a size or a checksum inside the data: the batch states the body's exact size, and its CRC-32C covers
the data. Levels are no part of the format.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eventlog.config import COMPRESSION_TYPES, UNCOMPRESSED
from eventlog.errors import InvalidConfigError, MissingExtraError, UnsupportedFormatError
from eventlog.texts import shown

Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODEC_IDS = dict(zip(COMPRESSION_TYPES, (NONE, GZIP, SNAPPY, LZ4, ZSTD), strict=True))

# Kafka's defaults (KIP-390) for gzip and zstd. On 128 KB of log lines zstd's level 1 gains no time over 3.
GZIP_LEVEL = 6
ZSTD_LEVEL = 3
# Bytes that one byte of data can become, by the formats: a deflate match of 258 bytes in two bits; a Snappy copy of 64
# bytes in three; an LZ4 match grows by 255 with each byte; a Zstandard block of 128 KiB of one byte takes four.
_MOST_RATIO = (1, 1032, 22, 255, 32768)

LZ4_LEVEL = 1  # LZ4's fast mode: the slower ones lose to zstd in both size and time

# zlib, so that gzip works in every installation. On 128 KB of log lines cramjam's is a twelfth smaller, takes
# as long to write (1.0 ms against 0.9) and three quarters of the time to read. Who wants speed takes zstd: as
# small, in an eighth of the time.
GZIP_WBITS = 16 + zlib.MAX_WBITS  # the largest window, in gzip's own header and trailer


def codec_id(name: str) -> int:
    """Return the id of the codec called ``name``. Raises `InvalidConfigError` when there is none.

    >>> codec_id("zstd")
    4
    """
    if name not in CODEC_IDS:
        known = ", ".join(map(repr, COMPRESSION_TYPES))
        raise InvalidConfigError(f"compression_type={shown(name)} is not possible", hint=f"give one of {known}")
    return CODEC_IDS[name]


def topic_codec(name: str) -> int | None:
    """Return the id of the codec that a topic's ``compression_type`` asks for; None for the producer's.

    >>> topic_codec("uncompressed"), topic_codec("producer")
    (0, None)
    """
    if name == "producer":
        return None
    return NONE if name == UNCOMPRESSED else codec_id(name)


def codec_name(codec: int) -> str:
    """Return the name of the codec with this id. Raises `UnsupportedFormatError` when there is none.

    >>> codec_name(4)
    'zstd'
    """
    return COMPRESSION_TYPES[_known(codec)]


def compress(codec: int, body: Buffer) -> bytes:
    """Return ``body`` compressed with the codec of this id; for 0 the body itself.

    ``body`` is bytes-like or ``uint8[n]``, C-contiguous, and is read without a copy. The result may be larger
    than the body when that has no redundancy: the caller chooses whether to store it so.

    Raises `UnsupportedFormatError` for an unknown id, `MissingExtraError` without cramjam (ids 2 to 4).

    >>> len(compress(GZIP, bytes(1000))) < 100
    True
    """
    return _COMPRESS[_known(codec)](body)


def decompress(codec: int, data: Buffer, size: int) -> bytes:
    """Return the body that `compress` made into ``data``, exactly ``size`` bytes long.

    ``data`` is bytes-like or ``uint8[n]``, C-contiguous, and is read without a copy. Whatever ``data``
    claims, the output never takes more than ``size`` bytes; and a ``size`` that so much data cannot hold is refused
    before any memory is asked for.

    Raises ValueError when ``data`` is damaged or holds another number of bytes than ``size``,
    `UnsupportedFormatError` (also a ValueError) for an unknown id, `MissingExtraError` without cramjam
    (ids 2 to 4).

    >>> decompress(GZIP, compress(GZIP, b"some bytes"), 10)
    b'some bytes'
    """
    if not 0 <= size <= len(data) * _MOST_RATIO[_known(codec)]:
        raise ValueError(f"{len(data)} bytes of {codec_name(codec)} data cannot hold {size}")
    return _DECOMPRESS[_known(codec)](data, size)


def _known(codec: int) -> int:
    if NONE <= codec <= ZSTD:
        return codec
    raise UnsupportedFormatError(f"no codec has the id {codec}", hint="read it with a newer eventlog")


def _cramjam() -> Any:
    try:
        import cramjam
    except ImportError as error:
        raise MissingExtraError.of("compression", "snappy, lz4 and zstd need cramjam") from error
    return cramjam


def _compress_none(body: Buffer) -> bytes:
    return bytes(body)


# Any, here and below: NumPy's stubs let an array pass for a buffer only from Python 3.12 on.
def _compress_gzip(body: Any) -> bytes:
    return zlib.compress(body, GZIP_LEVEL, GZIP_WBITS)


def _compress_snappy(body: Buffer) -> bytes:
    return bytes(_cramjam().snappy.compress_raw(body))


def _compress_lz4(body: Buffer) -> bytes:
    # Independent blocks are read in half the time of linked ones, and are the ones that Kafka reads (KIP-57).
    # A content checksum would repeat what the batch's CRC does, and triple the time to read.
    compressor = _cramjam().lz4.Compressor(LZ4_LEVEL, content_checksum=False, block_linked=False)
    compressor.compress(bytes(body))  # the one function of cramjam that takes bytes only
    return bytes(compressor.finish())


def _compress_zstd(body: Buffer) -> bytes:
    return bytes(_cramjam().zstd.compress(body, level=ZSTD_LEVEL))


def _decompress_none(data: Buffer, size: int) -> bytes:
    if len(data) != size:
        raise _wrong_size(NONE, len(data), size)
    return bytes(data)


def _decompress_gzip(data: Any, size: int) -> bytes:
    reader = zlib.decompressobj(GZIP_WBITS)
    try:
        # One byte more than expected shows a body that goes on, and lets zlib reach the trailer.
        body = reader.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"the gzip data is damaged: {error}") from error
    if len(body) > size:
        raise ValueError(f"the gzip data holds more than the {size} bytes expected")
    if not reader.eof:
        raise ValueError(f"the gzip data is cut off after {len(body)} bytes of {size}")
    if len(body) != size:
        raise _wrong_size(GZIP, len(body), size)
    if reader.unused_data:
        raise ValueError(f"the gzip data ends {len(reader.unused_data)} bytes early")
    return body


def _decompress_snappy(data: Buffer, size: int) -> bytes:
    return _decompress_into(SNAPPY, _cramjam().snappy.decompress_raw_into, data, size)


def _decompress_lz4(data: Buffer, size: int) -> bytes:
    return _decompress_into(LZ4, _cramjam().lz4.decompress_into, data, size)


def _decompress_zstd(data: Buffer, size: int) -> bytes:
    return _decompress_into(ZSTD, _cramjam().zstd.decompress_into, data, size)


def _decompress_into(codec: int, function: Callable[[Any, Any], int], data: Buffer, size: int) -> bytes:
    # Into a buffer of the size expected, and then copied: the copy costs a twentieth of the work, and
    # cramjam's functions that return a buffer of their own would let it grow to whatever the data claims.
    body = np.empty(size, np.uint8)
    try:
        written = function(data, body)
    except _cramjam().DecompressionError as error:
        message = f"the {codec_name(codec)} data is damaged, or holds more than {size} bytes: {error}"
        raise ValueError(message) from error
    if written != size:
        raise _wrong_size(codec, written, size)
    return body.tobytes()


def _wrong_size(codec: int, actual: int, size: int) -> ValueError:
    return ValueError(f"the {codec_name(codec)} data holds {actual} bytes, not the {size} expected")


_COMPRESS: tuple[Callable[[Buffer], bytes], ...] = (
    _compress_none,
    _compress_gzip,
    _compress_snappy,
    _compress_lz4,
    _compress_zstd,
)
_DECOMPRESS: tuple[Callable[[Buffer, int], bytes], ...] = (
    _decompress_none,
    _decompress_gzip,
    _decompress_snappy,
    _decompress_lz4,
    _decompress_zstd,
)
