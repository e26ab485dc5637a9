"""The reference: a bare grpc.aio server. ``python -m bench.bare tool|host LISTEN READY_FILE [HOST]``.

No argument parser and no JSON encoder: its start-up is a reference too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc.aio

from bench.echo import Echo
from bench.stubs import bridge_pb2_grpc

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def _add_tools(server: grpc.aio.Server, target: str) -> None:
    if not target:
        bridge_pb2_grpc.add_BridgeServiceServicer_to_server(Echo(), server)  # type: ignore[no-untyped-call]
        return
    from bridge.v1 import host_pb2, host_pb2_grpc

    host = host_pb2_grpc.HostServiceStub(grpc.aio.insecure_channel(target))  # type: ignore[no-untyped-call]
    bridge_pb2_grpc.add_BridgeServiceServicer_to_server(Echo(host, host_pb2), server)  # type: ignore[no-untyped-call]


def _add_host(server: grpc.aio.Server) -> None:
    from google.protobuf.wrappers_pb2 import Int64Value

    from bridge.v1 import host_pb2, host_pb2_grpc

    class Host(host_pb2_grpc.HostServiceServicer):
        """Every variable is 7, however often it is set."""

        version = 0

        async def OpenSession(self, request: Any, context: Any) -> Any:
            return host_pb2.OpenSessionResponse(session=host_pb2.Session(session_id="0" * 32))

        async def SetVariable(self, request: Any, context: Any) -> Any:
            self.version += 1
            return host_pb2.SetVariableResponse(version=self.version)

        async def GetVariable(self, request: Any, context: Any) -> Any:
            response = host_pb2.GetVariableResponse()
            variable = response.variable
            variable.name, variable.type, variable.version = request.name, "integer", 1
            variable.value.Pack(Int64Value(value=7))
            return response

    host_pb2_grpc.add_HostServiceServicer_to_server(Host(), server)  # type: ignore[no-untyped-call]


async def _serve(role: str, listen: str, ready_file: Path, target: str) -> None:
    server = grpc.aio.server(options=OPTIONS)
    if role == "host":
        _add_host(server)
    else:
        _add_tools(server, target)
    port = server.add_insecure_port(listen)
    await server.start()
    address = listen if listen.startswith("unix:") else f"127.0.0.1:{port}"
    partial = ready_file.with_suffix(".partial")
    partial.write_text(f'{{"addresses": ["{address}"], "pid": {os.getpid()}}}')
    partial.rename(ready_file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0.5)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
