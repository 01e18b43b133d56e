"""Aligned columns: for people, and for scripts that split each row at white space, which no cell holds."""

from __future__ import annotations

from collections.abc import Sequence

from eventlog.cli.terminal import cell, say


def text_of(value: int | str | None) -> str:
    """Return a cell; ``-`` stands for what is not known.

    >>> text_of(None), text_of(0)
    ('-', '0')
    """
    return "-" if value is None else str(value)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, numbers to the right."""
    rows = [list(map(cell, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    numeric = [all(_is_number(row[place]) for row in rows) for place in range(len(heading))]
    for row in [heading, *rows]:
        cells = [
            f"{text:>{width}}" if right else f"{text:{width}}"
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).isdigit()
