"""A go-plugin made with pyvider-rpcplugin that serves the bench's calls. Prints its handshake line, then serves."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pyvider.rpcplugin import plugin_server
from pyvider.rpcplugin.protocol.base import RPCPluginProtocol

from bench.echo import Echo
from bench.stubs import bridge_pb2, bridge_pb2_grpc


class EchoProtocol(RPCPluginProtocol):  # type: ignore[misc]
    """The bench's service as pyvider registers one."""

    service_name = "bridge.v1.BridgeService"

    async def get_grpc_descriptors(self) -> tuple[Any, str]:
        return bridge_pb2.DESCRIPTOR, self.service_name

    async def add_to_server(self, server: Any, handler: Any) -> None:
        bridge_pb2_grpc.add_BridgeServiceServicer_to_server(handler, server)  # type: ignore[no-untyped-call]


async def _serve(listen: str) -> None:
    place = {"transport": "tcp"} if not listen.startswith("unix:") else {"transport_path": listen[5:]}
    await plugin_server(protocol=EchoProtocol(), handler=Echo(), **place).serve()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
