"""What the BEAM listens with: the half of ``snakepit.bridge.BridgeService`` that workers call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from google.protobuf.message import Message

from bridge import engines
from bridge.engines.base import Method, ServerCall, ServerOptions
from bridge.errors import BridgeError, Code
from bridge.snakepit import SERVICE, messages

__all__ = ["ElixirListener", "Received"]

STRING_VALUE = "type.googleapis.com/google.protobuf.StringValue"
"""The type of every value on this wire, which are JSON all the same."""


class Received(msgspec.Struct):
    """A request of a worker."""

    method: str
    message: Any
    headers: dict[str, str]
    time_left: float | None


class ElixirListener:
    """Answers workers. Change its attributes to have it answer otherwise."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        """All requests, oldest first."""
        self.sessions: set[str] = set()
        self.tools: dict[str, Callable[..., Any]] = {}
        """By name; called with the parameters. ``bytes`` go as a binary; what it raises is the error message."""
        self.refuses: set[str] = set()
        """Methods that are answered by UNAVAILABLE."""
        self.address = ""

    async def start(self, address: str = "127.0.0.1:0") -> None:
        """Begins to listen."""
        self._engine = engines.serve(ServerOptions(4 << 20, 16 << 10, 100))
        self.address = self._engine.listen(address)
        await self._engine.start(
            [
                self._method("Ping", messages.PingRequest, self._ping),
                self._method("InitializeSession", messages.InitializeSessionRequest, self._initialize),
                self._method("CleanupSession", messages.CleanupSessionRequest, self._cleanup),
                self._method("Heartbeat", messages.HeartbeatRequest, self._heartbeat),
                self._method("GetExposedElixirTools", messages.GetExposedElixirToolsRequest, self._list_tools),
                self._method("ExecuteElixirTool", messages.ExecuteElixirToolRequest, self._execute),
            ]
        )

    async def stop(self) -> None:
        """Listens no more."""
        await self._engine.aclose(0)

    def of(self, method: str) -> list[Received]:
        """The requests of one method."""
        return [each for each in self.received if each.method == method]

    def _method(self, name: str, kind: Any, handle: Callable[[Any], Message]) -> Method:
        async def answer(rpc: ServerCall, data: bytes) -> bytes:
            request = kind.FromString(data)
            self.received.append(Received(name, request, dict(rpc.headers), rpc.time_remaining()))
            if name in self.refuses:
                raise BridgeError(Code.UNAVAILABLE, "the BEAM has other things to do")
            return handle(request).SerializeToString()

        return Method(SERVICE + name, unary=answer)

    def _ping(self, request: messages.PingRequest) -> Message:
        return messages.PingResponse(message=f"pong: {request.message}")

    def _initialize(self, request: messages.InitializeSessionRequest) -> Message:
        self.sessions.add(request.session_id)
        return messages.InitializeSessionResponse(success=True)

    def _cleanup(self, request: messages.CleanupSessionRequest) -> Message:
        self.sessions.discard(request.session_id)
        return messages.CleanupSessionResponse(success=True, resources_cleaned=1)

    def _heartbeat(self, request: messages.HeartbeatRequest) -> Message:
        return messages.HeartbeatResponse(session_valid=request.session_id in self.sessions)

    def _list_tools(self, request: messages.GetExposedElixirToolsRequest) -> Message:
        return messages.GetExposedElixirToolsResponse(tools=[messages.ToolSpec(name=name) for name in self.tools])

    def _execute(self, request: messages.ExecuteElixirToolRequest) -> Message:
        response = messages.ExecuteElixirToolResponse()
        try:
            if request.session_id not in self.sessions:
                raise LookupError("session_not_found")
            if request.tool_name not in self.tools:
                raise LookupError(f"Tool {request.tool_name} not found")
            parameters = {name: json.loads(packed.value) for name, packed in request.parameters.items()}
            result = self.tools[request.tool_name](**parameters)
            response.success = True
            if isinstance(result, bytes):
                response.binary_result = result
            else:
                response.result.type_url, response.result.value = STRING_VALUE, json.dumps(result).encode()
        except Exception as error:  # noqa: BLE001 - of whatever a test has for a tool
            response.success, response.error_message = False, str(error)
        return response
