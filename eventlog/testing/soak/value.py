"""The values that the workers send: each is unique, and each byte of it follows from its name.

A value is its name, a space, and the name repeated up to some length: of different sizes, so that segments roll at
different places. What a reader gets back is compared with what the name says, so that no mixture of two passes.
"""

from __future__ import annotations

import zlib

_MOST_PADDING = 400  # bytes


def value_of(name: str) -> bytes:
    """Return the value with this name, which has no space in it.

    >>> value_of("p1:7").split(b" ")[0]
    b'p1:7'
    """
    head = name.encode()
    size = zlib.crc32(head) % _MOST_PADDING
    return head + b" " + (head * (size // len(head) + 1))[:size]


def name_of(value: bytes | None) -> str:
    """Return the name of a value that was read; of one that nobody can have sent, what it looks like.

    >>> name_of(value_of("p1:7")), name_of(b"p1:7 p")
    ('p1:7', "not a value: b'p1:7 p'")
    """
    name = (value or b"").split(b" ")[0].decode(errors="replace")
    return name if name and value == value_of(name) else f"not a value: {value!r}"
