"""None, booleans, integers, floats, text and bytes: the well-known wrappers (google/protobuf/wrappers.proto)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from ..protobuf import decode, varint
from ..shared import BYTES_URL as SHARED_BYTES_URL
from ..tables import EMPTY, WRAPPERS
from .base import TYPE_URL_PREFIX, Lowered, Packed, unsupported
from .buffers import THRESHOLD, copy, lend
from .numbers import lower_int, pack_big_int
from .wire import delimited, payload

__all__ = ["BYTES_URL", "CONVERTERS", "DOUBLE_URL", "LOWER", "PACK", "PACK_LOWERED", "READERS"]

_GOOGLE = TYPE_URL_PREFIX + "google.protobuf."
STRING_URL = _GOOGLE + "StringValue"
BYTES_URL = _GOOGLE + "BytesValue"
INT_URL = _GOOGLE + "Int64Value"
DOUBLE_URL = _GOOGLE + "DoubleValue"

_NULL: Packed = (_GOOGLE + "Value", b"\x08\x00")  # null_value = 0; in a oneof the default is written
_TRUE: Packed = (_GOOGLE + "BoolValue", b"\x08\x01")
_FALSE: Packed = (_GOOGLE + "BoolValue", b"")
_SMALL_INTS: list[Packed] = [(INT_URL, bytes((8, i)) if i else b"") for i in range(128)]

_pack_double = struct.Struct("<Bd").pack
_unpack_double = struct.Struct("<d").unpack_from
_ZERO = _pack_double(9, 0.0)


def _pack_none(value: None) -> Packed:
    return _NULL


def _pack_bool(value: bool) -> Packed:
    return _TRUE if value else _FALSE


def _pack_int(value: int) -> Packed:
    if 0 <= value < 128:
        return _SMALL_INTS[value]
    if -(2**63) <= value < 2**63:
        return INT_URL, b"\x08" + varint(value)
    return pack_big_int(value)


def _pack_float(value: float) -> Packed:
    raw = _pack_double(9, value)
    return DOUBLE_URL, b"" if raw == _ZERO else raw  # minus zero is not the default and is written


def _pack_str(value: str) -> Packed:
    try:
        return STRING_URL, delimited(value.encode())
    except UnicodeEncodeError as error:
        raise _lone_surrogate(error) from None


def _pack_bytes(value: bytes | memoryview) -> Packed:
    handle = lend(len(value), value)
    return (BYTES_URL, delimited(value)) if handle is None else (SHARED_BYTES_URL, handle)


def _lower_buffer(value: Any, depth: int) -> Lowered:
    buffer = memoryview(value)
    if buffer.nbytes < THRESHOLD or not buffer.c_contiguous:
        return _pack_bytes(bytes(buffer))
    return _pack_bytes(buffer.cast("B"))


def _lone_surrogate(error: UnicodeEncodeError) -> Exception:
    return unsupported(
        f"the text has a lone surrogate at index {error.start}, which UTF-8 cannot carry: "
        "send bytes, or text decoded without errors='surrogateescape'"
    )


def _lower_same(value: Any, depth: int) -> Lowered:
    return value


def _lower_str(value: str, depth: int) -> Lowered:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _lone_surrogate(error) from None
    return value


def _lower_float(value: float, depth: int) -> Lowered:
    # JSON has no NaN and no infinity.
    return value if math.isfinite(value) else _pack_float(value)


def _lower_bytes(value: bytes, depth: int) -> Lowered:
    return _pack_bytes(value)


PACK: dict[type, Callable[[Any], Packed]] = {
    type(None): _pack_none,
    bool: _pack_bool,
    int: _pack_int,
    float: _pack_float,
    str: _pack_str,
    bytes: _pack_bytes,
}

PACK_LOWERED: dict[type, Callable[[Any], Packed]] = {
    type(None): _pack_none,
    bool: _pack_bool,
    int: _pack_int,
    float: _pack_float,
    str: _pack_str,
}

LOWER: dict[type, Callable[[Any, int], Lowered]] = {
    type(None): _lower_same,
    bool: _lower_same,
    int: lower_int,
    float: _lower_float,
    str: _lower_str,
    bytes: _lower_bytes,
}

# Subclasses are carried as what they extend. The methods of the base type are named, for a subclass may have
# overridden them.
CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, str), lambda value, depth: _lower_str(str.__str__(value), depth)),
    (lambda value: isinstance(value, int), lambda value, depth: lower_int(int.__int__(value), depth)),
    (lambda value: isinstance(value, float), lambda value, depth: _lower_float(float.__float__(value), depth)),
    (lambda value: isinstance(value, (bytes, bytearray, memoryview)), _lower_buffer),
)


def _read_string(data: bytes, depth: int) -> str:
    text = payload(data)
    return decode(_STRING, data)["value"] if text is None else text.decode()


def _read_bytes(data: bytes, depth: int) -> bytes:
    content = payload(data)
    return decode(_BYTES, data)["value"] if content is None else content


def _read_int(data: bytes, depth: int) -> int:
    if len(data) == 2 and data[0] == 8 and data[1] < 128:  # the most common: one byte
        return data[1]
    number: int = decode(_INT, data)["value"]
    return number


def _read_double(data: bytes, depth: int) -> float:
    number: float
    if len(data) == 9 and data[0] == 9:
        (number,) = _unpack_double(data, 1)
    else:
        number = decode(_DOUBLE, data)["value"]
    return number


def _read_bool(data: bytes, depth: int) -> bool:
    return data == b"\x08\x01" or (data != b"" and decode(_BOOL, data)["value"])


def _read_empty(data: bytes, depth: int) -> None:
    decode(EMPTY, data)


def _wrapper_reader(name: str) -> Callable[[bytes, int], Any]:
    message = WRAPPERS[name]
    return lambda data, depth: decode(message, data)["value"]


_STRING, _BYTES, _INT = WRAPPERS["StringValue"], WRAPPERS["BytesValue"], WRAPPERS["Int64Value"]
_DOUBLE, _BOOL = WRAPPERS["DoubleValue"], WRAPPERS["BoolValue"]


def _read_shared_bytes(data: bytes, depth: int) -> bytes:
    return copy(data)


READERS: dict[str, Callable[[bytes, int], Any]] = {
    **{_GOOGLE + name: _wrapper_reader(name) for name in ("FloatValue", "Int32Value", "UInt32Value", "UInt64Value")},
    STRING_URL: _read_string,
    BYTES_URL: _read_bytes,
    INT_URL: _read_int,
    DOUBLE_URL: _read_double,
    _GOOGLE + "BoolValue": _read_bool,
    _GOOGLE + "Empty": _read_empty,
    SHARED_BYTES_URL: _read_shared_bytes,
}
