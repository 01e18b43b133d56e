"""The recipes for a graceful stop, as docs/how-to/signals.md has them, in processes that are sent SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import eventlog
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs/how-to/signals.md"
RUN = """
import os, sys
def handle(value):
    if value == b"9":
        os.write(1, b"going\\n")
    return value
serve(sys.argv[1], handle)
print("stopped")
"""
RUN_ASYNC = """
import os, sys
def handle(value):
    if value == b"9":
        os.write(1, b"going\\n")
    return value
log = eventlog.open(sys.argv[1])
asyncio.run(serve_async(log, handle))
log.close()
print("stopped")
"""


@pytest.mark.parametrize("run", [RUN, RUN_ASYNC], ids=["threads", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_recipe_stops_gracefully(log_path: Path, run: str, number: signal.Signals) -> None:
    """The process ends by itself; each record it has polled is handled and committed, and it has left its group."""
    with eventlog.open(log_path) as log:
        log.create_topic("invoices")
        orders = log.create_topic("orders").partitions[0]
        code = "".join(code for _, code in blocks(PAGE))
        from_the_first = code.replace("_commit=False", "_commit=False, auto_offset_reset='earliest'")
        process = subprocess.Popen(
            [sys.executable, "-c", from_the_first + run, str(log_path)],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        orders.append([b"%d" % number for number in range(10)])
        assert process.stdout.readline() == b"going\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == b"stopped\n"
        assert process.returncode == 0
        assert log.group("billing").members == ()
        with log.consumer(group="billing") as consumer:
            committed = consumer.committed(eventlog.TopicPartition("orders", 0))
        assert committed is not None
        invoices = [value for batch in log.topic("invoices").partitions[0].read(0) for value in batch.values()]
        assert invoices == [b"%d" % number for number in range(committed.offset)]
        assert committed.offset == 10
