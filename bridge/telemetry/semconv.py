"""Names of attributes, metrics and methods.

The ``rpc.*`` names are OpenTelemetry's semantic conventions for RPC and gRPC (release candidate,
https://opentelemetry.io/docs/specs/semconv/rpc/); what they do not have is called ``bridge.*``. They are written out
here because the package that holds them is not a dependency of the OpenTelemetry API.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from bridge.errors import BridgeError, Code

__all__ = ["SERVER_ERRORS", "Peer", "Rpc", "parse_peer", "rpc", "status_of"]

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"
TRANSPORT: Final = "network.transport"

TOOL: Final = "bridge.tool"
"""Name of the tool."""
SESSION_DIGEST: Final = "bridge.session.digest"
"""Digest of the session id: enough to see which calls belong together, useless for getting into the session."""
REASON: Final = "bridge.reason"
"""``BridgeError.reason``."""
TARGET: Final = "bridge.target"
"""Address a client calls."""
OTHER: Final = "_OTHER"
"""Stands for every tool that is not registered, so that callers cannot make up new time series."""

SERVER_CALL_DURATION: Final = "rpc.server.call.duration"
CLIENT_CALL_DURATION: Final = "rpc.client.call.duration"
REQUEST_SIZE: Final = "bridge.server.request.size"
RESPONSE_SIZE: Final = "bridge.server.response.size"
ACTIVE_CALLS: Final = "bridge.server.active_calls"
QUEUE_DURATION: Final = "bridge.server.queue.duration"
EXECUTION_DURATION: Final = "bridge.server.execution.duration"
CALLBACK_DURATION: Final = "bridge.host.callback.duration"
BREAKER_STATE: Final = "bridge.client.breaker.state"

DURATION_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025,
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Seconds: the boundaries of the RPC conventions, and finer ones below them, where most calls of tools are."""
SIZE_BUCKETS: Final = (
    256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0,
)  # fmt: skip
"""Bytes: powers of four."""

SERVER_ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Codes that are an error of the server (semantic conventions for gRPC, server spans); any other failure is the
caller's own and leaves the server's span without error status."""


class Rpc(msgspec.Struct, frozen=True):
    """How a kind of call is named in telemetry."""

    system: str
    """``rpc.system.name``."""
    method: str
    """``rpc.method``, and the name of the span."""


_BY_FRONTEND: dict[str, tuple[Rpc, Rpc]] = {
    "grpc": (
        Rpc("grpc", "bridge.v1.BridgeService/ExecuteTool"),
        Rpc("grpc", "bridge.v1.BridgeService/ExecuteStreamingTool"),
    ),
    "grpc-host": (
        Rpc("grpc", "bridge.v1.HostService/ExecuteHostTool"),
        Rpc("grpc", "bridge.v1.HostService/ExecuteStreamingHostTool"),
    ),
}


def rpc(frontend: str, streaming: bool) -> Rpc:
    """Names of a call by the way it came in. A frontend that is not gRPC gives its own name as the system."""
    pair = _BY_FRONTEND.get(frontend)
    if pair is None:
        # Frontends are few and their names come from the program, so the table cannot grow without bound.
        pair = (Rpc(frontend, "ExecuteTool"), Rpc(frontend, "ExecuteStreamingTool"))
        _BY_FRONTEND[frontend] = pair
    return pair[streaming]


def status_of(error: BaseException | None) -> str:
    """Name of the gRPC code of an outcome: ``OK``, ``INVALID_ARGUMENT``, ...

    An exception that is neither ``BridgeError`` nor a cancellation is a bug of the bridge: ``INTERNAL``.
    """
    if error is None:
        return "OK"
    if isinstance(error, BridgeError):
        return error.code.name
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return Code.CANCELLED.name
    return Code.INTERNAL.name


class Peer(msgspec.Struct, frozen=True):
    """The other end of a connection, in OpenTelemetry's terms."""

    transport: str
    """``tcp`` or ``unix``; empty if unknown."""
    address: str
    """IP address, or path of the socket; empty if unknown."""
    port: int | None = None


def parse_peer(peer: str) -> Peer:
    """Reads ``ipv4:127.0.0.1:5000``, ``ipv6:[::1]:5000``, ``unix:/path`` and the percent-encoded form gRPC uses."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return Peer("unix", rest)
    if kind not in ("ipv4", "ipv6"):
        return Peer("", peer)
    address, _, port = rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")
    return Peer("tcp", address.strip("[]"), int(port) if port.isascii() and port.isdigit() else None)
