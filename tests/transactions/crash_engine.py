"""Processes that use a log and crash, beside a simple model of what they may leave: lists of records.

The model keeps every *world* that is possible: a crash in the middle of something makes two of each, in which it has
happened and in which it has not, and what is found afterwards rules one of them out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

import eventlog
from eventlog import GroupMetadata, OffsetAndMetadata, TopicPartition
from eventlog.testing.crash_filesystem import CrashFileSystem, SimulatedCrash, Step

Choose = Callable[[int], int]
Found = dict[int, bytes | None]

PLACES = [TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)]
GROUP = "g"
CONFIG = {"segment_bytes": 1024, "index_interval_bytes": 200}
NOTHING = OffsetAndMetadata(-1)
IN_DOUBT = OffsetAndMetadata(-2)  # commits that were not durable are lost, and may have been this partition's


@attrs.define(eq=False)
class Effect:
    """What one call does when it succeeds. If it ``is_whole``, then also after a power cut all of it or nothing."""

    records: dict[TopicPartition, list[bytes]] = attrs.field(factory=dict)
    offsets: dict[TopicPartition, OffsetAndMetadata] = attrs.field(factory=dict)
    is_transaction: bool = False
    is_whole: bool = False
    is_durable: bool = False  # no power cut may take it, nor the offsets committed before it


NO_EFFECT = Effect()


@attrs.define(eq=False)
class World:
    """Records and committed offsets, each with the effect that brought it; a record that a power cut took is None."""

    records: dict[TopicPartition, list[tuple[bytes | None, Effect]]]
    offsets: dict[TopicPartition, list[tuple[OffsetAndMetadata, Effect]]]  # all that were ever committed

    def after(self, effect: Effect) -> World:
        """Return the world in which this has happened as well."""
        records, offsets = dict(self.records), dict(self.offsets)
        for place, values in effect.records.items():
            records[place] = [*records[place], *((value, effect) for value in values)]
        for place, offset in effect.offsets.items():
            offsets[place] = [*offsets[place], (offset, effect)]
        return World(records, offsets)

    def effects(self) -> set[Effect]:
        """Return what has happened."""
        entries = [*self.records.values(), *self.offsets.values()]
        return {effect for column in entries for _, effect in column}

    def end(self, place: TopicPartition) -> int:
        return len(self.records[place])


@attrs.frozen
class Picture:
    """What a log was found to hold."""

    records: dict[TopicPartition, Found]
    ends: dict[TopicPartition, int]
    offsets: dict[TopicPartition, OffsetAndMetadata]

    def world(self) -> World:
        """Return the only world that is possible now; all of it is on the medium."""
        kept = Effect(is_durable=True)
        return World(
            {tp: [(self.records[tp].get(n), kept) for n in range(self.ends[tp])] for tp in PLACES},
            {tp: [(self.offsets[tp], kept)] for tp in PLACES},
        )

    def difference(self, world: World) -> str | None:
        """Tell what is not as in this world; None when all is. For looks without a power cut before."""
        for tp in PLACES:
            expected = {n: value for n, (value, _) in enumerate(world.records[tp]) if value is not None}
            if self.records[tp] != expected or self.ends[tp] != world.end(tp):
                return (
                    f"{tp} holds {_shown(self.records[tp])}, {self.ends[tp]}; not {_shown(expected)}, {world.end(tp)}"
                )
            if self.offsets[tp] != world.offsets[tp][-1][0]:
                return f"{tp}: committed is {self.offsets[tp]}, not {world.offsets[tp][-1][0]}"
        return None


def _effect(effect: Effect) -> str:
    return str({tuple(tp): [value[:6] for value in values] for tp, values in effect.records.items()})


def _shown(records: Found) -> str:
    return ", ".join(f"{n}: {(value or b'-')[:6]!r}" for n, value in records.items())


class Expected:
    """The possible worlds, and what no power cut may take."""

    def __init__(self) -> None:
        self.worlds = [World({tp: [] for tp in PLACES}, {tp: [(NOTHING, NO_EFFECT)] for tp in PLACES})]
        self.durable = dict.fromkeys(PLACES, 0)  # records before these offsets
        self.is_refuted = False  # once true, there is nothing left to compare with
        # What a dead process may have written, and not published, without a transaction: nobody sees it, but who opens
        # the log when all are gone takes it for something that was not reported in time. With where it would begin.
        self.unpublished: list[tuple[Effect, set[int]]] = []

    def require(self, condition: object, message: str) -> None:
        self.is_refuted |= not condition
        assert condition, message

    def happened(self, effect: Effect) -> None:
        self.worlds = [world.after(effect) for world in self.worlds]
        self.unpublished = [
            (lost, ends) for lost, ends in self.unpublished
            if not (lost.records.keys() & effect.records.keys() or (lost.offsets and effect.offsets))
        ]  # fmt: skip

    def all_are_gone(self) -> None:
        """No process has the log open: from here on, what was not published may turn up."""
        for effect, ends in self.unpublished:
            for world in [world for world in self.worlds if effect not in world.effects()]:
                if all(world.end(place) in ends for place in effect.records):
                    self.worlds.append(world.after(effect))

    def may_have_happened(self, effect: Effect) -> None:
        if effect.records or effect.offsets:
            if not effect.is_transaction:
                ends = {world.end(place) for place in effect.records for world in self.worlds}
                self.unpublished.append((effect, ends))
            self.worlds += [world.after(effect) for world in self.worlds]

    def keep(self, possible: Callable[[World], bool], what: str) -> None:
        """Rule out the worlds in which something that was seen is not possible."""
        left = [world for world in self.worlds if possible(world)]
        self.require(left, f"in no possible world {what}: {[{tp: w.end(tp) for tp in PLACES} for w in self.worlds]}")
        self.worlds = left

    def made_durable(self, place: TopicPartition) -> None:
        self.durable[place] = min(world.end(place) for world in self.worlds)

    def offsets_made_durable(self) -> None:
        for world in self.worlds:
            for committed in world.offsets.values():
                committed[-1][1].is_durable = True

    # --- looking ---

    def saw(self, picture: Picture) -> None:
        """Compare with what a living process, or one after a kill, finds: one of the worlds."""
        differences = [picture.difference(world) for world in self.worlds]
        self.require(None in differences, "\n".join(map(str, differences)))
        self.worlds = [world for world, found in zip(self.worlds, differences, strict=True) if found is None]

    def saw_after_power_cut(self, picture: Picture) -> None:
        """Compare with what is left of one of the worlds."""
        losses = [self._loss(picture, world) for world in self.worlds]
        self.require(None in losses, "\n".join(map(str, losses)))

    def _loss(self, picture: Picture, world: World) -> str | None:
        whole = {effect: True for entries in world.records.values() for _, effect in entries if effect.is_whole}
        partly = dict.fromkeys(whole, False)
        for tp in PLACES:
            expected, found = world.records[tp], picture.records[tp]
            if picture.ends[tp] > len(expected):
                return f"{tp} ends at {picture.ends[tp]}, not at {len(expected)}"
            for offset, (value, effect) in enumerate(expected):
                is_there = offset in found
                if is_there and found[offset] != value:
                    return f"{tp}: {found[offset]!r} at offset {offset}, where {value!r} belongs"
                if not is_there and offset < self.durable[tp] and value is not None:
                    return f"{tp}: {value!r} is lost, at offset {offset}; all before {self.durable[tp]} was durable"
                if effect in whole:
                    whole[effect] &= is_there
                    partly[effect] |= is_there
        for effect, is_there in whole.items():
            if effect.is_durable and not is_there:
                return f"lost although it was durable: {_effect(effect)}"
            if partly[effect] and not is_there:
                return f"there in part: {_effect(effect)}"
        return self._lost_offsets(picture, world, {effect for effect, is_there in whole.items() if is_there})

    def _lost_offsets(self, picture: Picture, world: World, there: set[Effect]) -> str | None:
        may_be_lost = any(not effect.is_durable for entries in world.offsets.values() for _, effect in entries[1:])
        for tp in PLACES:
            if picture.offsets[tp] == IN_DOUBT and may_be_lost:
                continue
            committed = world.offsets[tp]
            kept = [n for n, (_, effect) in enumerate(committed) if effect.is_durable or effect in there]
            possible = {
                offset: effect for offset, effect in committed[max(kept, default=0) :]
                if not (effect.is_whole and effect.records) or effect in there
            }  # fmt: skip
            if picture.offsets[tp] not in possible:
                return f"{tp}: committed is {picture.offsets[tp]}, not one of {list(possible)}"
        return None


def committed_offset(consumer: eventlog.Consumer, place: TopicPartition) -> OffsetAndMetadata:
    """Return what the group has committed, or `IN_DOUBT`."""
    try:
        return consumer.committed(place) or NOTHING
    except eventlog.CorruptSegmentError:
        return IN_DOUBT


def look(log: eventlog.EventLog) -> Picture:
    """Read everything; lost records must be named by the error, with an offset to go on from."""
    records: dict[TopicPartition, Found] = {}
    ends = {}
    for tp in PLACES:
        partition = log.topic(tp.topic).partitions[tp.partition]
        found, offset = records.setdefault(tp, {}), 0
        while offset < partition.log_end_offset:
            try:
                for batch in partition.read(offset):
                    assert batch.base_offset == offset, f"{tp}: offset {batch.base_offset} where {offset} belongs"
                    found.update(zip(batch.offsets.tolist(), batch.values(), strict=True))
                    offset = batch.last_offset + 1
            except eventlog.CorruptSegmentError as error:
                assert error.next_offset is not None and error.next_offset > offset, error
                offset = error.next_offset
        ends[tp] = offset
    with log.consumer(group=GROUP, enable_auto_commit=False) as consumer:
        committed = {tp: committed_offset(consumer, tp) for tp in PLACES}
    return Picture(records, ends, committed)


@attrs.define
class Process:
    """One process: a log of its own over files of its own, a transactional producer, and one without transactions."""

    fs: CrashFileSystem
    log: eventlog.EventLog
    plain: eventlog.Producer
    producer: eventlog.Producer | None = None
    transactional_id: str = ""
    durability: str = "os"
    is_fenced: bool | None = False  # None: a producer that may have fenced it died on the way
    transaction: Effect | None = None
    deliveries: list[tuple[eventlog.Delivery, TopicPartition, int]] = attrs.field(factory=list)
    wrote: set[TopicPartition] = attrs.field(factory=set)
    wrote_offsets: bool = False

    def forget_producer(self) -> None:
        assert self.producer is not None
        self.producer.close()
        self.producer = self.transaction = None
        self.is_fenced = False


class TickingClock:
    """A millisecond later whenever it is asked for the time, so that a run can be repeated to the byte."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._milliseconds = 1_700_000_000_000

    def time(self) -> float:
        self._milliseconds += 1
        return self._milliseconds / 1000


class Engine:
    """Two slots for processes on one disk at a time, and the model. What is done may crash, if that was asked for."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.disks = 0
        self.expected = Expected()
        self.processes: dict[int, Process | None] = {0: None, 1: None}
        self.counter = 0
        self.clock = TickingClock()
        self.last_step: Step | None = None  # of a process that was to crash
        self.files = CrashFileSystem(self.path)
        self.has_written = False
        self.has_lost = False  # a power cut came: holes are known, and stay
        with self.open(self.path, self.files) as log:
            log.create_topic("a", partitions=2, **CONFIG)
            log.create_topic("b", **CONFIG)

    @property
    def path(self) -> Path:
        return self.base / f"disk-{self.disks}"

    def value(self, size: int) -> bytes:
        self.counter += 1
        return b"%d:" % self.counter + b"v" * size

    def open(self, path: Path, fs: CrashFileSystem) -> eventlog.EventLog:
        return eventlog.open(path, filesystem=fs, clock=self.clock)

    @property
    def is_refuted(self) -> bool:
        """Tell whether the log did what it must not do."""
        return self.expected.is_refuted

    # --- processes ---

    def start(self, slot: int, crash_in: int | None = None, torn: float = 0.0) -> Process | None:
        """Return the process, started if need be; it may crash so many steps later. None when it did so at once."""
        process = self.processes[slot]
        if process is None:
            if not any(self.processes.values()):
                self.expected.all_are_gone()
            fs = self.files.another_process()
            fs.crash_at(crash_in, torn=torn)
            try:
                log = self.open(self.path, fs)
                process = Process(fs, log, log.producer(linger_ms=0))
            except SimulatedCrash:
                return None
            self.processes[slot] = process
        elif crash_in is not None:
            process.fs.crash_at(process.fs.steps + crash_in, torn=torn)
        return process

    def act(self, slot: int, effect: Effect, call: Callable[[Process], Any]) -> Any:
        """Do something in a process; None when it crashed, or had to be started and did so then."""
        process = self.start(slot)
        if process is None:
            return None
        try:
            result = call(process)
        except (SimulatedCrash, eventlog.StorageError) as error:
            if not isinstance(error, SimulatedCrash) and not process.fs.crashed:
                self.expected.is_refuted = True
                raise
            self.expected.may_have_happened(effect)  # who is dead may be told by then that its files are closed
            self.processes[slot] = None
            return None
        except eventlog.ProducerFencedError:
            raise
        except BaseException:
            self.expected.is_refuted = True
            raise
        finally:
            self.has_written |= bool(effect.records or effect.offsets)
        self.expected.happened(effect)
        return result if result is not None else True

    # --- without transactions ---

    def append(self, slot: int, place: TopicPartition, size: int, durability: str) -> None:
        """Append one record."""
        self._plain(slot, place, [self.value(size)], durability, lambda process, values: (
            process.log.topic(place.topic).partitions[place.partition].append(values, durability=durability).base_offset
        ))  # fmt: skip

    def send(self, slot: int, place: TopicPartition, size: int, count: int) -> None:
        """Send a few records at once with an idempotent producer, and wait for them."""
        values = [self.value(size) for _ in range(count)]
        self._plain(slot, place, values, "os", lambda process, values: (
            process.plain.send_many(place.topic, values, partition=place.partition).result().offset - count + 1
        ))  # fmt: skip

    def _plain(
        self, slot: int, place: TopicPartition, values: list[bytes], durability: str,
        write: Callable[[Process, list[bytes]], int],
    ) -> None:  # fmt: skip
        effect = Effect({place: values})
        process = self.start(slot)
        base = self.act(slot, effect, lambda process: (write(process, values),))
        if base is None:
            return
        assert process is not None
        end = base[0] + len(values)
        self.expected.keep(lambda world: world.end(place) == end, f"{place} ends at {end}")
        process.wrote.add(place)
        if durability == "disk":
            self.expected.made_durable(place)

    def commit_offset(self, slot: int, place: TopicPartition) -> None:
        """Commit an offset of the group without a transaction."""
        self.counter += 1
        committed = OffsetAndMetadata(0, str(self.counter))

        def commit(process: Process) -> None:
            with process.log.consumer(group=GROUP, enable_auto_commit=False) as consumer:
                consumer.commit({place: committed})
            process.wrote_offsets = True

        self.act(slot, Effect(offsets={place: committed}), commit)

    def flush(self, slot: int, place: TopicPartition) -> None:
        """Bring a partition to the device."""

        def flush(process: Process) -> int:
            partition = process.log.topic(place.topic).partitions[place.partition]
            partition.flush()
            return partition.log_end_offset + 1

        end = self.act(slot, NO_EFFECT, flush)
        if end is not None:
            self.expected.keep(lambda world: world.end(place) == end - 1, f"{place} ends at {end - 1}")
            self.expected.made_durable(place)

    def close(self, slot: int) -> None:
        """Close the log, which aborts an open transaction and brings to the device what the process wrote."""
        process = self.processes[slot]
        if process is None or self.act(slot, NO_EFFECT, lambda process: process.log.close()) is None:
            return
        for place in process.wrote:
            self.expected.made_durable(place)
        if process.wrote_offsets:
            self.expected.offsets_made_durable()
        self.processes[slot] = None

    # --- transactions ---

    def begin(self, slot: int, transactional_id: str, durability: str) -> None:
        """Begin a transaction, with a new producer if there is none, which fences others of the same id."""
        process = self.start(slot)
        if process is None or process.transaction is not None:
            return
        if process.producer is None and not self._init(slot, process, transactional_id, durability):
            return
        producer = process.producer
        assert producer is not None
        if self._unless_fenced(slot, NO_EFFECT, producer.begin_transaction, must_tell=True):
            process.transaction = Effect(is_transaction=True, is_whole=process.durability == "disk")
            process.deliveries = []

    def _init(self, slot: int, process: Process, transactional_id: str, durability: str) -> bool:
        producer = process.log.producer(transactional_id=transactional_id, durability=durability, linger_ms=0)
        rivals = [
            other for other in self.processes.values()
            if other is not None and other.producer is not None and other.transactional_id == transactional_id
        ]  # fmt: skip
        done = self.act(slot, NO_EFFECT, lambda _: producer.init_transactions()) is not None
        for rival in rivals:
            rival.is_fenced = True if done else rival.is_fenced or None
        process.producer, process.transactional_id, process.durability = producer, transactional_id, durability
        process.is_fenced = False
        return done

    def _unless_fenced(self, slot: int, effect: Effect, call: Callable[[], Any], *, must_tell: bool) -> bool:
        """Call, unless the producer turns out to be fenced; False then, and when the process crashed."""
        process = self.processes[slot]
        assert process is not None
        try:
            done = self.act(slot, effect, lambda _: call()) is not None
        except eventlog.ProducerFencedError:
            self.expected.require(process.is_fenced is not False, "nobody has fenced this producer")
            process.forget_producer()
            return False
        self.expected.require(not (done and must_tell and process.is_fenced), "a producer that was fenced goes on")
        return done

    def _open(self, slot: int) -> tuple[eventlog.Producer, Effect, Process] | None:
        process = self.processes[slot]
        if process is None or process.transaction is None or process.producer is None:
            return None
        return process.producer, process.transaction, process

    def transact(self, slot: int, place: TopicPartition, size: int, count: int) -> None:
        """Send one record, or many, within the open transaction."""
        if (found := self._open(slot)) is None:
            return
        producer, effect, process = found
        values = [self.value(size) for _ in range(count)]

        def send() -> None:
            if count == 1:
                delivery = producer.send(place.topic, values[0], partition=place.partition)
            else:
                delivery = producer.send_many(place.topic, values, partition=place.partition)
            known = effect.records.setdefault(place, [])
            known += values
            process.deliveries.append((delivery, place, len(known) - 1))

        self._unless_fenced(slot, NO_EFFECT, send, must_tell=False)

    def transact_offset(self, slot: int, place: TopicPartition) -> None:
        """Commit an offset of the group with the open transaction."""
        if (found := self._open(slot)) is None:
            return
        producer, effect, _ = found
        self.counter += 1
        committed = OffsetAndMetadata(0, str(self.counter))

        def send() -> None:
            producer.send_offsets_to_transaction({place: committed}, GroupMetadata(GROUP))
            effect.offsets[place] = committed

        self._unless_fenced(slot, NO_EFFECT, send, must_tell=False)

    def commit(self, slot: int) -> None:
        """Commit the open transaction."""
        if (found := self._open(slot)) is None:
            return
        producer, effect, process = found
        is_empty = not (effect.records or effect.offsets)
        if not self._unless_fenced(slot, effect, producer.commit_transaction, must_tell=not is_empty):
            return
        process.transaction = None
        for delivery, place, index in process.deliveries:
            start = delivery.result().offset - index
            count = len(effect.records[place])
            self.expected.keep(lambda world: world.end(place) == start + count, f"{place} got records at {start}")  # noqa: B023
        if effect.is_whole:
            effect.is_durable = True
            for place in effect.records:
                self.expected.made_durable(place)
        else:
            process.wrote.update(effect.records)
            process.wrote_offsets |= bool(effect.offsets)

    def abort(self, slot: int) -> None:
        """Abort the open transaction: every record of it is refused."""
        if (found := self._open(slot)) is None:
            return
        producer, _, process = found
        if self._unless_fenced(slot, NO_EFFECT, producer.abort_transaction, must_tell=True):
            process.transaction = None
            for delivery, _, _ in process.deliveries:
                assert isinstance(delivery.exception(), eventlog.TransactionAbortedError)

    # --- looking ---

    def see(self, slot: int) -> None:
        """Read everything in a living process."""
        picture = self.act(slot, NO_EFFECT, lambda process: look(process.log))
        if picture is not None:
            self.expected.saw(picture)

    def check_disk(self, choose: Choose | None) -> Picture:
        """Look at what a kill would leave now of all processes, or with ``choose`` a power cut; and go on with it."""
        self.counter += 1
        path = self.base / f"check-{self.counter}"
        if choose is None:
            self.files.after_kill(path)
        else:
            self.files.after_power_cut(path, choose)
        return self._check(path, choose)

    def _check(self, path: Path, choose: Choose | None) -> Picture:
        self.expected.all_are_gone()
        fs = CrashFileSystem(path)
        with self.open(path, fs) as log:
            picture = look(log)
            if choose is None:
                self.expected.saw(picture)
            else:
                self.expected.saw_after_power_cut(picture)
            verify(log, is_damaged=self.has_lost or choose is not None)
            with log.producer(transactional_id="x", linger_ms=0) as producer, producer.transaction():
                for tp in PLACES:
                    producer.send(tp.topic, b"goes on", partition=tp.partition)
                    producer.send_offsets_to_transaction({tp: OffsetAndMetadata(0, "on")}, GroupMetadata(GROUP))
        with self.open(path, fs) as log:
            again = look(log)
            for tp in PLACES:
                assert again.records[tp] == {**picture.records[tp], picture.ends[tp]: b"goes on"}
                assert again.offsets[tp] == OffsetAndMetadata(0, "on")
        return picture

    def reboot(self, choose: Choose | None) -> None:
        """All processes die, or the power goes; go on with what is left."""
        path = self.base / f"disk-{self.disks + 1}"
        if choose is None:
            self.files.after_kill(path)
        else:
            self.files.after_power_cut(path, choose)
        self.processes = {0: None, 1: None}
        self.has_written = False
        self.disks += 1
        self.files = CrashFileSystem(self.path)
        copy = self.base / f"copy-{self.disks}"
        CrashFileSystem(self.path).after_kill(copy)
        picture = self._check(copy, choose)
        self.has_lost |= choose is not None
        self.expected.worlds, self.expected.unpublished = [picture.world()], []
        self.expected.durable = dict(picture.ends)


def verify(log: eventlog.EventLog, *, is_damaged: bool) -> None:
    """Every partition, internal ones too, is whole; behind a power cut records that were never durable may be gone."""
    for name in log.topics(include_internal=True):
        for partition in log.topic(name).partitions:
            report = partition.verify()
            assert not report.problems, report
            assert is_damaged or not report.damaged, report
