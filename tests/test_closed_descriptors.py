"""Other code of the process may close every descriptor, as daemons do: no file of others is closed or written to."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from tests.conftest import RunPython

SCRIPT = """
import os, eventlog
path, reused, others = ARGS[0], ARGS[1] == "True", ARGS[2]
os.mkdir(others)
log = eventlog.open(path)
partition = log.create_topic("t", segment_bytes=4096).partitions[0]
producer = log.producer(linger_ms=0)
consumer = log.consumer("t", group="g", auto_offset_reset="earliest", enable_auto_commit=False)
transactional = log.producer(transactional_id="tx", linger_ms=0)
transactional.init_transactions()
acknowledged, errors, wrong = [], [], []

def attempt(what, call):
    try:
        return call()
    except eventlog.EventLogError as error:
        errors.append([what, type(error).__name__, str(error)])
    except BaseException as error:
        wrong.append([what, repr(error)])

def append(value, durability=None):
    if attempt("append", lambda: partition.append([value], durability=durability)) is not None:
        acknowledged.append(value.decode())

def send(value):
    if attempt("send", lambda: producer.send("t", value).result(timeout=20)) is not None:
        acknowledged.append(value.decode())

def commit():
    consumer.poll(0.0)
    consumer.commit()

def transact(value):
    with transactional.transaction():  # which aborts it when it fails
        transactional.send("t", value)
    acknowledged.append(value.decode())

append(b"first"); append(b"second", "disk"); send(b"third"); commit(); transact(b"fourth")
foreign = {}
for round in range(3):
    for fd in foreign: os.close(fd)
    foreign.clear()
    os.closerange(3, 512)
    for number in range(200 if reused else 0):
        name = f"{others}/{round}-{number}"
        foreign[os.open(name, os.O_RDWR | os.O_CREAT)] = name
    for fd, name in foreign.items(): os.write(fd, b"precious")
    for again in range(2):
        append(f"{round} {again} appended".encode())
        append(f"{round} {again} durable".encode(), "disk")
        send(f"{round} {again} sent".encode())
        attempt("commit", commit)
        attempt("transaction", lambda: transact(f"{round} {again} transaction".encode()))
        if again == 0: told, errors[:] = len(errors), errors
    last = errors[told:]
attempt("close", log.close)
for fd, name in foreign.items():
    if os.fstat(fd).st_ino != os.stat(name).st_ino: wrong.append(["closed", name])
for entry in os.scandir(others):
    content = open(entry.path, "rb").read()
    if content != b"precious": wrong.append([entry.name, repr(content[:50])])
answer([acknowledged, errors, wrong, last])
"""


@pytest.mark.parametrize("reused", [False, True], ids=["closed", "closed and used by other files"])
def test_descriptors_that_other_code_has_closed(tmp_path: Path, run_python: RunPython, reused: bool) -> None:
    """A call works, or says that a descriptor was closed; a second one works; what was acknowledged is there.

    Files that got the numbers are neither closed nor written to, also when the log is closed.
    """
    acknowledged, errors, wrong, last = run_python(SCRIPT, tmp_path / "log", reused, tmp_path / "others")
    assert wrong == []
    assert last == []
    for what, kind, message in errors:
        assert kind in ("StorageError", "TransactionAbortedError", "CommitFailedError"), (what, kind, message)
        assert kind != "StorageError" or "closed a descriptor" in message, (what, message)
    assert len(acknowledged) >= 4 + 3 * 4
    with eventlog.open(tmp_path / "log") as log:
        found = [value for batch in log.topic("t").partitions[0].read(0, 1 << 20) for value in batch.values()]
        assert set(acknowledged) <= {value.decode() for value in found if value is not None}
        assert log.topic("t").partitions[0].verify().ok
