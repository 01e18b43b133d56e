"""Damage of one place in ``__consumer_offsets`` or in the journal: what is committed is known, or named as lost.

Groups commit, and transactions run, before and after; nothing but an EventLogError ever comes of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

import eventlog
from tests.damage.model import batches_of
from tests.damage.mutations import MUTATIONS

IN = eventlog.TopicPartition("in", 0)
SEEDS = int(os.environ.get("DAMAGE_SEEDS", "1"))


def work(log: eventlog.EventLog, start: int, count: int) -> None:
    """Transactions, each of one record and one commit, by a producer that fences the one before."""
    with log.producer(transactional_id="mover") as producer:
        producer.init_transactions()
        for number in range(start, start + count):
            producer.begin_transaction()
            producer.send("out", b"%06d" % number, partition=0)
            group = eventlog.GroupMetadata("movers")
            producer.send_offsets_to_transaction({IN: eventlog.OffsetAndMetadata(number + 1, "")}, group)
            producer.commit_transaction()


@pytest.fixture(scope="module", params=[False, True], ids=["closed", "killed"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with forty transactions in it."""
    path = tmp_path_factory.mktemp("written") / "log"
    pid = os.fork()
    if pid == 0:
        try:
            with eventlog.open(path) as log:
                log.create_topic("in").partitions[0].append([b"%d" % number for number in range(100)])
                log.create_topic("out")
                work(log, 0, 40)
                if request.param:
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return path


def committed(log: eventlog.EventLog) -> int | None:
    """The group's committed offset; None when the log says that it may be lost."""
    with log.consumer(group="movers") as consumer:
        try:
            found = consumer.committed(IN)
        except eventlog.CorruptSegmentError:
            return None
    return None if found is None else found.offset


def largest(path: Path, topic: str) -> Path:
    """The segment that has been written to: the others of an internal topic's partitions are empty."""
    return max((path / "topics" / topic).rglob("*.log"), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__transaction_state", "out"])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_everything_goes_on(written: Path, tmp_path: Path, topic: str, mutation: object) -> None:
    """Offsets are the last ones or named as lost, records are right, and commits and transactions work."""
    for seed in range(SEEDS):
        path = shutil.copytree(written, tmp_path / str(seed))
        segment = largest(path, topic)
        raw = segment.read_bytes()
        mutated = mutation(raw, random.Random(seed))  # type: ignore[operator]
        last = [batch for batch in batches_of(raw) if batch.size][-1]
        hits_the_end = not mutated.spares(last.position, last.position + last.size)
        print(segment.relative_to(path), seed, mutated.name)
        segment.write_bytes(mutated.content)
        with eventlog.open(path, readonly=True) as log:
            log.verify_transactions()
            records(log)
        for _ in range(2):
            with eventlog.open(path) as log:
                offset = committed(log)
                # Nobody can tell the damaged end of a log that was never synced from a torn write: what was decided
                # there was never acknowledged as durable.
                is_old = hits_the_end and topic != "out"
                assert offset == 40 or (offset is None and topic == "__consumer_offsets") or (is_old and offset <= 40)
                log.verify_transactions()
                found = records(log)
                assert all(value == b"%06d" % number for number, value in found.items() if number < 40)
        with eventlog.open(path) as log:
            work(log, 40, 3)
            assert committed(log) == 43
            with log.consumer(group="others") as consumer:
                consumer.assign([IN])
                consumer.commit({IN: eventlog.OffsetAndMetadata(5)})
                assert consumer.committed(IN).offset == 5  # type: ignore[union-attr]
        with eventlog.open(path) as log:
            assert committed(log) == 43
            assert list(records(log).values())[-3:] == [b"000040", b"000041", b"000042"]


def records(log: eventlog.EventLog) -> dict[int, bytes | None]:
    """All records that can be read, by offset."""
    partition = log.topic("out").partitions[0]
    values: dict[int, bytes | None] = {}
    offset = 0
    while offset < partition.log_end_offset:
        try:
            for batch in partition.read(offset):
                values |= dict(zip(batch.offsets.tolist(), batch.values(), strict=True))
                offset = batch.last_offset + 1
        except eventlog.CorruptSegmentError as error:
            assert error.next_offset is not None
            offset = error.next_offset
    return values
