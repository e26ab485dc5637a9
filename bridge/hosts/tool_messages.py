"""Calls of a host's tools to and from the messages of ``bridge/v1/bridge.proto``, from the caller's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from bridge import codec
from bridge.call import NO_VALUE
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.hosts.values import encode_value
from bridge.v1 import bridge_pb2

__all__ = ["bad_response", "pack_call", "parse", "read_chunk", "read_result"]

M = TypeVar("M")


def bad_response(problem: str) -> BridgeError:
    """What came back is not what the protocol promises."""
    message = f"the host's answer is damaged: {problem}; do host and server speak the same version?"
    return BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE")


def parse(from_string: Callable[[bytes], M], data: bytes) -> M:
    """A response message."""
    try:
        return from_string(data)
    except DecodeError:
        raise bad_response("it is not a protobuf message of this method") from None


def pack_call(session_id: str, tool: str, arguments: Mapping[str, Any]) -> bytes:
    """Bytes of an ``ExecuteToolRequest``. Raises INVALID_ARGUMENT for what cannot be carried."""
    try:
        request = bridge_pb2.ExecuteToolRequest(session_id=session_id, tool_name=tool)
        for name, value in arguments.items():
            if isinstance(value, bytes | bytearray | memoryview):
                request.binary_parameters[name] = bytes(value)
            else:
                encode_value(f"$.{name}", value, request.parameters[name])
    except (TypeError, ValueError):
        raise invalid_argument("$", "names of tools and of arguments must be text") from None
    return request.SerializeToString()


def read_result(data: bytes) -> Any:
    """The result in an ``ExecuteToolResponse``; ``None`` if it has none."""
    response = parse(bridge_pb2.ExecuteToolResponse.FromString, data)
    if response.HasField("result"):
        return codec.decode(response.result)
    return response.binary_result if response.HasField("binary_result") else None


def read_chunk(data: bytes) -> tuple[Any, bool]:
    """The value in a ``ToolChunk`` (``NO_VALUE`` if it has none), and whether it is the last one."""
    chunk = parse(bridge_pb2.ToolChunk.FromString, data)
    value = NO_VALUE
    if chunk.HasField("value"):
        value = codec.decode(chunk.value)
    elif chunk.HasField("data"):
        value = chunk.data
    return value, chunk.is_final
