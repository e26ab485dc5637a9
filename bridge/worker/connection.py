"""One end of the pipe between a server and a worker, on an event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from bridge.errors import BridgeError
from bridge.worker.frames import FrameReader, FromServer, FromWorker, encode

__all__ = ["Connection"]


class Connection(asyncio.Protocol):
    """Sends and receives messages.

    Args:
        kinds: what comes in: ``FromServer`` or ``FromWorker``.
        limit: bytes of the longest frame.
        on_message: called with each message.
        on_lost: called once, when nothing will come any more; with the error, if it was one.
    """

    def __init__(
        self,
        kinds: object,
        limit: int,
        on_message: Callable[[Any], None],
        on_lost: Callable[[BaseException | None], None],
    ) -> None:
        self._reader = FrameReader(kinds, limit)
        self._on_message = on_message
        self._on_lost = on_lost
        self._error: BaseException | None = None
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def open(cls, sock: socket.socket, *args: Any) -> Connection:
        """A connection on a connected socket, which then belongs to it."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        _, protocol = await loop.create_connection(lambda: cls(*args), sock=sock)
        return protocol

    def send(self, message: FromServer | FromWorker) -> None:
        """Sends a message; does nothing if the other side is gone, which ``on_lost`` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    @property
    def has_room(self) -> bool:
        """Whether what is sent goes on its way at once, more or less."""
        return self._room.is_set()

    async def drain(self) -> None:
        """Returns when there is room for more, or nobody to take it."""
        await self._room.wait()

    def close(self) -> None:
        """Ends the connection when what was sent is on its way."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream socket
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._on_message(message)
        except BridgeError as error:
            self._error = error
            if self._transport is not None:
                self._transport.abort()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        self._on_lost(self._error or exc)
