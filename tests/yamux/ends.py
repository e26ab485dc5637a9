"""Sessions that are connected, and protocols that write down what happens to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.yamux.config import DEFAULT_CONFIG, YamuxConfig
from bridge.yamux.session import Session
from bridge.yamux.stream_transport import StreamTransport

RawEnd = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Notes(asyncio.Protocol):
    """Keeps what comes. Reads on after the end of the other side."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended, self.lost, self.writable = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self._more = asyncio.Event()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._more.set()

    def eof_received(self) -> bool:
        self.ended.set()
        return True

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.lost.set()

    async def until(self, size: int) -> bytes:
        """The data, when there is that much."""
        while len(self.data) < size:
            self._more.clear()
            await self._more.wait()
        return bytes(self.data)


class Echo(asyncio.Protocol):
    """Sends back what comes, and reads no more while that is not taken."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


async def echo_all(session: Session) -> None:
    """Sends everything back, in every stream; for ever."""
    while True:
        await session.accept_stream(Echo)


@asynccontextmanager
async def connected(
    client_config: YamuxConfig = DEFAULT_CONFIG, server_config: YamuxConfig = DEFAULT_CONFIG
) -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions, the client first."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    _, client = await loop.create_connection(lambda: Session(client=True, config=client_config), sock=near)
    _, server = await loop.create_connection(lambda: Session(client=False, config=server_config), sock=far)
    async with client, server:
        yield client, server


async def pair(client: Session, server: Session) -> tuple[StreamTransport, Notes, StreamTransport, Notes]:
    """The two ends of a stream."""
    near, near_notes = await client.open_stream(Notes)
    far, far_notes = await server.accept_stream(Notes)
    return near, near_notes, far, far_notes


@asynccontextmanager
async def raw(config: YamuxConfig = DEFAULT_CONFIG) -> AsyncIterator[tuple[Session, RawEnd]]:
    """A session that is the server, and the other side of its connection as plain bytes."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    _, server = await loop.create_connection(lambda: Session(client=False, config=config), sock=far)
    try:
        async with server:
            yield server, (reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass  # the session has closed with something unread


@asynccontextmanager
async def unread(config: YamuxConfig = DEFAULT_CONFIG) -> AsyncIterator[tuple[Session, socket.socket]]:
    """A session that is the server, and the other side of its connection, which nobody reads."""
    near, far = socket.socketpair()
    _, server = await asyncio.get_running_loop().create_connection(
        lambda: Session(client=False, config=config), sock=far
    )
    with near:
        async with server:
            yield server, near


def pattern(size: int) -> bytes:
    """Bytes that count from 0 to 250, again and again."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def is_pattern(data: bytes | bytearray, size: int) -> bool:
    """Whether data is that much of the pattern. What differs between megabytes is not worth showing."""
    return data == pattern(size)
