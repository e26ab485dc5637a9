"""Snakepit's service as its host speaks it: sessions, the host's tools, and session variables.

For workers that expect the BEAM's listener, and for programs written against Snakepit v0.4.2. Here callers
choose the ids of sessions, so the host must have been made with ``chosen_ids``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from time import monotonic
from typing import TypeVar

from google.protobuf.message import Message

from bridge.call import ToolCall
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.frontends.answering import scope_of
from bridge.frontends.snakepit_registrations import Registrations
from bridge.frontends.snakepit_tools import tool_spec
from bridge.frontends.snakepit_variables import VariableMethods
from bridge.frontends.snakepit_words import in_their_words, their_method, tool_failure
from bridge.hosts.messages import fill_time
from bridge.hosts.sessions import SessionHost
from bridge.registry import Registry
from bridge.snakepit import SERVICE, messages
from bridge.snakepit.failures import goes_as_status
from bridge.snakepit.values import ResultRules, read_arguments, write_result
from bridge.tool_messages import message_too_large, parse_request

__all__ = ["snakepit_host_methods"]

_Request = messages.ExecuteToolRequest | messages.ExecuteElixirToolRequest
_Response = TypeVar("_Response", messages.ExecuteToolResponse, messages.ExecuteElixirToolResponse)


def snakepit_host_methods(
    host: SessionHost, dispatcher: Dispatcher, registry: Registry, *, max_message_bytes: int = 16 * 1024 * 1024
) -> list[Method]:
    """The methods for an engine. StreamTelemetry is not among them: workers have it, not hosts.

    Args:
        host: keeps sessions and variables.
        dispatcher: runs the host's own tools.
        registry: those tools.
        max_message_bytes: most bytes of an answer.
    """
    return [
        *_HostMethods(host, dispatcher, registry, max_message_bytes).methods(),
        *VariableMethods(host, max_message_bytes).methods(),
    ]


class _HostMethods:
    def __init__(self, host: SessionHost, dispatcher: Dispatcher, registry: Registry, max_message_bytes: int) -> None:
        self._host, self._dispatcher, self._registry = host, dispatcher, registry
        self._max_message_bytes = max_message_bytes
        self._registrations = Registrations(registry, host.limits.max_sessions)

    def methods(self) -> list[Method]:
        limit = self._max_message_bytes
        return [
            their_method("Ping", messages.PingRequest, self._ping, limit),
            their_method("InitializeSession", messages.InitializeSessionRequest, self._initialize_session, limit),
            their_method("CleanupSession", messages.CleanupSessionRequest, self._cleanup_session, limit),
            their_method("GetSession", messages.GetSessionRequest, self._get_session, limit),
            their_method("Heartbeat", messages.HeartbeatRequest, self._heartbeat, limit),
            their_method("RegisterTools", messages.RegisterToolsRequest, self._register_tools, limit),
            their_method("GetExposedElixirTools", messages.GetExposedElixirToolsRequest, self._list_tools, limit),
            their_method("ExecuteElixirTool", messages.ExecuteElixirToolRequest, self._execute_elixir_tool, limit),
            their_method("ExecuteTool", messages.ExecuteToolRequest, self._execute_tool, limit),
            Method(SERVICE + "ExecuteStreamingTool", stream=self._stream),
        ]

    # -- sessions ------------------------------------------------------------------------------------------------

    async def _ping(self, call: ServerCall, request: messages.PingRequest) -> Message:
        response = messages.PingResponse(message=f"pong: {request.message}")
        response.server_time.FromNanoseconds(time.time_ns())
        return response

    async def _initialize_session(self, call: ServerCall, request: messages.InitializeSessionRequest) -> Message:
        await self._host.ensure_session(scope_of(call, request.session_id), metadata=request.metadata)
        return messages.InitializeSessionResponse(success=True)

    async def _cleanup_session(self, call: ServerCall, request: messages.CleanupSessionRequest) -> Message:
        try:
            await self._host.close_session(scope_of(call, request.session_id))
            self._registrations.forget(request.session_id)
            cleaned = 1
        except BridgeError as error:
            if error.code is not Code.NOT_FOUND and error.reason != "NO_SESSION":
                raise
            cleaned = 0  # what is not there is as clean as it can be
        return messages.CleanupSessionResponse(success=True, resources_cleaned=cleaned)

    async def _get_session(self, call: ServerCall, request: messages.GetSessionRequest) -> Message:
        session = await self._host.get_session(scope_of(call, request.session_id))
        response = messages.GetSessionResponse(
            session_id=session.session_id,
            metadata=dict(session.metadata),
            tool_count=len(self._registrations.of(session)),
        )
        fill_time(response.created_at, session.created_at)
        return response

    async def _heartbeat(self, call: ServerCall, request: messages.HeartbeatRequest) -> Message:
        response = messages.HeartbeatResponse(session_valid=True)
        try:
            await self._host.heartbeat(scope_of(call, request.session_id))
        except BridgeError as error:
            if error.code is not Code.NOT_FOUND and error.reason != "NO_SESSION":
                raise
            response.session_valid = False
        response.server_time.FromNanoseconds(time.time_ns())
        return response

    # -- tools ---------------------------------------------------------------------------------------------------

    async def _register_tools(self, call: ServerCall, request: messages.RegisterToolsRequest) -> Message:
        try:
            session = await self._host.get_session(scope_of(call, request.session_id))
            names = self._registrations.add(session, request.tools, request.worker_id)
        except BridgeError as error:
            if error.code is Code.UNAVAILABLE:
                raise
            return messages.RegisterToolsResponse(error_message=in_their_words(error, request).message)
        ids = {name: f"{request.session_id}:{name}" for name in names}
        return messages.RegisterToolsResponse(success=True, tool_ids=ids)

    async def _list_tools(self, call: ServerCall, request: messages.GetExposedElixirToolsRequest) -> Message:
        response = messages.GetExposedElixirToolsResponse()
        for tool in self._registry.tools:
            spec = tool_spec(tool)
            spec.metadata["exposed_to_python"] = "true"
            response.tools.append(spec)
        return response

    async def _execute_elixir_tool(self, call: ServerCall, request: messages.ExecuteElixirToolRequest) -> Message:
        return await self._execute(call, request, messages.ExecuteElixirToolResponse(), {})

    async def _execute_tool(self, call: ServerCall, request: messages.ExecuteToolRequest) -> Message:
        response = messages.ExecuteToolResponse()
        await self._execute(call, request, response, request.binary_parameters)
        if response.success:
            response.metadata["tool_type"] = "local"
        return response

    async def _execute(
        self, call: ServerCall, request: _Request, response: _Response, binary: Mapping[str, bytes]
    ) -> _Response:
        began = monotonic()
        try:
            await self._check_callable(call, request)
            arguments = read_arguments(request.parameters, binary, request.metadata)
            value = await self._dispatcher.run(self._call(call, request, arguments))
            url, document, response.binary_result = write_result(value)
            response.result.type_url, response.result.value = url, document
            if (size := response.ByteSize()) > self._max_message_bytes - 1024:  # with room for what follows
                raise message_too_large(request.tool_name, size, self._max_message_bytes)
            response.success = True
        except BridgeError as error:
            if goes_as_status(error):
                raise
            response.Clear()
            response.error_message = tool_failure(error, request)
        response.execution_time_ms = int((monotonic() - began) * 1000)
        if response.success:
            response.metadata["execution_time"] = str(response.execution_time_ms)
        return response

    async def _check_callable(self, call: ServerCall, request: _Request) -> None:
        """Raises ``BridgeError`` unless there is the session, and the tool is one that the host can run."""
        session = await self._host.get_session(scope_of(call, request.session_id))
        worker = self._registrations.of(session).get(request.tool_name)
        if worker is None:
            return
        message = f"Worker not found: tool {request.tool_name} is one of a worker, and this host calls no workers"
        raise BridgeError(Code.UNIMPLEMENTED, message, reason="TOOL_OF_WORKER")

    def _call(self, rpc: ServerCall, request: _Request, arguments: dict[str, object]) -> ToolCall:
        seconds = [left for left in (rpc.time_remaining(), _timeout(request.metadata)) if left is not None]
        return ToolCall(
            tool=request.tool_name,
            arguments=arguments,
            host=self._host,
            session_id=request.session_id,
            metadata=dict(request.metadata),
            headers=rpc.headers,
            deadline=monotonic() + min(seconds) if seconds else None,
            answer=rpc.fail,
            size=request.ByteSize(),
            peer=rpc.peer,
            principal=rpc.principal,
            frontend="snakepit-host",
            plain=ResultRules.EXACT.value,
        )

    async def _stream(self, call: ServerCall, data: bytes) -> None:
        request = parse_request(messages.ExecuteToolRequest.FromString, data)
        try:
            await self._host.get_session(scope_of(call, request.session_id))
        except BridgeError as error:
            raise in_their_words(error, request) from error
        tool = self._registry[request.tool_name].tool.name
        message = (
            f"Streaming execution is not enabled for tool {tool}. Hosts of Snakepit stream tools of workers only: call "
            "ExecuteTool, or bridge.v1.HostService/ExecuteStreamingHostTool"
        )
        raise BridgeError(Code.UNIMPLEMENTED, message, reason="STREAMING_TOOL")


def _timeout(metadata: Mapping[str, str]) -> float | None:
    """Seconds that the caller gives a tool in the metadata, if it does."""
    text = metadata.get("timeout_ms", "")
    return int(text) / 1000 if text.isdecimal() and text.isascii() and len(text) < 16 else None
