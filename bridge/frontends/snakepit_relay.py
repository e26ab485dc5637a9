"""What a worker is asked and only its BEAM can answer: passed on as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridge.engines.base import Method, ServerCall
from bridge.errors import NoHostError
from bridge.host import Host
from bridge.hosts.snakepit import SnakepitHost
from bridge.snakepit import SERVICE
from bridge.telemetry.propagation import outgoing

__all__ = ["relay_methods"]

RELAYED = ("RegisterTools", "GetExposedElixirTools", "ExecuteElixirTool")


def relay_methods(host: Host) -> list[Method]:
    """The methods for an engine.

    Args:
        host: the server's; one that is no BEAM has no answers, and they are FAILED_PRECONDITION, reason ``NO_HOST``.
    """
    return [Method(SERVICE + name, unary=_relay(host, name)) for name in RELAYED]


def _relay(host: Host, name: str) -> Callable[[ServerCall, bytes], Awaitable[bytes]]:
    async def relay(rpc: ServerCall, data: bytes) -> bytes:
        if not isinstance(host, SnakepitHost):
            raise NoHostError("this worker was launched without --elixir-address: there is no BEAM to ask")
        return await host.relay(name, data, tuple(outgoing(rpc.headers).items()), rpc.time_remaining())

    return relay
