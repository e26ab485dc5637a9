"""A plugin of nothing but grpcio, of the shape of go-plugin's example in Python: five segments, no service of
go-plugin's but health. What its first argument says it does badly."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from tests.goplugin.proto import kv_pb2_grpc
from tests.goplugin.servicers import KV


class Patient(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Ends when it is asked to, and all calls have ended; one of them waits for its caller to go."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._ending: asyncio.Task[None] | None = None

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The two calls."""
        if details.method == "/plugin.GRPCController/Shutdown":
            return grpc.unary_unary_rpc_method_handler(self._shut_down)
        if details.method == "/plugin.GRPCStdio/StreamStdio":
            return grpc.unary_stream_rpc_method_handler(self._say_nothing)
        return None

    async def _shut_down(self, request: bytes, context: Any) -> bytes:
        self._ending = asyncio.create_task(self._server.stop(60.0))
        return b""

    async def _say_nothing(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


async def main(manner: str) -> None:
    """Until it is killed."""
    server = grpc.aio.server()
    kv_pb2_grpc.add_KVServicer_to_server(KV(), server)  # type: ignore[no-untyped-call]
    servicer = health.HealthServicer()
    if manner == "patient":
        server.add_generic_rpc_handlers((Patient(server),))
    status = health_pb2.HealthCheckResponse.NOT_SERVING if manner == "ill" else health_pb2.HealthCheckResponse.SERVING
    await servicer.set("plugin", status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    path = f"{tempfile.mkdtemp(prefix='plugin')}/socket"
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print(f"1|1|unix|{path}|grpc", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
