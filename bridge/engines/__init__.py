"""HTTP/2 engines under the gRPC frontend and the client. See ``bridge.engines.base`` for the seam.

The engine is imported when it is first used, so that ``import bridge`` stays fast.
"""

from __future__ import annotations

from typing import Any

from bridge.engines.base import ChannelOptions, DuplexChannel, ServerEngine, ServerOptions
from bridge.errors import invalid_argument

__all__ = ["ENGINES", "connect", "connect_blocking", "serve"]

ENGINES = ("grpcio",)
"""Names of the engines, the default first."""


def _check(engine: str) -> None:
    if engine not in ENGINES:
        raise invalid_argument("engine", f"unknown engine; there is {', '.join(ENGINES)}", reason="CONFIG")


def connect(target: str, options: ChannelOptions | None = None, *, engine: str = ENGINES[0]) -> DuplexChannel:
    """A channel to ``host:port``, ``dns:///name:port`` or ``unix:/path``. It connects when first used.

    Must be called in a running event loop. Raises ``BridgeError`` INVALID_ARGUMENT for a target that is none.
    """
    _check(engine)
    from bridge.engines.grpcio.channel import GrpcioChannel

    return GrpcioChannel(target, options or ChannelOptions())


def connect_blocking(target: str, options: ChannelOptions | None = None, *, engine: str = ENGINES[0]) -> Any:
    """A ``grpc.Channel`` for generated stubs in threads, with the settings that ``connect`` would use; close it.

    Raises ``BridgeError`` INVALID_ARGUMENT for a target that is none.
    """
    _check(engine)
    from bridge.engines.grpcio.settings import blocking_channel

    return blocking_channel(target, options or ChannelOptions())


def serve(options: ServerOptions, *, engine: str = ENGINES[0]) -> ServerEngine:
    """A server engine that listens nowhere yet. Must be called in a running event loop."""
    _check(engine)
    from bridge.engines.grpcio.server import GrpcioServer

    return GrpcioServer(options)
