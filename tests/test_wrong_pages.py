"""A mapped page that holds anything at all: every call works or raises an EventLogError, and none hangs."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from tests.planting import every_call, full_log

PAGES = ("control", "topics/t/0/head", "topics/__consumer_offsets/3/head", "topics/__transaction_state/0/head",
         "groups/g/control", "transactions/tx/control")  # fmt: skip
SIZES = (0, 1, 7, 8, 4095, 4096, 4097, 65536)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "log"
    full_log(path)
    return path


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A call that never ends ends the test."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def _words(rng: random.Random, raw: bytes) -> bytes:
    """Put other values into some of the page's words, and leave its magic number."""
    words = [raw[place : place + 8] for place in range(0, len(raw), 8)]
    for _ in range(rng.choice([1, 1, 2, 8, 50])):
        value = rng.choice([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, rng.getrandbits(64)])
        words[rng.randrange(1, 64)] = value.to_bytes(8, "little")
    return b"".join(words)


def _damaged(rng: random.Random, raw: bytes) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return raw.ljust(65536, b"\xff")[: rng.choice(SIZES)]
    if kind == 1:
        return rng.randbytes(rng.choice(SIZES))
    if kind == 2:
        return raw[:8] + rng.randbytes(len(raw) - 8)
    return _words(rng, raw)


@pytest.mark.parametrize("seed", range(6))
def test_pages_of_a_closed_log(original: Path, tmp_path: Path, seed: int) -> None:
    """A page is made anew, or told; and what was written before is read, as far as nothing else is damaged."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    for number, page in enumerate(PAGES):
        log_path = Path(shutil.copytree(original, tmp_path / str(number)))
        path = log_path / page
        path.write_bytes(_damaged(rng, path.read_bytes()))
        assert (every_call(log_path), page) == ([], page)
        shutil.rmtree(log_path)


@pytest.mark.parametrize("seed", range(6))
def test_pages_of_an_open_log(original: Path, tmp_path: Path, seed: int) -> None:
    """So it is while others have the page mapped: it says what it says to all of them at once."""
    print(f"seed {seed}")
    rng = random.Random(100 + seed)
    for number, page in enumerate(PAGES):
        log_path = Path(shutil.copytree(original, tmp_path / str(number)))
        with eventlog.open(log_path) as log:
            for name in ("t", "other"):
                log.topic(name).partitions[0].append([b"x"])
            with log.consumer("t", group="g") as consumer:
                consumer.poll(0.0)
                raw = _words(rng, (log_path / page).read_bytes())
                with open(log_path / page, "r+b") as file:  # in place: the same file is mapped here
                    os.pwrite(file.fileno(), raw, 0)
                assert (every_call(log_path), page) == ([], page)
            shutil.rmtree(log_path)


def test_a_head_whose_ends_differ_is_made_again(original: Path, tmp_path: Path) -> None:
    """A head of this session that cannot be is no end of the log: the segments tell it, and nothing is lost."""
    log_path = Path(shutil.copytree(original, tmp_path / "log"))
    with eventlog.open(log_path) as log:
        end = log.topic("other").partitions[0].log_end_offset
        with open(log_path / "topics/other/0/head", "r+b") as file:
            os.pwrite(file.fileno(), (10**9).to_bytes(8, "little"), 16)
        with pytest.raises(eventlog.CorruptMetadataError, match="head") as caught:
            log.topic("other").partitions[0].append([b"x"])
        assert caught.value.path == str(log_path / "topics/other/0/head")
        with eventlog.open(log_path) as other:
            assert other.topic("other").partitions[0].log_end_offset == end
            assert other.topic("other").partitions[0].append([b"x"]).base_offset == end
