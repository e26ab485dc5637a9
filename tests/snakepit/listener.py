"""Snakepit's listener as contract and observation know it: what the BEAM answers to its workers, and nothing more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from bridge.snakepit import messages

Tool = Callable[[dict[str, Any]], Any]
STRING_URL = "type.googleapis.com/google.protobuf.StringValue"


class Binary:
    """What an Elixir tool returns as ``{:binary, data, metadata}``."""

    def __init__(self, data: bytes, metadata: Any = None) -> None:
        self.data, self.metadata = data, metadata


class Inspected:
    """A term that Jason cannot encode, and how ``inspect`` shows it."""

    def __init__(self, text: str) -> None:
        self.text = text


class FakeListener:
    """Keeps sessions and runs tools. Whatever it is asked is noted."""

    def __init__(self, **tools: Tool) -> None:
        self.address = ""
        self.tools = tools
        self.exposed: list[messages.ToolSpec] = []
        self.sessions: set[str] = set()
        self.asked: list[tuple[str, Any]] = []
        """Method and request, in order."""
        self.headers: list[dict[str, str]] = []
        self.deadlines: list[float | None] = []

    @property
    def methods(self) -> list[str]:
        """What it was asked, in order."""
        return [method for method, _ in self.asked]

    def ping(self, request: messages.PingRequest) -> Any:
        return messages.PingResponse(message=f"pong: {request.message}")

    def initialize_session(self, request: messages.InitializeSessionRequest) -> Any:
        self.sessions.add(request.session_id)
        return messages.InitializeSessionResponse(success=True)

    def cleanup_session(self, request: messages.CleanupSessionRequest) -> Any:
        self.sessions.discard(request.session_id)
        return messages.CleanupSessionResponse(success=True, resources_cleaned=1)

    def heartbeat(self, request: messages.HeartbeatRequest) -> Any:
        return messages.HeartbeatResponse(session_valid=request.session_id in self.sessions)

    def get_exposed_elixir_tools(self, request: messages.GetExposedElixirToolsRequest) -> Any:
        return messages.GetExposedElixirToolsResponse(tools=self.exposed)

    def execute_elixir_tool(self, request: messages.ExecuteElixirToolRequest) -> Any:
        response = messages.ExecuteElixirToolResponse(execution_time_ms=1)
        if request.session_id not in self.sessions:
            response.error_message = "not_found"
        elif request.tool_name not in self.tools:
            response.error_message = f"Tool {request.tool_name} not found for session {request.session_id}"
        else:
            self._run(request, response)
        return response

    def _run(self, request: Any, response: Any) -> None:
        arguments = {}
        for name, packed in request.parameters.items():
            try:
                arguments[name] = json.loads(packed.value)
            except ValueError:
                response.error_message = f"Invalid parameter {name}: unexpected byte at position 0"
                return
        try:
            result = self.tools[request.tool_name](arguments)
        except ArithmeticError as error:
            response.error_message = f"Tool execution failed: {error}"
            return
        response.success = True
        response.metadata["execution_time"] = "1"
        response.result.type_url = STRING_URL
        if isinstance(result, Binary):
            response.binary_result = result.data
            result = {} if result.metadata is None else result.metadata
        response.result.value = result.text.encode() if isinstance(result, Inspected) else json.dumps(result).encode()


_METHODS: dict[str, tuple[Any, Callable[[FakeListener, Any], Any]]] = {
    "Ping": (messages.PingRequest, FakeListener.ping),
    "InitializeSession": (messages.InitializeSessionRequest, FakeListener.initialize_session),
    "CleanupSession": (messages.CleanupSessionRequest, FakeListener.cleanup_session),
    "Heartbeat": (messages.HeartbeatRequest, FakeListener.heartbeat),
    "GetExposedElixirTools": (messages.GetExposedElixirToolsRequest, FakeListener.get_exposed_elixir_tools),
    "ExecuteElixirTool": (messages.ExecuteElixirToolRequest, FakeListener.execute_elixir_tool),
}


def _handler(listener: FakeListener, name: str) -> Any:
    kind, answer = _METHODS[name]

    async def handle(request: Any, context: Any) -> Any:
        listener.asked.append((name, request))
        listener.headers.append(dict(context.invocation_metadata()))
        listener.deadlines.append(context.time_remaining())
        response = answer(listener, request)
        return await response if isinstance(response, Awaitable) else response

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=kind.FromString, response_serializer=lambda message: message.SerializeToString()
    )


@asynccontextmanager
async def listening(listener: FakeListener) -> AsyncIterator[FakeListener]:
    """Serves it on a port of its own, ``listener.address``."""
    server = grpc.aio.server()
    handlers = {name: _handler(listener, name) for name in _METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("snakepit.bridge.BridgeService", handlers),))
    listener.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield listener
    finally:
        await server.stop(0)
