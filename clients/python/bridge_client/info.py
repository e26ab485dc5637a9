"""What a server says about itself and its tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.call import NO_VALUE
from bridge.codec import decode
from bridge.errors import BridgeError
from bridge.tool_messages import bad_response
from bridge.v1 import bridge_pb2

__all__ = ["ParameterInfo", "ServerInfo", "ServerLimits", "ToolInfo", "read_server_info", "read_tool"]


class ParameterInfo(msgspec.Struct, frozen=True):
    """A parameter of a tool."""

    name: str
    type: str
    """As the author wrote it, for people."""
    description: str
    required: bool
    default: Any
    """What it is when left out; ``bridge.call.NO_VALUE`` if there is none or it cannot be carried."""
    schema: Mapping[str, Any]
    """JSON Schema 2020-12."""


class ToolInfo(msgspec.Struct, frozen=True):
    """What a client must know to call a tool."""

    name: str
    description: str = ""
    parameters: tuple[ParameterInfo, ...] = ()
    """In the order of the signature."""
    input_schema: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """JSON Schema 2020-12 of the arguments, as one object."""
    output_schema: Mapping[str, Any] | None = None
    """JSON Schema of the result (of one yielded value, for a streaming tool), if declared."""
    streaming: bool = False
    """It yields values while it runs."""
    collects: bool = False
    """A streaming tool that ``call`` may be used with too; its values come back as one list."""
    idempotent: bool = False
    """It may be called again if a call failed half-way."""
    read_only: bool = False
    isolation: str = ""
    """Where it runs: inline, thread, process or call."""
    timeout: float | None = None
    """Seconds after which the server ends a call, whatever the caller's deadline."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)


class ServerLimits(msgspec.Struct, frozen=True):
    """Limits of a server; 0 where it does not say."""

    max_message_bytes: int = 0
    max_metadata_bytes: int = 0
    max_concurrent_calls: int = 0
    max_depth: int = 0
    max_call_duration: float = 0.0
    """Seconds."""
    max_in_flight_bytes: int = 0


class ServerInfo(msgspec.Struct, frozen=True):
    """Which server answers, and what it can do."""

    name: str
    version: str
    protocols: tuple[str, ...]
    features: tuple[str, ...]
    """What is optional and there: ``host``, ``reflection``, ..."""
    adapters: tuple[str, ...]
    limits: ServerLimits
    started_at: float
    """When it became ready, seconds since the epoch."""


def _schema(text: str, tool: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise bad_response(f"the schema of {tool!r:.150} is not a JSON object") from None


def _parameter(spec: bridge_pb2.ParameterSpec, tool: str) -> ParameterInfo:
    default = NO_VALUE
    if spec.HasField("default_value"):
        try:
            default = decode(spec.default_value)
        except BridgeError:
            # A default that cannot be shown is no reason to hide the tool.
            default = NO_VALUE
    return ParameterInfo(spec.name, spec.type, spec.description, spec.required, default, _schema(spec.schema, tool))


def read_tool(spec: bridge_pb2.ToolSpec) -> ToolInfo:
    """A ``ToolSpec`` as a value. Raises DATA_LOSS for a schema that is none."""
    name = spec.name
    return ToolInfo(
        name=name,
        description=spec.description,
        parameters=tuple(_parameter(parameter, name) for parameter in spec.parameters),
        input_schema=_schema(spec.input_schema, name),
        output_schema=_schema(spec.output_schema, name) if spec.output_schema else None,
        streaming=spec.supports_streaming,
        collects=spec.collects,
        idempotent=spec.idempotent,
        read_only=spec.read_only,
        isolation=spec.isolation,
        timeout=spec.timeout.ToNanoseconds() / 1e9 if spec.HasField("timeout") else None,
        metadata=dict(spec.metadata),
    )


def read_server_info(response: bridge_pb2.GetServerInfoResponse) -> ServerInfo:
    """A ``GetServerInfoResponse`` as a value."""
    limits = response.limits
    return ServerInfo(
        name=response.name,
        version=response.version,
        protocols=tuple(response.protocols),
        features=tuple(response.features),
        adapters=tuple(response.adapters),
        limits=ServerLimits(
            max_message_bytes=limits.max_message_bytes,
            max_metadata_bytes=limits.max_metadata_bytes,
            max_concurrent_calls=limits.max_concurrent_calls,
            max_depth=limits.max_depth,
            max_call_duration=limits.max_call_duration.ToNanoseconds() / 1e9,
            max_in_flight_bytes=limits.max_in_flight_bytes,
        ),
        started_at=response.started_at.ToNanoseconds() / 1e9,
    )
