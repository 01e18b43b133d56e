"""A table of corruptions, and for each exactly which records survive and what is reported.

The log has nine batches of two records, three to a segment: segments begin at offsets 0, 6 and 12, and the log ends
at 18. Batch n lies at position (n % 3) * SIZE of its segment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import eventlog
from eventlog.format.batch_encoder import encode

SIZE = 64 + 16 + 8  # header, three offsets padded to eight bytes, two values of four bytes
BASES = (0, 6, 12)
ALL = set(range(18))
Damage = Callable[[Path], None]


def value_of(offset: int) -> bytes:
    return b"%04d" % offset


def segment(base: int, suffix: str = ".log") -> str:
    return f"{base:020d}{suffix}"


def remove(*names: str) -> Damage:
    return lambda directory: [(directory / name).unlink() for name in names] and None


def truncate(name: str, size: int) -> Damage:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:size]) and None


def append(name: str, content: bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes() + content) and None


def flip(name: str, position: int, bit: int = 0) -> Damage:
    return overwrite(name, position, lambda old: bytes([old[0] ^ 1 << bit]), 1)


def zero(name: str, position: int, size: int) -> Damage:
    return overwrite(name, position, lambda old: bytes(len(old)), size)


def overwrite(name: str, position: int, change: Callable[[bytes], bytes], size: int) -> Damage:
    def apply(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        content[position : position + size] = change(bytes(content[position : position + size]))
        (directory / name).write_bytes(content)

    return apply


def both(first: Damage, second: Damage) -> Damage:
    def apply(directory: Path) -> None:
        first(directory)
        second(directory)

    return apply


def add_file(name: str, content: bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes(content) and None


@attrs.frozen(kw_only=True)
class Case:
    """``lost`` are the ranges [from, to) that readers are told are damaged; ``recovered_damage`` and ``torn`` is what
    recovery reports on opening; ``problems`` what verify() says about indexes before anyone has read.
    """

    damage: Damage
    lost: tuple[tuple[int, int], ...] = ()
    start: int = 0
    end: int = 18
    recovered_damage: tuple[tuple[int, int | None], ...] = ()
    torn: bool = False
    rebuilt: int = 0
    problems: int = 0


# The log was closed, so all records are on the device: whatever is missing is damage, and no offset comes again.
CLOSED = {
    "nothing": Case(damage=lambda directory: None),
    "torn header": Case(damage=truncate(segment(12), 2 * SIZE + 30), lost=((16, 18),), recovered_damage=((16, 18),)),
    "torn body": Case(damage=truncate(segment(12), 3 * SIZE - 5), lost=((16, 18),), recovered_damage=((16, 18),)),
    "truncated at a batch": Case(
        damage=truncate(segment(12), SIZE), lost=((14, 18),), recovered_damage=((14, 18),)
    ),
    "empty last segment": Case(damage=truncate(segment(12), 0), lost=((12, 18),), recovered_damage=((12, 18),)),
    "zeroed tail": Case(damage=zero(segment(12), 2 * SIZE, SIZE), lost=((16, 18),)),
    "zeroed middle": Case(damage=zero(segment(6), SIZE, SIZE), lost=((8, 10),)),
    "two batches zeroed": Case(damage=zero(segment(0), 0, 2 * SIZE), lost=((0, 4),)),
    "flipped bit in a base offset": Case(damage=flip(segment(6), SIZE + 7), problems=1),
    "flipped high bit in a base offset": Case(damage=flip(segment(6), SIZE + 1), problems=1),
    "flipped bit in a length": Case(damage=flip(segment(0), SIZE + 11, 3), problems=1),
    "flipped bit in a magic": Case(damage=flip(segment(0), SIZE + 16), problems=1),
    "flipped bit in a CRC": Case(damage=flip(segment(0), SIZE + 17), lost=((2, 4),)),
    "flipped bit in a record count": Case(damage=flip(segment(0), 60), lost=((0, 2),)),
    "flipped bit in a body": Case(damage=flip(segment(12), SIZE + 82, 5), lost=((14, 16),)),
    "flipped bits in two segments": Case(
        damage=both(flip(segment(0), 83), flip(segment(12), 83)),
        lost=((0, 2), (12, 14)),
    ),
    "flipped bit in a sealed offset index": Case(damage=flip(segment(6, ".index"), 0), problems=1),
    "flipped bit in the last sealed index entry": Case(damage=flip(segment(6, ".index"), 12), problems=1),
    "flipped bit in the active offset index": Case(damage=flip(segment(12, ".index"), 12), rebuilt=1),
    "flipped bit in a sealed time index": Case(damage=flip(segment(6, ".timeindex"), 0), problems=1),
    "flipped bit in the head's end": Case(damage=flip("head", 16)),
    "flipped bit in the head's recovery point": Case(damage=flip("head", 32 * 8)),
    "flipped bit in the head's magic": Case(damage=flip("head", 0)),
    "missing head": Case(damage=remove("head")),
    "empty head": Case(damage=truncate("head", 0)),
    "missing offset index": Case(damage=remove(segment(6, ".index")), problems=1),
    "missing time index": Case(damage=remove(segment(6, ".timeindex")), problems=1),
    "missing active indexes": Case(
        damage=remove(segment(12, ".index"), segment(12, ".timeindex")), rebuilt=1
    ),
    "truncated offset index": Case(damage=truncate(segment(6, ".index"), 11), problems=1),
    "truncated time index": Case(damage=truncate(segment(6, ".timeindex"), 13), problems=1),
    "truncated active index": Case(damage=truncate(segment(12, ".index"), 8), rebuilt=1),
    "missing first segment": Case(damage=remove(segment(0)), lost=((0, 6),), recovered_damage=((0, 6),)),
    "missing middle segment": Case(damage=remove(segment(6)), lost=((6, 12),)),
    "missing last segment": Case(damage=remove(segment(12)), lost=((12, 18),), recovered_damage=((12, 18),)),
    "truncated middle segment": Case(damage=truncate(segment(6), SIZE + 40), lost=((8, 12),)),
    "emptied middle segment": Case(damage=truncate(segment(6), 0), lost=((6, 12),)),
    "garbage behind the end": Case(damage=append(segment(12), b"\x63garbage" * 20), torn=True),
    "foreign files": Case(damage=lambda directory: [
        add_file(name, b"x" * 100)(directory) for name in ("notes.txt", "7.log", ".DS_Store", "0" * 19 + ".log")
    ] and None),
    "leftover temporary file": Case(damage=add_file(segment(6, ".index.1.ab.tmp"), b"x")),
}  # fmt: skip

# The process died before anything was flushed: what is not whole at the very end was a torn write.
CRASHED = {
    "nothing": Case(damage=lambda directory: None),
    "torn header": Case(damage=truncate(segment(12), 2 * SIZE + 30), end=16, torn=True),
    "torn body": Case(damage=truncate(segment(12), 3 * SIZE - 5), end=16, torn=True),
    "truncated at a batch": Case(damage=truncate(segment(12), 2 * SIZE), end=16),
    "zeroed tail": Case(damage=zero(segment(12), 2 * SIZE, SIZE), end=16),
    "half zeroed tail": Case(damage=zero(segment(12), 2 * SIZE + 40, SIZE - 40), end=16, torn=True),
    "flipped bit in the last body": Case(damage=flip(segment(12), 2 * SIZE + 82), end=16, torn=True),
    "flipped bit in a body": Case(
        damage=flip(segment(12), SIZE + 82), lost=((14, 16),), recovered_damage=((14, 16),)
    ),
    "flipped bit in a base offset": Case(
        damage=flip(segment(12), SIZE + 7), problems=1
    ),
    "flipped bit in a length": Case(
        damage=flip(segment(12), 11, 6), problems=1
    ),
    "missing head": Case(damage=remove("head")),
    "garbage behind the end": Case(damage=append(segment(12), b"\x63garbage" * 20), torn=True),
    "no active index": Case(damage=remove(segment(12, ".index"))),
    "index entries behind the end": Case(damage=append(segment(12, ".index"), b"\xff" * 16)),
}  # fmt: skip


def fill(log: eventlog.EventLog) -> None:
    partition = log.create_topic("t", segment_ms=25, index_interval_bytes=0).partitions[0]
    for first in range(0, 18, 2):
        partition.append([value_of(first), value_of(first + 1)], timestamps_ms=first * 5)


def build_closed(path: Path) -> None:
    with eventlog.open(path) as log:
        fill(log)


def build_crashed(path: Path) -> None:
    """The files as a killed process leaves them: a copy made while the log was open, so nothing was flushed."""
    with eventlog.open(path.with_name("living")) as log:
        fill(log)
        shutil.copytree(path.with_name("living"), path)


def read_on(partition: eventlog.Partition) -> tuple[dict[int, bytes | None], list[tuple[int, int | None]]]:
    """Read to the end, seeking behind each damage; the values by offset, and what was reported."""
    values: dict[int, bytes | None] = {}
    lost: list[tuple[int, int | None]] = []
    offset = partition.log_start_offset
    while offset < partition.log_end_offset:
        try:
            batches = partition.read(offset, max_bytes=1)
        except eventlog.CorruptSegmentError as error:
            assert error.next_offset is not None
            assert error.path and error.topic == "t" and error.partition == 0
            lost.append((error.base_offset or 0, error.next_offset))
            offset = error.next_offset
            continue
        for record in (record for batch in batches for record in batch.records()):
            assert record.offset == offset, "offsets run without a gap outside of damage"
            values[record.offset] = record.value
            offset += 1
    return values, lost


def check(log: eventlog.EventLog, case: Case, lost: set[int], added: dict[int, bytes]) -> None:
    """What is read, begun anywhere, is what must survive."""
    partition = log.topic("t").partitions[0]
    survivors = {offset: value_of(offset) for offset in range(case.start, case.end) if offset not in lost} | added
    values, told = read_on(partition)
    assert values == survivors
    assert told == list(case.lost)
    for offset in range(partition.log_start_offset, partition.log_end_offset):
        if offset in survivors:
            assert partition.read(offset, 1)[0].values()[0] == survivors[offset]
        else:
            with pytest.raises(eventlog.CorruptSegmentError) as caught:
                partition.read(offset, 1)
            assert caught.value.base_offset == offset
            assert caught.value.next_offset in {after for _, after in case.lost}
    damaged = {offset for found in partition.verify().damaged for offset in span(found)}
    assert damaged == lost


def span(found: eventlog.DamagedRange) -> range:
    assert found.next_offset is not None
    return range(found.base_offset, found.next_offset)


PARAMS: list[Any] = [
    pytest.param(build, case, id=f"{kind}: {name}")
    for kind, build, table in (("closed", build_closed, CLOSED), ("crashed", build_crashed, CRASHED))
    for name, case in table.items()
]


@pytest.mark.parametrize(("build", "case"), PARAMS)
def test_damage_costs_only_what_it_hit(log_path: Path, build: Callable[[Path], None], case: Case) -> None:
    """Exactly the undamaged records survive, the rest is reported, appending goes on, and stays consistent."""
    build(log_path)
    directory = log_path / "topics" / "t" / "0"
    case.damage(directory)
    lost = {offset for low, high in case.lost for offset in range(low, high)}
    with eventlog.open(log_path) as log:
        partition = log.topic("t").partitions[0]
        report = partition.recovery
        assert report is not None
        assert tuple((d.base_offset, d.next_offset) for d in report.damaged) == case.recovered_damage
        assert bool(report.torn_bytes) == case.torn
        assert len(report.rebuilt_indexes) == case.rebuilt
        assert (report.torn_copy is not None and Path(report.torn_copy).exists()) == case.torn
        assert (partition.log_start_offset, partition.log_end_offset) == (case.start, case.end)
        verified = partition.verify()
        assert len(verified.problems) == case.problems
        assert verified.ok == (not case.lost and not case.problems)
        check(log, case, lost, {})
        assert partition.append([b"goes", b"on"]).base_offset == case.end
        check(log, case, lost, {case.end: b"goes", case.end + 1: b"on"})
    added = {case.end: b"goes", case.end + 1: b"on"}
    for more in (b"later", b"later still"):
        with eventlog.open(log_path) as log:
            check(log, case, lost, added)
            offset = log.topic("t").partitions[0].append([more]).base_offset
            assert offset == max(added) + 1
            added[offset] = more
    (directory / "head").unlink()
    with eventlog.open(log_path) as log:
        check(log, case, lost, added)


def test_the_torn_tail_is_kept_aside(log_path: Path) -> None:
    """The bytes of a torn write are in the copy that the report names, and gone from the segment."""
    build_crashed(log_path)
    directory = log_path / "topics" / "t" / "0"
    raw = (directory / segment(12)).read_bytes()
    truncate(segment(12), 3 * SIZE - 5)(directory)
    with eventlog.open(log_path) as log:
        report = log.topic("t").partitions[0].recovery
    assert report is not None and report.torn_copy is not None
    kept = Path(report.torn_copy).read_bytes()
    assert kept == raw[2 * SIZE : 2 * SIZE + report.torn_bytes]
    assert raw[2 * SIZE : 3 * SIZE - 5].rstrip(b"\0") == kept.rstrip(b"\0")
    assert not any((directory / segment(12)).read_bytes()[2 * SIZE :])


def test_a_lost_index_is_built_anew_to_the_byte(log_path: Path) -> None:
    """Indexes that were missing are, once the segment was read, the same bytes as before."""
    build_closed(log_path)
    directory = log_path / "topics" / "t" / "0"
    indexes = [directory / segment(base, suffix) for base in BASES for suffix in (".index", ".timeindex")]
    before = [path.read_bytes() for path in indexes]
    for path in indexes:
        path.unlink()
    with eventlog.open(log_path) as log:
        partition = log.topic("t").partitions[0]
        assert [partition.offset_for_time(time) for time in (0, 35, 85)] == [0, 8, None]
        read_on(partition)
    assert [path.read_bytes() for path in indexes[:4]] == before[:4]
    assert indexes[4].read_bytes() == before[4]


def test_a_batch_within_a_value_is_never_taken_for_one(log_path: Path) -> None:
    """A damaged batch whose value is itself a copy of some segment costs its own record: nothing in it is a record."""
    inner = b"".join(bytes(part) for part in encode([b"not a record"] * 2, 5).stamp(2))
    with eventlog.open(log_path) as log:
        partition = log.create_topic("t").partitions[0]
        partition.append([b"a"])
        partition.append([inner * 3, b"b", b"c"])
        partition.append([b"d"])
    raw = (log_path / "topics" / "t" / "0" / segment(0)).read_bytes()
    assert raw.index(inner) % 8 == 0
    flip(segment(0), raw.index(inner) - 9)(log_path / "topics" / "t" / "0")
    for lost_head in (False, True):
        if lost_head:
            (log_path / "topics" / "t" / "0" / "head").unlink()
        with eventlog.open(log_path) as log:
            partition = log.topic("t").partitions[0]
            assert read_on(partition) == ({0: b"a", 4: b"d"}, [(1, 4)])
            assert [(found.base_offset, found.next_offset) for found in partition.verify().damaged] == [(1, 4)]
            for offset in (1, 2, 3):
                with pytest.raises(eventlog.CorruptSegmentError):
                    partition.read(offset)
