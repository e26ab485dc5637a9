"""Both ends of a connection, and a handler that does what tests want."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.protocols.content_length import ContentLength
from bridge.protocols.framing import Framing
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import Notification, Request
from bridge.protocols.newline import Newline

FRAMINGS: dict[str, Callable[..., Framing]] = {"content-length": ContentLength, "newline": Newline}


class Answers:
    """``echo`` answers its params, ``slow`` never, ``big`` with so many bytes, ``ask`` with what the asker answers,
    ``fail`` with an error, ``crash`` with a bug, ``stubborn`` does not end by being cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.noted: list[str] = []
        self.closed_connections: list[Connection] = []
        self.release = asyncio.Event()

    async def request(self, connection: Connection, request: Request) -> Any:
        self.begun.append(request.method)
        try:
            return await getattr(self, request.method)(connection, request.params)
        except asyncio.CancelledError:
            self.cancelled.append(request.method)
            raise

    def notification(self, connection: Connection, notification: Notification) -> None:
        self.noted.append(notification.method)
        if notification.method == "crash":
            raise RuntimeError("a bug")

    def closed(self, connection: Connection) -> None:
        self.closed_connections.append(connection)

    async def echo(self, connection: Connection, params: Raw | None) -> Raw | None:
        return params

    async def slow(self, connection: Connection, params: Raw | None) -> None:
        await self.release.wait()

    async def stubborn(self, connection: Connection, params: Raw | None) -> str:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.append("stubborn")
        return "late"

    async def big(self, connection: Connection, params: Raw | None) -> bytes:
        (size,) = msgspec.json.decode(params or b"[0]", type=tuple[int])
        return b'"' + b"x" * size + b'"'

    async def ask(self, connection: Connection, params: Raw | None) -> Raw | None:
        return await connection.request("echo", params)

    async def fail(self, connection: Connection, params: Raw | None) -> None:
        raise BridgeError(Code.NOT_FOUND, "nothing here", reason="NOTHING")

    async def crash(self, connection: Connection, params: Raw | None) -> None:
        raise RuntimeError("a bug")

    async def odd(self, connection: Connection, params: Raw | None) -> object:
        return object()


@asynccontextmanager
async def connected(
    framing: str,
    server: Answers,
    client: Answers | None = None,
    limits: ProtocolLimits = DEFAULT_LIMITS,
    **options: Any,
) -> AsyncIterator[tuple[Connection, Connection]]:
    """A client's connection and the server's, over a pair of sockets. Options are of the server's connection."""
    loop = asyncio.get_running_loop()
    make = FRAMINGS[framing]
    here, there = socket.socketpair()
    asking = Connection(make(limits), client or Answers(), limits, reads_always=True)
    serving = Connection(make(limits), server, limits, **options)
    await loop.connect_accepted_socket(lambda: asking, here)
    await loop.connect_accepted_socket(lambda: serving, there)
    try:
        yield asking, serving
    finally:
        server.release.set()
        for connection in (asking, serving):
            connection.abort()
            await connection.ended


@asynccontextmanager
async def raw_client(framing: str, server: Answers, **options: Any) -> AsyncIterator[tuple[Wire, Connection]]:
    """A client that says any bytes, and the server's connection."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    limits = options.pop("limits", DEFAULT_LIMITS)
    serving = Connection(FRAMINGS[framing](limits), server, limits, **options)
    await loop.connect_accepted_socket(lambda: serving, there)
    reader, writer = await asyncio.open_connection(sock=here)
    try:
        yield Wire(reader, writer, FRAMINGS[framing]()), serving
    finally:
        server.release.set()
        writer.close()
        serving.abort()
        await serving.ended


class Wire:
    """Says bytes and hears messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing) -> None:
        self.reader, self.writer, self._framing = reader, writer, framing
        self._heard: list[Any] = []

    def say(self, *messages: dict[str, Any]) -> None:
        """Sends messages, all at once."""
        self.writer.write(b"".join(part for message in messages for part in self._framing.encode(encode(message))))

    async def hear(self) -> Any:
        """The next message; ``None`` at the end of the stream."""
        while not self._heard:
            data = await self.reader.read(65536)
            if not data:
                return None
            self._heard += [msgspec.json.decode(frame) for frame in self._framing.feed(data)]
        return self._heard.pop(0)


def encode(message: dict[str, Any]) -> bytes:
    """The text of a message."""
    return msgspec.json.encode({"jsonrpc": "2.0", **message})
