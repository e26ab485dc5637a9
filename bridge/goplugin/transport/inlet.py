"""The way in for connections that the engine cannot take itself: under TLS, or as streams of a yamux session."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Final

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.connections import MAX_CONNECTIONS, Connections
from bridge.goplugin.transport.sockets import SocketPlace, listen_tcp, listen_unix
from bridge.splice import Splice, SpliceEnd
from bridge.tls import TlsTransport
from bridge.yamux.session import Session

__all__ = ["HANDSHAKE_TIMEOUT", "Inlet"]

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for the TLS handshake of a connection."""


class Inlet:
    """Brings connections to a gRPC server on a private Unix socket. Made in a running event loop.

    The server sees a connection when its TLS handshake has succeeded. Why one has not stands in the log, and its other
    side is told by an alert of TLS.

    Args:
        target: the server's socket.
        tls: context of a server; ``None``: connections come as they are.
        handshake_timeout: seconds.
        limit: accepted connections at a time; others wait. Streams do not count, a session has its own limit.
    """

    def __init__(
        self,
        target: Path,
        tls: ssl.SSLContext | None,
        *,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        limit: int = MAX_CONNECTIONS,
    ) -> None:
        self._target, self._tls, self._timeout = target, tls, handshake_timeout
        self._loop = asyncio.get_running_loop()
        self._connections = Connections("a connection to this process has ended", limit)
        self._paths: list[Path] = []

    def __len__(self) -> int:
        """Connections that are not over."""
        return len(self._connections)

    async def listen_unix(self, path: Path, place: SocketPlace | None = None) -> None:
        """Accepts on a Unix socket.

        Args:
            path: where there is nothing yet.
            place: gives the socket its mode and its group; ``None``: it gets 0600.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``; with a place also as its ``listen``.
        """
        listening = listen_unix(path) if place is None else place.listen(path)
        self._paths.append(path)
        self.listen(listening)

    async def listen_tcp(self, host: str, port: int) -> int:
        """Accepts on a port, 0 for any; returns it. Raises ``BridgeError`` ALREADY_EXISTS, ``ADDRESS_IN_USE``."""
        listening = listen_tcp(host, port)
        self.listen(listening)
        bound: int = listening.getsockname()[1]
        return bound

    def listen(self, listening: socket.socket) -> None:
        """Accepts on a socket that listens already, as ``choose_port`` gives one. It is taken over."""
        self._connections.listen(listening, self._accepted)

    async def accept_from(self, session: Session) -> None:
        """Takes the next stream of a session; returns when it is accepted, before it has said anything.

        Raises ``SessionFailed``.
        """
        splice = Splice()
        outer = self._outer(splice)
        await session.accept_stream(lambda: outer)
        self._connections.carry(splice, lambda: self._secured(outer), lambda: self._connect(splice))

    async def aclose(self) -> None:
        """Accepts no more, and cuts off what is connected. Returns when all is closed and removed."""
        await self._connections.aclose()
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)

    def _accepted(self, accepted: socket.socket) -> asyncio.Task[None]:
        splice = Splice()
        outer = self._outer(splice)

        async def connect_near() -> None:
            await self._loop.connect_accepted_socket(lambda: outer, accepted)
            await self._secured(outer)

        task = self._connections.carry(splice, connect_near, lambda: self._connect(splice))
        task.add_done_callback(lambda _: accepted.close())  # also of one that was cancelled before it began
        return task

    def _outer(self, splice: Splice) -> TlsTransport | SpliceEnd:
        return splice.near if self._tls is None else TlsTransport(splice.near, self._tls, server_side=True)

    async def _secured(self, outer: TlsTransport | SpliceEnd) -> None:
        if isinstance(outer, TlsTransport):
            await outer.handshake(self._timeout)

    async def _connect(self, splice: Splice) -> None:
        try:
            await self._loop.create_unix_connection(lambda: splice.far, str(self._target))
        except OSError as error:
            message = f"the gRPC server of this process does not answer ({error.strerror}); look for what has ended it"
            raise BridgeError(Code.UNAVAILABLE, message, reason="NO_SERVER") from error
