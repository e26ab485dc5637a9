"""Messages that are one field, written and read by hand."""

from __future__ import annotations

from typing import Any

from ..protobuf import read_varint, varint

__all__ = ["any_bytes", "delimited", "payload"]

_FIELD_1 = [bytes((10, size)) for size in range(128)]


def delimited(content: Any) -> bytes:
    """A message whose field 1 is this ``string`` or ``bytes``."""
    size = len(content)
    if size < 128:
        return _FIELD_1[size] + content if size else b""
    return b"".join((b"\n", varint(size), content))


def payload(data: bytes) -> bytes | None:
    """The content if ``data`` is exactly one ``string`` or ``bytes`` field 1; ``None``: it has to be parsed."""
    if len(data) > 2 and data[0] == 10:
        size = data[1]
        if size > 127:
            size, at = read_varint(data, 1)
        else:
            at = 2
        if at + size == len(data):
            return data[at:]
    return None


_URL_FIELDS: dict[str, bytes] = {}
"""``Any.type_url`` as a field, for the few types there are."""


def any_bytes(url: str, content: bytes) -> bytes:
    """A serialized ``google.protobuf.Any``, of a type URL that is one of the codec's."""
    head = _URL_FIELDS.get(url)
    if head is None:
        text = url.encode()
        head = _URL_FIELDS[url] = b"\n" + varint(len(text)) + text
    if not content:
        return head
    return b"".join((head, b"\x12", varint(len(content)), content))
