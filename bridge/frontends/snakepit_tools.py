"""Tools as ``snakepit.bridge.ToolSpec`` messages."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from bridge.errors import BridgeError
from bridge.snakepit import messages
from bridge.snakepit.values import write_result
from bridge.tool import Parameter, Tool

__all__ = ["tool_spec"]


def tool_spec(tool: Tool) -> messages.ToolSpec:
    """What Elixir sees of a tool."""
    spec = messages.ToolSpec(
        name=tool.name,
        description=tool.description,
        metadata=dict(tool.options.metadata),
        supports_streaming=tool.streaming,
    )
    for parameter in tool.parameters:
        _add(spec, parameter)
    return spec


def _add(spec: messages.ToolSpec, parameter: Parameter) -> None:
    wire = spec.parameters.add(
        name=parameter.name,
        type=parameter.type,
        description=parameter.description,
        required=parameter.required,
        validation_json=msgspec.json.encode(parameter.schema).decode(),
    )
    if not parameter.required and not isinstance(parameter.default, (bytes, bytearray, memoryview)):
        with suppress(BridgeError):  # nothing that JSON can carry
            wire.default_value.type_url, wire.default_value.value, _ = write_result(parameter.default)
