"""What the tests of a look at transactions share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import eventlog

ROOT = Path(__file__).resolve().parents[2]
_CHILD = """
import os, signal, sys
import eventlog
from eventlog.coordination.transaction_journal import TransactionJournal
from eventlog.storage.prepared_append import PreparedAppend

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[2]
if where == "journal":  # before the commit point
    TransactionJournal.append = die
if where == "publish":  # behind it
    PreparedAppend.publish = die
log = eventlog.open(sys.argv[1])
producer = log.producer(transactional_id="transfer")
producer.init_transactions()
producer.begin_transaction()
producer.send("debits", b"1")
producer.send("credits", b"1")
if where == "open":
    die()
if where == "stay":
    print("open", flush=True)
    sys.stdin.read()
producer.commit_transaction()
"""


@contextlib.contextmanager
def child(log_path: Path, where: str) -> Iterator[subprocess.Popen[str]]:
    """A process that writes one transaction, and is killed at that place."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(log_path), where], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def killed(log_path: Path, where: str) -> int:
    """Run such a process to its end, and return its id."""
    with child(log_path, where) as process:
        assert process.wait(timeout=60) == -9
        return process.pid


def create_topics(log: eventlog.EventLog) -> None:
    """Make the topics that the processes write to."""
    log.create_topic("debits")
    log.create_topic("credits")


def transfer(producer: eventlog.Producer, value: bytes = b"1") -> None:
    """Write one transaction to both topics."""
    with producer.transaction():
        producer.send("debits", value)
        producer.send("credits", value)
