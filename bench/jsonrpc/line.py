"""The client of the bench: blocking, and with as little between it and the system as can be."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

import msgspec

from bridge.protocols.content_length import ContentLength
from bridge.protocols.framing import Framing
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.newline import Newline

__all__ = ["Figures", "Line"]

_LIMITS = ProtocolLimits(max_frame_bytes=2**30)
_FRAMINGS = {"content-length": ContentLength, "newline": Newline}
_READ = 1024 * 1024


class _Answer(msgspec.Struct):
    id: int
    result: msgspec.Raw


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Figures:
    """What some calls took."""

    calls: int
    seconds: float
    client_cpu: int
    """Nanoseconds."""


class Line:
    """A connection.

    Args:
        reads: a descriptor.
        writes: a descriptor.
        framing: of both directions.
        owner: a socket that has them, closed with the line.
    """

    def __init__(self, reads: int, writes: int, framing: str, owner: socket.socket | None = None) -> None:
        self._reads, self._writes, self._owner = reads, writes, owner
        self._framing: Framing = _FRAMINGS[framing](_LIMITS)
        self._id = 0
        self._waiting: set[int] = set()

    def close(self) -> None:
        """Hangs up, if it is a socket."""
        if self._owner is not None:
            self._owner.close()

    def say(self, text: bytes) -> None:
        """Sends a message."""
        self._write(b"".join(self._framing.encode(text)))

    def call(self, method: str, params: bytes) -> bytes:
        """The result of a request; nothing else runs. Raises ``EOFError`` if the other side hangs up."""
        self._ask(method, params, 1)
        while not (results := self._take()):
            pass
        return results[0]

    def calls(self, method: str, params: bytes, expected: bytes, in_flight: int, seconds: float) -> Figures:
        """Calls again and again, with so many requests on their way; raises ``RuntimeError`` for a wrong result."""
        cpu, began = time.process_time_ns(), time.perf_counter()
        end = began + seconds
        self._ask(method, params, in_flight)
        count = 0
        while self._waiting:
            results = self._take()
            if results.count(expected) != len(results):
                raise RuntimeError("an answer differs from the first one")
            count += len(results)
            if results and time.perf_counter() < end:
                self._ask(method, params, len(results))
        return Figures(count, time.perf_counter() - began, time.process_time_ns() - cpu)

    def _ask(self, method: str, params: bytes, count: int) -> None:
        first, self._id = self._id + 1, self._id + count
        ids = range(first, self._id + 1)
        self._waiting.update(ids)
        rest = b',"method":"%b","params":%b}' % (method.encode(), params)
        encode = self._framing.encode
        self._write(b"".join([part for id in ids for part in encode(b'{"jsonrpc":"2.0","id":%d' % id + rest)]))

    def _take(self) -> list[bytes]:
        """The results that have come."""
        data = os.read(self._reads, _READ)
        if not data:
            raise EOFError
        results = []
        for frame in self._framing.feed(data):
            answer = _decode(frame)
            self._waiting.remove(answer.id)
            results.append(bytes(answer.result))
        return results

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._writes, view) :]
