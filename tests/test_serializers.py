"""Settings become functions between objects and bytes, and nothing is stored that was not meant."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import InvalidConfigError, MissingExtraError, SerializationError
from eventlog.serializers import AvroDeserializer, AvroSerializer, as_bytes, deserializer, serializer

USER = {
    "type": "record",
    "name": "User",
    "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string", "default": "?"}],
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("setting", [None, "bytes", bytes])
def test_bytes_need_no_function(setting: object) -> None:
    """Without a setting, or with "bytes", there is nothing to call in either direction."""
    assert serializer(setting, "value") is None
    assert deserializer(setting, "value") is None


@pytest.mark.parametrize("data", [b"", b"abc", None])
def test_bytes_and_none_are_stored_as_they_are(data: bytes | None) -> None:
    """Bytes are the very same object, and None stays the tombstone it is."""
    assert as_bytes(data, "value") is data


@pytest.mark.parametrize("make", [bytearray, lambda data: memoryview(bytearray(data))])
def test_buffers_are_copied(make: Any) -> None:
    """A bytearray or memoryview that changes afterwards does not change the record."""
    data = make(b"abc")
    stored = as_bytes(data, "value")
    data[0] = ord("x")
    assert type(stored) is bytes
    assert stored == b"abc"


def test_a_strided_memoryview_is_copied_in_order() -> None:
    """A view with steps gives the bytes that it shows."""
    assert as_bytes(memoryview(b"abcdef")[::2], "key") == b"ace"


@pytest.mark.parametrize("side", ["key", "value"])
@pytest.mark.parametrize(
    ("data", "name"),
    [("text", "str"), (5, "int"), ({}, "dict"), (np.zeros(2), "numpy.ndarray"), ([b"a"], "list")],
)
def test_whatever_is_not_bytes_is_an_error_that_says_what_to_set(side: Any, data: object, name: str) -> None:
    """The error names the side, the type and the setting that would help."""
    with pytest.raises(SerializationError, match=f"the {side} is {name}, not bytes; set {side}_serializer"):
        as_bytes(data, side)


@pytest.mark.parametrize("setting", ["str", "json", str, lambda data: b"never", "avro"])
def test_none_reaches_no_serializer(setting: Any) -> None:
    """None is a tombstone under every setting, and no serializer or deserializer ever sees it."""
    if setting == "avro":
        pytest.importorskip("fastavro")
    writer = AvroSerializer("long") if setting == "avro" else setting
    reader = AvroDeserializer("long") if setting == "avro" else setting
    serialize, deserialize = serializer(writer, "value"), deserializer(reader, "value")
    assert serialize is not None
    assert deserialize is not None
    assert serialize(None) is None
    assert deserialize(None) is None


@pytest.mark.parametrize("setting", ["str", str])
@given(text=texts)
def test_text_comes_back_through_utf8(setting: object, text: str) -> None:
    """Text is stored as UTF-8 and read back unchanged; the type str means the same as its name."""
    serialize, deserialize = serializer(setting, "key"), deserializer(setting, "key")
    assert serialize is not None
    assert deserialize is not None
    stored = serialize(text)
    assert stored == text.encode("utf-8")
    assert deserialize(stored) == text


@given(json_values)
def test_json_comes_back(data: Any) -> None:
    """What JSON can hold comes back equal; at the top None stays None and is not written as null."""
    serialize, deserialize = serializer("json", "value"), deserializer("json", "value")
    assert serialize is not None
    assert deserialize is not None
    stored = serialize(data)
    assert deserialize(stored) == data
    assert stored is None if data is None else json.loads(stored or b"") == data


def test_json_is_compact_utf8_in_insertion_order() -> None:
    """No spaces, no escapes where UTF-8 has the letter, keys in the order in which they were put in."""
    serialize = serializer("json", "value")
    assert serialize is not None
    assert serialize({"b": [1, 2], "a": "ü"}) == '{"b":[1,2],"a":"ü"}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan_or_infinity(number: float) -> None:
    """What other readers of JSON would refuse is neither written nor read."""
    serialize, deserialize = serializer("json", "value"), deserializer("json", "value")
    assert serialize is not None
    assert deserialize is not None
    with pytest.raises(SerializationError, match="value serializer failed on dict"):
        serialize({"x": number})
    with pytest.raises(SerializationError, match="is not JSON"):
        deserialize(json.dumps(number).encode())


@pytest.mark.parametrize(
    ("setting", "data"),
    [("str", 5), ("str", "\ud800"), ("str", b"abc"), ("json", object()), ("json", "\udfff")],
)
def test_what_a_serializer_cannot_encode_is_an_error_with_its_cause(setting: str, data: object) -> None:
    """The serializer's own error is chained, and the message names the side and the type of the object."""
    serialize = serializer(setting, "key")
    assert serialize is not None
    with pytest.raises(SerializationError, match=f"key serializer failed on {type(data).__name__}") as caught:
        serialize(data)
    assert isinstance(caught.value.__cause__, TypeError | ValueError)


@pytest.mark.parametrize(("setting", "data"), [("str", b"\xff"), ("json", b"{"), ("json", b"\xff"), ("json", b"")])
def test_bytes_that_no_deserializer_understands_are_an_error_with_its_cause(setting: str, data: bytes) -> None:
    """The deserializer's own error is chained, and the message says the side and how to see the bytes."""
    deserialize = deserializer(setting, "value")
    assert deserialize is not None
    with pytest.raises(SerializationError, match="value_deserializer=None") as caught:
        deserialize(data)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_does_not_hold_the_whole_record() -> None:
    """The message about a large record that is not UTF-8 is short."""
    deserialize = deserializer("str", "value")
    assert deserialize is not None
    with pytest.raises(SerializationError) as caught:
        deserialize(b"\xff" * 100_000)
    assert len(str(caught.value)) < 400


def test_callables_of_your_own_are_called() -> None:
    """A callable decides by itself, both ways, and may make a tombstone of an object."""
    serialize = serializer(lambda number: None if number < 0 else number.to_bytes(4, "big"), "value")
    deserialize = deserializer(lambda data: int.from_bytes(data, "big"), "value")
    assert serialize is not None
    assert deserialize is not None
    assert serialize(258) == b"\0\0\1\2"
    assert serialize(-1) is None
    assert deserialize(b"\0\0\1\2") == 258


def test_buffers_from_a_callable_are_copied_to_bytes() -> None:
    """A serializer may reuse one bytearray: the record keeps what it held."""
    scratch = bytearray(b"one")
    serialize = serializer(lambda _: scratch, "value")
    assert serialize is not None
    stored = serialize(1)
    scratch[:] = b"two"
    assert stored == b"one"
    assert type(stored) is bytes


def test_a_callable_that_fails_is_an_error_with_its_cause() -> None:
    """Whatever a callable raises arrives as a SerializationError that carries it."""
    failure = ZeroDivisionError("no")

    def fail(_: object) -> bytes:
        raise failure

    for resolve in (serializer, deserializer):
        function = resolve(fail, "value")
        assert function is not None
        with pytest.raises(SerializationError, match="ZeroDivisionError: no") as caught:
            function(b"abc")
        assert caught.value.__cause__ is failure


def test_an_interrupt_is_not_a_serialization_error() -> None:
    """KeyboardInterrupt passes through a serializer untouched."""

    def interrupt(_: object) -> bytes:
        raise KeyboardInterrupt

    serialize = serializer(interrupt, "value")
    assert serialize is not None
    with pytest.raises(KeyboardInterrupt):
        serialize(1)


@pytest.mark.parametrize("returned", ["text", 5, [1]])
def test_a_callable_that_returns_no_bytes_is_an_error(returned: object) -> None:
    """A result that is neither bytes nor None is refused, and the error names its type."""
    serialize = serializer(lambda _: returned, "value")
    assert serialize is not None
    with pytest.raises(SerializationError, match=f"returned {type(returned).__name__}, not bytes"):
        serialize(1)


@pytest.mark.parametrize("setting", ["utf8", "", 5, b"bytes"])
def test_an_unknown_setting_is_refused_with_the_known_ones(setting: object) -> None:
    """A setting that is no known name and no callable is an error that lists what there is."""
    with pytest.raises(InvalidConfigError, match=r"key_serializer=.*'bytes', 'str', 'json'"):
        serializer(setting, "key")
    with pytest.raises(InvalidConfigError, match=r"value_deserializer=.*'bytes', 'str', 'json'"):
        deserializer(setting, "value")


def avro_pair(schema: Any) -> tuple[Any, Any]:
    pytest.importorskip("fastavro")
    return serializer(AvroSerializer(schema), "value"), deserializer(AvroDeserializer(schema), "value")


@given(st.integers(-(2**63), 2**63 - 1), texts)
def test_avro_comes_back(number: int, text: str) -> None:
    """A datum that fits its schema comes back equal."""
    serialize, deserialize = avro_pair(USER)
    assert deserialize(serialize({"id": number, "name": text})) == {"id": number, "name": text}


def test_avro_stores_the_datum_alone() -> None:
    """The bytes are the datum in the binary encoding of Avro's specification, with nothing around it."""
    serialize, _ = avro_pair(USER)
    assert serialize({"id": 7, "name": "ab"}) == b"\x0e\x04ab"


def test_avro_schemas_may_be_text() -> None:
    """The text of an .avsc file and the name of a primitive type are schemas too."""
    serialize, deserialize = avro_pair(json.dumps(USER))
    assert deserialize(serialize({"id": 1})) == {"id": 1, "name": "?"}
    for primitive in ("long", '"long"'):
        serialize, deserialize = avro_pair(primitive)
        assert deserialize(serialize(300)) == 300


@pytest.mark.parametrize(
    "datum",
    [
        {"id": 1.9},
        {"id": 2**63},
        {"id": True},
        {"id": "1"},
        {"name": "a"},
        {"id": 1, "name": None},
        {"id": 1, "mail": "x"},
        5,
    ],
)
def test_avro_refuses_what_does_not_fit(datum: object) -> None:
    """Nothing is cut, wrapped around, guessed or dropped to make a datum fit its schema."""
    serialize, _ = avro_pair(USER)
    with pytest.raises(SerializationError, match="value serializer failed") as caught:
        serialize(datum)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("data", [b"", b"\x0e", b"\x0e\x04a", b"\x0e\x04abc"])
def test_avro_refuses_bytes_of_another_schema(data: bytes) -> None:
    """Bytes that end too early or too late are an error, not a datum."""
    _, deserialize = avro_pair(USER)
    with pytest.raises(SerializationError, match="value deserializer failed"):
        deserialize(data)


def test_avro_readers_may_have_a_newer_schema() -> None:
    """A reader's schema fills a new field with its default and leaves an old field out."""
    serialize, _ = avro_pair(USER)
    fields = [{"name": "id", "type": "long"}, {"name": "age", "type": "int", "default": 30}]
    newer = {"type": "record", "name": "User", "fields": fields}
    read = deserializer(AvroDeserializer(USER, newer), "value")
    assert read is not None
    assert read(serialize({"id": 1, "name": "a"})) == {"id": 1, "age": 30}


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"type": "record"}, "nope", "{", 5])
def test_avro_refuses_what_is_no_schema(schema: Any) -> None:
    """A schema that cannot be parsed is an error when the serializer is made, not when it is used."""
    pytest.importorskip("fastavro")
    for make in (AvroSerializer, AvroDeserializer):
        with pytest.raises(InvalidConfigError, match="not an Avro schema"):
            make(schema)


def test_avro_names_its_schema() -> None:
    """The repr, which error hints show, names the record and not the whole schema."""
    pytest.importorskip("fastavro")
    assert repr(AvroSerializer(USER)) == "AvroSerializer('User')"
    assert repr(AvroDeserializer("long")) == "AvroDeserializer('long')"


def test_avro_without_fastavro_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, making an Avro serializer fails with the command that brings it."""
    monkeypatch.setitem(sys.modules, "fastavro", None)
    for make in (AvroSerializer, AvroDeserializer):
        with pytest.raises(MissingExtraError, match=r"pip install 'eventlog-embedded\[avro\]'"):
            make("long")
