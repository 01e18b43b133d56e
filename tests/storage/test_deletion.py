"""A topic may be deleted between any two steps of an append: the append is told so, and nothing else breaks."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.files.filesystem import FileSystem


class Interrupted(FileSystem):
    """Real files; ``act`` is called once, before the n-th next call that reaches one."""

    def __init__(self) -> None:
        self.left = -1
        self.act: Callable[[], None] = lambda: None
        for name in dir(FileSystem):
            if not name.startswith("_"):
                setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.act()
            return call(*args, **options)

        return counted


class Creator(threading.Thread):
    """Makes a topic and writes to it; ``began`` is set once it must wait for the old topic's lock, or has written."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__()
        self.began = threading.Event()
        self._path, self._name = path, name

    def run(self) -> None:
        fs = FileSystem()
        fs.open = self._open  # type: ignore[method-assign]
        with eventlog.EventLog(self._path, filesystem=fs) as log:
            log.create_topic(self._name).partitions[0].append([b"new"])
        self.began.set()

    def _open(self, path: str, *args: Any) -> int:
        fd = os.open(path, *args)
        if "~gone" in path and path.endswith("0/lock"):
            self.began.set()
        return fd


@pytest.mark.parametrize("durability", ["os", "disk"])
@pytest.mark.parametrize("made_anew", [False, True])
def test_a_topic_whose_name_vanishes_before_any_call(tmp_path: Path, durability: str, made_anew: bool) -> None:
    """Appends then succeed or answer UnknownTopicError, and a new topic of the same name stays untouched.

    Whoever deletes dies after its rename, so that no head says that the topic is gone.
    """
    fs = Interrupted()
    topics = tmp_path / "topics"
    with eventlog.EventLog(tmp_path, filesystem=fs) as log:
        for n in itertools.count(1):
            name = f"t{n}"
            partition = log.create_topic(name, segment_bytes=4096).partitions[0]
            for _ in range(3):
                partition.append([b"v" * 3000])
            creator = Creator(tmp_path, name)

            def vanish(name: str = name, creator: Creator = creator) -> None:
                os.rename(topics / name, topics / f"~gone-{name}")
                if made_anew:
                    creator.start()
                    assert creator.began.wait(60)

            fs.act, fs.left = vanish, n
            with contextlib.suppress(eventlog.UnknownTopicError):
                for _ in range(4):
                    partition.append([b"v" * 3000], durability=durability)
                if fs.left > 0:
                    break  # there is no call that was not tried
            with pytest.raises(eventlog.UnknownTopicError):
                while True:
                    partition.append([b"v" * 3000], durability=durability)
            if made_anew:
                creator.join(60)
                assert [batch.values() for batch in log.topic(name).partitions[0].read(0)] == [[b"new"]]
                files = {os.path.splitext(file)[0] for file in os.listdir(topics / name / "0")}
                assert files == {"head", "lock", f"{0:020d}"}
    assert n > 20
