"""The gRPC frontend: ``bridge.v1`` requests to ``ToolCall`` and back.

The same methods serve a bridge's tools (BridgeService) and a host's own (HostService).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic

import msgspec

from bridge.call import Chunk, ToolCall
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError
from bridge.frontends.stream_writer import StreamWriter
from bridge.host import Host
from bridge.tool_messages import message_too_large, pack_result, read_call, unsupported_result

__all__ = ["ToolFrontend", "ToolNames"]


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
        self.host = host
        """What tools of the calls to come call back to."""
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
        request, arguments = read_call(data)
        remaining = rpc.time_remaining()
        return ToolCall(
            tool=request.tool_name,
            arguments=arguments,
            host=self.host,
            session_id=request.session_id,
            metadata=request.metadata,
            headers=rpc.headers,
            deadline=None if remaining is None else monotonic() + remaining,
            answer=rpc.fail,
            size=len(data),
            peer=rpc.peer,
            principal=rpc.principal,
            frontend=self._names.kind,
        )

    async def _execute(self, rpc: ServerCall, data: bytes) -> bytes:
        call = self._call(rpc, data)
        value = await self._dispatcher.run(call)
        try:
            message = pack_result(value)
        except BridgeError as error:
            raise unsupported_result(call.tool, error) from error
        if len(message) > self._max_message_bytes or self._on_response is not None:
            self._check(message, call.tool)
        return message

    async def _stream(self, rpc: ServerCall, data: bytes) -> None:
        call = self._call(rpc, data)
        call.streaming = True
        limit = self._max_message_bytes if self._on_response is None else -1
        writer = StreamWriter(rpc.write, limit, partial(self._check, tool=call.tool))
        call.emit = writer.emit
        try:
            value = await self._dispatcher.run(call)
            await writer.emit(Chunk(value), final=True)
        except BridgeError as error:
            if error.reason == "UNSUPPORTED_VALUE":
                raise unsupported_result(call.tool, error) from error
            raise

    def _check(self, message: bytes, tool: str) -> None:
        """Looks at a response before it goes."""
        if len(message) > self._max_message_bytes:
            raise message_too_large(tool, len(message), self._max_message_bytes)
        if self._on_response is not None:
            self._on_response(tool, len(message))
