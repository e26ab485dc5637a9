"""What pyarrow does not give of its IPC streams: their buffers uncopied, and whether a message is compressed.

Facts: format/Message.fbs in apache/arrow, and the FlatBuffers binary format (flatbuffers.dev/internals).
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["Pieces", "is_compressed"]

_U8, _U16, _U32, _I32 = (struct.Struct(form).unpack_from for form in ("<B", "<H", "<I", "<i"))

_DICTIONARY_BATCH = 2
_RECORD_BATCH = 3
# Positions of fields in their tables.
_HEADER_TYPE, _HEADER, _DICTIONARY_DATA, _COMPRESSION = 1, 2, 1, 3


class Pieces:
    """A file that keeps what is written to it as it is: the buffers of a table, uncopied."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.size = 0

    def write(self, part: Any) -> int:
        self.parts.append(part)
        self.size += len(part)
        return len(part)

    def flush(self) -> None:
        """Everything is where it goes."""

    def close(self) -> None:
        """Nothing is to be closed."""


def is_compressed(metadata: bytes) -> bool:
    """Whether the body that follows this message header is compressed.

    Raises:
        struct.error: the header points outside of itself.
    """
    message = _U32(metadata, 0)[0]
    kind_at = _field(metadata, message, _HEADER_TYPE)
    kind = _U8(metadata, kind_at)[0] if kind_at else 0
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return False
    batch = _child(metadata, message, _HEADER)
    if batch and kind == _DICTIONARY_BATCH:
        batch = _child(metadata, batch, _DICTIONARY_DATA)
    return bool(batch and _field(metadata, batch, _COMPRESSION))


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a table is; 0 if it is absent."""
    vtable = table - _I32(data, table)[0]
    slot = 4 + 2 * index
    if slot >= _U16(data, vtable)[0]:
        return 0
    offset: int = _U16(data, vtable + slot)[0]
    return table + offset if offset else 0


def _child(data: bytes, table: int, index: int) -> int:
    """Where the table is that a field points to; 0 if it is absent."""
    at = _field(data, table, index)
    return at + _U32(data, at)[0] if at else 0
