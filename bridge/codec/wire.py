"""Wire bytes of small messages, by hand where a message object would cost more: time, or another copy of the payload.

Facts: protobuf encoding (protobuf.dev/programming-guides/encoding). A proto3 field that has its default value is left
out, so the default of every wrapper is no bytes at all.
"""

from __future__ import annotations

import struct

__all__ = [
    "FIELD_2",
    "LARGE",
    "SHORT",
    "any_bytes",
    "double_field",
    "length_delimited",
    "payload",
    "short_field",
    "trailing_field",
    "varint",
]

LARGE = 16 * 1024
"""Bytes from which saving a copy is worth more than it costs to look for the payload."""

SHORT = 128
"""Lengths below take one byte; and no JSON document so short is nested deeper than 64 levels."""

_ONE_BYTE = [bytes([i]) for i in range(128)]
_FIELD_1 = [b"\n" + bytes([i]) for i in range(128)]
_DOUBLE = struct.Struct("<Bd").pack
_ZERO = struct.pack("<Bd", 9, 0.0)


def varint(number: int) -> bytes:
    """A non-negative number as a varint."""
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


FIELD_2 = [b"\x12" + varint(size) for size in range(SHORT)]
"""How a length-delimited field 2 of so many bytes begins."""

_URL_FIELDS: dict[str, bytes] = {}
"""``Any.type_url`` as a field, for the few types there are."""


def any_bytes(url: str, payload: bytes) -> bytes:
    """A serialized ``google.protobuf.Any``, of a type URL that is one of the codec's."""
    head = _URL_FIELDS.get(url)
    if head is None:
        text = url.encode()
        head = _URL_FIELDS[url] = b"\n" + varint(len(text)) + text
    if not payload:
        return head
    size = len(payload)
    return head + (FIELD_2[size] if size < SHORT else b"\x12" + varint(size)) + payload


def short_field(payload: bytes) -> bytes:
    """``length_delimited`` for 1 to ``SHORT - 1`` bytes."""
    return _FIELD_1[len(payload)] + payload


def length_delimited(payload: bytes | memoryview) -> bytes:
    """A message whose field 1 is this ``string`` or ``bytes``."""
    size = len(payload)
    if size < 128:
        return _FIELD_1[size] + payload if size else b""
    return b"".join((b"\n", varint(size), payload))


def double_field(number: float) -> bytes:
    """A message whose field 1 is this ``double``. Minus zero is not the default and is written."""
    raw = _DOUBLE(9, number)
    return b"" if raw == _ZERO else raw


def payload(data: bytes) -> bytes | None:
    """The payload if ``data`` is exactly one ``string`` or ``bytes`` field 1, and a very short or a large one.

    ``None`` means that the message has to be parsed.
    """
    size = len(data) - 2
    if 0 < size < 128 and data[0] == 10 and data[1] == size:
        return data[2:]
    if size > LARGE:
        found = trailing_field(data, 10)
        if found is not None and found[0] == 0:
            return data[found[1] :]
    return None


def trailing_field(data: bytes, tag: int) -> tuple[int, int] | None:
    """Where the last field begins and where its payload begins, if it has this one-byte tag and ends the message.

    Only length-delimited fields may stand before it. ``None`` means that the message has to be parsed.
    """
    at, size = 0, len(data)
    for _ in range(8):
        start, found = at, 0
        if at >= size or (data[at] != tag and (data[at] & 7 != 2 or data[at] > 127)):
            return None
        for shift in range(0, 35, 7):
            at += 1
            if at >= size:
                return None
            found |= (data[at] & 127) << shift
            if data[at] < 128:
                break
        else:
            return None
        at += 1
        if data[start] == tag:
            return (start, at) if at + found == size else None
        at += found
    return None
