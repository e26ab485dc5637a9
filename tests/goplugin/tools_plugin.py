"""Tools served as a plugin in this process, and what a host of theirs does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bridge.config import ServerConfig
from bridge.engines.base import DuplexChannel
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.serving.server import plugin_server
from bridge.goplugin.tools import HANDSHAKE, NAME, BridgePlugin
from bridge.goplugin.transport.mux import Multiplexer
from bridge.goplugin.transport.sockets import SocketPlace
from bridge.grpc_parts import GrpcParts
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.server import Server, run_server
from bridge.tool_messages import pack_call, read_result, read_stream
from bridge.v1.plugin_pb2 import AttachHostRequest
from tests.goplugin.broker_pair import OPTIONS, host_channel

BRIDGE = "/bridge.v1.BridgeService/"
ATTACH = "/bridge.v1.PluginService/AttachHost"


class ToolsHost(msgspec.Struct):
    """A host that is connected to a plugin."""

    channel: DuplexChannel
    broker: Broker
    end: Callable[[], Awaitable[None]]
    """Ends the plugin, as its host's wish does."""

    async def call(self, tool: str, session: str = "", /, *, timeout: float | None = 10, **arguments: Any) -> Any:
        """Runs a tool."""
        request = pack_call(tool, arguments, session)
        return read_result(await self.channel.unary(BRIDGE + "ExecuteTool", request, timeout=timeout))

    async def stream(self, tool: str, session: str = "", /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Runs a tool that yields."""
        request = pack_call(tool, arguments, session)
        async for chunk in read_stream(self.channel.stream(BRIDGE + "ExecuteStreamingTool", request, timeout=10)):
            yield chunk.value

    async def attach(self, broker_id: int) -> None:
        """Tells the plugin under which id a host is served."""
        await self.channel.unary(ATTACH, AttachHostRequest(broker_id=broker_id).SerializeToString(), timeout=10)

    @property
    def inner(self) -> GrpcHost:
        """The sessions that the plugin keeps."""
        return GrpcHost(self.channel)

    @asynccontextmanager
    async def attached(self, server: Server) -> AsyncIterator[None]:
        """Serves the HostService of a server of role host through the broker, and attaches it."""
        broker_id = self.broker.next_id()
        methods = GrpcParts(server.config, server.parts, "host").tool_methods(reflection=False)
        async with self.broker.accept_and_serve(broker_id, lambda services: services.add_methods(methods)):
            await self.attach(broker_id)
            yield


@asynccontextmanager
async def tools_host(
    folder: Path, *adapters: type, mux: bool = False, plugins: Sequence[Any] = (), grace: float = 1.0, **config: Any
) -> AsyncIterator[ToolsHost]:
    """A plugin with these tools, and a host."""
    environ = {"PLUGIN_UNIX_SOCKET_DIR": str(folder), "PLUGIN_MULTIPLEX_GRPC": str(mux).lower()}
    plugin = BridgePlugin(ServerConfig(**config), adapters, plugins=plugins)
    served = plugin_server(handshake=HANDSHAKE, plugins={NAME: plugin}, test=True, environ=environ, grace=grace)
    async with AsyncExitStack() as serving, AsyncExitStack() as stack:
        server = await serving.enter_async_context(served)
        place = stack.enter_context(SocketPlace(folder))
        multiplexer = Multiplexer() if mux else None
        channel = await stack.enter_async_context(host_channel(Path(server.handshake.address), None, multiplexer))
        broker = Broker(place, options=OPTIONS, multiplexer=multiplexer)
        running = asyncio.create_task(broker.run(channel))
        try:
            yield ToolsHost(channel, broker, serving.aclose)
        finally:
            async with asyncio.timeout(10):
                await broker.aclose()
                await running


@asynccontextmanager
async def host_of_tools(*adapters: type) -> AsyncIterator[Server]:
    """Sessions and tools of a host, served nowhere yet."""
    async with run_server(ServerConfig(), adapters, "host", listens=False) as server:
        yield server


async def open_session(host: Server) -> CallScope:
    """A session in such a host."""
    assert host.parts.session_host is not None
    session = await host.parts.session_host.open_session(CallScope())
    return CallScope(session.session_id)
