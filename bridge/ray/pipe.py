"""A worker's pipe where it leaves the machine: whole frames, and which of them are answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

from bridge.worker import frames

__all__ = ["FramePipe", "answers_due"]

READ_BYTES = 256 * 1024
"""Most that is read at once: more than a socket pair holds."""
HEADER_BYTES = 4
"""The length before each frame."""
_TAG_AT = HEADER_BYTES + 1
"""Where the number of its kind stands in a frame: after the length and the head of the array."""


def _tags(*kinds: type) -> frozenset[int]:
    return frozenset(kind.__struct_config__.tag for kind in kinds)  # type: ignore[attr-defined]


_ASKING = _tags(frames.Call, frames.Ping)
_ANSWERING = _tags(frames.Ready, frames.Failed, frames.Result, frames.Error, frames.Pong)


class FramePipe:
    """One end of a socket pair that has a ``bridge.worker.connection.Connection`` at its other end.

    Args:
        sock: the end; it belongs to this object.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    async def read(self) -> bytes:
        """The frames that are there, at least one, and none of them cut; empty when no more come."""
        loop = asyncio.get_running_loop()
        data, begin = bytearray(await loop.sock_recv(self._sock, READ_BYTES)), 0
        while data:
            begin, missing = _last(data, begin)
            if not missing:
                return bytes(data)
            piece = await loop.sock_recv(self._sock, min(missing, READ_BYTES))
            if not piece:
                break
            data += piece
        return b""

    async def write(self, data: bytes) -> None:
        """Returns when the socket has taken it all. Raises ``OSError`` if the other end is closed."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def close(self) -> None:
        """Closes this end. Nobody may be reading or writing."""
        self._sock.close()


def answers_due(data: bytes) -> int:
    """How many more answers these whole frames ask for than they give.

    A server asks by its calls and its pings, and in the beginning for a word that the worker is ready. All else goes
    without an answer, or while one is due.
    """
    count = 0
    for tag in _kinds(data):
        if tag in _ASKING:
            count += 1
        elif tag in _ANSWERING:
            count -= 1
    return count


def _kinds(data: bytes) -> Iterator[int]:
    begin = 0
    while begin < len(data):
        yield data[begin + _TAG_AT]
        begin = _end(data, begin)


def _end(data: bytes | bytearray, begin: int) -> int:
    return begin + HEADER_BYTES + int.from_bytes(data[begin : begin + HEADER_BYTES], "big")


def _last(data: bytearray, begin: int) -> tuple[int, int]:
    """Where the last frame begins, and how many bytes it lacks; ``begin`` is where a frame before it does."""
    while begin < len(data):
        there = len(data) - begin
        if there < HEADER_BYTES:
            return begin, HEADER_BYTES - there
        end = _end(data, begin)
        if end > len(data):
            return begin, end - len(data)
        begin = end
    return begin, 0
