"""What a small JSON file holds, taken field by field: each with its type and its range, or CorruptMetadataError.

A file may be whole and wrong all the same: copied from elsewhere, edited by hand, or made by someone who means harm.
Its checksum only tells that no bit has flipped since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from eventlog.errors import CorruptMetadataError
from eventlog.files.signal_handlers import pass_on_handlers

MAX_BYTES = 1 << 26  # the state of a group with ten thousand partitions and a thousand members has a few MiB
MAX_DEPTH = 8
_HINT = "restore the file from a backup"
_SHOWN = 60  # characters of a value in an error
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class Fields(dict[str, Any]):
    """The fields of one JSON object, and the file that they are from."""

    def __init__(self, values: Iterable[tuple[str, Any]], path: str) -> None:
        super().__init__(values)
        self.path = path

    def wrong(self, name: str, expected: str) -> NoReturn:
        """Raise CorruptMetadataError for a field that is missing, or not what it must be."""
        found = repr(self[name])[:_SHOWN] if name in self else "missing"
        raise CorruptMetadataError(f"{name} is {found}, not {expected}", path=self.path, hint=_HINT)

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self.get(name)
        if type(value) is not int or not low <= value <= high:
            self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.get(name)
        if type(value) is not bool:
            self.wrong(name, "true or false")
        return value

    def text(self, name: str, like: str = r"(?s:.*)") -> str:
        """Return a string that the regular expression matches as a whole."""
        value = self.get(name)
        if not isinstance(value, str) or not re.fullmatch(like, value):
            self.wrong(name, "a string that is possible there")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(name, "a list of strings")
        return tuple(value)

    def inner(self, name: str) -> Fields:
        """Return an object within this one."""
        value = self.get(name)
        if not isinstance(value, dict):
            self.wrong(name, "an object")
        return Fields(value.items(), self.path)

    def inners(self, name: str) -> Iterator[Fields]:
        """Yield the objects of a list."""
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.wrong(name, "a list of objects")
        return (Fields(item.items(), self.path) for item in value)

    def only(self, *names: str) -> None:
        """Raise CorruptMetadataError for a field of another name, which would be lost when the file is replaced."""
        for name in self:
            if name not in names:
                self.wrong(name, "known here")


def parse(raw: bytes, path: str) -> Fields:
    """Return the fields of a JSON object. Raises CorruptMetadataError.

    Python's reader takes more than that, and can be made to fail in other ways: by nesting that exhausts the stack, by
    numbers of a million digits, ``NaN``, and one name twice.
    """
    if len(raw) > MAX_BYTES:
        raise CorruptMetadataError(f"{len(raw)} bytes are more than such a file has", path=path, hint=_HINT)
    _refuse_deep(raw, path)
    try:
        content = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        pass_on_handlers(error)
        reason = str(error) if isinstance(error, _NotJsonError) else "not JSON"
        raise CorruptMetadataError(reason, path=path, hint=_HINT) from error
    if not isinstance(content, dict):
        raise CorruptMetadataError("not a JSON object", path=path, hint=_HINT)
    return Fields(content.items(), path)


class _NotJsonError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotJsonError("the same name stands twice in one object")
    return found


def _no_number(constant: str) -> NoReturn:
    raise _NotJsonError(f"{constant} is no number of JSON")


def _refuse_deep(raw: bytes, path: str) -> None:
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", raw)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise CorruptMetadataError(f"nested more than {MAX_DEPTH} deep", path=path, hint=_HINT)
