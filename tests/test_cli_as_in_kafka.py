"""The command line takes and refuses the same as the consumers beneath it."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from tests.test_cli import fill, run


@pytest.mark.parametrize("name", ["", " ", "x" * 2**15])
def test_what_is_no_groups_name_is_one_line_and_a_status(log_path: Path, name: str) -> None:
    """A blank name, or one that is too long, is told, and nothing is printed."""
    fill(log_path)
    for command in (("consume", log_path, "t", "--group", name), ("group", log_path, name)):
        result = run(*command, status=1)
        assert result.stdout_bytes == b"" and "group" in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_group_with_a_long_name_is_read_listed_and_deleted(log_path: Path) -> None:
    """A name of 300 letters is one like any other."""
    name = "x" * 300
    fill(log_path)
    assert run("consume", log_path, "t", "--group", name).stdout_bytes == b"zero\none\ntwo\n"
    assert name in run("groups", log_path).stdout and name in run("group", log_path, name).stdout
    run("group", log_path, name, "--delete")
    assert name not in run("groups", log_path).stdout


def test_a_group_that_has_committed_past_the_end_is_shown_and_reset(log_path: Path) -> None:
    """Its lag is not known, and its next reader begins at the start of the log."""
    fill(log_path)
    with eventlog.open(log_path) as log, log.consumer(group="g") as consumer:
        consumer.assign([eventlog.TopicPartition("t", 0)])
        consumer.commit({eventlog.TopicPartition("t", 0): 1000})
    assert "1000" in run("group", log_path, "g").stdout
    assert run("consume", log_path, "t", "--group", "g").stdout_bytes == b"zero\none\ntwo\n"


def test_a_start_before_1970_is_the_beginning(log_path: Path) -> None:
    """A negative time is no mistake on the command line, where it is a date."""
    fill(log_path)
    assert run("consume", log_path, "t", "--from", "1960-01-01T00:00:00Z").stdout_bytes == b"zero\none\ntwo\n"


def test_a_name_that_collides_is_refused(log_path: Path) -> None:
    """produce creates no topic a_b beside a.b."""
    fill(log_path, topic="a.b")
    assert "collides" in run("produce", log_path, "a_b", stdin=b"x\n", status=1).stderr
