"""Protobuf's wire format by tables, in pure Python: messages are dicts.

Facts: protobuf encoding (protobuf.dev/programming-guides/encoding). What is read is read as protobuf's own parsers do:
unknown fields are skipped, of a field that comes twice the last one counts, messages that come twice are merged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["MAP", "MAX_DEPTH", "OPTIONAL", "PLAIN", "REPEATED", "Field", "Message", "decode", "encode", "varint"]

MAX_DEPTH = 100
"""Messages inside one another, as in protobuf's own parsers."""

PLAIN, OPTIONAL, REPEATED, MAP = "plain", "optional", "repeated", "map"

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_MASK = 2**64 - 1
_MAX_LENGTH = 2**31 - 1

_ONE_BYTE = [bytes((number,)) for number in range(128)]
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")


class Field:
    """A field of a message.

    Args:
        number: its number.
        name: its name.
        kind: ``string``, ``bytes``, ``bool``, ``double``, ``float``, ``int32``, ``int64``, ``uint32``, ``uint64``,
            ``enum``, or a ``Message``. Of a map: the kind of its values; its keys are text.
        form: ``PLAIN`` (left out when it has its default), ``OPTIONAL`` (there or not; so is every message, and every
            field of a oneof), ``REPEATED`` or ``MAP``.
    """

    __slots__ = ("form", "kind", "message", "name", "number", "packed", "tag", "wire")

    def __init__(self, number: int, name: str, kind: str | Message, form: str = PLAIN) -> None:
        message = kind if isinstance(kind, Message) else None
        self.number = number
        self.name = name
        self.kind = "message" if message is not None else str(kind)
        self.message = message
        self.form = OPTIONAL if message is not None and form is PLAIN else form
        self.wire = _WIRES[self.kind]
        self.packed = form is REPEATED and self.wire != _BYTES
        self.tag = varint(number << 3 | (_BYTES if form in (REPEATED, MAP) else self.wire))


class Message:
    """A message type.

    Args:
        name: its full name.
        fields: in the order of their numbers.
        oneof: whether only one of its fields can be there, the last.
    """

    __slots__ = ("by_number", "fields", "name", "oneof")

    def __init__(self, name: str, *fields: Field, oneof: bool = False) -> None:
        self.name = name
        self.fields = fields
        self.by_number = {field.number: field for field in fields}
        self.oneof = oneof

    def add(self, *fields: Field) -> None:
        """More fields, for messages that hold themselves."""
        self.fields += fields
        self.by_number = {field.number: field for field in self.fields}


def varint(number: int) -> bytes:
    """A number as a varint; a negative one in the ten bytes of its two's complement."""
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    number &= _MASK
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a position, of 64 bits without sign, and where it ends. Raises ``ValueError``."""
    number = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number & _MASK, at
            shift += 7
            if shift == 70:
                raise ValueError("a varint has more than ten bytes")
    except IndexError:
        raise ValueError("the message is cut short") from None


# Writing


def encode(message: Message, values: Mapping[str, Any]) -> bytes:
    """The bytes of a message. What is ``None``, or the default of a field that has one, is left out.

    Raises ``ValueError`` or ``TypeError`` for what a field cannot hold.
    """
    parts: list[bytes] = []
    for field in message.fields:
        value = values.get(field.name)
        if value is None:
            continue
        if field.form is MAP:
            for key, item in value.items():
                # Each entry is a message of a key and a value, and both are always written.
                entry = b"\x0a" + _delimited(_text(key)) + varint(2 << 3 | field.wire) + _write(field, item)
                parts += (field.tag, _delimited(entry))
        elif field.packed:
            if value:
                parts += (field.tag, _delimited(b"".join([_write(field, item) for item in value])))
        elif field.form is REPEATED:
            for item in value:
                parts += (field.tag, _write(field, item))
        else:
            raw = _write(field, value)
            if field.form is OPTIONAL or raw != _ZEROS[field.wire]:
                parts += (field.tag, raw)
    return b"".join(parts)


def _write(field: Field, value: Any) -> bytes:
    if field.message is not None:
        return _delimited(encode(field.message, value))
    return _WRITERS[field.kind](value)


def _delimited(data: bytes) -> bytes:
    return varint(len(data)) + data


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value.encode()


def _integer(lowest: int, highest: int) -> Callable[[Any], bytes]:
    def write(value: Any) -> bytes:
        number = int(value)
        if not lowest <= number <= highest:
            raise ValueError(f"not an integer from {lowest} to {highest}")
        return varint(number)

    return write


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "string": lambda value: _delimited(_text(value)),
    "bytes": lambda value: _delimited(bytes(memoryview(value))),
    "bool": lambda value: b"\1" if value else b"\0",
    "double": _DOUBLE.pack,
    "float": _FLOAT.pack,
    "int32": _integer(-(2**31), 2**31 - 1),
    "enum": _integer(-(2**31), 2**31 - 1),
    "int64": _integer(-(2**63), 2**63 - 1),
    "uint32": _integer(0, 2**32 - 1),
    "uint64": _integer(0, _MASK),
}
_WIRES = dict.fromkeys(_WRITERS, _VARINT)
_WIRES.update(string=_BYTES, bytes=_BYTES, message=_BYTES, double=_FIXED64, float=_FIXED32)
_ZEROS = {_VARINT: b"\0", _BYTES: b"\0", _FIXED64: bytes(8), _FIXED32: bytes(4)}


# Reading


def decode(message: Message, data: bytes) -> dict[str, Any]:
    """A message's fields by name, every field of the table: defaults where there is none, ``None`` for an absent
    message or optional field.

    Raises ``ValueError`` for what is no such message.
    """
    return _merge(message, _defaults(message), data, 0)


def _merge(message: Message, values: dict[str, Any], data: bytes, depth: int) -> dict[str, Any]:
    """Reads a message that stands inside of ``depth`` others on top of what has been read of it before."""
    if depth > MAX_DEPTH:
        raise ValueError(f"messages are nested deeper than {MAX_DEPTH} levels")
    for number, wire, raw in _raw_fields(data):
        field = message.by_number.get(number)
        if field is None:
            continue
        if field.packed and wire == _BYTES:
            values[field.name] += [_READERS[field.kind](one) for one in _packed(field, raw)]
        elif wire != (_BYTES if field.form is MAP else field.wire):
            continue
        elif field.form is MAP:
            values[field.name].update(_entry(field, raw, depth + 1))
        elif field.form is REPEATED:
            values[field.name].append(_read(field, None, raw, depth))
        else:
            before = values[field.name]
            if message.oneof and before is None:
                values.update(dict.fromkeys(values))
            values[field.name] = _read(field, before, raw, depth)
    return values


def _read(field: Field, before: Any, raw: Any, depth: int) -> Any:
    if field.message is None:
        return _READERS[field.kind](raw)
    return _merge(field.message, _defaults(field.message) if before is None else before, raw, depth + 1)


def _defaults(message: Message) -> dict[str, Any]:
    return {field.name: _default(field) for field in message.fields}


def _default(field: Field) -> Any:
    if field.form is OPTIONAL:
        return None
    if field.form is PLAIN:
        return _DEFAULTS[field.kind]
    return {} if field.form is MAP else []


def _raw_fields(data: bytes) -> Iterable[tuple[int, int, Any]]:
    """Number, wire type and content of every field: a varint as a number, all else as bytes, of a group nothing."""
    at, end = 0, len(data)
    while at < end:
        number, wire, at = _tag(data, at)
        raw: int | bytes = b""
        if wire == _VARINT:
            raw, at = read_varint(data, at)
        elif wire == _GROUP:
            at = _skip_group(data, at, number)
        else:
            start, at = _span(data, at, wire)
            raw = data[start:at]
        yield number, wire, raw


def _tag(data: bytes, at: int) -> tuple[int, int, int]:
    start = at
    tag, at = read_varint(data, at)
    if tag < 8 or tag >= 2**32 or at - start > 5:
        raise ValueError("a field has no valid number")
    return tag >> 3, tag & 7, at


def _span(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """Where the content of a field that is no varint begins and ends."""
    if wire == _BYTES:
        size, at = read_varint(data, at)
        if size > _MAX_LENGTH:
            raise ValueError("a length is beyond 2 GiB")
    elif wire in (_FIXED64, _FIXED32):
        size = 8 if wire == _FIXED64 else 4
    else:
        raise ValueError("a field is of no known wire type")
    if at + size > len(data):
        raise ValueError("the message is cut short")
    return at, at + size


def _skip_group(data: bytes, at: int, number: int) -> int:
    """Past a group, a form of nesting that no message here has and that other versions might send."""
    groups = [number]
    while groups:
        number, wire, at = _tag(data, at)
        if wire == _GROUP:
            groups.append(number)
            if len(groups) > MAX_DEPTH:
                raise ValueError(f"groups are nested deeper than {MAX_DEPTH} levels")
        elif wire == _GROUP_END:
            if groups.pop() != number:
                raise ValueError("a group ends that has not begun")
        elif wire == _VARINT:
            _, at = read_varint(data, at)
        else:
            _, at = _span(data, at, wire)
    return at


def _packed(field: Field, data: bytes) -> Iterable[Any]:
    at, end = 0, len(data)
    while at < end:
        if field.wire == _VARINT:
            one: int | bytes
            one, at = read_varint(data, at)
        else:
            start, at = _span(data, at, field.wire)
            one = data[start:at]
        yield one


def _entry(field: Field, data: bytes, depth: int) -> dict[str, Any]:
    """An entry of a map by its key; what is absent is the default. One with unknown fields is unknown as a whole, as in
    the parser that protobuf has for Python."""
    if depth > MAX_DEPTH:
        raise ValueError(f"messages are nested deeper than {MAX_DEPTH} levels")
    key = ""
    item: Any = None
    is_known = True
    for number, wire, raw in _raw_fields(data):
        if number == 1 and wire == _BYTES:
            key = raw.decode()
        elif number == 2 and wire == field.wire:
            item = _read(field, item, raw, depth)
        else:
            is_known = False
    if item is None:
        item = _DEFAULTS[field.kind] if field.message is None else _defaults(field.message)
    return {key: item} if is_known else {}


def _signed(bits: int) -> Callable[[int], int]:
    top, whole = 1 << (bits - 1), 1 << bits

    def read(raw: int) -> int:
        raw &= whole - 1
        return raw - whole if raw >= top else raw

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": bytes.decode,
    "bytes": bytes,
    "bool": bool,
    "double": lambda raw: _DOUBLE.unpack(raw)[0],
    "float": lambda raw: _FLOAT.unpack(raw)[0],
    "int32": _signed(32),
    "enum": _signed(32),
    "int64": _signed(64),
    "uint32": lambda raw: raw & 0xFFFFFFFF,
    "uint64": int,
}
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_READERS, 0),
    "string": "",
    "bytes": b"",
    "bool": False,
    "double": 0.0,
    "float": 0.0,
}
