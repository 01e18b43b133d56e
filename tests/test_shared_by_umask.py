"""Users of a group share a log: files and directories get the modes that the umask leaves."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import eventlog
from tests.forking import fork
from tests.planting import full_log

GROUP, FIRST, SECOND = 5000, 1001, 1002
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o027, 0o000])
def test_modes_are_what_the_umask_leaves(tmp_path: Path, umask: Callable[[int], int], mask: int) -> None:
    """Every file but a lock is 0666 without the umask's bits, and every directory 0777, whatever has made it."""
    umask(mask)
    full_log(tmp_path / "log")
    found: dict[str, set[int]] = {"file": set(), "directory": set()}
    for path in (tmp_path / "log").rglob("*"):
        if "lock" not in path.name and path.name != "owner" and path.parent.name != "syncs":
            found["directory" if path.is_dir() else "file"].add(stat.S_IMODE(path.stat().st_mode))
    assert found == {"file": {0o666 & ~mask}, "directory": {0o777 & ~mask}}


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of the first user that its group may write to, and hands down its group."""
    with tempfile.TemporaryDirectory(prefix="eventlog-", ignore_cleanup_errors=True) as base:
        os.chmod(base, 0o755)
        path = Path(base, "log")
        path.mkdir()
        os.chown(path, FIRST, GROUP)
        os.chmod(path, 0o2775)
        yield path


def as_user(user: int, mask: int, work: Callable[[], object]) -> None:
    """Do the work in a process of another user, who is in the group."""

    def become_and_work() -> None:
        os.setgroups([GROUP])
        os.setgid(GROUP)
        os.setuid(user)
        os.umask(mask)
        work()

    assert fork(become_and_work) == 0


@needs_root
def test_two_users_share_a_log(shared: Path) -> None:
    """With umask 002 and a directory of their group, both write to it: records, topics, groups and transactions."""

    def work() -> None:
        with eventlog.open(shared) as log:
            topic = log.create_topic("t", exist_ok=True, segment_bytes=1024)
            for _ in range(3):
                topic.partitions[0].append([b"x" * 600], durability="disk")
            log.create_topic(f"of-{os.getuid()}", exist_ok=True)
            with log.consumer("t", group="g", auto_offset_reset="earliest") as consumer:
                assert consumer.poll(1.0)
                consumer.commit()
            with log.producer(transactional_id="tx") as producer:
                producer.init_transactions()
                producer.begin_transaction()
                producer.send("t", b"x" * 600)
                producer.commit_transaction()

    for user in (FIRST, SECOND, FIRST, SECOND):
        as_user(user, 0o002, work)
    with eventlog.open(shared, readonly=True) as log:
        assert log.topics() == ["of-1001", "of-1002", "t"]
        assert log.topic("t").partitions[0].log_end_offset == 16


@needs_root
def test_files_that_another_user_may_only_read(shared: Path) -> None:
    """Where the first user's umask keeps others from writing, they are told which file, and may read all the same."""

    def first() -> None:
        with eventlog.open(shared) as log:
            log.create_topic("t").partitions[0].append([b"a"])

    def second() -> None:
        with pytest.raises(eventlog.ReadOnlyLogError, match=r"umask 002.*readonly=True") as caught:
            eventlog.open(shared).topic("t").partitions[0].append([b"b"])
        assert os.path.isfile(str(caught.value.path)) and str(caught.value.path).startswith(str(shared))
        with eventlog.open(shared, readonly=True) as log:
            assert log.topic("t").partitions[0].read(0)[0].values() == [b"a"]

    as_user(FIRST, 0o022, first)
    as_user(SECOND, 0o022, second)
