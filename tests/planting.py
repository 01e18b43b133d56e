"""A log with every kind of file, what may lie in the place of each, and every call that a user can make."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlog
from eventlog import TopicPartition

KINDS = ("dangling link", "link to a file", "link to a directory", "link to a pipe", "pipe", "socket", "directory")
_TARGETS = {"dangling link": "nowhere", "link to a file": "diary", "link to a directory": "", "link to a pipe": "pipe"}
_PATIENT = 10  # seconds for a delivery, which nothing here should take


def full_log(path: Path) -> None:
    """Make a log with topics, sealed segments, indexes, a torn tail, groups, commits, snapshots and transactions."""
    with eventlog.open(path) as log:
        for name in ("t", "other"):
            partition = log.create_topic(name, partitions=2, segment_bytes=2048, index_interval_bytes=0).partitions[0]
            for number in range(8):
                partition.append([b"%d" % number * 100] * 4, timestamps_ms=1000 + number)
        with log.producer(enable_idempotence=True) as producer:
            for _ in range(40):
                producer.send("t", b"v" * 100, partition=0)
                producer.flush()
        with log.producer(transactional_id="tx") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("t", b"in a transaction", partition=1)
            producer.commit_transaction()
        with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(1.0)
            consumer.commit()


def places(log_path: Path) -> list[str]:
    """Return every file and directory of the log, as paths below it."""
    found = []
    for directory, names, files in os.walk(log_path):
        names.sort()
        found += [os.path.relpath(os.path.join(directory, name), log_path) for name in [*names, *sorted(files)]]
    kept: dict[str, str] = {}
    for place in found:  # one of each kind: fifty partitions are no other places, of segments the first and the last
        if not place.startswith("topics/other"):
            kept[re.sub(r"/\d$|/\d/|[1-9]\d?\.", "/N/", place)] = place
    return list(kept.values())


def plant(path: Path, kind: str, home: Path) -> None:
    """Put something else in the place of whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as made:  # by a short name: such addresses hold a hundred characters
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    elif kind == "directory":
        path.mkdir()
        (path / "note").write_bytes(b"x")
    else:
        os.symlink(home / _TARGETS[kind], path)


def tree(directory: Path) -> list[tuple[Any, ...]]:
    """Return all that is in a directory, with what says that it was changed."""
    found: list[tuple[Any, ...]] = []
    for here, names, files in os.walk(directory):
        for name in sorted([*names, *files]):
            path = Path(here, name)
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found.append((str(path), status.st_mode, status.st_ino, status.st_mtime_ns, content))
    return sorted(found)


def _calls(log: eventlog.EventLog) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "topics", lambda: log.topics(include_internal=True)
    for name, number in (("t", 0), ("t", 1), ("other", 0)):
        yield from _partition_calls(lambda name=name, number=number: log.topic(name).partitions[number])
    yield "groups", log.groups
    yield "group", lambda: log.group("g")
    yield "member", lambda: _consume(log)
    yield "commit", lambda: _commit_alone(log)
    yield "transactions", log.transactions
    yield "recent", log.recent_transactions
    yield "verify transactions", log.verify_transactions
    yield "transaction", lambda: _transact(log)
    yield "send", lambda: _send(log)
    yield "create", lambda: log.create_topic("new")
    yield "grow", lambda: log.topic("t").add_partitions(8)
    yield "seventh", lambda: log.topic("t").partitions[7].append([b"x"])
    yield "flush", log.flush
    yield "delete group", lambda: log.delete_group("g")
    yield "delete topic", lambda: log.delete_topic("t")


def _partition_calls(of: Callable[[], eventlog.Partition]) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "read", lambda: of().read(0)
    yield "verify", lambda: of().verify()
    yield "times", lambda: of().offset_for_time(1004)
    yield "append", lambda: of().append([b"n" * 900] * 3)
    yield "durable append", lambda: of().append([b"n"], durability="disk")
    yield "size", lambda: of().size_bytes


def _consume(log: eventlog.EventLog) -> None:
    with log.consumer("t", "other", group="g", auto_offset_reset="earliest") as consumer:
        consumer.poll(0.0)
        consumer.commit()


def _commit_alone(log: eventlog.EventLog) -> None:
    with log.consumer(group="new", auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition("other", 0)])
        consumer.poll(0.0)
        consumer.commit()


def _transact(log: eventlog.EventLog) -> None:
    for name in ("tx", "new"):
        with log.producer(transactional_id=name, delivery_timeout_ms=2000, linger_ms=0) as producer:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("other", b"x")
            producer.commit_transaction()


def _send(log: eventlog.EventLog) -> None:
    with log.producer(linger_ms=0, delivery_timeout_ms=2000) as producer:
        for name in ("t", "other"):
            producer.send(name, b"x").result(timeout=_PATIENT)


def every_call(log_path: Path) -> list[str]:
    """Open the log to read and to write, make every call, and return what was no EventLogError of this log's place."""
    unexpected: list[str] = []

    def attempt(what: str, call: Callable[[], object]) -> Any:
        try:
            return call()
        except eventlog.EventLogError as error:
            if getattr(error, "path", None) is None and not error.coordinates:
                unexpected.append(f"{what}: names nothing: {error!r}")
        except BaseException as error:
            unexpected.append(f"{what}: {error!r}")
        return None

    for readonly in (True, False):
        log = attempt("open", lambda readonly=readonly: eventlog.open(log_path, readonly=readonly))
        if log is None:
            continue
        for what, call in _calls(log):
            attempt(f"{what} ({'readonly' if readonly else 'writing'})", call)
        attempt("close", log.close)
    return unexpected
