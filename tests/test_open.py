"""What opening a log makes, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog


def everything(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("parents", [False, True])
@pytest.mark.parametrize("place", ["missing", "missing/log", "empty"])
def test_without_create_nothing_is_made(tmp_path: Path, place: str, parents: bool, readonly: bool) -> None:
    """Where no log lies, ``create=False`` is NotALogError, and not one file or directory is made."""
    (tmp_path / "empty").mkdir()
    before = everything(tmp_path)
    with pytest.raises(eventlog.NotALogError, match="no log lies here"):
        eventlog.open(tmp_path / place, create=False, parents=parents, readonly=readonly)
    assert everything(tmp_path) == before


def test_without_create_a_log_is_opened(log_path: Path) -> None:
    """A log that is there is opened as ever, and written to."""
    eventlog.open(log_path).close()
    with eventlog.open(log_path, create=False) as log:
        log.create_topic("t")
    with eventlog.open(log_path, create=False) as log:
        assert log.topics() == ["t"]


@pytest.mark.parametrize("place", ["typo/log", "typo/of/many/log"])
def test_a_directory_above_is_missing(tmp_path: Path, place: str) -> None:
    """A path in a directory that does not exist is an error that names it and makes nothing."""
    with pytest.raises(eventlog.NotALogError, match="typo") as caught:
        eventlog.open(tmp_path / place)
    assert "parents=True" in caught.value.hint
    assert everything(tmp_path) == []
    with eventlog.open(tmp_path / place, parents=True) as log:
        log.create_topic("t")
    with eventlog.open(tmp_path / place) as log:
        assert log.topics() == ["t"]
