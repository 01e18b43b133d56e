"""The main job on a real file: write its lines to a log, look around, read them back, check every byte.

Run it with ``python examples/tour.py``. Each command is printed before it runs.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import eventlog

APACHE = Path(__file__).parent / "loghub" / "Apache_2k.log"


def run(*arguments: str) -> bytes:
    """Run a command of ``eventlog`` as a process of its own, and show both."""
    print("\n$ " + shlex.join(["eventlog", *arguments]), flush=True)
    done = subprocess.run([sys.executable, "-m", "eventlog", *arguments], check=True, stdout=subprocess.PIPE)
    print(done.stdout.decode().rstrip(), flush=True)
    return done.stdout


def every_line_is_there(log: eventlog.EventLog) -> bool:
    """Compare the log with the file: byte for byte, and in the file's order for each key."""
    by_key: dict[bytes | None, list[bytes | None]] = {}
    with log.consumer("apache", auto_offset_reset="earliest") as consumer:
        while records := consumer.poll():
            for record in records:
                by_key.setdefault(record.key, []).append(record.value)
    lines = APACHE.read_bytes().split(b"\n")
    remaining = {key: iter(values) for key, values in by_key.items()}
    for line in lines:
        key = line.partition(b"child ")[2].split()[0] if b"Found child" in line else None
        if next(remaining[key], None) != line:
            return False
    print(f"\n{len(lines)} lines under {len(by_key)} keys came back byte for byte, in order per key")
    return True


def main() -> int:
    """Tour a log in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        where = f"{directory}/log"
        run("produce", where, "apache", str(APACHE), "--key-regex", r"Found child (\d+)", "--partitions", "3")
        run("topics", where)
        run("consume", where, "apache", "--max", "3", "--format", r"%p:%o %k | %s\n")
        run("consume", where, "apache", "--partition", "1", "--from", "100", "--max", "1", "--format", "json")
        run("verify", where)
        with eventlog.open(where) as log:
            return 0 if every_line_is_there(log) else 1


if __name__ == "__main__":
    sys.exit(main())
