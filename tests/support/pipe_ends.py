"""Both ends of a pipe on one event loop, or one of them and a bare socket."""

from __future__ import annotations

import array
import asyncio
import socket
from typing import Any

from bridge.runtime.shared import Memory
from bridge.worker import frames
from bridge.worker.connection import Connection

__all__ = ["End", "pair", "send_with"]


class End:
    """An end, and what has come to it."""

    def __init__(self) -> None:
        self.connection: Connection
        self.messages: list[Any] = []
        self.memories: list[Memory | None] = []
        """What came with each, if it is claimed."""
        self.claims = True
        self.lost = asyncio.Event()
        self.error: BaseException | None = None
        self._has_more = asyncio.Event()

    @classmethod
    async def open(cls, sock: socket.socket, *limits: int) -> End:
        """An end on a socket. ``limits``: of frames, and of memory."""
        end = cls()
        kinds = frames.FromServer | frames.FromWorker
        limit, *shared = limits or (2**31,)
        end.connection = await Connection.open(sock, kinds, limit, end._on_message, end._on_lost, *shared)
        return end

    async def has(self, count: int) -> list[Any]:
        """The messages, when so many have come."""
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._has_more.clear()
                await self._has_more.wait()
        return self.messages

    async def end(self) -> BaseException | None:
        """What it was lost with."""
        async with asyncio.timeout(5):
            await self.lost.wait()
        return self.error

    def _on_message(self, message: Any) -> None:
        self.messages.append(message)
        if self.claims:
            self.memories.append(self.connection.claim())
        self._has_more.set()

    def _on_lost(self, error: BaseException | None) -> None:
        assert not self.lost.is_set()
        self.error = error
        self.lost.set()


async def pair() -> tuple[End, End]:
    """Two ends that are connected."""
    ours, theirs = socket.socketpair()
    return await End.open(ours), await End.open(theirs)


def send_with(sock: socket.socket, data: bytes, *fds: int) -> None:
    """Sends bytes and descriptors as no connection would."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
