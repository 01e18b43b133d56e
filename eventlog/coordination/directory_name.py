"""Names that callers choose freely, as names of directories."""

from __future__ import annotations

from urllib.parse import quote

_LONGEST = 255  # bytes of a file's name


def directory_name(name: str) -> str:
    """Return a name of letters, digits and ``%`` that stands for this one; `urllib.parse.unquote` gives it back.

    Raises ValueError, which says why, for a name that is too long or cannot be written as UTF-8.

    >>> directory_name("billing/eu")
    'billing%2Feu'
    """
    try:
        quoted = quote(name, safe="").replace(".", "%2E")
    except UnicodeEncodeError as error:
        raise ValueError("it cannot be written as UTF-8") from error
    if len(quoted) > _LONGEST:
        raise ValueError("it is too long: it names a directory, where others than letters and digits count more")
    return quoted
