"""The workers that run at a time: their places, and who holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import attrs

from eventlog.testing.soak.process import ForkedProcess
from eventlog.testing.soak.worker import Worker

_PATIENCE = 30.0  # seconds that a worker may take to end, all faults being over
_LAST_LINES = 3
_MOST_DEATHS = 8


@attrs.define
class Place:
    """One place in the crew, held by one process after the other; while the first is stopped, there may be two."""

    role: str
    kind: type[Worker]
    number: int
    processes: list[ForkedProcess] = attrs.Factory(list)
    turns: int = 0

    @property
    def next_name(self) -> str:
        """The name that its next holder has in the history."""
        return f"{self.role}-{self.number}.{self.turns + 1}"


Start = Callable[[Place], ForkedProcess]


class Crew:
    """Starts workers, hurts them, and replaces those that are gone. ``trouble`` says what nobody asked for."""

    def __init__(self, roles: Mapping[str, type[Worker]], start: Start) -> None:
        self.places = [Place(role, kind, number) for role, kind in roles.items() for number in range(kind.places)]
        self.trouble: dict[str, list[str]] = {}
        self._start = start

    def fill_places(self) -> None:
        """Start whoever is missing; see who has ended without having been asked."""
        for place in self.places:
            self._see_who_ended(place)
            if not place.processes:
                self._add(place)

    def _add(self, place: Place) -> None:
        place.processes.append(self._start(place))
        place.turns += 1

    def _see_who_ended(self, place: Place) -> None:
        for process in [process for process in place.processes if not process.is_running()]:
            place.processes.remove(process)
            if process.has_died:
                self.note("died", f"{process.name} ended with {process.status}: {last_lines(process)}")

    def note(self, what: str, sentence: str) -> None:
        """Note trouble of some kind."""
        self.trouble.setdefault(what, []).append(sentence)

    @property
    def is_hopeless(self) -> bool:
        """Tell whether so many have died by themselves that there is no sense in going on."""
        return len(self.trouble.get("died", ())) >= _MOST_DEATHS

    # --- faults ---

    def kill(self, choice: int) -> str:
        """End one of those who run, and return its name, or "" when there is none."""
        found = [process for place in self.places for process in place.processes]
        if not found:
            return ""
        victim = found[choice % len(found)]
        victim.kill()
        return victim.name

    def stop(self, choice: int, seconds: float) -> str:
        """Stop one for a while, and return its name; where there may be a double, one comes in most cases."""
        running = [(place, process) for place in self.places for process in place.processes]
        found = [(place, process) for place, process in running if process.continues_at is None]
        if not found:
            return ""
        place, process = found[choice % len(found)]
        process.stop(seconds)
        if place.kind.may_have_a_double and choice >> 10 & 3:
            self._add(place)
        return process.name

    def let_go_on(self, *, everyone: bool = False) -> None:
        """Let those run on whose time has come."""
        for place in self.places:
            for process in place.processes:
                if process.continues_at is not None and (everyone or process.continues_at <= time.monotonic()):
                    process.go_on()

    # --- the end ---

    def end(self, *, only_sources: bool = False) -> None:
        """Have them finish what they are at; who does not is trouble."""
        places = [place for place in self.places if place.kind.is_source or not only_sources]
        processes = [process for place in places for process in place.processes]
        for process in processes:
            process.end()
        deadline = time.monotonic() + _PATIENCE
        for process in processes:
            if not process.wait(max(0.0, deadline - time.monotonic())):
                process.show_stacks()
                self.note("stuck", f"{process.name} does not end; {process.errors} shows where it is")
                process.wait(1.0)
                process.kill()
        for place in places:
            self._see_who_ended(place)

    def kill_all(self) -> None:
        """End everybody here and now."""
        for place in self.places:
            self._see_who_ended(place)
            for process in place.processes:
                process.kill()
            place.processes.clear()

    def show_stacks(self) -> None:
        """Have everyone write where they are."""
        for place in self.places:
            for process in place.processes:
                process.show_stacks()

    def expect_deaths(self) -> None:
        """From here on no end is trouble: the power is about to go."""
        for place in self.places:
            self._see_who_ended(place)
            for process in place.processes:
                process.was_killed = True


def last_lines(process: ForkedProcess) -> str:
    """Return the end of what a process wrote to its standard error."""
    lines = process.errors.read_text(errors="replace").splitlines() if process.errors.exists() else []
    return " | ".join(lines[-_LAST_LINES:])
