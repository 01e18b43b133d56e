"""The bounded set of open descriptors and mappings."""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

import pytest

import eventlog
from eventlog.storage.open_files import OpenFiles
from tests.interrupting import open_files


class Member:
    """Something with resources, which it may be busy with."""

    def __init__(self) -> None:
        self.recently_used = False
        self.busy = False
        self.is_open = True

    def try_release(self) -> bool:
        if self.busy:
            return False
        self.is_open = False
        return True


def test_the_oldest_goes_first() -> None:
    """When there are too many, the one that was added first gives its resources back."""
    files = OpenFiles(capacity=2)
    members = [Member() for _ in range(4)]
    for member in members:
        files.add(member)
    assert [member.is_open for member in members] == [False, False, True, True]
    assert len(files) == 2


def test_a_use_gives_a_second_chance() -> None:
    """A member that was used since it was looked at last stays, once; another one goes."""
    files = OpenFiles(capacity=2)
    first, second, third, fourth = (Member() for _ in range(4))
    files.add(first)
    files.add(second)
    first.recently_used = True
    files.add(third)
    assert (first.is_open, second.is_open, third.is_open) == (True, False, True)
    files.add(fourth)
    assert (first.is_open, third.is_open, fourth.is_open).count(False) == 1


def test_what_is_in_use_stays() -> None:
    """Members that are busy are never forced; the set grows past its capacity, and shrinks later."""
    files = OpenFiles(capacity=1)
    busy = [Member() for _ in range(3)]
    for member in busy:
        member.busy = True
        files.add(member)
    assert all(member.is_open for member in busy) and len(files) == 3
    for member in busy:
        member.busy = False
    files.add(Member())
    assert not any(member.is_open for member in busy) and len(files) == 1


@pytest.mark.parametrize("capacity", [0, 1])
def test_the_newest_is_never_released_by_its_own_coming(capacity: int) -> None:
    """Whatever the capacity, who has just opened its resources keeps them."""
    files = OpenFiles(capacity)
    for _ in range(3):
        files.add(newest := Member())
        assert newest.is_open


def test_discarded_members_are_forgotten() -> None:
    """Who gave its resources back by itself no longer counts; doing it twice, or for a stranger, is harmless."""
    files = OpenFiles(capacity=1)
    files.add(member := Member())
    files.discard(member)
    files.discard(member)
    files.discard(Member())
    assert len(files) == 0
    files.add(Member())
    assert member.is_open


def test_against_a_random_order() -> None:
    """In any order of additions, uses and departures the set stays within its capacity, and open means listed."""
    seed = random.randrange(2**32)
    print("seed", seed)
    choose = random.Random(seed)
    files = OpenFiles(capacity=5)
    members = [Member() for _ in range(20)]
    for member in members:
        member.is_open = False
    for _ in range(3000):
        member = choose.choice(members)
        action = choose.randrange(4)
        if action == 0:
            files.discard(member)
            member.is_open = False
        elif action == 1:
            member.recently_used = True
        elif not member.is_open:
            member.is_open = True
            files.add(member)
        assert len(files) == sum(one.is_open for one in members) <= 5


def descriptors(directory: Path) -> int:
    return len(open_files(directory)) if sys.platform == "linux" else 0  # elsewhere nothing tells whose they are


def test_a_log_keeps_to_its_bound(log_path: Path) -> None:
    """With max_open_partitions=4, forty partitions are written and read by turns with few descriptors, all correct."""
    with eventlog.open(log_path, max_open_partitions=4) as log:
        partitions = list(log.create_topic("t", partitions=40).partitions)
        opened = descriptors(log_path)
        for round_number in range(5):
            for partition in partitions:
                assert partition.append([b"v"]).base_offset == round_number
                assert partition.read(0)[0].base_offset == 0
                assert descriptors(log_path) - opened <= 4 * (4 + 1)
        with log.consumer("t", auto_offset_reset="earliest") as consumer:
            assert sum(len(consumer.poll(max_records=100)) for _ in range(2)) == 200
    assert descriptors(log_path) == 0


def test_threads_do_not_deadlock_over_it(log_path: Path) -> None:
    """Threads that open partitions in opposite orders, and so release each other's, all come to an end."""
    failures: list[BaseException] = []
    with eventlog.open(log_path, max_open_partitions=1) as log:
        partitions = list(log.create_topic("t", partitions=4).partitions)

        def work(order: list[int]) -> None:
            try:
                for _ in range(100):
                    for number in order:
                        partitions[number].append([b"v"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(order,)) for order in ([0, 1, 2, 3], [3, 2, 1, 0])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert [partition.log_end_offset for partition in partitions] == [200] * 4
