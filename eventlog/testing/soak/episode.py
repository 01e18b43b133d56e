"""One run over a log of its own: rounds of faults, then quiet until everything is read, then judgement."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import attrs

import eventlog
from eventlog.testing.history import Operation, Recorder
from eventlog.testing.soak.crew import Crew, Place, last_lines
from eventlog.testing.soak.last_reader import FINDINGS, NAME, read_everything, wait_until_dry
from eventlog.testing.soak.plan import Fault, Round, plan
from eventlog.testing.soak.process import ForkedProcess
from eventlog.testing.soak.survey import survey
from eventlog.testing.soak.tail_damage import damage_tails
from eventlog.testing.soak.topics import SEGMENT_BYTES, TOPICS
from eventlog.testing.soak.volume import Volume
from eventlog.testing.soak.worker import FAULTS, Post, Worker

_LOOK_EVERY = 0.02  # seconds
_QUIET_SECONDS = 1.0  # in which the workers run undisturbed before the sources dry up
_PATIENCE = 60.0  # seconds for a helper


class HelperError(eventlog.EventLogError):
    """Somebody who met no faults could not use the log."""


@attrs.frozen
class Remains:
    """What a run leaves behind to be judged. ``trouble`` are sentences by kind."""

    directory: Path
    trouble: dict[str, list[str]]

    def files(self, pattern: str) -> list[Path]:
        """Return the files that match, in order."""
        return sorted(self.directory.glob(pattern))


class Episode:
    """Runs the plan of a seed. ``directory`` is one that the faults do not touch, ``volume`` where the log lies."""

    def __init__(
        self, seed: int, seconds: float, kinds: Collection[str], roles: Mapping[str, type[Worker]],
        directory: Path, volume: Volume, *, patience: float = _PATIENCE,
    ) -> None:  # fmt: skip
        """``patience`` is for how many seconds the groups may read what is left when the faults are over."""
        self._seed = seed
        self._kinds = kinds
        self._rounds = plan(seed, seconds, kinds)
        self._directory = directory
        self._volume = volume
        self._patience = patience
        self._rng = random.Random(f"episode {seed}")
        self._faults = Recorder(directory / FAULTS, "faults")
        self._cuts = 0  # of the power
        self._full_until = 0.0  # monotonic seconds
        self._is_quiet = False
        self._crew = Crew(roles, self._start)
        self._helpers: list[ForkedProcess] = []

    def run(self) -> Remains:
        """Run to the end, or until nothing goes on: whatever was in the way is trouble."""
        try:
            self._help("setup", self._set_up)
            for one in self._rounds:
                self._run(one)
            self._is_quiet = True
            self._run_dry()
            self._help(NAME, self._read_everything)
        except HelperError as error:
            self._crew.note("unusable", str(error))
        finally:
            self._volume.free()
            self._crew.kill_all()
            for helper in self._helpers:
                helper.kill()
        self._faults.close()
        return Remains(self._directory, self._crew.trouble)

    # --- processes ---

    def _start(self, place: Place) -> ForkedProcess:
        post = Post(
            place.next_name, place.number, f"worker {self._seed}", self._volume, self._directory,
            has_io_errors="eio" in self._kinds and not self._is_quiet,
            may_lose_power="power" in self._kinds,
        )  # fmt: skip
        return ForkedProcess(post.name, lambda: place.kind(post).run(), self._directory / f"{post.name}.err")

    def _help(self, name: str, work: Callable[[], None], seconds: float = _PATIENCE) -> None:
        """Run something in a process of its own that must succeed: this one never opens the log."""
        helper = ForkedProcess(name, work, self._directory / f"{name}.err")
        self._helpers.append(helper)
        if not helper.wait(seconds):
            helper.show_stacks()
            helper.wait(1.0)
            raise HelperError(f"{name} is not done after {seconds} s", hint=f"see {helper.errors}")
        if helper.status:
            raise HelperError(f"{name} failed: {last_lines(helper)}", hint=f"see {helper.errors}")

    def _set_up(self) -> None:
        with eventlog.open(self._volume.log_path) as log:
            for topic in TOPICS:
                log.create_topic(topic.name, topic.partitions, segment_bytes=SEGMENT_BYTES, index_interval_bytes=512)

    # --- rounds ---

    def _run(self, one: Round) -> None:
        began = time.monotonic()
        due = list(one.faults)
        while (now := time.monotonic() - began) < one.seconds and not self._crew.is_hopeless:
            self._crew.fill_places()
            self._crew.let_go_on()
            while due and due[0].at <= now:
                self._inflict(due.pop(0))
            if time.monotonic() >= self._full_until:
                self._volume.free()
            threading.Event().wait(_LOOK_EVERY)
        self._volume.free()
        self._crew.let_go_on(everyone=True)
        getattr(self, f"_end_by_{one.end}")()

    def _inflict(self, fault: Fault) -> None:
        if fault.kind == "full":
            self._note("full")
            self._volume.fill()
            self._full_until = time.monotonic() + fault.lasts
        elif fault.kind == "kill":
            self._note("kill", self._crew.kill(fault.choice))
        else:
            self._note("stop", self._crew.stop(fault.choice, fault.lasts))

    def _note(self, *what: str) -> None:
        if all(what):  # there was somebody to whom it could happen
            self._faults.note(Operation(" ".join(what), time.monotonic_ns(), "info", "fault"))

    def _end_by_quiet(self) -> None:
        self._crew.end()

    def _end_by_kill(self) -> None:
        self._crew.kill_all()

    def _end_by_tail(self) -> None:
        if self._rng.random() < 0.5:
            self._crew.end()
        self._crew.kill_all()
        for segment in damage_tails(self._volume.log_path, self._rng):
            self._note("tail", segment)

    def _end_by_power(self) -> None:
        self._crew.expect_deaths()
        self._note("power")
        went = time.monotonic_ns()
        self._volume.cut_power()
        self._crew.kill_all()
        dark = went, time.monotonic_ns()
        self._volume.restore_power()
        self._cuts += 1
        name = f"survey-{self._cuts:04}"
        self._help(name, lambda: survey(self._volume.log_path, dark, self._directory / f"{name}.json"))

    # --- the end ---

    def _run_dry(self) -> None:
        """Let everyone work without faults; then only those go on who read, until nothing is left to be read."""
        deadline = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < deadline:
            self._crew.fill_places()
            threading.Event().wait(_LOOK_EVERY)
        self._crew.end(only_sources=True)
        if self._crew.is_hopeless:
            return
        groups = [place.kind.group for place in self._crew.places if place.kind.group is not None]
        try:
            self._help("dry", lambda: wait_until_dry(self._volume.log_path, groups), self._patience)
        except HelperError as error:
            self._crew.note("stuck", f"the groups do not come to the end: {error}")
            self._crew.show_stacks()
        self._crew.end()

    def _read_everything(self) -> None:
        journal, findings = self._directory / f"{NAME}.jsonl", self._directory / FINDINGS
        read_everything(self._volume.log_path, journal, findings)
