"""Who took whose transactional id, and when: nobody commits once another has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eventlog.testing.history import Operation

INITS = "inits.txt"  # where every transactional producer notes that it has its id


class Init(NamedTuple):
    """A process took a transactional id at some time between the two, in monotonic ns."""

    began_ns: int
    ended_ns: int
    process: str


def note_init(journals: Path, transactional_id: str, init: Init) -> None:
    """Note that ``init_transactions`` has returned."""
    with (journals / INITS).open("a") as file:  # one short line: one write
        file.write(f"{transactional_id} {init.began_ns} {init.ended_ns} {init.process}\n")


def read_inits(journals: Path) -> dict[str, list[Init]]:
    """Return for each transactional id who has taken it when."""
    inits: dict[str, list[Init]] = defaultdict(list)
    path = journals / INITS
    for line in path.read_text().splitlines() if path.exists() else ():
        transactional_id, began_ns, ended_ns, process = line.split()
        inits[transactional_id].append(Init(int(began_ns), int(ended_ns), process))
    return dict(inits)


def late_commits(history: Iterable[Operation], inits: Mapping[str, Sequence[Init]]) -> Iterator[str]:
    """Yield whose commit began after another had taken the id, and succeeded.

    A process that takes its id again, as after an error, may commit again. Of two that take it at the same time, such
    as one that is stopped in the middle of it, nobody knows here who was the later one.
    """
    successors = {init.process: _successors(init.process, found) for found in inits.values() for init in found}
    began: dict[str, int] = {}
    for note in history:
        if note.what == "commit":
            began[note.process] = note.time_ns
        elif note.what == "txn" and note.kind == "ok":
            for init in successors.get(note.process, ()):
                if began.get(note.process, 0) > init.ended_ns:
                    yield f"{note.process} commits at {note.time_ns}, although {init.process} took its id before"
                    break


def _successors(process: str, found: Sequence[Init]) -> list[Init]:
    """Return who took the id for certain after the process had taken it for the last time."""
    last = max(init.ended_ns for init in found if init.process == process)
    return [init for init in found if init.began_ns > last]
