"""What turns objects into a record's bytes, and bytes back into objects: as is, text, JSON, Avro or your own.

The settings ``key_serializer``, ``value_serializer``, ``key_deserializer`` and ``value_deserializer`` take

=====================  ================================================================================
``None``, ``"bytes"``  bytes as they are; whatever else is an error, never a guess
``"str"``              text as UTF-8
``"json"``             compact JSON as UTF-8, keys in insertion order; NaN and infinity are errors
a callable             ``(object) -> bytes | None``, and ``(bytes) -> object`` the other way
=====================  ================================================================================

The types ``bytes`` and ``str`` stand for their names: ``bytes(5)`` would store five zeros. None is a missing
key or a tombstone, and goes through every setting unchanged: ``"json"`` never writes ``null`` for it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeAlias

from eventlog.errors import InvalidConfigError, MissingExtraError, SerializationError
from eventlog.files.mutex import calls_out
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.texts import shown

Side: TypeAlias = Literal["key", "value"]
Serializer: TypeAlias = Callable[[Any], bytes | None]
Deserializer: TypeAlias = Callable[[bytes | None], Any]
AvroSchema: TypeAlias = str | list[Any] | dict[str, Any]


def serializer(setting: object, side: Side) -> Serializer | None:
    """Resolve a serializer setting. None means that bytes stay as they are: there is nothing to call.

    The callable returned maps None to None, and raises `SerializationError` when the serializer fails
    (chained to its error) or returns neither bytes nor None. Raises `InvalidConfigError` for an unknown name.

    >>> serializer("json", "value")({"id": 7, "at": None})
    b'{"id":7,"at":null}'
    >>> serializer("bytes", "key") is None
    True
    """
    function = _resolve(setting, _SERIALIZERS, f"{side}_serializer")
    if function is None:
        return None

    @calls_out
    def serialize(data: Any) -> bytes | None:
        if data is None:
            return None
        try:
            encoded = function(data)
        except Exception as error:
            pass_on_handlers(error)
            raise SerializationError(
                f"the {side} serializer failed on {_type_name(data)}: {_summary(error)}",
                hint=f"send what {side}_serializer={shown(setting)} can encode",
            ) from error
        if type(encoded) is bytes or encoded is None:
            return encoded
        return _copied(encoded, f"the {side} serializer returned", f"return bytes or None from {shown(setting)}")

    return serialize


def deserializer(setting: object, side: Side) -> Deserializer | None:
    """Resolve a deserializer setting. None means that bytes stay as they are: there is nothing to call.

    The callable returned maps None to None, and raises `SerializationError` when the deserializer fails
    (chained to its error). Raises `InvalidConfigError` for an unknown name.

    >>> deserializer("json", "value")(b'{"id":7}')
    {'id': 7}
    """
    function = _resolve(setting, _DESERIALIZERS, f"{side}_deserializer")
    if function is None:
        return None

    @calls_out
    def deserialize(data: bytes | None) -> Any:
        if data is None:
            return None
        try:
            return function(data)
        except Exception as error:
            pass_on_handlers(error)
            raise SerializationError(
                f"the {side} deserializer failed on {len(data)} bytes: {_summary(error)}",
                hint=f"read the bytes as they are with {side}_deserializer=None, or seek behind the record",
            ) from error

    return deserialize


def as_bytes(data: object, side: Side, index: int | None = None) -> bytes | None:
    """Return what is stored for ``data`` without a serializer: bytes and None as they are, buffers copied.

    A ``bytearray`` or ``memoryview`` is copied, so that a later change of it cannot reach the record; of a subclass it
    is the bytes that it holds, whatever its methods say. ``index`` is its place in a list. Raises `SerializationError`
    for any other type, and for a buffer that was released.

    >>> as_bytes(bytearray(b"abc"), "value")
    b'abc'
    """
    if data is None or type(data) is bytes:
        return data
    what = f"the {side} is" if index is None else f"{side} {index} is"
    return _copied(data, what, f"set {side}_serializer to 'str', 'json' or a callable that returns bytes")


class AvroSerializer:
    r"""Encode with Avro's binary encoding and one schema: the datum alone, no container, no schema id.

    ``schema`` is a schema as Python objects or as the text of an ``.avsc`` file. A datum must fit it: a value
    of another type or out of range, a missing field without a default, and a field that the schema does not
    have are errors (as a setting: `SerializationError`), where fastavro's writer alone would cut ``1.9`` to 1
    and drop the field.

    Raises `MissingExtraError` without fastavro, `InvalidConfigError` for a schema that is none.

    >>> serializer(AvroSerializer({"type": "array", "items": "long"}), "value")([1, -1])
    b'\x04\x02\x01\x00'
    """

    def __init__(self, schema: AvroSchema) -> None:
        self._schema = _avro_schema(schema)
        self._validate = _fastavro().validation.validate
        self._write = _fastavro().schemaless_writer

    def __call__(self, datum: Any) -> bytes:
        """Return ``datum`` in Avro's binary encoding. Raises what fastavro raises."""
        self._validate(datum, self._schema, raise_errors=True)
        out = io.BytesIO()
        self._write(out, self._schema, datum, strict_allow_default=True)
        return out.getvalue()

    def __repr__(self) -> str:
        return f"AvroSerializer({_avro_name(self._schema)})"


class AvroDeserializer:
    r"""Decode what `AvroSerializer` wrote with ``schema``, seen through ``reader_schema`` when there is one.

    The reader's schema may have changed as Avro's schema resolution allows: new fields with a default, fields
    gone. Bytes left over behind the datum are an error: they were written with another schema.

    Raises `MissingExtraError` without fastavro, `InvalidConfigError` for a schema that is none.

    >>> deserializer(AvroDeserializer({"type": "array", "items": "long"}), "value")(b"\x04\x02\x01\x00")
    [1, -1]
    """

    def __init__(self, schema: AvroSchema, reader_schema: AvroSchema | None = None) -> None:
        self._schema = _avro_schema(schema)
        self._reader_schema = None if reader_schema is None else _avro_schema(reader_schema)
        self._read = _fastavro().schemaless_reader

    def __call__(self, data: bytes) -> Any:
        """Return the datum in ``data``. Raises what fastavro raises, or ValueError for bytes left over."""
        source = io.BytesIO(data)
        datum = self._read(source, self._schema, self._reader_schema)
        if source.tell() != len(data):
            raise ValueError(f"the datum ends after {source.tell()} of {len(data)} bytes: another schema wrote it")
        return datum

    def __repr__(self) -> str:
        return f"AvroDeserializer({_avro_name(self._schema)})"


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_from_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _encode_str(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"expected str, not {_type_name(text)}")
    return text.encode()


def _encode_json(data: object) -> bytes:
    return _to_json(data).encode()


def _decode_str(data: bytes) -> str:
    return data.decode()


def _decode_json(data: bytes) -> Any:
    return _from_json(data.decode())


_Functions: TypeAlias = dict[str, Callable[[Any], Any] | None]
_SERIALIZERS: _Functions = {"bytes": None, "str": _encode_str, "json": _encode_json}
_DESERIALIZERS: _Functions = {"bytes": None, "str": _decode_str, "json": _decode_json}


def _resolve(setting: object, known: _Functions, name: str) -> Callable[[Any], Any] | None:
    if setting is None:
        return None
    if setting is bytes or setting is str:
        setting = "bytes" if setting is bytes else "str"
    if isinstance(setting, str) and setting in known:
        return known[setting]
    if callable(setting):
        return setting
    choices = ", ".join(map(repr, known))
    raise InvalidConfigError(f"{name}={shown(setting)} is not possible", hint=f"give {choices}, a callable or None")


def _copied(data: object, what: str, hint: str) -> bytes:
    # Not every buffer: an array's bytes without its dtype are rarely what was meant.
    if isinstance(data, bytes | bytearray | memoryview):
        try:
            return memoryview(data).tobytes()
        except Exception as error:  # a released one, or something that only says that it is bytes
            raise SerializationError(
                f"{what} {_type_name(data)} that cannot be read: {_summary(error)}", hint=hint
            ) from error
    raise SerializationError(f"{what} {_type_name(data)}, not bytes", hint=hint)


def _type_name(data: object) -> str:
    cls = type(data)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _summary(error: Exception) -> str:
    # Not repr: a UnicodeDecodeError's holds the record's bytes, all of them.
    return f"{type(error).__name__}: {error}"


def _fastavro() -> Any:
    try:
        import fastavro
        import fastavro.validation
    except ImportError as error:
        raise MissingExtraError.of("avro", "Avro needs fastavro") from error
    return fastavro


def _avro_schema(schema: AvroSchema) -> Any:
    fastavro = _fastavro()
    try:
        if isinstance(schema, str) and schema.lstrip()[:1] in ("{", "[", '"'):
            schema = json.loads(schema)
        return fastavro.parse_schema(schema)
    except Exception as error:
        raise InvalidConfigError(f"not an Avro schema: {_summary(error)}", hint="see avro.apache.org") from error


def _avro_name(schema: Any) -> str:
    named = schema.get("name", schema.get("type")) if isinstance(schema, dict) else schema
    return repr(named)
