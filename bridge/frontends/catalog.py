"""The list of tools, and who the server is, as ``bridge.v1`` messages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from google.protobuf.message import Message

from bridge.engines.base import Method, ServerCall
from bridge.registry import Registry
from bridge.tool_specs import tool_specs
from bridge.v1.bridge_pb2 import GetServerInfoResponse, ListToolsResponse

__all__ = ["host_catalog", "server_catalog"]


def server_catalog(registry: Registry, info: Callable[[], GetServerInfoResponse]) -> list[Method]:
    """ListTools and GetServerInfo of BridgeService. Both answer from memory, whatever the tools are doing.

    Args:
        registry: the tools; what it has is listed again when it has changed.
        info: who the server is, asked for at the same times.
    """

    def listing() -> ListToolsResponse:
        message = ListToolsResponse(tools=tool_specs(registry.tools))
        message.etag = hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:16]
        return message

    return [
        _kept("/bridge.v1.BridgeService/ListTools", registry, listing),
        _kept("/bridge.v1.BridgeService/GetServerInfo", registry, info),
    ]


def host_catalog(registry: Registry) -> list[Method]:
    """ListHostTools of HostService."""
    from bridge.v1.host_pb2 import ListHostToolsResponse  # bridges have none of it

    return [
        _kept(
            "/bridge.v1.HostService/ListHostTools",
            registry,
            lambda: ListHostToolsResponse(tools=tool_specs(registry.tools)),
        )
    ]


def _kept(path: str, registry: Registry, make: Callable[[], Message]) -> Method:
    """A method that answers the same until the registry changes."""
    revision, answer = registry.revision, make().SerializeToString()

    async def respond(rpc: ServerCall, data: bytes) -> bytes:
        nonlocal revision, answer
        if registry.revision != revision:
            revision, answer = registry.revision, make().SerializeToString()
        return answer

    return Method(path, unary=respond)
