"""Aligned columns: for people, and for scripts that split each row at white space."""

from __future__ import annotations

from collections.abc import Sequence

import click


def text(value: int | str | None) -> str:
    """Return a cell; ``-`` stands for what is not known.

    >>> text(None), text(0)
    ('-', '0')
    """
    return "-" if value is None else str(value)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    numeric = [all(_is_number(row[place]) for row in rows) for place in range(len(heading))]
    for row in [heading, *rows]:
        cells = [
            f"{cell:>{width}}" if right else f"{cell:{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).isdigit()
