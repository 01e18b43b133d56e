"""Texts that callers give, and texts about what they give: neither runs into what their own classes say."""

from __future__ import annotations

import reprlib

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120  # characters: enough for a name, and for a function and where it lies


def plain(text: str) -> str:
    """Return the text that an instance of ``str`` holds, whatever the methods of its class say.

    A name that encodes, compares or hashes itself in its own way would be checked as one text and stored as another.

    >>> class Loud(str):
    ...     def encode(self, *_): return b"LOUD"
    >>> plain(Loud("quiet")).encode()
    b'quiet'
    """
    return text if type(text) is str else str.__str__(text)


def shown(thing: object) -> str:
    """Return a short text for a message about anything at all: its repr may be endless, or raise.

    >>> shown(-1), shown(10**5000)
    ('-1', '<an int>')
    """
    try:
        return _short.repr(thing)
    except Exception:
        return _unshowable(thing)


def shown_whole(thing: object) -> str:
    """Return the same at any length: of a path, no part may be left out."""
    try:
        return repr(thing)
    except Exception:
        return _unshowable(thing)


def _unshowable(thing: object) -> str:
    return f"<an {type(thing).__name__}>"
