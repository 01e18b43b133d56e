r"""What reaches a terminal: characters that can be seen, and none that the terminal obeys.

Names of groups, clients and transactions are any text, keys and values any bytes. Printed as they are, they could move
the cursor, rename the window, reverse the reading order, or add rows that are not there. So every command prints
through here, and control and format characters appear as Python writes them: ``\x1b``, ``\n``, ``\u202e``.

Records that go into a pipe or a file are printed byte for byte: there a program reads, which wants what was written.
"""

from __future__ import annotations

import json
import logging
import sys

import click


def visible(text: str) -> str:
    r"""Return the text with everything that `str.isprintable` refuses in its escaped form.

    >>> print(visible("a\x1b[2J\u202e\nb"))
    a\x1b[2J\u202e\nb
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def visible_bytes(data: bytes) -> bytes:
    r"""Return a record's bytes in the same way; a tab stays, and so does UTF-8.

    >>> visible_bytes(b"caf\xc3\xa9\t\x1b[2J\xff")
    b'caf\xc3\xa9\t\\x1b[2J\\xff'
    """
    return "\t".join(map(visible, data.decode(errors="backslashreplace").split("\t"))).encode()


def visible_json(text: str) -> str:
    r"""Return a document of JSON that says the same, and holds only characters that can be seen.

    >>> visible_json('["\u202e"]')
    '["\\u202e"]'
    """
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def cell(text: str) -> str:
    r"""Return the text as a table's cell: without a space as well, and with ``\\`` for a backslash.

    So a row has as many columns as the heading, whatever its names are, and no two names look the same.

    >>> print(cell("a b"), cell("a\\x20b"), cell("grp\nfake"))
    a\x20b a\\x20b grp\nfake
    """
    return visible(text.replace("\\", "\\\\")).replace(" ", "\\x20")


def say(text: str = "") -> None:
    """Print a line to standard output."""
    click.echo(visible(text))


def tell(text: str) -> None:
    """Print a line to standard error."""
    click.echo(visible(text), err=True)


def is_shown() -> bool:
    """Tell whether standard output is a terminal."""
    return sys.stdout.isatty()


class VisibleLog(logging.Handler):
    """Prints the library's warnings, in the place of `logging.lastResort`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        tell(self.format(record))
