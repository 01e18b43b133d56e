"""Who took whose transactional id, and when: nobody commits once another has it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from eventlog.testing.history import Operation

INITS = "inits.txt"  # where every transactional producer notes that it has its id


def note_init(journals: Path, transactional_id: str, process: str) -> None:
    """Note that ``init_transactions`` has returned."""
    with (journals / INITS).open("a") as file:  # one short line: one write
        file.write(f"{time.monotonic_ns()} {transactional_id} {process}\n")


def read_inits(journals: Path) -> dict[str, list[tuple[int, str]]]:
    """Return for each transactional id who has taken it when, in order of time."""
    inits: dict[str, list[tuple[int, str]]] = defaultdict(list)
    path = journals / INITS
    for line in path.read_text().splitlines() if path.exists() else ():
        time_ns, transactional_id, process = line.split()
        inits[transactional_id].append((int(time_ns), process))
    return {transactional_id: sorted(found) for transactional_id, found in inits.items()}


def late_commits(history: Iterable[Operation], inits: dict[str, list[tuple[int, str]]]) -> Iterator[str]:
    """Yield whose commit began after another had taken the id, and succeeded.

    A process that takes its id again, as after an error, is its own successor, and may commit.
    """
    taken = {process: _taken_from(process, found) for found in inits.values() for _, process in found}
    began: dict[str, int] = {}
    for note in history:
        if note.what == "commit":
            began[note.process] = note.time_ns
        elif note.what == "txn" and note.kind == "ok":
            for time_ns, successor in taken.get(note.process, ()):
                if began.get(note.process, 0) > time_ns:
                    yield f"{note.process} commits at {note.time_ns}, although {successor} had its id since {time_ns}"
                    break


def _taken_from(process: str, found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return by whom the id was taken for good: behind the last time that the process took it itself."""
    last = max(time_ns for time_ns, name in found if name == process)
    return [(time_ns, name) for time_ns, name in found if time_ns > last]
