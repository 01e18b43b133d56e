"""Lines as records: byte for byte, whatever they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import click

KeyOf = Callable[[bytes], bytes | None]

_CHUNK = 1 << 20


def read_lines(source: BinaryIO) -> Iterator[list[bytes]]:
    r"""Yield lists of lines as they come, without their ``\n``; ``\r`` stays, and so does a last line without ``\n``.

    >>> import io
    >>> list(read_lines(io.BytesIO(b"a\r\n\nb")))
    [[b'a\r', b''], [b'b']]
    """
    read = getattr(source, "read1", source.read)  # what a pipe has now, rather than waiting for a whole chunk
    unfinished: list[bytes] = []
    while chunk := read(_CHUNK):
        head, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield b"".join([*unfinished, head]).split(b"\n")
            unfinished = [rest] if rest else []
        else:
            unfinished.append(chunk)
    if unfinished:
        yield [b"".join(unfinished)]


def key_by_regex(pattern: str) -> KeyOf:
    """Return a function that finds a line's key: the pattern's first group, or the whole match; None without one."""
    try:
        compiled = re.compile(pattern.encode())
    except re.error as error:
        raise click.BadParameter(f"not a regular expression: {error}", param_hint="--key-regex") from error
    group = min(compiled.groups, 1)

    def key_of(line: bytes) -> bytes | None:
        match = compiled.search(line)
        return None if match is None else match[group]

    return key_of


def key_by_field(number: int) -> KeyOf:
    """Return a function that takes a line's field, counted from 1 between white space; None on a shorter line."""

    def key_of(line: bytes) -> bytes | None:
        fields = line.split(None, number)
        return fields[number - 1] if len(fields) >= number else None

    return key_of


def key_by_json(field: str) -> KeyOf:
    """Return a function that takes a field of a line that is a JSON object: text as it is, the rest as JSON.

    None when the field is missing or null; raises ValueError for a line that is no object.
    """

    def key_of(line: bytes) -> bytes | None:
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        key = content.get(field)
        if key is None or isinstance(key, str):
            return None if key is None else key.encode()
        return json.dumps(key, separators=(",", ":")).encode()

    return key_of
