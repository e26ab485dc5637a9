"""What workers call back to: ``python -m bench.snakepit.beam PORT_FILE``. Says yes to everything, as fast as it can.

Snakepit's own server asks it in every call whether the session is there; a worker of ours at its start only.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio

from bridge.snakepit import SERVICE, messages

__all__ = ["ANSWERS"]

ANSWERS: dict[str, bytes] = {
    "Ping": messages.PingResponse(message="Pong").SerializeToString(),
    "InitializeSession": messages.InitializeSessionResponse(success=True).SerializeToString(),
    "CleanupSession": messages.CleanupSessionResponse(success=True).SerializeToString(),
    "Heartbeat": messages.HeartbeatResponse(session_valid=True).SerializeToString(),
    "RegisterTools": messages.RegisterToolsResponse(success=True).SerializeToString(),
    "GetExposedElixirTools": messages.GetExposedElixirToolsResponse().SerializeToString(),
}


def _handler(answer: bytes) -> Any:
    async def handle(request: bytes, context: Any) -> bytes:
        return answer

    give: Callable[[bytes, Any], Awaitable[bytes]] = handle
    return grpc.unary_unary_rpc_method_handler(give)


async def _serve(port_file: Path) -> None:
    server = grpc.aio.server()
    handlers = {name: _handler(answer) for name, answer in ANSWERS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.strip("/"), handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(port))
    partial.rename(port_file)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0.5)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
