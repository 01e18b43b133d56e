"""Small JSON files that are replaced as a whole and carry their own checksum.

``{"format": 1, "kind": "topic", ..., "crc32c": "9ae0daaf"}``: the checksum covers the canonical JSON (sorted keys,
no spaces) of everything else, so that a flipped bit is an error and never a different setting.
"""

from __future__ import annotations

import json
from typing import Any

import crc32c

from eventlog.errors import CorruptMetadataError, UnsupportedFormatError
from eventlog.files.filesystem import FileSystem, translate, translated
from eventlog.files.json_fields import MAX_BYTES, Fields, parse
from eventlog.files.signal_handlers import pass_on_handlers

FORMAT_VERSION = 1  # on disk: do not change without a migration


def _checksum(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return f"{crc32c.crc32c(canonical):08x}"


def write_checkpoint(
    fs: FileSystem,
    path: str,
    kind: str,
    fields: dict[str, Any],
    *,
    durable: bool = True,
    version: int = FORMAT_VERSION,
) -> None:
    """Replace the file at ``path``; whole and durable when this returns (see `FileSystem.replace_file`)."""
    content = {"format": version, "kind": kind, **fields}
    content["crc32c"] = _checksum(content)
    with translated(path):
        fs.replace_file(path, json.dumps(content, indent=2).encode() + b"\n", durable=durable)


def read_checkpoint(fs: FileSystem, path: str, kind: str) -> Fields:
    """Return the fields of the file at ``path``.

    Raises FileNotFoundError when there is none, UnsupportedFormatError when a newer version wrote it, and
    CorruptMetadataError when it is no checkpoint of this kind or its checksum does not fit.
    """
    return read_versioned(fs, path, kind, newest=FORMAT_VERSION)[1]


def read_versioned(fs: FileSystem, path: str, kind: str, *, newest: int) -> tuple[int, Fields]:
    """Return the format version, at most ``newest``, and the fields; raises what `read_checkpoint` does."""
    try:
        raw = fs.read_file(path, MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        pass_on_handlers(error)
        raise translate(error, path) from error
    return parse_versioned(raw, path, kind, newest=newest)


def parse_versioned(raw: bytes, path: str, kind: str, *, newest: int) -> tuple[int, Fields]:
    """Return the same of a file's bytes."""
    content = parse(raw, path)
    version = content.get("format")
    if type(version) is int and version > newest:
        raise UnsupportedFormatError(
            f"format {version} is newer than {newest}, the newest known here",
            path=path,
            hint="open it with a newer version of eventlog",
        )
    checksum = content.pop("crc32c", None)
    if content.get("kind") != kind or checksum != _checksum(content):
        raise CorruptMetadataError(f"damaged, or not a {kind} file", path=path, hint="restore the file from a backup")
    version = content.whole("format", 1, newest)
    return version, Fields(((name, value) for name, value in content.items() if name not in ("format", "kind")), path)
