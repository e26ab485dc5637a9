"""Two brokers that talk over a real main connection, in each of the ways in which host and plugin can be connected."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bridge import engines
from bridge.engines.base import ChannelOptions, DuplexChannel, Method, ServerCall, ServerOptions
from bridge.engines.services import Services
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.transport.identity import Tls, make_identity, mutual_tls
from bridge.goplugin.transport.inlet import Inlet
from bridge.goplugin.transport.mux import Multiplexer
from bridge.goplugin.transport.outlet import Outlet, to_socket
from bridge.goplugin.transport.sockets import SocketPlace

OPTIONS = ServerOptions(max_message_bytes=64 * 1024 * 1024, max_metadata_bytes=8192, max_concurrent_streams=100)
CHANNEL = ChannelOptions(max_message_bytes=64 * 1024 * 1024, keepalive=0)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a name that is short enough for sockets. In the end everything in it is gone."""
    path = Path(tempfile.mkdtemp(prefix="broker"))
    yield path
    path.rmdir()


class Kind(msgspec.Struct, frozen=True):
    """How host and plugin are connected."""

    tls: bool
    mux: bool

    def __str__(self) -> str:
        return f"{'tls' if self.tls else 'plain'}{'-mux' if self.mux else ''}"


KINDS = [Kind(tls, mux) for mux in (False, True) for tls in (False, True)]


def echo(prefix: bytes = b"") -> Callable[[Services], None]:
    """A service that sends back what it gets."""

    async def say(call: ServerCall, request: bytes) -> bytes:
        return prefix + request

    return lambda server: server.add_methods([Method("/test.Echo/Say", unary=say)])


async def say(channel: Any, text: bytes) -> bytes:
    """Asks that service."""
    async with asyncio.timeout(10):
        answer: bytes = await channel.unary_unary("/test.Echo/Say")(text)
    return answer


class Pair(msgspec.Struct):
    """Both sides of one connection."""

    plugin: Broker
    host: Broker
    channel: DuplexChannel
    """The main connection, of the host."""
    muxes: tuple[Multiplexer, ...] = ()
    """The plugin's first."""

    def sides(self, plugin_dials: bool) -> tuple[Broker, Broker]:
        """Who dials, and who accepts."""
        return (self.plugin, self.host) if plugin_dials else (self.host, self.plugin)


def both_tls() -> tuple[Tls, Tls]:
    """Of a plugin and its host."""
    plugin, host = make_identity(), make_identity()
    return mutual_tls(plugin, host.certificate), mutual_tls(host, plugin.certificate)


class PluginSide:
    """A plugin without a host: what a test can lie to."""

    def __init__(self, place: SocketPlace, tls: Tls | None, *, mux: bool) -> None:
        self.place, self.tls = place, tls
        self.path = place.new_socket()
        self._private = place.new_private_socket()
        needs_inlet = tls is not None or mux
        self.inlet = Inlet(self._private, tls.server if tls else None) if needs_inlet else None
        self.mux = Multiplexer(self.inlet) if mux else None
        self.broker = Broker(place, options=OPTIONS, tls=tls, multiplexer=self.mux)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """As long as the context lasts."""
        server = engines.serve(OPTIONS)
        server.listen(f"unix:{self.path if self.inlet is None else self._private}")
        await server.start(self.broker.methods())
        if self.mux is not None:
            self.mux.listen(self.place.listen(self.path))
        elif self.inlet is not None:
            await self.inlet.listen_unix(self.path)
        try:
            yield
        finally:
            await self.broker.aclose()
            await server.aclose(0)
            for closable in (self.mux, self.inlet):
                if closable is not None:
                    await closable.aclose()


@asynccontextmanager
async def host_channel(path: Path, tls: Tls | None, mux: Multiplexer | None) -> AsyncIterator[DuplexChannel]:
    """The main connection of a host."""
    async with AsyncExitStack() as stack:
        target = f"unix:{path}"
        if mux is not None:
            await mux.connect("unix", str(path))
            stack.push_async_callback(mux.aclose)
        if mux is not None or tls is not None:
            outlet = await stack.enter_async_context(
                aclosing(Outlet(mux.to_main(tls) if mux is not None else to_socket("unix", str(path), tls)))
            )
            target = await outlet.open()
        yield await stack.enter_async_context(aclosing(engines.connect(target, CHANNEL)))


@asynccontextmanager
async def joined(kind: Kind, folder: Path) -> AsyncIterator[Pair]:
    """A plugin and its host, in one process."""
    plugin_tls, host_tls = both_tls() if kind.tls else (None, None)
    plugin_place, host_place = SocketPlace(folder), SocketPlace(folder)
    plugin = PluginSide(plugin_place, plugin_tls, mux=kind.mux)
    mux = Multiplexer() if kind.mux else None
    host = Broker(host_place, options=OPTIONS, tls=host_tls, multiplexer=mux)
    try:
        async with plugin.serving(), host_channel(plugin.path, host_tls, mux) as channel:
            async with asyncio.timeout(10):
                await channel.ready()
            running = asyncio.create_task(host.run(channel))
            try:
                muxes = (plugin.mux, mux) if plugin.mux is not None and mux is not None else ()
                yield Pair(plugin.broker, host, channel, muxes)
            finally:
                async with asyncio.timeout(10):
                    await host.aclose()
                    await running
    finally:
        plugin_place.close()
        host_place.close()
