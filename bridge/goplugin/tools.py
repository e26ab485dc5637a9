"""Tools as a plugin: a host of go-plugin gets ``bridge.v1.BridgeService`` by dispensing it.

Beside it answer HostService, for sessions that the plugin keeps itself, and PluginService, by which a host attaches a
HostService of its own through the broker.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.goplugin.handshake import HandshakeConfig
from bridge.goplugin.plugin import Plugin

if TYPE_CHECKING:
    from bridge.config import ServerConfig
    from bridge.engines.base import DuplexChannel
    from bridge.engines.services import Services
    from bridge.goplugin.brokering.broker import Broker
    from bridge.manifest import Manifest

__all__ = ["HANDSHAKE", "NAME", "PLUGINS", "BridgePlugin", "BridgeTools"]

NAME = "bridge"
"""What hosts dispense it by."""
HANDSHAKE = HandshakeConfig(magic_cookie_key="TOOL_BRIDGE_PLUGIN", magic_cookie_value="bridge.v1", protocol_version=1)
"""What hosts of ours set, in every language."""

DIAL_TIMEOUT = 5.0
"""Seconds in which a host that is attached has to accept; go-plugin waits as long."""
LEFT_GRACE = 0.2
"""Seconds that tools have at the end, when their calls have had the grace of the server and are cancelled."""


class BridgeTools(Plugin):
    """Tools that a plugin serves, as its host has them: ``bridge_client.BridgeClient`` calls them at the ``target`` of
    ``PluginClient``, and what is dispensed is a bare ``BridgeServiceStub``."""

    def client(self, channel: Any, broker: Broker) -> Any:
        from bridge.v1.bridge_pb2_grpc import BridgeServiceStub

        return BridgeServiceStub(channel)  # type: ignore[no-untyped-call]


class BridgePlugin(BridgeTools):
    """Serves the tools of adapters.

    They run as ``bridge serve`` would run them, with the same isolation, limits, deadlines and sessions; addresses,
    credentials and the form of logs are go-plugin's affair.

    Args:
        config: the server's; a plugin listens at nothing that stands there.
        adapters: adapter classes.
        plugins: manifests of adapters that live in other interpreters.
    """

    def __init__(self, config: ServerConfig, adapters: Sequence[type], *, plugins: Sequence[Manifest] = ()) -> None:
        self._config, self._adapters, self._manifests = config, adapters, plugins
        self._stack = AsyncExitStack()

    async def open(self, broker: Broker) -> None:
        """Starts the server without its addresses. Raises ``BridgeError`` as ``run_server`` does."""
        from bridge.goplugin.attached_host import AttachedHost  # hosts need neither of these
        from bridge.grpc_parts import GrpcParts
        from bridge.server import run_server

        async with AsyncExitStack() as stack:
            running = run_server(self._config, self._adapters, plugins=self._manifests, listens=False)
            server = await stack.enter_async_context(running)
            stack.push_async_callback(server.drain, min(self._config.grace, LEFT_GRACE))
            frontend = GrpcParts(self._config, server.parts, "bridge")
            attached = AttachedHost(partial(_dial, broker), frontend.call_back_to)
            stack.push_async_callback(attached.aclose)
            methods = attached.keep_sessions_apart(frontend.tool_methods(reflection=True))
            self._methods = [*methods, *attached.methods()]
            self._stack = stack.pop_all()

    def register(self, server: Services, broker: Broker) -> None:
        server.add_methods(self._methods)

    async def aclose(self) -> None:
        await self._stack.aclose()


PLUGINS = {NAME: BridgeTools()}
"""What a host gives as ``plugins``."""


@asynccontextmanager
async def _dial(broker: Broker, service_id: int) -> AsyncGenerator[DuplexChannel, None]:
    from bridge import engines

    async with AsyncExitStack() as stack:
        route = await stack.enter_async_context(broker.route(service_id, DIAL_TIMEOUT))
        channel = engines.connect(route.target, broker.channel_options)
        stack.push_async_callback(channel.aclose)
        await route.connected(channel.ready(), DIAL_TIMEOUT)
        yield channel
