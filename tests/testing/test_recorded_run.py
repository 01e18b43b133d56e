"""The log itself under the checker: threads that write, read in a group, come and go, and note what they do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import eventlog
from eventlog import TopicPartition
from eventlog.testing.checker import check, check_chain, observed_logs
from eventlog.testing.history import Assign, Poll, Recorder, Send, read_history

PARTITIONS = [TopicPartition("orders", number) for number in range(3)]
RECORDS = 300  # by each of the producers


class Noting(eventlog.RebalanceListener):
    """Notes what a member has, whenever that changes."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.consumer: eventlog.Consumer | None = None

    def on_partitions_assigned(self, partitions: list[TopicPartition]) -> None:
        self.note(set())

    def on_partitions_revoked(self, partitions: list[TopicPartition]) -> None:
        self.note(set(partitions))

    def note(self, without: set[TopicPartition]) -> None:
        assert self.consumer is not None
        mine = [partition for partition in self.consumer.assignment() if partition not in without]
        self.recorder.ok("assign", Assign({partition: self.consumer.position(partition) for partition in mine}))


def noted_poll(consumer: eventlog.Consumer, recorder: Recorder) -> list[int]:
    found: dict[TopicPartition, list[tuple[int, int]]] = {}
    for record in consumer.poll(timeout=0.05, max_records=20):
        assert record.value is not None
        found.setdefault(TopicPartition(record.topic, record.partition), []).append((record.offset, int(record.value)))
    recorder.ok("poll", Poll(found))
    return [value for records in found.values() for _, value in records]


def produce(log: eventlog.EventLog, path: Path, first: int) -> None:
    """Send in ones and in lists, without waiting for one before sending the next."""
    with Recorder(path / f"p{first}", f"p{first}") as recorder, log.producer(linger_ms=1) as producer:
        for at in range(first, first + RECORDS, 10):
            waiting = []
            for value in range(at, at + 10):
                partition = PARTITIONS[value // 7 % 3]
                recorder.invoke("send", Send(partition, value))
                delivery = producer.send("orders", str(value).encode(), partition=partition.partition)
                waiting.append((Send(partition, value), delivery))
            for send, delivery in waiting:
                offset = delivery.result(timeout=30).offset
                recorder.ok("send", Send(send.partition, send.value, offset))


def consume(log: eventlog.EventLog, path: Path, name: str, seen: set[int], enough: int) -> None:
    """Be a member until this many different records were seen by all members together."""
    with Recorder(path / name, name) as recorder:
        listener = Noting(recorder)
        with log.consumer(group="g", auto_offset_reset="earliest") as consumer:
            listener.consumer = consumer
            consumer.subscribe(["orders"], listener=listener)
            while len(seen) < enough:
                seen.update(noted_poll(consumer, recorder))


def drain(log: eventlog.EventLog, path: Path) -> None:
    with Recorder(path / "drain", "drain") as recorder, log.consumer() as consumer:
        consumer.assign(PARTITIONS)
        consumer.seek_to_beginning(*PARTITIONS)
        recorder.ok("assign", Assign(dict.fromkeys(PARTITIONS, 0)))
        ends = consumer.end_offsets(PARTITIONS)
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            noted_poll(consumer, recorder)


def run(log: eventlog.EventLog, path: Path) -> None:
    seen: set[int] = set()
    everything = set(range(3 * RECORDS))
    with ThreadPoolExecutor(6) as pool:
        working = [pool.submit(produce, log, path, first) for first in range(0, 3 * RECORDS, RECORDS)]
        for name, share in (("leaves", 0.1), ("leaves later", 0.5), ("stays", 1.0)):
            working.append(pool.submit(consume, log, path, name, seen, int(share * len(everything))))
        for done in as_completed(working, timeout=120):
            done.result()
    drain(log, path)
    assert seen == everything


def test_a_run_of_threads_on_a_real_log_is_consistent(log: eventlog.EventLog, tmp_path: Path) -> None:
    """Producers that overlap, members that come and go, and one that reads everything: no anomaly of any kind."""
    log.create_topic("orders", partitions=3)
    notes = tmp_path / "notes"
    notes.mkdir()
    run(log, notes)
    history = read_history(notes.iterdir())
    report = check(history)
    assert report.ok, str(report)
    assert report.counts["acknowledged"] == report.counts["polled"] == 3 * RECORDS
    logs = observed_logs(history)
    assert check_chain(range(3 * RECORDS), [value for found in logs.values() for value in found.values()]).ok
    for partition, found in logs.items():
        written = [v for batch in log.topic("orders").partitions[partition.partition].read(0) for v in batch.values()]
        assert [str(value).encode() for value in found.values()][: len(written)] == written
