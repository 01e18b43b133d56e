"""The format pages tell the truth: their example bytes are what the package writes, and the package reads them.

A page's example is a block that starts with ```` ```hexdump ````, in the form of ``hexdump -C``: ``*`` stands for lines
that repeat the one before. JSON files are shown as they are.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import crc32c
import numpy as np
import pytest

import eventlog
from eventlog.config import TopicConfig
from eventlog.coordination.group_state import GroupState
from eventlog.coordination.offset_partition import OffsetPartition
from eventlog.coordination.offset_snapshot import Snapshot, write_snapshot
from eventlog.coordination.offset_store import OffsetStore
from eventlog.coordination.offset_table import OffsetTable
from eventlog.coordination.transaction_records import TransactionOutcome, TransactionPart, aborted
from eventlog.files.checkpoint import read_checkpoint, read_versioned
from eventlog.files.filesystem import FileSystem
from eventlog.format import layouts
from eventlog.format.batch_home import home_of
from eventlog.format.record_batch import RecordBatch
from eventlog.model import OffsetAndMetadata, TopicPartition
from eventlog.storage.head import EndState, Head
from eventlog.storage.producer_snapshot import LastBatch, parse_snapshot, snapshot_bytes
from eventlog.storage.producer_state import ProducerState, ProducerTable, Run

FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats"
STAMPS = [1_700_000_000_000, 1_700_000_000_250]
SEGMENT = f"{0:020d}.log"


def write_example(path: Path) -> Path:
    """Write the log that the pages show, and return the directory of its only partition."""
    with eventlog.open(path) as log:
        partition = log.create_topic("orders", index_interval_bytes=0).partitions[0]
        partition.append(
            [b"paid", None],
            keys=[b"order-7", b"order-8"],
            timestamps_ms=STAMPS,
            headers=[[("source", b"web")], None],
        )
        partition.append([b"shipped"], timestamps_ms=1_700_000_001_000)
        partition.append([b"returned"], timestamps_ms=1_700_000_000_500)
    return path / "topics" / "orders" / "0"


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of one kind in a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (FORMATS / page).read_text(), re.MULTILINE | re.DOTALL)


def example(page: str) -> bytes:
    """The bytes of a page's only hexdump."""
    (dump,) = blocks(page, "hexdump")
    content = bytearray()
    repeating = False
    for line in dump.splitlines():
        if line == "*":
            repeating = True
            continue
        offset, _, rest = line.partition("  ")
        while repeating and len(content) < int(offset, 16):
            content += content[-16:]
        repeating = False
        assert len(content) == int(offset, 16), f"{page}: the line at {offset} follows {len(content)} bytes"
        content += bytes.fromhex(rest.partition("|")[0])
    return bytes(content)


def test_the_segment_page_shows_what_is_written(tmp_path: Path) -> None:
    """The segment's example is, byte for byte, what the appends on the page write."""
    assert example("segment.md") == (write_example(tmp_path / "log") / SEGMENT).read_bytes()


def test_the_segment_page_is_read_back() -> None:
    """The bytes on the page decode to the records on the page."""
    raw = memoryview(example("segment.md"))
    records, position = [], 0
    while position < len(raw):
        batch = RecordBatch(raw, position, len(raw), "orders", 0, home_of("orders", 0))
        batch.check()
        records += batch.records()
        position += batch.size
    assert [(r.offset, r.timestamp_ms, r.key, r.value, r.headers) for r in records] == [
        (0, STAMPS[0], b"order-7", b"paid", (("source", b"web"),)),
        (1, STAMPS[1], b"order-8", None, ()),
        (2, 1_700_000_001_000, None, b"shipped", ()),
        (3, 1_700_000_000_500, None, b"returned", ()),
    ]


def test_the_crc_covers_what_the_segment_page_says() -> None:
    """The checksum at byte 17 is the CRC-32C of the batch from byte 21 on, the partition's, and its first 17 bytes."""
    raw = example("segment.md")
    length = int.from_bytes(raw[8:12], "big")
    summed = crc32c.crc32c(raw[21 : 12 + length]) ^ crc32c.crc32c(b"orders-0")
    assert int.from_bytes(raw[17:21], "big") == crc32c.crc32c(raw[:17], summed)


@pytest.mark.parametrize(("page", "suffix"), [("offset-index.md", ".index"), ("time-index.md", ".timeindex")])
def test_the_index_pages_show_what_is_written(page: str, suffix: str, tmp_path: Path) -> None:
    """The indexes' examples are what belongs to the segment's example."""
    assert example(page) == (write_example(tmp_path / "log") / SEGMENT.replace(".log", suffix)).read_bytes()


def test_the_offset_index_page_points_to_batches() -> None:
    """Each entry on the page holds the offset and position of a batch in the segment's example."""
    raw = memoryview(example("segment.md"))
    entries = np.frombuffer(example("offset-index.md"), layouts.OFFSET_INDEX_ENTRY)
    assert len(entries) == 2
    for entry in entries:
        batch = RecordBatch(raw, int(entry["position"]), len(raw), "orders", 0, home_of("orders", 0))
        assert batch.base_offset == entry["offset"]


def test_the_time_index_page_holds_running_maxima() -> None:
    """The entry on the page is true of the segment's example: no record up to its offset is later."""
    entries = np.frombuffer(example("time-index.md"), layouts.TIME_INDEX_ENTRY)
    assert entries.tolist() == [(1_700_000_001_000, 2)]


def test_the_producer_snapshot_page_shows_what_is_written_and_read() -> None:
    """The example is what the package writes for the producer that the page tells of, and reads back as that one."""
    table = ProducerTable("orders", 0)
    table.states[7] = ProducerState(0, 1_700_000_002_000, (Run(0, 2, 4), Run(2, 1, 7)))
    last = LastBatch(0x2F6B1C5D, 7)
    assert example("producer-snapshot.md") == snapshot_bytes(table, 8, last)
    read = ProducerTable("orders", 0)
    assert parse_snapshot(example("producer-snapshot.md"), read) == (8, last)
    assert read.states == table.states


def test_the_group_page_shows_a_state(tmp_path: Path) -> None:
    """The JSON on the page is a whole state, in which the first member has to give up what the second should have."""
    path = tmp_path / "state.json"
    path.write_text(blocks("groups.md", "json")[0])
    state = GroupState.from_fields(read_checkpoint(FileSystem(), str(path), "group"))
    state.check()
    first, second = state.members
    assert state.to_revoke(first) == state.members[second].target == {TopicPartition("orders", 1)}
    assert not state.to_take(second)


def test_the_head_page_is_a_head(tmp_path: Path) -> None:
    """The page on the page maps as a head whose end, slots and recovery point are those of the segment's example."""
    path = tmp_path / "head"
    path.write_bytes(example("head.md"))
    head = Head.open(FileSystem(), str(path), writable=False, home=home_of("orders", 0))
    assert head is not None and path.stat().st_size == 4096
    end = EndState(
        end_offset=4, segment_base=0, position=len(example("segment.md")),
        index_checksum=crc32c.crc32c(example("offset-index.md")), last_indexed=280,
        time_checksum=crc32c.crc32c(example("time-index.md")), index_entries=2, time_entries=1,
        max_timestamp=1_700_000_001_000, last_time_indexed=1_700_000_001_000, first_timestamp=STAMPS[1],
    )  # fmt: skip
    assert head.end_offset == 4
    assert head.end_state() == end == head.recovery_point()
    assert head.durable_end == 4


def test_the_head_page_differs_from_a_real_one_in_random_numbers_only(tmp_path: Path) -> None:
    """All that two heads of one content differ in are the session, the writer and the identity, which are random."""
    real = np.frombuffer((write_example(tmp_path / "log") / "head").read_bytes(), np.uint64)
    shown = np.frombuffer(example("head.md"), np.uint64)
    random = {layouts.HEAD_SESSION, layouts.HEAD_WRITER, layouts.HEAD_IDENTITY}
    assert set(np.flatnonzero(real != shown).tolist()) <= random


def test_the_control_page_shows_one(tmp_path: Path) -> None:
    """The example has the magic number, a session, and the number of changes to topics."""
    write_example(tmp_path / "log")
    real = np.frombuffer((tmp_path / "log" / "control").read_bytes(), np.uint64)
    shown = np.frombuffer(example("control.md"), np.uint64)
    assert shown[0] == layouts.CONTROL_MAGIC and shown[1] != 0 and shown[2] == 1
    assert np.flatnonzero(real != shown).tolist() == [layouts.CONTROL_SESSION]


@pytest.mark.parametrize(
    ("page", "kind", "name"), [("eventlog-json.md", "log", "eventlog.json"), ("topic-json.md", "topic", "topic.json")]
)
def test_the_json_pages_show_whole_files(page: str, kind: str, name: str, tmp_path: Path) -> None:
    """The example passes its own checksum, and has the fields that the package writes today."""
    (shown,) = blocks(page, "json")
    (tmp_path / name).write_text(shown)
    _, fields = read_versioned(FileSystem(), str(tmp_path / name), kind, newest=2)
    partition = write_example(tmp_path / "log")
    written = json.loads({"log": tmp_path / "log" / name, "topic": partition.parent / name}[kind].read_text())
    assert json.loads(shown).keys() == written.keys()
    assert json.loads(shown)["format"] == written["format"]
    if kind == "topic":
        assert TopicConfig(**fields["config"]) == TopicConfig(index_interval_bytes=0)


def test_a_changed_json_example_is_refused(tmp_path: Path) -> None:
    """The checksum is no ornament: the example with one other digit is damaged."""
    (shown,) = blocks("topic-json.md", "json")
    (tmp_path / "topic.json").write_text(shown.replace('"partitions": 1', '"partitions": 2'))
    with pytest.raises(eventlog.CorruptMetadataError):
        read_checkpoint(FileSystem(), str(tmp_path / "topic.json"), "topic")


def test_the_torn_page_shows_what_recovery_keeps(tmp_path: Path) -> None:
    """Bytes behind the last whole batch are kept in a file named by segment and position, as the page shows."""
    directory = write_example(tmp_path / "log")
    whole = (directory / SEGMENT).read_bytes()
    with (directory / SEGMENT).open("ab") as segment:
        segment.write(whole[280:312])
    with eventlog.open(tmp_path / "log") as log:
        recovery = log.topic("orders").partitions[0].recovery
    assert recovery is not None and recovery.torn_copy is not None
    assert Path(recovery.torn_copy).name == f"{0:020d}.torn.{len(whole)}"
    assert Path(recovery.torn_copy).name in (FORMATS / "torn.md").read_text()
    assert Path(recovery.torn_copy).read_bytes() == example("torn.md")


def commit_example(path: Path) -> tuple[OffsetTable, bytes]:
    """Commit what the pages of the committed offsets show; return what it adds up to, and the segment."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(path, clock=clock) as log:
        store = OffsetStore(log._registry, clock, retention_ms=604_800_000)
        orders = [TopicPartition("orders", number) for number in range(2)]
        first, second = OffsetAndMetadata(42, "batch 7"), OffsetAndMetadata(1000, "", 3)
        store.commit("billing", {orders[0]: first, orders[1]: second})
        clock.advance(1)
        store.delete("billing", [orders[1]])
        table = OffsetPartition(log.topic("__consumer_offsets"), 9).ask(lambda table: table)
        return table, (path / "topics" / "__consumer_offsets" / "9" / SEGMENT).read_bytes()


def test_the_page_of_committed_offsets_shows_what_is_written(tmp_path: Path) -> None:
    """The example is, byte for byte, what the commits on the page write, in the partition that the page says."""
    assert example("consumer-offsets.md") == commit_example(tmp_path / "log")[1]


def test_the_page_of_committed_offsets_is_read_as_kafka_has_it() -> None:
    """Read with nothing but the page's tables, which are Kafka's, the example holds the commits on the page."""
    raw = memoryview(example("consumer-offsets.md"))
    first = RecordBatch(raw, 0, len(raw), "__consumer_offsets", 9, home_of("__consumer_offsets", 9))
    second = RecordBatch(raw, first.size, len(raw), "__consumer_offsets", 9, home_of("__consumer_offsets", 9))
    records = [*first.records(), *second.records()]
    key = struct.Struct(">hh7sh6si")
    assert [key.unpack(record.key or b"") for record in records] == [
        (1, 7, b"billing", 6, b"orders", partition) for partition in (0, 1, 1)
    ]
    assert struct.unpack(">hqih7sq", records[0].value or b"") == (3, 42, -1, 7, b"batch 7", 1_700_000_000_000)
    assert struct.unpack(">hqihq", records[1].value or b"") == (3, 1000, 3, 0, 1_700_000_000_000)
    assert records[2].value is None and second.position + second.size == len(raw)


def test_the_page_of_the_snapshot_shows_what_is_written(tmp_path: Path) -> None:
    """The example is, byte for byte, the snapshot of the commits on the page before, and is read back as them."""
    (shown,) = blocks("topic-json.md", "json")
    topic_id = json.loads(shown)["topic_id"]
    table, _ = commit_example(tmp_path / "log")
    write_snapshot(FileSystem(), str(tmp_path / "snapshot"), table, topic_id)
    assert example("offset-snapshot.md") == (tmp_path / "snapshot").read_bytes()
    again = Snapshot(example("offset-snapshot.md"), topic_id).table("__consumer_offsets", 9)
    assert again.next_offset == 3 and list(again.entries()) == list(table.entries())


def journal_example(path: Path) -> bytes:
    """Append the outcomes that the page of the journal shows, and return the segment."""
    with eventlog.open(path, clock=eventlog.ManualClock(1_700_000_000.0)) as log:
        journal = log._coordinator.journal
        journal.create(log._registry)
        parts = (
            TransactionPart("credits", "0f" * 16, partition=0, base_offset=7, end_offset=9, base_sequence=0),
            TransactionPart("debits", "0e" * 16, partition=1, base_offset=3, end_offset=4, base_sequence=5),
        )
        times = 1_700_000_000_000, 1_700_000_000_250
        journal.append(TransactionOutcome(0x1122334455667788, True, "transfer-1", 4711, 2, *times, parts))
        journal.append(aborted(0x2233445566778899, 1_700_000_001_000))
    return (path / "topics" / "__transaction_state" / "0" / SEGMENT).read_bytes()


def test_the_page_of_the_journal_shows_what_is_written(tmp_path: Path) -> None:
    """The example is, byte for byte, what the outcomes on the page come to."""
    assert example("transactions.md") == journal_example(tmp_path / "log")


def test_the_page_of_the_journal_is_read_by_its_tables() -> None:
    """Read with nothing but the page's tables, the example holds the outcomes on the page."""
    raw = memoryview(example("transactions.md"))
    first = RecordBatch(raw, 0, len(raw), "__transaction_state", 0, home_of("__transaction_state", 0))
    second = RecordBatch(raw, first.size, len(raw), "__transaction_state", 0, home_of("__transaction_state", 0))
    assert (first.keys(), second.keys()) == ([b"\0\0\0\x0atransfer-1"], [b"\0\0\0\0"])
    outcome, part = struct.Struct(">hbxQqhqqi"), struct.Struct(">16siqqih")
    (value,), (other,) = first.values(), second.values()
    assert value is not None and other is not None
    stamps = 1_700_000_000_000, 1_700_000_000_250
    assert outcome.unpack_from(value) == (99, 4, 0x1122334455667788, 4711, 2, *stamps, 2)
    assert part.unpack_from(value, outcome.size) == (b"\x0f" * 16, 0, 7, 9, 0, 7)
    assert part.unpack_from(value, outcome.size + part.size + 7) == (b"\x0e" * 16, 1, 3, 4, 5, 6)
    assert outcome.unpack(other) == (99, 5, 0x2233445566778899, -1, -1, 1_700_000_001_000, 1_700_000_001_000, 0)
    assert value.endswith(b"debits") and second.position == 0xF0


def test_the_page_of_a_transactional_id_shows_its_files(tmp_path: Path) -> None:
    """The JSON passes its checksum, the page is one, and both differ from real ones in random numbers alone."""
    clock = eventlog.ManualClock(1_700_000_000.0)
    with eventlog.open(tmp_path / "log", clock=clock) as log:
        log.create_topic("debits")
        with log.producer(transactional_id="transfer-1") as producer:
            with producer.transaction():
                producer.send("debits", b"1")
            clock.advance(1)
            producer.begin_transaction()
            producer.send("debits", b"2")
            directory = tmp_path / "log" / "transactions" / "transfer-1"
            real = np.frombuffer((directory / "control").read_bytes(), np.uint64)
            written = read_checkpoint(FileSystem(), str(directory / "state.json"), "transactional id")
            names = {path.name for path in directory.iterdir()}
    shown = np.frombuffer(example("transactional-id.md"), np.uint64)
    assert shown[0] == layouts.TRANSACTIONAL_MAGIC
    assert set(np.flatnonzero(real != shown).tolist()) <= {layouts.TX_PRODUCER_ID, layouts.TX_PROCESS}
    (tmp_path / "state.json").write_text(blocks("transactional-id.md", "json")[0])
    fields = read_checkpoint(FileSystem(), str(tmp_path / "state.json"), "transactional id")
    assert fields == {**written, "producer_id": shown.item(layouts.TX_PRODUCER_ID)}
    page = (FORMATS / "transactional-id.md").read_text()
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_kind_of_file_has_a_page(tmp_path: Path) -> None:
    """Each file that the example's log consists of is named on the overview of the formats."""
    write_example(tmp_path / "log")
    overview = (FORMATS / "index.md").read_text()
    names = {path.name for path in (tmp_path / "log").rglob("*") if path.is_file()}
    assert len(names) == 10  # the two files called lock count once; that of a process that syncs has a number
    assert [name for name in names if name not in overview and not name.isdecimal()] == []
