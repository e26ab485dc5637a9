"""A plugin made with pyvider-rpcplugin. Runs where that is installed, with the environment that `Pyvider` gives."""

from __future__ import annotations

import asyncio
from typing import Any

from pyvider.rpcplugin import plugin_server  # type: ignore[import-not-found]
from pyvider.rpcplugin.protocol.base import RPCPluginProtocol  # type: ignore[import-not-found]

from tests.goplugin.proto import kv_pb2, kv_pb2_grpc, probe_pb2_grpc
from tests.goplugin.servicers import KV, Probe, Streamer


class Services(RPCPluginProtocol):  # type: ignore[misc]
    """All but what needs a broker; pyvider's health knows the name of one."""

    service_name = "proto.KV"

    async def get_grpc_descriptors(self) -> tuple[Any, str]:
        """Of the service that has the name."""
        return kv_pb2.DESCRIPTOR, self.service_name

    async def add_to_server(self, server: Any, handler: Any) -> None:
        """The handler is KV's; pyvider has one for a plugin."""
        kv_pb2_grpc.add_KVServicer_to_server(handler, server)  # type: ignore[no-untyped-call]
        probe_pb2_grpc.add_StreamerServicer_to_server(Streamer(), server)  # type: ignore[no-untyped-call]
        probe_pb2_grpc.add_ProbeServicer_to_server(Probe(), server)  # type: ignore[no-untyped-call]


async def main() -> None:
    """Until the host has asked to stop. The server has to be made in the loop that serves."""
    await plugin_server(protocol=Services(), handler=KV()).serve()


if __name__ == "__main__":
    asyncio.run(main())
