"""Ways in which a device, a file system or a hand damages a file: each takes bytes, and says which of them it touched.

``SECTOR_MUTATIONS`` leave every other byte in its place. All choices come from the generator that is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

SECTORS = (512, 4096)


@attrs.frozen
class Mutated:
    """The file's new bytes; ``touched`` are the ranges [from, to) of old positions that no longer hold what they held.

    ``name`` tells in a test's output what was done.
    """

    name: str
    content: bytes
    touched: tuple[tuple[int, int], ...]

    def spares(self, start: int, stop: int) -> bool:
        """Tell whether all bytes from ``start`` up to ``stop`` are what and where they were."""
        return all(high <= start or stop <= low for low, high in self.touched)


Mutation = Callable[[bytes, random.Random], Mutated]


def garbage_sector(content: bytes, rng: random.Random) -> Mutated:
    """One aligned sector of random bytes."""
    size, start = _sector(content, rng)
    stop = min(start + size, len(content))
    return _replaced(f"garbage in {start} to {stop}", content, start, rng.randbytes(stop - start))


def zero_sector(content: bytes, rng: random.Random) -> Mutated:
    """One aligned sector of zeros, as after a write that never reached the device."""
    size, start = _sector(content, rng)
    stop = min(start + size, len(content))
    return _replaced(f"zeros in {start} to {stop}", content, start, bytes(stop - start))


def misleading_sector(content: bytes, rng: random.Random) -> Mutated:
    """One sector of random bytes that ends with a plausible offset, where the next batch's base offset may lie."""
    size, start = _sector(content, rng)
    stop = min(start + size, len(content))
    offset = rng.choice([rng.randrange(300), rng.randrange(2**31), rng.randrange(2**63)]).to_bytes(8, "big")
    garbage = (rng.randbytes(stop - start) + offset)[-(stop - start) :]
    return _replaced(f"garbage that ends in an offset in {start} to {stop}", content, start, garbage)


def exchanged_sectors(content: bytes, rng: random.Random) -> Mutated:
    """Two aligned sectors in each other's place."""
    size = rng.choice(SECTORS)
    count = len(content) // size
    if count < 2:
        return garbage_sector(content, rng)
    first, second = (size * number for number in rng.sample(range(count), 2))
    new = bytearray(content)
    new[first : first + size], new[second : second + size] = (
        content[second : second + size],
        content[first : first + size],
    )
    touched = ((first, first + size), (second, second + size))
    return Mutated(f"sectors of {size} at {first} and {second} exchanged", bytes(new), touched)


def garbage_field(content: bytes, rng: random.Random) -> Mutated:
    """Up to eight bytes, on an even place, of anything."""
    size = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(1, len(content) // size)) * size
    return _replaced(f"{size} bytes at {start}", content, start, rng.randbytes(min(size, len(content) - start)))


def shifted(content: bytes, rng: random.Random) -> Mutated:
    """Some bytes are gone, or some are there too much: all that follows is in another place."""
    start = rng.randrange(len(content) + 1)
    size = rng.choice((1, 8, 88, rng.randrange(1, 1000)))
    new = content[:start] + (content[start + size :] if rng.random() < 0.5 else rng.randbytes(size) + content[start:])
    return Mutated(f"shifted by {size} from {start} on", new, ((start, len(content)),))


def truncated(content: bytes, rng: random.Random) -> Mutated:
    """The end is gone."""
    size = rng.randrange(len(content) + 1)
    return Mutated(f"cut to {size}", content[:size], ((size, len(content)),))


def bytes_of(other: bytes) -> Mutation:
    """Return what puts a piece of another file somewhere."""

    def mutation(content: bytes, rng: random.Random) -> Mutated:
        start, source = rng.randrange(len(content) + 1), rng.randrange(len(other) + 1)
        if rng.random() < 0.5:
            start, source = start // 8 * 8, source // 8 * 8
        piece = other[source : source + rng.choice((8, 64, *SECTORS))]
        return _replaced(f"{len(piece)} foreign bytes at {start}", content, start, piece)

    return mutation


def _sector(content: bytes, rng: random.Random) -> tuple[int, int]:
    size = rng.choice(SECTORS)
    return size, rng.randrange((len(content) + size - 1) // size or 1) * size


def _replaced(name: str, content: bytes, start: int, piece: bytes) -> Mutated:
    new = bytearray(content)
    new[start : start + len(piece)] = piece
    return Mutated(name, bytes(new[: max(len(content), start + len(piece))]), ((start, start + len(piece)),))


SECTOR_MUTATIONS: tuple[Mutation, ...] = (
    garbage_sector,
    zero_sector,
    misleading_sector,
    exchanged_sectors,
    garbage_field,
)
MUTATIONS: tuple[Mutation, ...] = (*SECTOR_MUTATIONS, shifted, truncated)
