"""Snakepit's frontend: a server as one of the workers of an Elixir pool.

``snakepit.bridge`` requests become ``ToolCall`` and back. What stock workers ask the BEAM about at every call (whether
the session exists) is asked here by nobody: the pool that calls is the one that owns the session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any

from google.protobuf.message import Message

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.codec.wire import FIELD_2, SHORT, any_bytes, varint
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.frontends.snakepit_tools import tool_spec
from bridge.frontends.stream_writer import StreamWriter
from bridge.frontends.thread_sensitive import ThreadSensitive
from bridge.host import Host
from bridge.registry import Registry
from bridge.snakepit import FINAL, SERVICE, messages
from bridge.snakepit.carrying import write_chunk
from bridge.snakepit.failures import error_payload, goes_as_status, status_payload
from bridge.snakepit.sessions import Sessions
from bridge.snakepit.values import ResultRules, read_arguments, write_result
from bridge.telemetry.propagation import CORRELATION
from bridge.tool_messages import add_metadata, message_too_large, parse_request, unsupported_result

__all__ = ["SnakepitFrontend"]

SESSION_ARGUMENT = "session_id"
"""The pool keeps its callers' sessions to itself; an argument of this name is the only way for one to get here."""

_MAX_CORRELATION = 256
"""Characters of a correlation id that goes into headers; gRPC's have room for 8 KiB in all."""
_TYPE_SUCCESS = b"\x08\x01"  # success = 1


class SnakepitFrontend:
    """Answers ``snakepit.bridge.BridgeService`` as a worker does.

    Args:
        dispatcher: runs the calls.
        registry: the tools.
        host: what tools call back to.
        rules: what results look like in JSON.
        thread_sensitive: which calls want the main thread.
        max_message_bytes: most bytes of a response.
        on_response: told the tool and the bytes of each response message.
        on_result: the same of those that are no part of a stream.
        sessions: remembers the pool's sessions.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        registry: Registry,
        host: Host,
        *,
        rules: ResultRules = ResultRules.EXACT,
        thread_sensitive: ThreadSensitive | None = None,
        max_message_bytes: int = 16 * 1024 * 1024,
        on_response: Callable[[str, int], None] | None = None,
        on_result: Callable[[str, int], None] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._dispatcher, self._registry, self._host = dispatcher, registry, host
        self._rules = rules
        self._thread_sensitive = thread_sensitive or ThreadSensitive()
        self._max_message_bytes = max_message_bytes
        self._on_response, self._on_result = on_response, on_result
        self._sessions = sessions or Sessions()

    def methods(self) -> list[Method]:
        """The methods for an engine."""
        return [
            Method(SERVICE + "ExecuteTool", unary=self._execute),
            Method(SERVICE + "ExecuteStreamingTool", stream=self._stream),
            self._method("Ping", messages.PingRequest, self._ping),
            self._method("Heartbeat", messages.HeartbeatRequest, self._heartbeat),
            self._method("InitializeSession", messages.InitializeSessionRequest, self._initialize_session),
            self._method("CleanupSession", messages.CleanupSessionRequest, self._cleanup_session),
            self._method("GetSession", messages.GetSessionRequest, self._get_session),
        ]

    def _method(self, name: str, kind: Any, handle: Callable[[Any], Message]) -> Method:
        async def answer(rpc: ServerCall, data: bytes) -> bytes:
            return handle(parse_request(kind.FromString, data)).SerializeToString()

        return Method(SERVICE + name, unary=answer)

    # -- tools ---------------------------------------------------------------------------------------------------

    async def _execute(self, rpc: ServerCall, data: bytes) -> bytes:
        began = monotonic()
        request = parse_request(messages.ExecuteToolRequest.FromString, data)
        call = None
        try:
            call = self._call(rpc, request, len(data))
            value = await self._dispatcher.run(call)
            message = _success(*write_result(value, self._rules), began)
            self._check(message, request.tool_name)
        except BridgeError as error:
            if goes_as_status(error):
                raise
            failure, about = _of_the_tool(error, request.tool_name), _about(rpc, request, call)
            message = _failure(error_payload(failure, about), began)
            if len(message) > self._max_message_bytes:
                message = _failure(status_payload(failure, about), began)
            return message
        if self._on_result is not None:
            self._on_result(request.tool_name, len(message))
        return message

    async def _stream(self, rpc: ServerCall, data: bytes) -> None:
        request = parse_request(messages.ExecuteToolRequest.FromString, data)
        call = None
        chunks = _Chunks(request.tool_name)
        writer = StreamWriter(rpc.write, -1, partial(self._check, tool=request.tool_name), chunks.pack)
        try:
            call = self._call(rpc, request, len(data))
            call.streaming = True
            call.emit = partial(_emit, writer)
            value = await self._dispatcher.run(call)
            if value is not NO_VALUE or not chunks.ended:
                await writer.emit(Chunk(value), final=True)
        except BridgeError as error:
            if goes_as_status(error):
                raise
            failure = _of_the_tool(error, request.tool_name)
            payload = status_payload(failure, _about(rpc, request, call))
            raise BridgeError(Code.INTERNAL, payload, reason=failure.reason) from error

    def _call(self, rpc: ServerCall, request: Any, size: int) -> ToolCall:
        arguments = read_arguments(request.parameters, request.binary_parameters, request.metadata)
        remaining = rpc.time_remaining()
        call = ToolCall(
            tool=request.tool_name,
            arguments=arguments,
            host=self._host,
            session_id=request.session_id,
            metadata=request.metadata,
            headers=_headers(rpc, request),
            deadline=None if remaining is None else monotonic() + remaining,
            answer=rpc.fail,
            size=size,
            peer=rpc.peer,
            principal=rpc.principal,
            frontend="snakepit",
            plain=self._rules.value,
        )
        if SESSION_ARGUMENT in arguments:
            self._adopt_session(call)
        if self._thread_sensitive.wants(request.metadata, arguments):
            self._keep_on_thread(call)
        return call

    def _adopt_session(self, call: ToolCall) -> None:
        """Makes the session that a caller has named the session of the call; empty text names none."""
        session_id = call.arguments[SESSION_ARGUMENT]
        if not isinstance(session_id, str):
            return
        call.session_id = session_id or call.session_id
        if not self._registry.takes(call.tool, SESSION_ARGUMENT):
            del call.arguments[SESSION_ARGUMENT]

    def _keep_on_thread(self, call: ToolCall) -> None:
        # In a worker process all plain tools run on the main thread anyway.
        entry = self._registry.get(call.tool)
        if entry is not None and entry.place == "thread":
            call.place = "inline"

    def _check(self, message: bytes, tool: str) -> None:
        if len(message) > self._max_message_bytes:
            raise message_too_large(tool, len(message), self._max_message_bytes)
        if self._on_response is not None:
            self._on_response(tool, len(message))

    # -- sessions ------------------------------------------------------------------------------------------------

    def _ping(self, request: messages.PingRequest) -> Message:
        response = messages.PingResponse(message=f"Pong from Python: {request.message}")
        response.server_time.FromNanoseconds(time.time_ns())
        return response

    def _heartbeat(self, request: messages.HeartbeatRequest) -> Message:
        # Of any session: a pool kills a worker that says no, and asks about the worker's own session only.
        response = messages.HeartbeatResponse(session_valid=True)
        response.server_time.FromNanoseconds(time.time_ns())
        return response

    def _initialize_session(self, request: messages.InitializeSessionRequest) -> Message:
        self._sessions.open(request.session_id, request.metadata)
        response = messages.InitializeSessionResponse(success=True)
        for tool in self._registry.tools:
            response.available_tools[tool.name].CopyFrom(tool_spec(tool))
        return response

    def _cleanup_session(self, request: messages.CleanupSessionRequest) -> Message:
        return messages.CleanupSessionResponse(
            success=True, resources_cleaned=int(self._sessions.close(request.session_id))
        )

    def _get_session(self, request: messages.GetSessionRequest) -> Message:
        session = self._sessions.get(request.session_id)
        response = messages.GetSessionResponse(
            session_id=request.session_id, metadata=session.metadata, tool_count=len(self._registry.tools)
        )
        response.created_at.FromNanoseconds(session.created_ns)
        return response


class _Chunks:
    """Numbers the chunks of a stream."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self.ended = False
        """The tool has marked a chunk as its last."""

    def pack(self, chunk: Chunk, sequence: int, final: bool) -> bytes:
        """A ``ToolChunk``."""
        metadata = dict(chunk.metadata or ())
        if metadata.pop(FINAL, ""):
            self.ended = final = True
        data = b"" if chunk.value is NO_VALUE else write_chunk(chunk.value)
        message = messages.ToolChunk(chunk_id=f"{self._tool}-{sequence + 1}", data=data, is_final=final)
        if metadata:
            add_metadata(message.metadata, metadata)
        return message.SerializeToString()


async def _emit(writer: StreamWriter, chunk: Chunk) -> None:
    if chunk.value is not NO_VALUE:  # this wire has no room for notes of progress
        await writer.emit(chunk)


def _of_the_tool(error: BridgeError, tool: str) -> BridgeError:
    """An error in the words of this wire's callers."""
    if error.reason == "UNSUPPORTED_VALUE":  # what a tool gave and nothing can carry is its mistake
        return unsupported_result(tool, error)
    if error.reason == "STREAMING_TOOL":
        message = f"tool {tool!r} streams: call it by Snakepit.execute_stream"
        return BridgeError(error.code, message, reason=error.reason, details=error.details)
    return error


def _headers(rpc: ServerCall, request: Any) -> Mapping[str, str]:
    headers = rpc.headers
    correlation = request.metadata.get("correlation_id")
    if not correlation or headers.get(CORRELATION) or not _is_header(correlation):
        return headers
    return {**headers, CORRELATION: correlation}


def _is_header(text: str) -> bool:
    """Whether a text can be sent on in a header of a tool's own requests."""
    return len(text) <= _MAX_CORRELATION and text.isascii() and text.isprintable()


def _about(rpc: ServerCall, request: Any, call: ToolCall | None) -> dict[str, str]:
    """What an error says of the call it is of; ``None`` if it has not come to one."""
    return {
        "tool_name": request.tool_name,
        "session_id": request.session_id if call is None else call.session_id,
        "correlation_id": _headers(rpc, request).get(CORRELATION, ""),
    }


def _success(url: str, document: bytes, binary: bytes, began: float) -> bytes:
    packed = any_bytes(url, document)
    size = len(packed)
    result = (FIELD_2[size] if size < SHORT else b"\x12" + varint(size)) + packed
    message = _TYPE_SUCCESS + result + _execution_time(began)
    return message + b"2%b%b" % (varint(len(binary)), binary) if binary else message  # binary_result = 6


def _failure(payload: str, began: float) -> bytes:
    text = payload.encode()
    return b"\x1a%b%b" % (varint(len(text)), text) + _execution_time(began)  # error_message = 3


def _execution_time(began: float) -> bytes:
    milliseconds = int((monotonic() - began) * 1000)
    return b"(" + varint(milliseconds) if milliseconds else b""  # execution_time_ms = 5
