"""How a record is printed: as text, as JSON, or by a template like kcat's.

Byte for byte, or, where a terminal shows it, with its control characters escaped (``terminal.py``).
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Callable
from typing import Any

import click

from eventlog.cli.terminal import visible_bytes, visible_json
from eventlog.model import Record

Printer = Callable[[Record], bytes]

_TOKEN = re.compile(rb"%(.)|\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def printer(text: str, *, shown: bool = False) -> Printer:
    """Return the function that prints a record in this format. Raises BadParameter when there is none.

    ``shown`` says that a terminal shows what is printed.
    """
    if text in _NAMED:
        to_bytes, to_visible_bytes = _NAMED[text]
        return to_visible_bytes if shown else to_bytes
    if "%" not in text and "\\" not in text:
        raise click.BadParameter(f"{text!r} is neither text, json nor a template with % in it", param_hint="--format")
    return template(text, shown=shown)


def as_text(record: Record) -> bytes:
    """Return the value and a line feed: what `eventlog produce` was given."""
    return (record.value or b"") + b"\n"


def _text_shown(record: Record) -> bytes:
    return visible_bytes(record.value or b"") + b"\n"


def as_json(record: Record) -> bytes:
    """Return the record as a line of JSON; bytes that are no UTF-8 appear in base64, under ``<name>_base64``."""
    fields: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "timestamp": _iso(record.timestamp_ms),
        "timestamp_type": record.timestamp_type.name,
        **_bytes_field("key", record.key),
        **_bytes_field("value", record.value),
    }
    if record.headers:
        fields["headers"] = [{"name": name, **_bytes_field("value", value)} for name, value in record.headers]
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def _json_shown(record: Record) -> bytes:
    return visible_json(as_json(record).decode().removesuffix("\n")).encode() + b"\n"


def template(text: str, *, shown: bool = False) -> Printer:
    r"""Return a printer for a template; nothing is added, so it usually ends with ``\n``.

    >>> template(r"%o %k=%s\n")(Record("t", 0, 7, 0, 0, b"k", b"v"))
    b'7 k=v\n'
    """
    pieces: list[bytes | Printer] = []
    at, raw = 0, text.encode()
    for match in _TOKEN.finditer(raw):
        piece = _piece(match)
        pieces += [raw[at : match.start()], _shown(piece) if shown and not isinstance(piece, bytes) else piece]
        at = match.end()
    pieces.append(raw[at:])
    if raw[at:].endswith((b"%", b"\\")):
        raise click.BadParameter("the template ends in the middle of a token", param_hint="--format")
    return lambda record: b"".join(piece if isinstance(piece, bytes) else piece(record) for piece in pieces)


def _shown(piece: Printer) -> Printer:
    return lambda record: visible_bytes(piece(record))


def _piece(match: re.Match[bytes]) -> bytes | Printer:
    token, escape = match.groups()
    if token == b"%":
        return b"%"
    if token in _TOKENS:
        return _TOKENS[token]
    if escape in _ESCAPES:
        return _ESCAPES[escape]
    if escape is not None and len(escape) == 3:
        return bytes.fromhex(escape[1:].decode())
    known = " ".join(f"%{name.decode()}" for name in _TOKENS)
    raise click.BadParameter(f"{match[0].decode()!r} is no token; known: {known} %%", param_hint="--format")


def _bytes_field(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _iso(timestamp_ms: int) -> str | None:
    try:
        moment = datetime.datetime.fromtimestamp(timestamp_ms // 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):  # a timestamp beyond the year 9999
        return None
    return moment.strftime(f"%Y-%m-%dT%H:%M:%S.{timestamp_ms % 1000:03d}Z")


def _length(data: bytes | None) -> bytes:
    return b"%d" % (-1 if data is None else len(data))


def _headers(record: Record) -> bytes:
    return b",".join(name.encode() + b"=" + (b"" if value is None else value) for name, value in record.headers)


_NAMED: dict[str, tuple[Printer, Printer]] = {"text": (as_text, _text_shown), "json": (as_json, _json_shown)}
_TOKENS: dict[bytes, Printer] = {
    b"t": lambda record: record.topic.encode(),
    b"p": lambda record: b"%d" % record.partition,
    b"o": lambda record: b"%d" % record.offset,
    b"k": lambda record: record.key or b"",
    b"s": lambda record: record.value or b"",
    b"K": lambda record: _length(record.key),
    b"S": lambda record: _length(record.value),
    b"T": lambda record: b"%d" % record.timestamp_ms,
    b"h": _headers,
}
