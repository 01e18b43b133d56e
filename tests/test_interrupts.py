"""An interrupt may arrive between any two bytecodes, and harms nothing.

A real timer's signal raises KeyboardInterrupt at a random moment of a call, thousands of times over. The delays are
drawn from a seeded generator, so that the moments spread over the whole call; a moment of the clock itself cannot be
repeated, and each test holds for all of them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.format.producer_stamp import ProducerStamp
from tests.interrupting import Interrupter, typical_seconds

pytestmark = [
    pytest.mark.timeout(300, method="thread"),  # the other method would take the alarm signal for itself
    # Python swallows an interrupt that arrives within a finalizer.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROUNDS = 3000

APPEND_ONE = """
import sys, eventlog
with eventlog.open(sys.argv[1]) as log:
    print(log.topic("t").partitions[0].append([b"from another process"]).base_offset)
"""


def _read(partition: eventlog.Partition) -> list[bytes | None]:
    values: list[bytes | None] = []
    while batches := partition.read(len(values)):
        for batch in batches:
            assert batch.base_offset == len(values)
            values += batch.values()
    return values


def _assert_free(path: Path, partition: eventlog.Partition) -> None:
    """Another process can append at once: nobody holds the partition's lock."""
    done = subprocess.run([sys.executable, "-c", APPEND_ONE, str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert partition.log_end_offset == int(done.stdout) + 1
    assert partition.verify().ok


def _longest_delay(function: Callable[[], Any]) -> float:
    """Call it 50 times; return a little more than what it takes, so that about every second interrupt falls into it."""
    return 3 * typical_seconds(function, 50)


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_an_interrupted_append_tells_whether_it_was_written(
    tmp_path: Path, interrupter: Interrupter, durability: str
) -> None:
    """An append that is interrupted has written its records or not, as its note and append_result say."""
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", segment_bytes=4096, index_interval_bytes=512).partitions[0]
        longest = _longest_delay(lambda: partition.append([b"warm"], [b"k"], durability=durability))
        expected: list[bytes | None] = [b"warm"] * 50
        for number in interrupter.rounds(ROUNDS if durability == "os" else ROUNDS // 5):
            values = [b"%d" % number] * (1 + number % 3)
            result, interrupt = interrupter.call(
                lambda values=values: partition.append(values, [b"k"] * len(values), durability=durability), longest
            )
            written = result if interrupt is None else getattr(interrupt, "append_result", None)
            if written is not None:
                assert (written.base_offset, written.last_offset) == (
                    len(expected),
                    len(expected) + len(values) - 1,
                )
                expected += values
            if interrupt is not None:
                for note in getattr(interrupt, "__notes__", []):
                    assert ("were not written" in note) == (written is None)
            assert partition.log_end_offset == len(expected)
        assert _read(partition) == expected
        _assert_free(tmp_path, partition)


@pytest.mark.parametrize("is_own", [True, False])
def test_an_interrupted_append_of_a_producer_can_be_repeated(
    tmp_path: Path, interrupter: Interrupter, is_own: bool
) -> None:
    """Whoever repeats an interrupted append with the same stamp, whatever became of it, gets exactly one copy."""
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", segment_bytes=4096, index_interval_bytes=512).partitions[0]
        stamp = ProducerStamp(7, 0, 0)
        expected: list[bytes | None] = []

        def append(values: list[bytes], stamp: ProducerStamp) -> eventlog.AppendResult:
            batches = partition.encode(values, stamp=stamp)
            return partition.log.writer.append(batches, None, stamp, is_own=is_own)

        longest = _longest_delay(lambda: partition.append([b"warm"]))
        expected += [b"warm"] * 50
        for number in interrupter.rounds(ROUNDS):
            values = [b"%d" % number] * (1 + number % 3)
            result, patience = None, longest
            while result is None:
                result, _ = interrupter.call(lambda values=values, stamp=stamp: append(values, stamp), patience)
                patience *= 2  # the next one has to take over first
            assert (result.base_offset, result.last_offset) == (len(expected), len(expected) + len(values) - 1)
            expected += values
            if number % 5 == 0:
                again = append(values, stamp)
                assert again[:2] == result[:2]
            stamp = stamp.after(len(values))
            assert partition.log_end_offset == len(expected)
        assert _read(partition) == expected
        _assert_free(tmp_path, partition)


def test_an_interrupted_producer_neither_loses_nor_doubles_a_record(tmp_path: Path, interrupter: Interrupter) -> None:
    """Whatever was interrupted, each record is there once after the last flush, and its delivery tells where."""
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t", segment_bytes=1 << 16).partitions[0]
        producer = log.producer(batch_size=600, linger_ms=1)
        longest = _longest_delay(lambda: [producer.send("t", b"warm"), producer.flush()])
        accepted: dict[bytes, eventlog.Delivery] = {}
        sent = 50
        for number in interrupter.rounds(ROUNDS):
            value = b"%d" % number
            key = b"k" if number % 4 == 0 else None
            sent += 1
            delivery, _ = interrupter.call(lambda value=value, key=key: producer.send("t", value, key), longest / 2)
            if delivery is not None:
                accepted[value] = delivery
            if number % 3 == 0:
                interrupter.call(producer.flush, longest)
            if number % 7 == 0 and delivery is not None:
                interrupter.call(delivery.result, longest)
        producer.flush()
        values = _read(partition)
        counts = Counter(values)
        assert counts.pop(b"warm") == 50
        assert {value for value, count in counts.items() if count > 1} == set()
        assert {value for value in accepted if value not in counts} == set()
        assert [value for value, delivery in accepted.items() if values[delivery.result().offset] != value] == []
        assert len(values) <= sent
        assert values == [b"warm"] * 50 + sorted((v for v in counts if v is not None), key=int)
        _assert_free(tmp_path, partition)
        producer.close()


def test_an_interrupted_close_of_a_producer_can_be_repeated(tmp_path: Path, interrupter: Interrupter) -> None:
    """A producer whose close was interrupted writes what still waits when it is closed again."""
    with eventlog.open(tmp_path) as log:
        partition = log.create_topic("t").partitions[0]
        for number in interrupter.rounds(150):
            producer = log.producer(linger_ms=1000)
            producer.send("t", b"%d" % number)
            interrupter.call(producer.close, 400e-6)
            producer.close()
            assert partition.log_end_offset == number + 1


@pytest.mark.parametrize("call", ["poll", "poll_batches"])
def test_an_interrupted_poll_passes_no_record_by(tmp_path: Path, interrupter: Interrupter, call: str) -> None:
    """Records of a poll that was interrupted come again with the next one: none is missing, none comes twice."""
    with eventlog.open(tmp_path) as log:
        partitions = log.create_topic("t", partitions=2, segment_bytes=4096).partitions
        for partition in partitions:
            for number in range(400):
                partition.append([b"%d-%d" % (number, place) for place in range(3)])
        consumer = log.consumer("t", auto_offset_reset="earliest", max_poll_records=20, fetch_max_bytes=500)

        def poll() -> list[tuple[int, int]]:
            if call == "poll":
                return [(record.partition, record.offset) for record in consumer.poll()]
            batches = consumer.poll_batches()
            return [(batch.partition, offset) for batch in batches for offset in batch.offsets.tolist()]

        for _ in interrupter.rounds(4):
            consumer.seek_to_beginning()
            seen = _poll_all(consumer, poll, interrupter)
            for number in range(2):
                assert [offset for partition, offset in seen if partition == number] == list(range(1200))
        assert interrupter.call(lambda: consumer.poll(timeout=0.2), 1e-3)[1] is not None
        partitions[0].append([b"last"])
        assert [record.value for record in consumer.poll(timeout=5)] == [b"last"]


def _poll_all(
    consumer: eventlog.Consumer, poll: Callable[[], list[tuple[int, int]]], interrupter: Interrupter
) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    while True:
        # Only what happens inside the library counts: here an interrupt behind its return is undone by hand.
        before = {tp: consumer.position(tp) for tp in consumer.assignment()}
        found, interrupt = interrupter.call(poll, 1e-3)
        if interrupt is None:
            if not found:
                return seen
            seen += found
        elif not _raised_inside(interrupt):
            for tp, offset in before.items():
                consumer.seek(tp, offset)


def _raised_inside(interrupt: KeyboardInterrupt) -> bool:
    """Tell whether a consumer's call was under way: its frames are in the traceback."""
    frames = []
    trace = interrupt.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return any(name.endswith(("fetcher.py", "partition_reader.py")) for name in frames)


def test_an_interrupted_administrator_leaves_the_log_usable(tmp_path: Path, interrupter: Interrupter) -> None:
    """Creating, growing and deleting a topic can be interrupted anywhere: each has happened or not, and can be
    repeated, by this process and by others.
    """
    with eventlog.open(tmp_path) as log:

        def change() -> None:
            topic = log.create_topic("t", exist_ok=True)
            topic.partitions[0].append([b"x"])
            topic.add_partitions(2)
            log.delete_topic("t")

        longest = _longest_delay(change) / 2
        for _ in interrupter.rounds(150):
            interrupter.call(change, longest)
            with contextlib.suppress(eventlog.UnknownTopicError):
                assert set(_read(log.topic("t").partitions[0])) <= {b"x"}
        partition = log.create_topic("t", exist_ok=True).partitions[0]
        partition.append([b"x"])
        _assert_free(tmp_path, partition)
