"""Names that callers choose freely, as names of directories."""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

_LONGEST = 255  # bytes of a file's name
_LONGEST_NAME = 2**15 - 1  # bytes that Kafka's length of a text can tell
_SHORTENED = "."  # in no other of these names: it is written as %2E there


def directory_name(name: str) -> str:
    """Return a name of letters, digits and ``%`` that stands for this one; `urllib.parse.unquote` gives it back.

    Raises ValueError, which says why, for a name that is too long or cannot be written as UTF-8.

    >>> directory_name("billing/eu")
    'billing%2Feu'
    """
    quoted = _quoted(name)
    if len(quoted) > _LONGEST:
        raise ValueError("it is too long: it names a directory, where others than letters and digits count more")
    return quoted


def is_directory_name(entry: str) -> bool:
    """Tell whether `directory_name` could have made this: others may leave anything in a directory.

    >>> is_directory_name("billing%2Feu"), is_directory_name(".DS_Store")
    (True, False)
    """
    try:
        return directory_name(unquote(entry, errors="surrogateescape")) == entry
    except ValueError:
        return False


def short_directory_name(name: str) -> str:
    """Return the same; for a name that is too long, its beginning and a checksum. A file has to tell the whole of it.

    Raises ValueError for more than 32,767 bytes, Kafka's limit, and for what cannot be written as UTF-8.

    >>> short_directory_name("billing/eu")
    'billing%2Feu'
    >>> short_directory_name("x" * 256)[188:]
    'xx.85e62acd750c4eb56b7b6a1d66dca5bfaac5f062608a1a893410d0288936c09a'
    """
    quoted = _quoted(name)
    if len(quoted) <= _LONGEST:
        return quoted
    raw = name.encode()
    if len(raw) > _LONGEST_NAME:
        raise ValueError(f"it is too long: {len(raw)} bytes, and {_LONGEST_NAME} are possible")
    checksum = _SHORTENED + hashlib.sha256(raw).hexdigest()
    return quoted[: _LONGEST - len(checksum)] + checksum


def whole_name(directory: str) -> str | None:
    """Return the name that a directory's name stands for; None when that has only the beginning.

    >>> whole_name("billing%2Feu")
    'billing/eu'
    """
    return unquote(directory) if is_directory_name(directory) else None


def _quoted(name: str) -> str:
    try:
        return quote(name, safe="").replace(".", "%2E")
    except UnicodeEncodeError as error:
        raise ValueError("it cannot be written as UTF-8") from error
