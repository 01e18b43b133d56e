"""The tree of errors: one root, the built-ins it promises, coordinates, hints, and pickles."""

from __future__ import annotations

import errno
import inspect
import os
import pickle
import re
import shutil

import pytest

import eventlog
from eventlog import errors
from eventlog.files.filesystem import translate

EVERY = sorted(
    (cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.EventLogError)),
    key=lambda cls: cls.__name__,
)


def promised() -> dict[str, tuple[str, ...]]:
    """Return what the tree at the top of errors.py promises: each error's built-in."""
    assert errors.__doc__ is not None
    lines = re.findall(r"── (\w+Error)(?: \((\w+)\))?", errors.__doc__)
    return {name: (builtin,) if builtin else () for name, builtin in lines}


def test_the_tree_is_true() -> None:
    """The drawing at the top of errors.py has every error, each with the built-in it inherits."""
    tree = promised()
    assert {cls.__name__ for cls in EVERY} == {"EventLogError", *tree}
    for cls in EVERY:
        builtins = tuple(base.__name__ for base in cls.__bases__ if base.__module__ == "builtins")
        assert builtins == (tree[cls.__name__] if cls is not errors.EventLogError else ("Exception",))


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error(cls: type[errors.EventLogError]) -> None:
    """Each is public, documented, tells reason, coordinates and hint, and survives a pickle with all of them."""
    assert getattr(eventlog, cls.__name__) is cls and cls.__name__ in eventlog.__all__
    assert cls.__doc__
    error = cls("the reason", hint="do this", path="/p", topic="t", partition=3, offset=2**40, position=64)
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert type(one) is cls
        assert (one.path, one.topic, one.partition, one.offset, one.position) == ("/p", "t", 3, 2**40, 64)
        assert (one.reason, one.hint) == ("the reason", "do this")
        text = "the reason [path='/p', topic='t', partition=3, offset=1099511627776, position=64]; do this"
        assert str(one) == text


def test_without_coordinates() -> None:
    """What does not apply is None, and the message is the reason alone."""
    error = eventlog.StorageError("broken")
    assert str(error) == "broken"
    assert (error.path, error.topic, error.partition, error.offset, error.position) == (None,) * 5


def test_notes_cross_a_pickle_with_the_cause_left_behind() -> None:
    """A pickled error raises again and is caught by its built-in."""
    error = pickle.loads(pickle.dumps(eventlog.UnknownTopicError("gone", topic="t")))
    with pytest.raises(KeyError, match="gone"):
        raise error


def test_errno() -> None:
    """Where a program looks at errno, it finds the one that fits."""
    assert eventlog.LogFullError("full").errno == errno.ENOSPC
    assert eventlog.StorageError("broken").errno == errno.EIO


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOENT, "removed or moved"),
        (errno.ENOTDIR, "removed or moved"),
        (errno.EMFILE, "max_open_partitions"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "vm.max_map_count"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EIO, "the device"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(number: int, told: str) -> None:
    """Only where the device may have failed does the hint send its reader there."""
    error = translate(OSError(number, os.strerror(number), "/log/topics/t/0/lock"), "/log")
    assert isinstance(error, eventlog.StorageError) and error.path == "/log/topics/t/0/lock"
    assert told in error.hint and ("device" in error.hint) == (number == errno.EIO)


def test_a_topic_removed_by_hand_is_no_failed_device(log: eventlog.EventLog) -> None:
    """A commit that cannot find a topic's files says so, as often as it is tried; the abort lets the producer go on."""
    log.create_topic("t")
    log.create_topic("u")
    with log.producer(transactional_id="tx") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"x")
        shutil.rmtree(os.path.join(log.path, "topics", "t"))
        for _ in range(2):
            with pytest.raises((eventlog.UnknownTopicError, eventlog.StorageError)) as caught:
                producer.commit_transaction()
            assert "device" not in str(caught.value)
        producer.abort_transaction()
        with producer.transaction():
            producer.send("u", b"y")
    assert log.topic("u").partitions[0].log_end_offset == 1
