"""Histories: what was noted is read again, whoever died while writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.model import TopicPartition
from eventlog.testing.history import (
    Assign,
    HistoryError,
    Operation,
    Poll,
    Recorder,
    Send,
    decode,
    encode,
    read_history,
    write_history,
)

ORDERS = TopicPartition("orders", 0)
ROOT = Path(__file__).resolve().parents[2]

partitions = st.builds(TopicPartition, st.text(max_size=4), st.integers(0, 99))
values = st.integers() | st.text(max_size=6)
offsets = st.integers(0, 2**63 - 1)
actions = (
    st.builds(Send, partitions, values, offsets | st.none())
    | st.builds(Poll, st.dictionaries(partitions, st.lists(st.tuples(offsets, values), max_size=3).map(tuple)))
    | st.builds(Assign, st.dictionaries(partitions, offsets | st.none()))
)
operations = st.builds(
    Operation,
    st.text(max_size=5),
    st.integers(0, 2**63 - 1),
    st.sampled_from(["invoke", "ok", "fail", "info"]),
    st.sampled_from(["send", "poll", "txn", "commit", "assign", "crash", "fault"]),
    st.lists(actions, max_size=3).map(tuple),
)


def send(value: int, time_ns: int, process: str = "p") -> Operation:
    return Operation(process, time_ns, "ok", "send", (Send(ORDERS, value, value),))


@given(operations)
def test_an_operation_is_one_line_that_says_all_of_it(operation: Operation) -> None:
    """What is written for an operation is a single line, and reads as an equal operation."""
    line = encode(operation)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == operation


def test_files_are_merged_in_order_of_time(tmp_path: Path) -> None:
    """Notes of several processes come in order of time; those of one moment keep the order of their file."""
    write_history(tmp_path / "a", [send(1, 10), send(2, 30), send(3, 30)])
    write_history(tmp_path / "b", [send(4, 20), send(5, 40)])
    merged = read_history([tmp_path / "b", tmp_path / "a"])
    assert [operation.actions[0].value for operation in merged] == [1, 4, 2, 3, 5]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """However much of the last line is there, everything before it is read, and nothing else."""
    whole = encode(send(1, 1)) + encode(send(2, 2))
    for cut in range(len(encode(send(1, 1))), len(whole)):
        (tmp_path / "h").write_bytes(whole[:cut])
        assert read_history([tmp_path / "h"]) == [send(1, 1)]


def test_a_recorder_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    """A process that comes after one that died within a line loses none of its own notes to it."""
    path = tmp_path / "h"
    path.write_bytes(encode(send(1, 1)) + encode(send(2, 2))[:-1])
    with Recorder(path, "q", clock=lambda: 3) as recorder:
        recorder.ok("send", Send(ORDERS, 3, 3))
    assert read_history([path]) == [send(1, 1), send(3, 3, "q")]


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b"nonsense", b"", b"\xff\xfe",
        b'{"time_ns":1,"process":"p","kind":"maybe","what":"send","actions":[]}',
        b'{"time_ns":1,"process":"p","kind":"ok","what":"sned","actions":[]}',
        b'{"time_ns":1,"process":"p","kind":"ok","what":"send","actions":[{"snd":["t",0,1,1]}]}',
        b'{"time_ns":1,"process":"p","kind":"ok","what":"send","actions":[{"send":["t",0]}]}',
    ],
)  # fmt: skip
def test_any_other_damage_is_an_error_that_says_where(tmp_path: Path, line: bytes) -> None:
    """A whole line that is no operation is never passed over: the error names file and line."""
    path = tmp_path / "h"
    path.write_bytes(encode(send(1, 1)) + line + b"\n")
    with pytest.raises(HistoryError, match=r"line=2") as caught:
        read_history([path])
    assert caught.value.path == str(path)


def test_an_operation_is_of_a_known_kind() -> None:
    """A slip in what a program notes is found when it notes it, and not by a check that sees nothing."""
    with pytest.raises(ValueError, match="sned"):
        Operation("p", 1, "ok", "sned")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="done"):
        Operation("p", 1, "done", "send")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        encode(send(b"bytes", 1))  # type: ignore[arg-type]


def test_notes_have_the_time_and_the_kind_they_were_made_with(tmp_path: Path) -> None:
    """Each method of the recorder notes its kind, and the monotonic clock's time of the call."""
    times = iter(range(5))
    with Recorder(tmp_path / "h", "p", clock=lambda: next(times)) as recorder:
        recorder.invoke("txn")
        recorder.fail("txn", Send(ORDERS, 1))
        recorder.info("send", Send(ORDERS, 2))
        recorder.ok("poll", Poll({ORDERS: ((0, 1),)}))
        recorder.ok("assign", Assign({ORDERS: None}))
    noted = [(operation.time_ns, operation.kind, operation.what) for operation in read_history([tmp_path / "h"])]
    assert noted == [
        (0, "invoke", "txn"), (1, "fail", "txn"), (2, "info", "send"), (3, "ok", "poll"), (4, "ok", "assign")
    ]  # fmt: skip


def test_threads_share_a_recorder(tmp_path: Path) -> None:
    """Notes of several threads are whole lines, and none is missing."""
    with Recorder(tmp_path / "h", "p") as recorder:

        def note(first: int) -> None:
            for value in range(first, first + 200):
                recorder.ok("send", Send(ORDERS, value, value))

        threads = [threading.Thread(target=note, args=(first,)) for first in range(0, 800, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(operation.actions[0].value for operation in read_history([tmp_path / "h"])) == list(range(800))


def test_what_was_noted_outlives_a_killed_process(tmp_path: Path) -> None:
    """After kill -9 every note that the process had finished is in the file."""
    script = (
        "import sys\n"
        "from eventlog.testing.history import *\n"
        "recorder, value = Recorder(sys.argv[1], 'p'), 0\n"
        "while True:\n"
        "    recorder.ok('send', Send(TopicPartition('orders', 0), value, value))\n"
        "    print(value, flush=True)\n"
        "    value += 1\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "h")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 200:
                os.kill(child.pid, signal.SIGKILL)
                break
        rest = child.stdout.read().split()
    noted = int(([line, *rest])[-1])  # a number is printed whole: it is shorter than a pipe's atomic write
    recorded = [operation.actions[0].value for operation in read_history([tmp_path / "h"])]
    assert recorded == list(range(len(recorded)))
    assert len(recorded) >= noted + 1


def test_a_note_that_is_not_written_whole_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A full disk ends the run with an error: a history with holes would prove nothing."""
    with Recorder(tmp_path / "h", "p") as recorder:
        monkeypatch.setattr(os, "write", lambda fd, line: len(line) - 1)
        with pytest.raises(OSError, match="disk full"):
            recorder.ok("poll")


def test_closing_twice_is_allowed(tmp_path: Path) -> None:
    """A recorder that was closed stays closed, and writes into no other file that got its number."""
    recorder = Recorder(tmp_path / "h", "p")
    recorder.close()
    recorder.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        recorder.ok("poll")
