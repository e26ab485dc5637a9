"""Tools as ``bridge.v1.ToolSpec`` messages: what clients see, and how a server learns of tools in other processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec
from google.protobuf.duration_pb2 import Duration

from bridge.codec import decode, encode
from bridge.errors import BridgeError, Code
from bridge.tool import NAME, Parameter, Tool, ToolOptions
from bridge.tool_messages import parse_response
from bridge.v1.bridge_pb2 import ListToolsResponse, ParameterSpec, ToolSpec

__all__ = ["duration", "pack_tools", "read_tools", "tool_specs"]

MAX_TOOLS = 10_000
"""Most tools of one worker."""
MAX_CONCURRENCY = "bridge.max_concurrency"
"""Key in the metadata of a tool by which its worker tells the server how many calls of it there may be at once."""


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf Duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def tool_specs(tools: Iterable[Tool]) -> list[ToolSpec]:
    """What clients see of tools."""
    return [_spec(tool) for tool in tools]


def pack_tools(tools: Iterable[Tool]) -> bytes:
    """A ``ListToolsResponse`` for the server that a worker belongs to."""
    listing = ListToolsResponse()
    for tool in tools:
        spec = _spec(tool)
        if tool.options.max_concurrency is not None:
            spec.metadata[MAX_CONCURRENCY] = str(tool.options.max_concurrency)
        listing.tools.append(spec)
    return listing.SerializeToString()


def read_tools(data: bytes, isolation: str = "") -> list[Tool]:
    """The tools of a ``ListToolsResponse`` that a worker has sent.

    Such a tool can be listed and called, by an executor that takes it to its worker. There its arguments are checked.

    Args:
        data: the message.
        isolation: where they run, if it is not for them to say.

    Raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``, or FAILED_PRECONDITION, reason ``BAD_TOOL``, for what is
    no list of tools.
    """
    listing = parse_response(ListToolsResponse, data)
    if len(listing.tools) > MAX_TOOLS:
        raise _bad(f"a worker has {len(listing.tools)} tools, and {MAX_TOOLS} are allowed")
    tools = [_tool(spec, isolation or spec.isolation) for spec in listing.tools]
    name, times = next(iter(Counter(tool.name for tool in tools).most_common(1)), ("", 0))
    if times > 1:
        raise _bad(f"a worker has {times} tools called {name!r}")
    return tools


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


def _tool(spec: ToolSpec, isolation: str) -> Tool:
    if not NAME.fullmatch(spec.name):
        raise _bad(f"a worker has a tool called {spec.name[:140]!r}: a name is 1 to 128 letters, digits, '_', '.', '-'")
    metadata = dict(spec.metadata)
    options = ToolOptions(
        name=spec.name,
        isolation=isolation,
        timeout=_timeout(spec),
        idempotent=spec.idempotent,
        read_only=spec.read_only,
        collect=spec.collects,
        max_concurrency=_places(spec.name, metadata.pop(MAX_CONCURRENCY, None)),
        metadata=metadata,
    )
    return Tool(
        name=spec.name,
        function=_elsewhere,
        description=spec.description,
        parameters=tuple(_parameter(spec.name, wire) for wire in spec.parameters),
        input_schema=_schema(spec.name, spec.input_schema),
        output_schema=_schema(spec.name, spec.output_schema) if spec.output_schema else None,
        streaming=spec.supports_streaming,
        is_async=False,
        isolation=isolation,
        options=options,
        context_parameter=None,
        arguments_type=_NoArguments,
        convert_hook=None,
    )


class _NoArguments(msgspec.Struct):
    """Arguments are bound where the tool is."""


def _elsewhere(*args: object, **kwargs: object) -> NoReturn:
    raise NotImplementedError("the code of this tool is in another process")


def _timeout(spec: ToolSpec) -> float | None:
    seconds = spec.timeout.ToNanoseconds() / 1e9 if spec.HasField("timeout") else 0.0
    return seconds if seconds > 0 else None


def _places(tool: str, text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise _bad(f"a worker's tool {tool!r} has {text[:140]!r} as {MAX_CONCURRENCY}, which is no number of calls")
    return None if text is None else int(text)


def _parameter(tool: str, wire: ParameterSpec) -> Parameter:
    return Parameter(
        name=wire.name,
        type=wire.type,
        description=wire.description,
        required=wire.required,
        default=decode(wire.default_value) if wire.HasField("default_value") else msgspec.NODEFAULT,
        schema=_schema(tool, wire.schema),
    )


def _schema(tool: str, text: str) -> dict[str, Any]:
    try:
        schema = msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise _bad(f"a worker's tool {tool!r} has a schema that is no JSON object") from None
    return schema


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _bad(problem: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, problem, reason="BAD_TOOL")
