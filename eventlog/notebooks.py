"""Small HTML tables: what a notebook shows of a log, a topic, a group or a batch."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from eventlog.texts import shown

MOST_ROWS = 50


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of the first rows; what is in it cannot be anything but text.

    >>> table("a<b", ["n"], [[1], [None]])
    '<table><caption>a&lt;b</caption><tr><th>n</th></tr><tr><td>1</td></tr><tr><td></td></tr></table>'
    """
    iterator = iter(rows)
    lines = ["".join(_cells("td", row)) for row in islice(iterator, MOST_ROWS)]
    if next(iterator, None) is not None:
        lines.append(f"<td colspan={len(header)}>…</td>")
    body = "".join(f"<tr>{line}</tr>" for line in ["".join(_cells("th", header)), *lines])
    return f"<table><caption>{html.escape(caption)}</caption>{body}</table>"


def _cells(tag: str, values: Sequence[object]) -> Iterator[str]:
    for value in values:
        text = "" if value is None else value if isinstance(value, str) else shown(value)
        yield f"<{tag}>{html.escape(text)}</{tag}>"
