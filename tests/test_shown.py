"""What the public objects show of themselves, and what becomes of them when they are pickled."""

from __future__ import annotations

import copy
import html.parser
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.notebooks import MOST_ROWS


@pytest.fixture
def log(log: eventlog.EventLog) -> eventlog.EventLog:
    """A log of one topic with records, one that was never used, and a group."""
    log.create_topic("t", partitions=2).partitions[0].append([b"<b>", None, b"x" * 1000], keys=[b"k", b"&", None])
    log.create_topic("unused", partitions=3)
    with log.consumer("t", group="<g>", auto_offset_reset="earliest") as consumer:
        consumer.poll()
    return log


OBJECTS: dict[str, Callable[[eventlog.EventLog], Any]] = {
    "log": lambda log: log,
    "topic": lambda log: log.topic("t"),
    "unused topic": lambda log: log.topic("unused"),
    "partitions": lambda log: log.topic("t").partitions,
    "partition": lambda log: log.topic("t").partitions[0],
    "batch": lambda log: log.topic("t").partitions[0].read(0)[0],
    "group": lambda log: log.group("<g>"),
    "lag": lambda log: log.group("<g>").partitions[0],
    "producer": lambda log: log.producer(),
    "consumer": lambda log: log.consumer("t"),
    "async producer": lambda log: log.async_producer(),
    "async consumer": lambda log: log.async_consumer("t"),
    "delivery": lambda log: log.producer().send("t", b"x"),
    "settings": lambda log: log.producer().config,
    "clock": lambda log: eventlog.SystemClock(),
    "manual clock": lambda log: eventlog.ManualClock(1.5),
    "report": lambda log: log.topic("t").partitions[0].verify(),
}
TABLES = ["log", "topic", "unused topic", "batch", "group", "lag"]
OF_ONE_PROCESS = ["topic", "partition", "producer", "consumer", "async producer", "async consumer"]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_repr_says_something(log: eventlog.EventLog, name: str) -> None:
    """No public object shows itself as an address."""
    assert " object at 0x" not in repr(OBJECTS[name](log))


class Table(html.parser.HTMLParser):
    """The tags and the texts of some HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("name", TABLES)
def test_a_notebook_shows_a_table(log: eventlog.EventLog, name: str) -> None:
    """It is a table, and whatever it shows is text: no name or value becomes a tag. Nothing is made by looking."""
    before = sorted(Path(log.path).rglob("*"))
    table = Table(OBJECTS[name](log)._repr_html_())
    assert set(table.tags) <= {"table", "caption", "tr", "th", "td"} and table.tags.count("table") == 1
    assert any(text in "".join(table.texts) for text in ("t", "unused", "<g>"))
    assert sorted(Path(log.path).rglob("*")) == before


def test_a_long_table_is_cut(log: eventlog.EventLog) -> None:
    """Of many rows the first are shown, and that there are more."""
    for count in (MOST_ROWS, MOST_ROWS + 1):
        batch = log.topic("unused").partitions[0]
        batch.append([b"%d" % number for number in range(count)])
        table = Table(batch.read(batch.log_end_offset - count)[0]._repr_html_())
        assert table.tags.count("tr") == 1 + count
        assert ("…" in table.texts) is (count > MOST_ROWS)


def _append(log: eventlog.EventLog) -> None:
    with log:
        log.topic("t").partitions[1].append([b"from a spawned process"])


def test_a_log_in_a_spawned_process(log: eventlog.EventLog) -> None:
    """A log that is handed to a spawned process is the same log, opened again there."""
    process = multiprocessing.get_context("spawn").Process(target=_append, args=(log,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert log.topic("t").partitions[1].read(0)[0].values() == [b"from a spawned process"]


def test_a_pickled_log_keeps_its_options(log_path: Path) -> None:
    """It is opened again with the options that it was opened with; a log that is gone is not made anew."""
    eventlog.open(log_path).close()
    with eventlog.open(log_path, readonly=True, clock=eventlog.ManualClock(5.0)) as log:
        data = pickle.dumps(log)
    with pickle.loads(data) as again:
        assert (again.path, again.readonly, again._options["clock"].time()) == (str(log_path), True, 5.0)
    log_path.rename(log_path.with_name("moved"))
    with pytest.raises(eventlog.NotALogError):
        pickle.loads(data)
    assert not log_path.exists()


@pytest.mark.parametrize("name", OF_ONE_PROCESS)
def test_what_belongs_to_one_process(log: eventlog.EventLog, name: str) -> None:
    """A client, a topic and a partition cannot be pickled or copied, and say what to do."""
    thing = OBJECTS[name](log)
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="open one in the child"):
            call(thing)
