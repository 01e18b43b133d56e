"""Bodies come back exactly or not at all, whatever happened to the bytes in between."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventlog.format.compression
from eventlog.config import COMPRESSION_TYPES
from eventlog.errors import InvalidConfigError, MissingExtraError, UnsupportedFormatError
from eventlog.format.compression import (
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    codec_id,
    codec_name,
    compress,
    decompress,
)

pytest.importorskip("cramjam")

ALL = [NONE, GZIP, SNAPPY, LZ4, ZSTD]
COMPRESSING = [GZIP, SNAPPY, LZ4, ZSTD]
TEXT = b'{"user":17,"action":"click","page":"/home/3"}\n' * 3000

# What each codec made of b"eventlog eventlog eventlog eventlog": bytes that stay readable for good.
STORED = {
    NONE: b"eventlog eventlog eventlog eventlog",
    GZIP: bytes.fromhex("1f8b08000000000000034b2d4bcd2bc9c94f5748c5c90000fe9ebd1823000000"),
    SNAPPY: bytes.fromhex("23206576656e746c6f6720660900"),
    LZ4: bytes.fromhex("04224d187040ad130000009f6576656e746c6f6720090002506e746c6f672018ac1500000000"),
    ZSTD: bytes.fromhex("28b52ffd20237d0000486576656e746c6f67200100b4cb11"),
}

bodies = st.one_of(
    st.binary(max_size=3000),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=50), st.integers(1, 5000)),
)


def test_ids_are_kafkas() -> None:
    """The codecs have the ids of Kafka's record batch attributes."""
    ids = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
    assert {name: codec_id(name) for name in COMPRESSION_TYPES} == ids
    assert [codec_name(number) for number in range(5)] == list(ids)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """The error for a name that is no codec lists the codecs."""
    with pytest.raises(InvalidConfigError, match="'none', 'gzip', 'snappy', 'lz4', 'zstd'"):
        codec_id("brotli")


@pytest.mark.parametrize("codec", [-1, 5, 7])
def test_an_unknown_id_asks_for_a_newer_version(codec: int) -> None:
    """An id that no codec has is a format of the future, in every function that takes one."""
    calls = (
        lambda: codec_name(codec),
        lambda: compress(codec, b"abc"),
        lambda: decompress(codec, b"abc", 3),
    )
    for call in calls:
        with pytest.raises(UnsupportedFormatError, match=f"no codec has the id {codec}; .*newer"):
            call()


@pytest.mark.parametrize("codec", ALL)
@given(body=bodies)
def test_a_body_comes_back(codec: int, body: bytes) -> None:
    """Whatever was compressed is decompressed to the same bytes, none left out."""
    assert decompress(codec, compress(codec, body), len(body)) == body


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("body", [b"", b"x", TEXT, bytes(5_000_000)], ids=["empty", "one", "text", "zeros"])
def test_bodies_of_all_sizes_come_back(codec: int, body: bytes) -> None:
    """Empty bodies and bodies of many blocks come back, as bytes."""
    data = compress(codec, body)
    assert type(data) is bytes
    assert type(decompress(codec, data, len(body))) is bytes
    assert decompress(codec, data, len(body)) == body


@pytest.mark.parametrize("codec", COMPRESSING)
def test_repetitive_bodies_become_smaller(codec: int) -> None:
    """Every codec makes repetitive text at least ten times smaller."""
    assert len(compress(codec, TEXT)) * 10 < len(TEXT)


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize(
    "view",
    [
        bytearray,
        memoryview,
        lambda data: memoryview(b"12345678" + data)[8:],
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: np.frombuffer(b"12345678" + data, np.uint8)[8:],
    ],
    ids=["bytearray", "memoryview", "slice", "array", "array slice"],
)
def test_views_are_taken_as_they_are(codec: int, view: Any) -> None:
    """A bytearray, a memoryview and a uint8 array, read-only or a part of something, do as bytes do."""
    assert compress(codec, view(TEXT)) == compress(codec, TEXT)
    assert decompress(codec, view(compress(codec, TEXT)), len(TEXT)) == TEXT


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("wrong", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 2 * len(TEXT), -1])
def test_a_body_of_another_size_is_refused(codec: int, wrong: int) -> None:
    """Data that holds fewer or more bytes than expected raises, and is neither cut nor filled up."""
    with pytest.raises(ValueError, match=str(wrong)):
        decompress(codec, compress(codec, TEXT), wrong)


@pytest.mark.parametrize("codec", COMPRESSING)
@pytest.mark.parametrize("kept", [0, 1, 5, 0.5, -1], ids=["none", "1", "5", "half", "all but 1"])
def test_data_cut_off_is_refused(codec: int, kept: float) -> None:
    """Data that ends early, anywhere, raises."""
    data = compress(codec, TEXT)
    end = int(len(data) * kept) if kept == 0.5 else int(kept)
    with pytest.raises(ValueError, match=codec_name(codec)):
        decompress(codec, data[:end], len(TEXT))


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("twice", [False, True])
def test_data_with_something_behind_it_is_refused(codec: int, twice: bool) -> None:
    """One body is one block, frame or member: anything behind it raises, even another good one."""
    data = compress(codec, TEXT)
    with pytest.raises(ValueError, match=codec_name(codec)):
        decompress(codec, data + (data if twice else b"junk"), len(TEXT))


@pytest.mark.parametrize("codec", COMPRESSING)
@given(data=st.data())
def test_damaged_data_never_gives_more_than_was_asked_for(codec: int, data: st.DataObject) -> None:
    """With any byte changed, decompression raises ValueError or returns exactly size bytes: nothing else."""
    body = TEXT[:500] + data.draw(st.binary(max_size=50))
    damaged = bytearray(compress(codec, body))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        assert len(decompress(codec, damaged, len(body))) == len(body)


@pytest.mark.parametrize("codec", COMPRESSING)
@given(junk=st.binary(max_size=200), size=st.integers(0, 1000))
def test_junk_never_gives_more_than_was_asked_for(codec: int, junk: bytes, size: int) -> None:
    """With bytes that no codec wrote, decompression raises ValueError or returns exactly size bytes."""
    with contextlib.suppress(ValueError):
        assert len(decompress(codec, junk, size)) == size


# The peak is the process's own, so that it counts what the codecs take outside Python's allocators too.
DEFUSE = """
import resource, sys
from eventlog.format.compression import LZ4, compress, decompress
codec, bomb = int(sys.argv[1]), sys.stdin.buffer.read()
decompress(LZ4, compress(LZ4, b"warm"), 4)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decompress(codec, bomb, 1000)
except ValueError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


@pytest.mark.parametrize("codec", COMPRESSING)
def test_a_bomb_takes_no_memory(codec: int) -> None:
    """Data that holds 64 MiB where 1000 bytes are expected is refused before it takes a quarter of that."""
    bomb = compress(codec, bytes(64 * 2**20))
    program = [sys.executable, "-c", DEFUSE, str(codec)]
    root = str(Path(eventlog.format.compression.__file__).parents[2])
    result = subprocess.run(program, input=bomb, capture_output=True, check=True, cwd=root, timeout=60)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, else KiB
    assert int(result.stdout) * unit < 16 * 2**20


def test_gzip_is_what_other_programs_call_gzip() -> None:
    """The gzip data is a gzip file's content, and a gzip file's content is read."""
    assert gzip.decompress(compress(GZIP, TEXT)) == TEXT
    assert decompress(GZIP, gzip.compress(TEXT), len(TEXT)) == TEXT


def test_snappy_lz4_and_zstd_are_the_formats_promised() -> None:
    """Snappy starts with the size of its block; LZ4 and zstd with their frames' magic numbers."""
    assert compress(SNAPPY, bytes(1000))[:2] == b"\xe8\x07"  # 1000 as a varint
    assert compress(LZ4, TEXT)[:4] == bytes.fromhex("04224d18")
    assert compress(LZ4, TEXT)[4] & 0b0010_0100 == 0b0010_0000  # independent blocks, no content checksum
    assert compress(ZSTD, TEXT)[:4] == bytes.fromhex("28b52ffd")


@pytest.mark.parametrize(("codec", "data"), STORED.items())
def test_data_stored_once_stays_readable(codec: int, data: bytes) -> None:
    """Bytes as they lie on disk decompress to the body that they were made of."""
    assert decompress(codec, data, 35) == b"eventlog eventlog eventlog eventlog"


@pytest.mark.parametrize("codec", [SNAPPY, LZ4, ZSTD])
def test_without_cramjam_the_error_says_what_to_install(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the three codecs that need it fail with the command that brings it."""
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eventlog-embedded\[compression\]'"):
        compress(codec, b"abc")
    with pytest.raises(MissingExtraError, match=r"pip install 'eventlog-embedded\[compression\]'"):
        decompress(codec, b"abc", 3)


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_gzip_needs_no_extra(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, uncompressed bodies and gzip work."""
    monkeypatch.setitem(sys.modules, "cramjam", None)
    assert decompress(codec, compress(codec, TEXT), len(TEXT)) == TEXT
