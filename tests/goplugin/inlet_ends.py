"""A gRPC server behind an inlet, and what talks to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge import engines
from bridge.engines.base import Channel, ChannelOptions, Method, ServerCall, ServerOptions
from bridge.goplugin.transport.identity import Tls, make_identity, mutual_tls
from bridge.goplugin.transport.inlet import Inlet
from bridge.goplugin.transport.outlet import Connect, Outlet
from bridge.goplugin.transport.sockets import SocketPlace
from tests.goplugin import certificates

LARGEST = 80 * 1024 * 1024
ECHO = "/test.Test/Echo"


def trusting(key: str = "P-521") -> tuple[Tls, Tls]:
    """Of a plugin of ours and of a host with that kind of key, which trust each other."""
    ours, theirs = make_identity(), certificates.make(key)
    return mutual_tls(ours, theirs.der, peer_is="host"), mutual_tls(theirs, ours.der, peer_is="plugin")


@asynccontextmanager
async def echo_server() -> AsyncIterator[Path]:
    """An engine on a private socket that sends back what it gets."""

    async def echo(call: ServerCall, message: bytes) -> bytes:
        return message

    with SocketPlace() as where:
        path = where.new_private_socket()
        engine = engines.serve(ServerOptions(LARGEST, 16 * 1024, 1000))
        engine.listen(f"unix:{path}")
        await engine.start([Method(ECHO, unary=echo)])
        try:
            yield path
        finally:
            await engine.aclose(0)


@asynccontextmanager
async def inlet_before(
    target: Path, tls: ssl.SSLContext | None, *, handshake_timeout: float = 5.0, limit: int = 256
) -> AsyncIterator[tuple[Inlet, Path]]:
    """An inlet on a socket; all of it is closed in the end."""
    with SocketPlace() as where:
        path = where.new_socket()
        inlet = Inlet(target, tls, handshake_timeout=handshake_timeout, limit=limit)
        try:
            await inlet.listen_unix(path, where)
            yield inlet, path
        finally:
            await inlet.aclose()
            assert not path.exists()
            assert len(inlet) == 0


@asynccontextmanager
async def channel_by(connect: Connect) -> AsyncIterator[tuple[Channel, Outlet]]:
    """A channel of the engine that goes through an outlet."""
    outlet = Outlet(connect)
    channel = engines.connect(await outlet.open(), ChannelOptions(max_message_bytes=LARGEST))
    try:
        yield channel, outlet
    finally:
        await channel.aclose()
        await outlet.aclose()
        assert len(outlet) == 0


def descriptors() -> int:
    """Open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def bare(path: Path) -> socket.socket:
    """A connection on which nothing has been said."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, str(path))
    except OSError:
        connection.close()
        raise
    return connection
