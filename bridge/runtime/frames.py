"""What a server and its worker say to each other, in pure Python; see ``bridge.worker.frames``, which has the fields.

A frame is a length of four bytes, big-endian, and a msgpack array that begins with the number of its kind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from .msgpack import pack, unpack

__all__ = ["FrameReader", "frame"]

CREDIT_AT_FIRST = 16
"""Chunks that may be on their way; one more for each that was taken."""

CALL, CANCEL, CREDIT, ANSWER, ANSWER_END, SHUTDOWN, SETTINGS, PING = range(1, 9)
READY, FAILED, CHUNK, RESULT, ERROR, ASK, ASK_CANCEL, ASK_CREDIT, LOG, PONG = range(17, 27)

_LENGTH = struct.Struct(">I")


def frame(*fields: Any) -> bytes:
    """A frame of a kind and its fields."""
    body = pack(fields)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Makes messages of bytes as they come, however they are cut."""

    __slots__ = ("_buffer", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = 4

    @property
    def missing(self) -> int:
        """Bytes that are missing at least to the next message."""
        return max(1, self._wanted - len(self._buffer))

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Yields what is complete: the number of the kind, and the fields. Raises ``ValueError`` for what is no
        message; nothing may be fed after that."""
        if not self._buffer and len(data) >= 4 and len(data) - 4 == _LENGTH.unpack_from(data)[0]:
            yield _message(data[4:])  # almost always
            return
        buffer = self._buffer
        buffer += data
        begin = 0
        while len(buffer) - begin >= 4:
            end = begin + 4 + _LENGTH.unpack_from(buffer, begin)[0]
            self._wanted = end - begin
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                body = bytes(view[begin + 4 : end])
            begin = end
            self._wanted = 4
            yield _message(body)
        del buffer[:begin]


def _message(body: bytes) -> list[Any]:
    message = unpack(body)
    if not isinstance(message, list) or not message or type(message[0]) is not int:
        raise ValueError("a frame is no array that begins with the number of its kind")
    return message
