"""The way out for connections that the engine cannot make itself: under TLS, or as streams of a yamux session."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from bridge.errors import BridgeError, Code
from bridge.goplugin.addresses import check_address, host_and_port
from bridge.goplugin.transport.connections import Connections
from bridge.goplugin.transport.identity import Tls
from bridge.goplugin.transport.inlet import HANDSHAKE_TIMEOUT
from bridge.goplugin.transport.sockets import SocketPlace
from bridge.splice import Splice
from bridge.tls import TlsTransport
from bridge.yamux.session import Session

__all__ = ["Connect", "Outlet", "to_socket", "to_stream"]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Connect = Callable[[ProtocolFactory], Awaitable[asyncio.Transport]]
"""Makes a connection: for the protocol that the function it is given returns, as ``loop.create_connection``; returns
what that protocol's ``connection_made`` got. Raises ``BridgeError``, and leaves nothing behind then."""


class Outlet:
    """A private Unix socket whose connections lead elsewhere. Made in a running event loop.

    Args:
        connect: makes the other end of each.
        place: whose private directory it is in; ``None``: one of its own.
    """

    def __init__(self, connect: Connect, place: SocketPlace | None = None) -> None:
        self._connect = connect
        self._place = SocketPlace() if place is None else place
        self._is_own_place = place is None
        self._path: Path | None = None
        self._loop = asyncio.get_running_loop()
        self._connections = Connections("a connection of this process has ended")

    def __len__(self) -> int:
        """Connections that are not over."""
        return len(self._connections)

    @property
    def failure(self) -> BridgeError | None:
        """Why the last connection was not made, or has broken; who called through it got no more than UNAVAILABLE."""
        return self._connections.failure

    async def open(self) -> str:
        """Begins to accept. Returns the target for ``engines.connect``, ``unix:/…``.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``.
        """
        self._path = self._place.new_private_socket()
        self._connections.listen(self._place.listen(self._path), self._accepted)
        return f"unix:{quote(str(self._path))}"  # the engine reads it as an URI

    async def aclose(self) -> None:
        """Accepts no more, and cuts off what is connected. Returns when all is closed and removed."""
        await self._connections.aclose()
        if self._is_own_place:
            self._place.close()
        elif self._path is not None:
            self._place.discard(self._path)

    def _accepted(self, accepted: socket.socket) -> asyncio.Task[None]:
        splice = Splice()
        task = self._connections.carry(
            splice,
            lambda: self._loop.connect_accepted_socket(lambda: splice.near, accepted),
            lambda: self._connect(lambda: splice.far),
        )
        task.add_done_callback(lambda _: accepted.close())  # also of one that was cancelled before it began
        return task


def to_socket(network: str, address: str, tls: Tls | None) -> Connect:
    """To where the other side listens, under TLS if there is any.

    Args:
        network: ``unix`` or ``tcp``.
        address: path of a socket (beginning with ``@``: in Linux' abstract namespace), or ``host:port``.
        tls: whom to trust.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``PLUGIN_ADDRESS``. Connecting raises UNAVAILABLE, reason
    ``NOT_CONNECTED``, or what ``TlsTransport.handshake`` does.
    """
    check_address(network, address)

    async def connect(protocol_factory: ProtocolFactory) -> asyncio.Transport:
        outer = _outer(protocol_factory, tls)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                transport = await _dial(network, address, outer)
        except (OSError, UnicodeError) as error:  # the latter of what is no name of a host
            message = f"the other side cannot be reached where it listens ({_problem(error)}); check that it runs"
            raise BridgeError(Code.UNAVAILABLE, message, reason="NOT_CONNECTED") from error
        return await _secured(outer, transport)

    return connect


def to_stream(session: Session, tls: Tls | None, before: Callable[[], Awaitable[None]] | None) -> Connect:
    """To what the other side does with the next stream of a session, under TLS in it if there is any.

    Args:
        session: of both sides.
        tls: whom to trust.
        before: awaited before each stream is opened: a knock.

    Connecting raises what ``before`` and ``Session.open_stream`` do, and ``TlsTransport.handshake``.
    """

    async def connect(protocol_factory: ProtocolFactory) -> asyncio.Transport:
        if before is not None:
            await before()
        outer = _outer(protocol_factory, tls)
        stream, _ = await session.open_stream(lambda: outer)
        return await _secured(outer, stream)

    return connect


def _problem(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "this is no name of a host"
    if isinstance(error, TimeoutError) and not error.errno:
        return "it does not answer in time"
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # of errors of TCP asyncio's own words are not those of the system
    return error.strerror or str(error)


def _outer(protocol_factory: ProtocolFactory, tls: Tls | None) -> asyncio.BaseProtocol:
    protocol = protocol_factory()
    if tls is None:
        return protocol
    return TlsTransport(protocol, tls.client, server_side=False, server_hostname=tls.server_name)


async def _dial(network: str, address: str, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    if network == "unix":
        path = f"\0{address[1:]}" if address.startswith("@") else address
        transport, _ = await loop.create_unix_connection(lambda: protocol, path)
    else:
        transport, _ = await loop.create_connection(lambda: protocol, *host_and_port(address))
    return transport


async def _secured(outer: asyncio.BaseProtocol, transport: asyncio.Transport) -> asyncio.Transport:
    """What the protocol's connection is: the transport, or TLS on it."""
    if not isinstance(outer, TlsTransport):
        return transport
    await outer.handshake(HANDSHAKE_TIMEOUT)
    return outer
