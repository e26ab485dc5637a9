"""The gRPC frontend: ``bridge.v1`` requests to ``ToolCall`` and back.

The same methods serve a bridge's tools (BridgeService) and a host's own (HostService).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.codec import decode, encode
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.frontends.base import parse
from bridge.host import Host
from bridge.v1.bridge_pb2 import ExecuteToolRequest, ExecuteToolResponse, ToolChunk

__all__ = ["ToolFrontend", "ToolNames"]

_parse = ExecuteToolRequest.FromString


class ToolNames(msgspec.Struct, frozen=True):
    """What a service calls its methods."""

    kind: str
    """``ToolCall.frontend``."""
    service: str
    execute: str
    stream: str


BRIDGE = ToolNames("grpc", "bridge.v1.BridgeService", "ExecuteTool", "ExecuteStreamingTool")
HOST = ToolNames("grpc-host", "bridge.v1.HostService", "ExecuteHostTool", "ExecuteStreamingHostTool")


class ToolFrontend:
    """Answers ExecuteTool and ExecuteStreamingTool, under the names of a service.

    Args:
        dispatcher: runs the calls.
        host: what tools call back to.
        names: the service and its methods.
        max_message_bytes: most bytes of a response.
        on_response: told the tool and the bytes of each response message.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        host: Host,
        names: ToolNames = BRIDGE,
        *,
        max_message_bytes: int = 16 * 1024 * 1024,
        on_response: Callable[[str, int], None] | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._host = host
        self._names = names
        self._max_message_bytes = max_message_bytes
        self._on_response = on_response

    def methods(self) -> list[Method]:
        """The methods for an engine."""
        prefix = f"/{self._names.service}/"
        return [
            Method(prefix + self._names.execute, unary=self._execute),
            Method(prefix + self._names.stream, stream=self._stream),
        ]

    def _call(self, rpc: ServerCall, data: bytes) -> ToolCall:
        request = parse(_parse, data)
        arguments: dict[str, Any] = {}
        for name, value in request.parameters.items():
            arguments[name] = decode(value, f"$.{name}")
        for name, raw in request.binary_parameters.items():
            if name in arguments:
                raise invalid_argument(f"$.{name}", "is in parameters and in binary_parameters")
            arguments[name] = raw
        remaining = rpc.time_remaining()
        return ToolCall(
            tool=request.tool_name,
            arguments=arguments,
            host=self._host,
            session_id=request.session_id,
            metadata=request.metadata,
            headers=rpc.headers,
            deadline=None if remaining is None else time.monotonic() + remaining,
            answer=rpc.fail,
            size=len(data),
            peer=rpc.peer,
            principal=rpc.principal,
            frontend=self._names.kind,
        )

    async def _execute(self, rpc: ServerCall, data: bytes) -> bytes:
        call = self._call(rpc, data)
        value = await self._dispatcher.run(call)
        response = ExecuteToolResponse()
        if type(value) is bytes:
            response.binary_result = value
        else:
            _encode(value, response.result, call.tool)
        return self._sized(response.SerializeToString(), call.tool)

    async def _stream(self, rpc: ServerCall, data: bytes) -> None:
        call = self._call(rpc, data)
        call.streaming = True
        sequence = 0
        # Values and notes of progress come from different tasks; the wire takes one message after the other.
        turn = asyncio.Lock()

        async def emit(chunk: Chunk, final: bool = False) -> None:
            nonlocal sequence
            async with turn:
                message = ToolChunk(sequence=sequence, is_final=final)
                _fill(message, chunk, call.tool)
                await rpc.write(self._sized(message.SerializeToString(), call.tool))
                sequence += 1

        call.emit = emit
        value = await self._dispatcher.run(call)
        await emit(Chunk(value), final=True)

    def _sized(self, message: bytes, tool: str) -> bytes:
        if len(message) > self._max_message_bytes:
            raise BridgeError(
                Code.RESOURCE_EXHAUSTED,
                f"tool {tool!r} gave a message of {len(message)} bytes, and {self._max_message_bytes} are allowed "
                "(--max-message-bytes): return less, or stream it in parts",
                reason="MESSAGE_TOO_LARGE",
            )
        if self._on_response is not None:
            self._on_response(tool, len(message))
        return message


def _fill(message: ToolChunk, chunk: Chunk, tool: str) -> None:
    value = chunk.value
    if type(value) is bytes:
        message.data = value
    elif value is not NO_VALUE:
        _encode(value, message.value, tool)
    if (progress := chunk.progress) is not None:
        message.progress.message = progress.message
        if progress.fraction is not None:
            message.progress.fraction = progress.fraction


def _encode(value: Any, into: AnyMessage, tool: str) -> None:
    """Encodes what a tool gave. What cannot be carried is the tool's mistake, not the caller's."""
    try:
        encode(value, into)
    except BridgeError as error:
        raise BridgeError(
            Code.UNKNOWN,
            f"tool {tool!r} gave a value that cannot be carried: {error.message}",
            reason="UNSUPPORTED_RESULT",
            details=error.details,
        ) from error
