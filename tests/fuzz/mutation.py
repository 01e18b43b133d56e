"""Damage of one place in a log's directory: what a device, a file system or another program may do."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
from hypothesis import strategies as st

SECTORS = (512, 4096)
Content = bytearray
Change = Callable[[Content, random.Random, bytes], None]


@attrs.frozen
class Mutation:
    """One kind of damage to one file; ``other`` is a second one, whose bytes may come into the first."""

    kind: str
    file: int
    other: int
    seed: int

    def target(self, files: tuple[str, ...]) -> str:
        """The file that is damaged, of those that there are."""
        return files[self.file % len(files)]

    def apply(self, root: Path, files: tuple[str, ...]) -> None:
        """Do it, to the copy of the log at ``root``."""
        path, other = root / self.target(files), root / files[self.other % len(files)]
        if self.kind in REPLACEMENTS:
            REPLACEMENTS[self.kind](path, other)
            return
        content = Content(path.read_bytes())
        CHANGES[self.kind](content, random.Random(self.seed), other.read_bytes())
        path.write_bytes(content)


def _sector(content: Content, rng: random.Random) -> slice:
    size = rng.choice(SECTORS)
    start = rng.randrange(len(content) // size + 1) * size
    return slice(start, min(start + size, len(content)))


def garbage(content: Content, rng: random.Random, other: bytes) -> None:
    place = _sector(content, rng)
    content[place] = rng.randbytes(place.stop - place.start)


def zeros(content: Content, rng: random.Random, other: bytes) -> None:
    place = _sector(content, rng)
    content[place] = bytes(place.stop - place.start)


def exchanged(content: Content, rng: random.Random, other: bytes) -> None:
    size = rng.choice(SECTORS[:1])
    if len(content) < 2 * size:
        return
    first, second = (number * size for number in rng.sample(range(len(content) // size), 2))
    one, two = bytes(content[first : first + size]), bytes(content[second : second + size])
    content[first : first + size], content[second : second + size] = two, one


def of_another(content: Content, rng: random.Random, other: bytes) -> None:
    place = _sector(content, rng)
    start = rng.randrange(len(other) // 512 + 1) * 512
    piece = other[start : start + place.stop - place.start]
    content[place.start : place.start + len(piece)] = piece


def anywhere(content: Content, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(content) + 1)
    size = min(rng.choice((1, 2, 4, 8, 12, 30)), len(content) - start)
    content[start : start + size] = rng.randbytes(size)


def flipped(content: Content, rng: random.Random, other: bytes) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def truncated(content: Content, rng: random.Random, other: bytes) -> None:
    del content[rng.randrange(len(content) + 1) :]


def extended(content: Content, rng: random.Random, other: bytes) -> None:
    size = rng.choice((1, 8, 100, 512, 4096))
    content += rng.choice((bytes(size), rng.randbytes(size), other[:size], bytes(content[:size])))


def inserted(content: Content, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(content) + 1)
    content[start:start] = rng.randbytes(rng.choice((1, 7, 8, 64, 512)))


def removed(content: Content, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(content) + 1)
    del content[start : start + rng.choice((1, 7, 8, 64, 512))]


def missing(path: Path, other: Path) -> None:
    path.unlink()


def exchanged_files(path: Path, other: Path) -> None:
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def another_file(path: Path, other: Path) -> None:
    shutil.copy(other, path) if other != path else None


def fifo(path: Path, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path, other: Path) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to("moved")


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        garbage, zeros, exchanged, of_another, anywhere, flipped, truncated, extended, inserted, removed
    )
}  # fmt: skip
REPLACEMENTS: dict[str, Callable[[Path, Path], None]] = {
    change.__name__: change for change in (missing, exchanged_files, another_file, fifo, directory, link)
}
KINDS = [*CHANGES, *REPLACEMENTS]
IN_PLACE = {"garbage", "zeros", "exchanged", "of_another", "anywhere", "flipped"}
TWO_FILES = {"exchanged_files"}

_numbers = st.integers(0, 2**32 - 1)
mutations = st.builds(Mutation, st.sampled_from(KINDS), _numbers, _numbers, _numbers)
