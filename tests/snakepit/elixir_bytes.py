"""Requests as Elixir's protobuf writes them, and recorded bytes as people can read them.

Nothing here is of protobuf's own library, so that what is compared was made by two different hands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = ["STRING_VALUE", "any_of", "execute_request", "field", "fields", "recorded", "text", "without"]

STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"
"""What Elixir writes over every parameter, which is JSON all the same."""

_PIECE = re.compile(r"'([^']*)'|([0-9a-f]{2})|\s+")


def recorded(lines: Collection[str]) -> bytes:
    """The bytes that lines of hexadecimal digits and of ``'text'`` stand for."""
    source, data, at = " ".join(lines), b"", 0
    while at < len(source):
        piece = _PIECE.match(source, at)
        assert piece is not None, f"neither hexadecimal nor text: {source[at:]!r}"
        data += piece[1].encode() if piece[1] is not None else bytes.fromhex(piece[2] or "")
        at = piece.end()
    return data


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, text or a message; nothing of what is empty."""
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b""


def text(number: int, value: str) -> bytes:
    """A field of text."""
    return field(number, value.encode())


def entries(number: int, values: Mapping[str, bytes]) -> bytes:
    """A map: each entry a message of key and value, in the order in which Elixir keeps the keys of small maps."""
    return b"".join(field(number, text(1, key) + field(2, values[key])) for key in sorted(values))


def any_of(value: Any, url: str = STRING_VALUE) -> bytes:
    """A parameter: JSON as Jason writes it, under the URL of something else."""
    document = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text(1, url) + text(2, document)


def execute_request(
    tool: str,
    parameters: Mapping[str, Any],
    *,
    session_id: str = "",
    metadata: Mapping[str, str] | None = None,
    binary: Mapping[str, bytes] | None = None,
    packed: Mapping[str, bytes] | None = None,
    stream: bool = False,
) -> bytes:
    """An ``ExecuteToolRequest``; ``packed`` are parameters whose ``Any`` is made already."""
    values = {name: any_of(value) for name, value in parameters.items()} | dict(packed or {})
    return (
        text(1, session_id)
        + text(2, tool)
        + entries(3, values)
        + entries(4, {key: value.encode() for key, value in (metadata or {}).items()})
        + (b"\x28\x01" if stream else b"")
        + entries(6, binary or {})
    )


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message: number, and all bytes of it with its tag."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _read_varint(message, at)
        if tag & 7 == 2:
            size, at = _read_varint(message, at)
            at += size
        else:
            assert tag & 7 == 0, "there are no other kinds in these messages"
            _, at = _read_varint(message, at)
        yield tag >> 3, message[begin:at]


def without(message: bytes, numbers: Collection[int]) -> bytes:
    """A message without some of its fields: times, which nobody can record."""
    return b"".join(data for number, data in fields(message) if number not in numbers)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
