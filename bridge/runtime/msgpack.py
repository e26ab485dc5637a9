"""Msgpack in pure Python, for interpreters that have nothing else installed.

The format is https://github.com/msgpack/msgpack/blob/master/spec.md, without extension types. Meant for many small
messages: what has a short header costs one look-up, and only containers cost a call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["MAX_DEPTH", "pack", "unpack"]

MAX_DEPTH = 100
"""Containers inside one another."""

_INTS = {number: (number & 0xFF).to_bytes(1, "big") for number in range(-32, 128)}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_STR, _BYTES, _ARRAY, _MAP, _NUMBER = range(5)

_STR_HEADERS = [bytes((0xA0 | length,)) if length < 32 else bytes((0xD9, length)) for length in range(256)]
_BYTES_HEADERS = [bytes((0xC4, length)) for length in range(256)]
_ARRAY_HEADERS = [bytes((0x90 | length,)) for length in range(16)]
_MAP_HEADERS = [bytes((0x80 | length,)) for length in range(16)]

_WIDTHS = (">B", ">H", ">I", ">Q")
_SIGNED = (">b", ">h", ">i", ">q")
_POSITIVE = [(1 << (8 << power), 0xCC + power, struct.Struct(f">B{_WIDTHS[power][1]}").pack) for power in range(4)]
_NEGATIVE = [
    (-1 << ((8 << power) - 1), 0xD0 + power, struct.Struct(f">B{_SIGNED[power][1]}").pack) for power in range(4)
]
_FLOAT = struct.Struct(">Bd").pack
_LENGTH_16 = struct.Struct(">BH").pack
_LENGTH_32 = struct.Struct(">BI").pack

_FORMS: dict[int, tuple[int, struct.Struct]] = {
    **{0xC4 + power: (_BYTES, struct.Struct(_WIDTHS[power])) for power in range(3)},
    0xCA: (_NUMBER, struct.Struct(">f")),
    0xCB: (_NUMBER, struct.Struct(">d")),
    **{0xCC + power: (_NUMBER, struct.Struct(_WIDTHS[power])) for power in range(4)},
    **{0xD0 + power: (_NUMBER, struct.Struct(_SIGNED[power])) for power in range(4)},
    **{0xD9 + power: (_STR, struct.Struct(_WIDTHS[power])) for power in range(3)},
    **{0xDB + power: (_ARRAY, struct.Struct(_WIDTHS[power])) for power in (1, 2)},
    **{0xDD + power: (_MAP, struct.Struct(_WIDTHS[power])) for power in (1, 2)},
}
"""What begins with a byte from 0xC4 on: kind, and how its number or length is read."""


def pack(value: Any) -> bytes:
    """Writes None, bool, int, float, str, bytes-like objects, lists, tuples and dicts, also of derived classes.

    Raises ``ValueError`` for an int of more than 64 bits, text with lone surrogates, too many levels; ``TypeError`` for
    anything else than the above.
    """
    parts: list[Any] = []
    _write((value,), parts.append, 0)
    return b"".join(parts)


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Reads one value, which is the whole buffer. Arrays become lists, bytes are copied.

    Raises ``ValueError`` for anything else; nothing is allocated that the buffer is too short for.
    """
    if type(data) is not bytes:
        data = memoryview(data).cast("B")
    try:
        values, end = _read(data, 0, 1, 0)
    except (IndexError, struct.error):
        raise _cut_short() from None
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the msgpack value")
    return values[0]


def _write(values: Iterable[Any], add: Callable[[Any], None], depth: int) -> None:
    for value in values:
        kind = type(value)
        if kind is not int and kind not in _WRITTEN:
            value = _plain(value)
            kind = type(value)
        if kind is int:
            add(_INTS.get(value) or _int(value))
        elif kind is bytes:
            length = len(value)
            add(_BYTES_HEADERS[length] if length < 256 else _long(0xC5, length))
            add(value)
        elif kind is str:
            text = value.encode()
            length = len(text)
            add(_STR_HEADERS[length] if length < 256 else _long(0xDA, length))
            add(text)
        elif kind is tuple or kind is list:
            _check_depth(depth)
            length = len(value)
            add(_ARRAY_HEADERS[length] if length < 16 else _long(0xDC, length))
            _write(value, add, depth + 1)
        elif kind is dict:
            _check_depth(depth)
            length = len(value)
            add(_MAP_HEADERS[length] if length < 16 else _long(0xDE, length))
            for item in value.items():
                _write(item, add, depth + 1)
        elif value is None:
            add(b"\xc0")
        elif kind is bool:
            add(b"\xc3" if value else b"\xc2")
        else:
            add(_FLOAT(0xCB, value))


_WRITTEN = frozenset((int, bytes, str, tuple, list, dict, type(None), bool, float))


def _plain(value: Any) -> Any:
    """A value of a derived class as one of its base."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"msgpack has no {type(value).__name__}")


def _long(code: int, length: int) -> bytes:
    """The header of a length that has no short one; ``code`` is that of 16 bits, and that of 32 is the next."""
    if length < 1 << 16:
        return _LENGTH_16(code, length)
    if length < 1 << 32:
        return _LENGTH_32(code + 1, length)
    raise ValueError(f"a length of {length} is too much for msgpack")


def _int(value: int) -> bytes:
    if value >= 0:
        for limit, code, write in _POSITIVE:
            if value < limit:
                return write(code, value)
    else:
        for limit, code, write in _NEGATIVE:
            if value >= limit:
                return write(code, value)
    raise ValueError(f"an int of {value.bit_length()} bits is too much for msgpack, which has 64")


def _read(data: bytes | memoryview, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    """So many values from a position on, and where they end. Keys and values of a map are read like an array."""
    size = len(data)
    if count > size - at:
        raise _cut_short()
    values: list[Any] = []
    add = values.append
    for _ in range(count):
        tag = data[at]
        at += 1
        if tag < 0x80:
            add(tag)
            continue
        if tag >= 0xE0:
            add(tag - 256)
            continue
        if tag < 0xC0:
            if tag >= 0xA0:
                kind, length = _STR, tag & 31
            else:
                kind, length = (_ARRAY if tag >= 0x90 else _MAP), tag & 15
        elif tag in _CONSTANTS:
            add(_CONSTANTS[tag])
            continue
        else:
            form = _FORMS.get(tag)
            if form is None:
                raise ValueError(f"byte {tag:#x} begins no value that is used here")
            kind, reader = form
            (length,) = reader.unpack_from(data, at)
            at += reader.size
            if kind == _NUMBER:
                add(length)
                continue
        if kind <= _BYTES:
            end = at + length
            if end > size:
                raise _cut_short()
            add(bytes(data[at:end]) if kind == _BYTES else str(data[at:end], "utf-8"))
            at = end
            continue
        _check_depth(depth)
        items, at = _read(data, at, length if kind == _ARRAY else 2 * length, depth + 1)
        add(items if kind == _ARRAY else _paired(items))
    return values, at


def _paired(items: list[Any]) -> dict[Any, Any]:
    try:
        return dict(zip(items[::2], items[1::2]))
    except TypeError:
        raise ValueError("a key of a map is an array or a map") from None


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} arrays and maps inside one another")


def _cut_short() -> ValueError:
    return ValueError("the msgpack value is cut short")
