"""Two descriptors, one to read and one to write, as one transport of asyncio."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress
from typing import Any

from bridge.jsonrpc.file_transport import FileReader, FileWriter

__all__ = ["connect_pipes", "read_less"]

_READ_SIZE = 64 * 1024
"""Bytes read at a time; as many as a pipe holds (pipe(7))."""


async def connect_pipes(protocol: asyncio.Protocol, stdin: int, stdout: int) -> None:
    """Connects a protocol, with no thread that waits for input. The descriptors are closed at its end.

    Args:
        protocol: has to close its transport after ``eof_received``, whatever that returns. Its ``connection_lost`` is
            called when all was written, or when nobody reads what is written.
        stdin: a pipe, a socket, a terminal or a file.
        stdout: another one.
    """
    loop = asyncio.get_running_loop()
    transport = _PipeTransport()
    write_side = _WriteSide(protocol, transport)
    if _can_be_waited_for(stdout):
        transport.writer, _ = await loop.connect_write_pipe(lambda: write_side, os.fdopen(stdout, "wb", 0))
    else:
        transport.writer = FileWriter(stdout, write_side)
    protocol.connection_made(transport)
    read_side = _ReadSide(protocol, transport)
    if _can_be_waited_for(stdin):
        transport.reader, _ = await loop.connect_read_pipe(lambda: read_side, os.fdopen(stdin, "rb", 0))
        read_less(transport.reader)
    else:
        transport.reader = FileReader(stdin, read_side)


def read_less(transport: asyncio.BaseTransport) -> None:
    """Has a transport of asyncio read no more at a time than memory is there for.

    It takes memory for 256 KiB before each read, which costs more than all else that a small message costs.
    """
    with suppress(AttributeError):  # other event loops have their own ways
        transport.max_size = _READ_SIZE  # type: ignore[attr-defined]


def _can_be_waited_for(fd: int) -> bool:
    with select.epoll() as epoll:
        try:
            epoll.register(fd)
        except PermissionError:  # a file, or /dev/null (epoll_ctl(2))
            return False
    return True


class _PipeTransport(asyncio.Transport):
    reader: asyncio.ReadTransport | None = None
    writer: asyncio.WriteTransport

    def is_closing(self) -> bool:
        return self.writer.is_closing()

    def pause_reading(self) -> None:
        if self.reader is not None:
            self.reader.pause_reading()

    def resume_reading(self) -> None:
        if self.reader is not None:
            self.reader.resume_reading()

    def write(self, data: Any) -> None:
        self.writer.write(data)

    def get_write_buffer_size(self) -> int:
        return self.writer.get_write_buffer_size()

    def close(self) -> None:
        self.stop_reading()
        self.writer.close()

    def abort(self) -> None:
        self.stop_reading()
        # One of asyncio's that has nothing more to write has ended, or does so in a moment, and may not be told twice.
        if not self.writer.is_closing() or self.writer.get_write_buffer_size():
            self.writer.abort()

    def stop_reading(self) -> None:
        if self.reader is not None:
            self.reader.close()


class _ReadSide(asyncio.Protocol):
    def __init__(self, protocol: asyncio.Protocol, transport: _PipeTransport) -> None:
        self._transport = transport
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._transport.abort()


class _WriteSide(asyncio.BaseProtocol):
    def __init__(self, protocol: asyncio.Protocol, transport: _PipeTransport) -> None:
        self._protocol, self._transport = protocol, transport
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport.stop_reading()
        self._protocol.connection_lost(error)
