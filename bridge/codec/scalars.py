"""None, booleans, integers, floats, text and bytes: the well-known wrappers (google/protobuf/wrappers.proto)."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf import empty_pb2, wrappers_pb2

from bridge.codec.base import TYPE_URL_PREFIX, Converter, Limits, Lowered, Packed, malformed, unsupported
from bridge.codec.buffers import HANDLE_SIZE, THRESHOLD, copy, lend
from bridge.codec.numbers import lower_int, pack_big_int
from bridge.codec.wire import double_field, length_delimited, payload
from bridge.runtime.shared import BYTES_URL as SHARED_BYTES_URL

__all__ = [
    "BYTES_URL",
    "CONVERTERS",
    "DOUBLE_URL",
    "LOWER",
    "PACK",
    "PACK_LOWERED",
    "READERS",
    "SHARED_BYTES_URL",
    "SHARED_READERS",
    "lower_float",
]

_WRAPPERS = TYPE_URL_PREFIX + "google.protobuf."
STRING_URL = _WRAPPERS + "StringValue"
BYTES_URL = _WRAPPERS + "BytesValue"
INT_URL = _WRAPPERS + "Int64Value"
DOUBLE_URL = _WRAPPERS + "DoubleValue"

_NULL: Packed = (_WRAPPERS + "Value", b"\x08\x00")  # null_value = 0; in a oneof the default is written
_TRUE: Packed = (_WRAPPERS + "BoolValue", b"\x08\x01")
_FALSE: Packed = (_WRAPPERS + "BoolValue", b"")
_SMALL_INTS: list[Packed] = [(INT_URL, bytes([8, i]) if i else b"") for i in range(128)]
_Int64Value = wrappers_pb2.Int64Value


def pack_none(value: None, depth: int = 0) -> Packed:
    """None is null."""
    return _NULL


def pack_bool(value: bool, depth: int = 0) -> Packed:
    """True or False."""
    return _TRUE if value else _FALSE


def pack_int(value: int, depth: int = 0) -> Packed:
    """64 bits as ``Int64Value``, more as ``BigNumber``."""
    if 0 <= value < 128:
        return _SMALL_INTS[value]
    if -(2**63) <= value < 2**63:
        return INT_URL, _Int64Value(value=value).SerializeToString()
    return pack_big_int(value)


def pack_float(value: float, depth: int = 0) -> Packed:
    """Every float, bit by bit (of NaNs, only that it is one is promised)."""
    return DOUBLE_URL, double_field(value)


def pack_str(value: str, depth: int = 0) -> Packed:
    """Unicode text."""
    try:
        return STRING_URL, length_delimited(value.encode())
    except UnicodeEncodeError as error:
        raise _lone_surrogate(error) from None


def pack_bytes(value: bytes | memoryview, depth: int = 0) -> Packed:
    """Bytes."""
    if (handle := lend(len(value), value)) is not None:
        return SHARED_BYTES_URL, handle
    return BYTES_URL, length_delimited(value)


def _pack_buffer(value: bytes | bytearray | memoryview, depth: int = 0) -> Packed:
    buffer = memoryview(value)
    if buffer.nbytes < THRESHOLD or not buffer.c_contiguous:
        return pack_bytes(bytes(buffer))
    return pack_bytes(buffer.cast("B"))


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


def lower_float(value: float, depth: int) -> Lowered:
    """JSON has no NaN and no infinity; those go as ``DoubleValue``."""
    return value if math.isfinite(value) else pack_float(value)


PACK = {
    type(None): pack_none,
    bool: pack_bool,
    int: pack_int,
    float: pack_float,
    str: pack_str,
    bytes: pack_bytes,
}

PACK_LOWERED = {type(None): pack_none, bool: pack_bool, int: pack_int, float: pack_float, str: pack_str}

LOWER = {
    type(None): _lower_same,
    bool: _lower_same,
    int: lower_int,
    float: lower_float,
    str: _lower_str,
    bytes: pack_bytes,
}

# Subclasses are carried as what they extend. The methods of the base type are named, for a subclass may have
# overridden them.
CONVERTERS = (
    Converter(lambda v: isinstance(v, str), lambda v, depth: _lower_str(str.__str__(v), depth)),
    Converter(lambda v: isinstance(v, int), lambda v, depth: lower_int(int.__int__(v), depth)),
    Converter(lambda v: isinstance(v, float), lambda v, depth: lower_float(float.__float__(v), depth)),
    Converter(lambda v: isinstance(v, (bytes, bytearray, memoryview)), _pack_buffer),
)


def _read_string(data: bytes, limits: Limits, depth: int) -> str:
    size = len(data) - 2
    if 0 < size < 128 and data[0] == 10 and data[1] == size:  # as in `payload`, which costs a call more
        return data[2:].decode()
    text = payload(data)
    if text is not None:
        return text.decode()
    return wrappers_pb2.StringValue.FromString(data).value


def _read_int(data: bytes, limits: Limits, depth: int) -> int:
    if len(data) == 2 and data[0] == 8 and data[1] < 128:  # the most common: one byte
        return data[1]
    return _Int64Value.FromString(data).value


def _read_double(data: bytes, limits: Limits, depth: int) -> float:
    return wrappers_pb2.DoubleValue.FromString(data).value


def _read_bool(data: bytes, limits: Limits, depth: int) -> bool:
    return wrappers_pb2.BoolValue.FromString(data).value


def _read_bytes(data: bytes, limits: Limits, depth: int) -> bytes:
    content = payload(data)
    return wrappers_pb2.BytesValue.FromString(data).value if content is None else content


def _read_shared_bytes(data: bytes, limits: Limits, depth: int) -> bytes:
    if len(data) != HANDLE_SIZE:
        raise malformed("something follows the handle")
    return copy(data)


def _read_empty(data: bytes, limits: Limits, depth: int) -> None:
    empty_pb2.Empty.FromString(data)


def _read_float(data: bytes, limits: Limits, depth: int) -> float:
    return wrappers_pb2.FloatValue.FromString(data).value


def _read_uint(data: bytes, limits: Limits, depth: int) -> int:
    return wrappers_pb2.UInt64Value.FromString(data).value


def _read_int32(data: bytes, limits: Limits, depth: int) -> int:
    return wrappers_pb2.Int32Value.FromString(data).value


def _read_uint32(data: bytes, limits: Limits, depth: int) -> int:
    return wrappers_pb2.UInt32Value.FromString(data).value


READERS = {
    STRING_URL: _read_string,
    INT_URL: _read_int,
    DOUBLE_URL: _read_double,
    _WRAPPERS + "BoolValue": _read_bool,
    BYTES_URL: _read_bytes,
    _WRAPPERS + "Empty": _read_empty,
    _WRAPPERS + "FloatValue": _read_float,
    _WRAPPERS + "UInt64Value": _read_uint,
    _WRAPPERS + "Int32Value": _read_int32,
    _WRAPPERS + "UInt32Value": _read_uint32,
}

SHARED_READERS = {SHARED_BYTES_URL: _read_shared_bytes}
