"""The host at the other end of Snakepit's listener: the BEAM that owns a pool.

Its tools are there for every worker. Variables are not, since Snakepit 0.5: they come from another host, or, where none
is named, from the RPCs of v0.4.2, which a host of ours has as well.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.codec import encode
from bridge.codec.json_text import exact_json
from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import CallScope, Host
from bridge.hosts.scopes import session_of
from bridge.hosts.snakepit_listener import TIMEOUT, Listener, said
from bridge.snakepit import messages
from bridge.snakepit.values import plain, read_parameter, write_result
from bridge.v1.bridge_pb2 import ToolSpec
from bridge.variables import Declaration, Update, Variable, Write, WriteResult

if TYPE_CHECKING:
    from bridge.hosts.snakepit_variables import SnakepitVariables

__all__ = ["SnakepitHost"]


class SnakepitHost:
    """Asks Snakepit's listener. A ``Host``; what it has beyond that is for the worker process.

    The listener runs tools in sessions it knows only, so it is told of a session before it is asked for the first time
    in it, and again if it has forgotten it.

    Args:
        channel: the connection; ``aclose`` closes it.
        variables: keeps the variables; ``None``: the listener is asked, by RPCs that stock ones do not have.
    """

    def __init__(self, channel: Channel, variables: Host | None = None) -> None:
        self._listener = Listener(channel)
        self._keeper: Host | SnakepitVariables | None = variables

    # Sessions

    async def ping(self, timeout: float = 1.0) -> str:
        """Whether the listener answers, and what; raises ``BridgeError`` if it does not within ``timeout`` seconds."""
        request = messages.PingRequest(message="connection_test")
        return (await self._listener.send("Ping", request, messages.PingResponse, timeout=timeout)).message

    async def initialize_session(self, session_id: str, metadata: Mapping[str, str] | None = None) -> None:
        """Tells the listener of a session; one that it knows stays as it is."""
        await self._listener.initialize_session(session_id, metadata)

    async def heartbeat_session(self, session_id: str, timeout: float) -> bool:
        """Keeps a session; whether the listener knows it. Raises ``BridgeError`` if it does not answer in time."""
        request = messages.HeartbeatRequest(session_id=session_id)
        request.client_time.FromNanoseconds(time.time_ns())
        answer = await self._listener.send("Heartbeat", request, messages.HeartbeatResponse, timeout=timeout)
        return answer.session_valid

    async def cleanup_session(self, session_id: str, *, timeout: float = TIMEOUT) -> None:
        """Ends a session, if it is there."""
        self._listener.forget(session_id)
        request = messages.CleanupSessionRequest(session_id=session_id)
        await self._listener.send("CleanupSession", request, messages.CleanupSessionResponse, timeout=timeout)

    # Tools

    async def list_tools(self, scope: CallScope) -> list[ToolSpec]:
        """The tools that the BEAM shows to workers in this session."""
        request = messages.GetExposedElixirToolsRequest(session_id=session_of(scope))
        answer = await self._listener.ask(
            "GetExposedElixirTools", request, messages.GetExposedElixirToolsResponse, scope
        )
        return [_tool(spec) for spec in answer.tools]

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the BEAM and returns its result.

        A binary comes back as bytes, or with what the tool says about it as ``(bytes, that)``. A result that Elixir
        could not make JSON of is the text that Elixir's ``inspect`` shows of it.

        Raises ``BridgeError``: UNKNOWN, reason ``HOST_TOOL_FAILED``, NOT_FOUND, reason ``TOOL_NOT_FOUND``, for what the
        listener says; INVALID_ARGUMENT for arguments that are bytes, or that JSON has no form for.
        """
        request = messages.ExecuteElixirToolRequest(session_id=session_of(scope), tool_name=tool)
        _fill(request, arguments)

        async def run() -> Any:
            response = await self._listener.ask(
                "ExecuteElixirTool", request, messages.ExecuteElixirToolResponse, scope, timeout=None
            )
            if not response.success:
                raise _failure(tool, response.error_message)
            return _result(response)

        return await self._listener.in_session(scope, run)

    async def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yields the result of a tool: this wire has no streams of the host's."""
        yield await self.call_tool(scope, tool, arguments)

    async def relay(
        self, method: str, request: bytes, headers: Sequence[tuple[str, str]], timeout: float | None
    ) -> bytes:
        """Passes a request on and returns the answer."""
        return await self._listener.relay(method, request, headers, timeout)

    # Variables

    @property
    def _variables(self) -> Host | SnakepitVariables:
        if self._keeper is None:
            from bridge.hosts.snakepit_variables import SnakepitVariables  # most tools ask for none

            self._keeper = SnakepitVariables(self._listener)
        return self._keeper

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """As the host of variables."""
        return await self._variables.get_variables(scope, names)

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """As the host of variables."""
        return await self._variables.set_variables(scope, writes, atomic=atomic)

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """As the host of variables."""
        return await self._variables.register_variable(scope, declaration)

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """As the host of variables."""
        return await self._variables.list_variables(scope, pattern)

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """As the host of variables."""
        await self._variables.delete_variable(scope, name, expected_version=expected_version)

    def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """As the host of variables."""
        return self._variables.watch_variables(scope, names, initial=initial, resume_after=resume_after)

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """As the host of variables."""
        return await self._variables.get_history(scope, name, limit=limit)

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """As the host of variables."""
        return await self._variables.rollback_variable(scope, name, version, expected_version=expected_version)

    async def aclose(self) -> None:
        """Closes the channel, and the host of variables."""
        try:
            if self._keeper is not None:
                await self._keeper.aclose()
        finally:
            await self._listener.aclose()


def _fill(request: messages.ExecuteElixirToolRequest, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if isinstance(value, bytes | bytearray | memoryview):
            raise _refused(name, "is bytes, which Snakepit carries in results only: send text (base64)")
    for name, value in plain(dict(arguments)).items():
        packed = request.parameters[name]
        packed.type_url, packed.value, _ = write_result(value)
        if b'"__ffi_unserializable__"' in packed.value and exact_json(arguments[name]) is None:
            raise _refused(name, "holds an object that JSON has no form for: send its parts")


def _refused(name: str, description: str) -> BridgeError:
    return invalid_argument(f"$.{name}", description, reason="UNSUPPORTED_VALUE")


def _result(response: messages.ExecuteElixirToolResponse) -> Any:
    packed = response.result
    try:
        value = read_parameter(packed.type_url, packed.value, "$") if response.HasField("result") else None
    except BridgeError as error:
        if error.reason != "VALUE_MALFORMED":
            raise
        value = packed.value.decode("utf-8", "replace")
    if not response.binary_result:
        return value
    return (response.binary_result, value) if value else response.binary_result


def _failure(tool: str, text: str) -> BridgeError:
    """What the listener says of a tool, which is text for people."""
    what = said(text)
    if text in ("not_found", "session_not_found") or text.startswith("Session not found"):
        return BridgeError(Code.NOT_FOUND, f"host tool {tool!r}: {what}", reason="SESSION_NOT_FOUND")
    if text.startswith(f"Tool {tool} not found") or text.endswith("is not an Elixir tool"):
        return BridgeError(Code.NOT_FOUND, f"host tool {tool!r}: {what}", reason="TOOL_NOT_FOUND")
    if text.startswith("Invalid parameter "):
        return BridgeError(Code.INVALID_ARGUMENT, f"host tool {tool!r}: {what}", reason="INVALID_ARGUMENT")
    return BridgeError(Code.UNKNOWN, f"host tool {tool!r} failed: {what}", reason="HOST_TOOL_FAILED")


def _tool(theirs: messages.ToolSpec) -> ToolSpec:
    """A tool of the BEAM as we describe tools."""
    spec = ToolSpec(
        name=theirs.name,
        description=theirs.description,
        metadata=dict(theirs.metadata),
        supports_streaming=theirs.supports_streaming,
    )
    for parameter in theirs.parameters:
        wire = spec.parameters.add(
            name=parameter.name,
            type=parameter.type,
            description=parameter.description,
            required=parameter.required,
            schema=parameter.validation_json,
        )
        if parameter.HasField("default_value"):
            packed = parameter.default_value
            try:
                encode(read_parameter(packed.type_url, packed.value, f"$.{parameter.name}"), wire.default_value)
            except BridgeError:
                wire.ClearField("default_value")  # what inspect shows of a term is no default
    return spec
