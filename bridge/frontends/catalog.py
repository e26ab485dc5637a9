"""The list of tools, and who the server is, as ``bridge.v1`` messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration

from bridge.codec import encode
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError
from bridge.tool import Tool
from bridge.v1.bridge_pb2 import GetServerInfoResponse, ListToolsResponse, ToolSpec
from bridge.v1.host_pb2 import ListHostToolsResponse

__all__ = ["duration", "host_catalog", "server_catalog", "tool_specs"]


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf Duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def tool_specs(tools: Sequence[Tool]) -> list[ToolSpec]:
    """What clients see of tools."""
    return [_spec(tool) for tool in tools]


def _spec(tool: Tool) -> ToolSpec:
    spec = ToolSpec(
        name=tool.name,
        description=tool.description,
        metadata=dict(tool.options.metadata),
        supports_streaming=tool.streaming,
        input_schema=_json(tool.input_schema),
        output_schema="" if tool.output_schema is None else _json(tool.output_schema),
        idempotent=tool.options.idempotent,
        read_only=tool.options.read_only,
        isolation=tool.isolation,
        collects=tool.options.collect,
    )
    if tool.options.timeout is not None:
        spec.timeout.CopyFrom(duration(tool.options.timeout))
    for parameter in tool.parameters:
        wire = spec.parameters.add(
            name=parameter.name,
            type=parameter.type,
            description=parameter.description,
            required=parameter.required,
            schema=_json(parameter.schema),
        )
        if not parameter.required:
            try:
                encode(parameter.default, wire.default_value)
            except BridgeError:
                wire.ClearField("default_value")  # as the field says: absent if it cannot be carried
    return spec


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def server_catalog(tools: Sequence[Tool], info: GetServerInfoResponse) -> list[Method]:
    """ListTools and GetServerInfo of BridgeService. Both answer from memory, whatever the tools are doing."""
    listing = ListToolsResponse(tools=tool_specs(tools))
    listing.etag = hashlib.sha256(listing.SerializeToString(deterministic=True)).hexdigest()[:16]
    return [
        _constant("/bridge.v1.BridgeService/ListTools", listing.SerializeToString()),
        _constant("/bridge.v1.BridgeService/GetServerInfo", info.SerializeToString()),
    ]


def host_catalog(tools: Sequence[Tool]) -> list[Method]:
    """ListHostTools of HostService."""
    listing = ListHostToolsResponse(tools=tool_specs(tools))
    return [_constant("/bridge.v1.HostService/ListHostTools", listing.SerializeToString())]


def _constant(path: str, answer: bytes) -> Method:
    async def respond(rpc: ServerCall, data: bytes) -> bytes:
        return answer

    return Method(path, unary=respond)
