"""Values, keys, headers and timestamps as no program should give them, and some do; what a log may make of each."""

from __future__ import annotations

import array
import enum
import gc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

REFUSED = object()  # in the place of what is read back: the call must raise


@attrs.frozen
class Odd:
    """An argument, and what is to be read back if it is accepted; ``spoil`` is what its owner does to it afterwards."""

    given: Any
    stored: Any
    spoil: Callable[[], None] = lambda: None


class OwnEncode(str):
    """A name that says its bytes itself, or fails to."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        raise RuntimeError("not now")


class PlainName(str):
    """A name like any other."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    def isascii(self) -> bool:
        raise RuntimeError("not now")


class Field(enum.StrEnum):
    """A name as services define them."""

    TRACE = "trace"


class LyingBytes(bytes):
    """Bytes whose methods say something else than they hold."""

    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        raise RuntimeError("not now")

    def __bool__(self) -> bool:
        return False


class SaysItIsBytes:
    """Passes isinstance(..., bytes), and is none."""

    __class__ = bytes  # type: ignore[assignment]


class BadRepr:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not now")


class Index:
    """A whole number to whoever asks politely."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


class BadIndex:
    """No number, and says so in its own way."""

    def __index__(self) -> int:
        raise RuntimeError("not now")


class IntKind(int):
    """An int whose methods say something else."""

    def __repr__(self) -> str:
        raise RuntimeError("not now")

    def __index__(self) -> int:
        return 5


class BadList(list[Any]):
    """A list that fails when it is read, and lies about its length."""

    def __iter__(self) -> Any:
        raise RuntimeError("not now")

    def __len__(self) -> int:
        return 1


def released() -> memoryview:
    """Return a view that may not be used any more."""
    view = memoryview(bytearray(b"abc"))
    view.release()
    return view


def _buffer(data: bytes) -> Odd:
    owner = bytearray(data)
    return Odd(owner, data, owner.clear)


def _view(data: bytes, step: int) -> Odd:
    owner = bytearray(data)

    def spoil() -> None:
        owner[:] = bytes(len(owner))
        gc.collect()

    return Odd(memoryview(owner)[::step], data[::step], spoil)


def _wide(numbers: list[int]) -> Odd:
    owner = array.array("I", numbers)
    return Odd(memoryview(owner), owner.tobytes())


small = st.binary(max_size=12)
odd_bytes = st.one_of(
    small.map(lambda data: Odd(data, data)),
    st.builds(lambda: Odd(released(), REFUSED)),
    st.just(Odd(None, None)),
    small.map(_buffer),
    st.builds(_view, small, st.sampled_from([1, 2, -1])),
    st.lists(st.integers(0, 2**32 - 1), max_size=3).map(_wide),
    small.map(lambda data: Odd(LyingBytes(data), data)),
    small.map(lambda data: Odd(np.bytes_(data), bytes(np.bytes_(data)))),
    st.sampled_from(
        [
            "text", 5, 1.5, True, [b"x"], (b"x",), SaysItIsBytes(), BadRepr(), object(), np.int64(5),
            np.arange(3), np.zeros(3, np.uint8), array.array("b", b"abc"), Decimal(1), {b"a": 1},
        ]
    ).map(lambda thing: Odd(thing, REFUSED)),
)  # fmt: skip

# Every character there is, those included that are none alone.
any_text = st.text(st.characters(codec=None, categories=None), max_size=6)


def _name(text: str) -> Odd:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Odd(text, REFUSED)
    return Odd(text, text)


odd_names = st.one_of(
    any_text.map(_name),
    st.sampled_from(["plain", "café", ""]).map(_name),
    st.sampled_from([b"caf\xe9.txt".decode("utf-8", "surrogateescape"), "\ud800"]).map(_name),
    st.just(Odd(PlainName("name"), "name")),
    st.just(Odd(Field.TRACE, "trace")),
    st.sampled_from([OwnEncode("name"), b"name", None, 5, BadRepr(), PlainName("\udfff")]).map(
        lambda thing: Odd(thing, REFUSED)
    ),
)


def _pair(name: Odd, value: Odd, kind: type) -> Odd:
    stored = REFUSED if REFUSED in (name.stored, value.stored) else (name.stored, value.stored)
    return Odd(kind((name.given, value.given)), stored, value.spoil)


def _one_by_one(items: list[Any], error: bool) -> Any:
    yield from items
    if error:
        raise RuntimeError("not now")


def _headers(pairs: list[Odd], kind: str) -> Odd:
    given = [pair.given for pair in pairs]
    stored: Any = tuple(pair.stored for pair in pairs)
    if REFUSED in stored or kind in ("failing", "bad list", "dict", "set of names"):
        stored = REFUSED

    def spoil() -> None:
        given.clear()
        for pair in pairs:
            pair.spoil()

    containers: dict[str, Callable[[], Any]] = {
        "list": lambda: given,
        "tuple": lambda: tuple(given),
        "generator": lambda: _one_by_one(list(given), False),
        "failing": lambda: _one_by_one(list(given), True),
        "bad list": lambda: BadList(given),
        "dict": lambda: {"name": b"value"},
        "set of names": lambda: {"name"},
        "values of a dict": lambda: dict(enumerate(given)).values(),
    }
    return Odd(containers[kind](), stored, spoil)


odd_pairs = st.one_of(
    st.builds(_pair, odd_names, odd_bytes, st.sampled_from([tuple, list])),
    st.sampled_from(["ab", b"ab", ("a",), ("a", b"b", b"c"), 5, None, {"a", b"b"}]).map(lambda t: Odd(t, REFUSED)),
)
odd_headers = st.one_of(
    st.just(Odd(None, ())),
    st.builds(
        _headers,
        st.lists(odd_pairs, max_size=3),
        st.sampled_from(
            ["list", "tuple", "generator", "failing", "bad list", "dict", "set of names", "values of a dict"]
        ),
    ),
    st.sampled_from(["name", b"name", 5, object(), BadRepr()]).map(lambda thing: Odd(thing, REFUSED)),
)


def _time(stamp: Any) -> Odd:
    number = stamp if type(stamp) is int else int(stamp)
    return Odd(stamp, number if 0 <= number < 2**63 else REFUSED)


odd_times = st.one_of(
    st.just(Odd(None, None)),
    st.integers(-(2**70), 2**70).map(_time),
    st.integers(0, 2**40).map(_time),
    st.integers(0, 2**63 - 1).map(np.int64).map(_time),
    st.integers(0, 2**64 - 1).map(np.uint64).map(_time),
    st.integers(-(2**31), 2**31 - 1).map(np.int32).map(_time),
    st.integers(0, 2**40).map(lambda number: Odd(Index(number), number)),
    st.just(Odd(IntKind(7), 7)),
    st.sampled_from(
        [True, False, np.bool_(True), 1.0, float("nan"), "5", b"5", BadIndex(), BadRepr(), 10**5000, [5], {},
         Decimal(5), np.datetime64("2024-01-01"), np.float32(3)]
    ).map(lambda thing: Odd(thing, REFUSED)),
)  # fmt: skip


@attrs.frozen
class OddRecord:
    """One record's arguments."""

    value: Odd
    key: Odd
    headers: Odd
    time: Odd

    @property
    def stored(self) -> Any:
        """What is to be read back, REFUSED if any of it cannot be."""
        parts = self.value.stored, self.key.stored, self.headers.stored, self.time.stored
        return REFUSED if any(part is REFUSED for part in parts) else parts

    def spoil(self) -> None:
        """Do what callers do to their own objects once a call has returned."""
        for part in (self.value, self.key, self.headers):
            part.spoil()


plain = st.just(Odd(b"plain", b"plain"))
odd_records = st.builds(
    OddRecord,
    odd_bytes | plain,
    odd_bytes | plain,
    odd_headers | st.just(Odd(None, ())),
    odd_times | st.just(Odd(None, None)),
)
