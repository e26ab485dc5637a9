"""Files as transports of asyncio, whose event loop takes only what can be waited for: ``bridge stdio < requests``."""

from __future__ import annotations

import asyncio
import os
from typing import Any

__all__ = ["FileReader", "FileWriter"]

_PIECE = 256 * 1024
"""Bytes read at a time."""


class FileReader(asyncio.ReadTransport):
    """Reads a file, piece by piece, between which the event loop does other things; then it is closed."""

    def __init__(self, fd: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._fd, self._protocol = fd, protocol
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = self._loop.call_soon(self._read)

    def pause_reading(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resume_reading(self) -> None:
        if self._next is None and self._fd >= 0:
            self._next = self._loop.call_soon(self._read)

    def is_closing(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        self.pause_reading()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        self._next = self._loop.call_soon(self._read)
        try:
            data = os.read(self._fd, _PIECE)
        except OSError:  # it is a folder, or its disk is broken
            data = b""
        if data:
            self._protocol.data_received(data)
        else:
            self.close()
            self._protocol.eof_received()


class FileWriter(asyncio.WriteTransport):
    """Writes to a file, at once."""

    def __init__(self, fd: int, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._fd, self._protocol = fd, protocol

    def write(self, data: Any) -> None:
        rest = memoryview(data)
        while rest and self._fd >= 0:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except OSError as error:  # most likely, the disk is full
                self._end(error)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        self._end(None)

    abort = close

    def _end(self, error: Exception | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)
