"""The host at the other end of a channel: anything that implements ``bridge.v1.HostService``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message

from bridge.call import NO_VALUE
from bridge.codec import encode
from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import CallScope
from bridge.hosts.glob import check_pattern
from bridge.hosts.limits import check_ttl
from bridge.hosts.messages import (
    fill_constraints,
    fill_duration,
    read_failure,
    read_history,
    read_session,
    read_time,
    read_update,
    read_variable,
)
from bridge.hosts.scopes import headers_of, session_of, time_left
from bridge.tool_messages import pack_call, parse_response, read_result, read_stream
from bridge.v1 import bridge_pb2, host_pb2
from bridge.variable_types import check_constraints
from bridge.variables import (
    Declaration,
    SessionInfo,
    Update,
    Variable,
    Write,
    WriteResult,
    check_name,
    check_version,
)

__all__ = ["GrpcHost"]

M = TypeVar("M", bound=Message)

_SERVICE = "/bridge.v1.HostService/"


class GrpcHost:
    """Asks a HostService. A ``Host``; what it has beyond that is for whoever opens sessions.

    Every request takes along the headers of its scope and what is left of its time. Nothing is repeated: a write that
    failed half-way may have been committed, and only its author knows whether to write again.

    Args:
        channel: the connection; ``aclose`` closes it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    # Sessions

    async def open_session(
        self, scope: CallScope, *, metadata: Mapping[str, str] | None = None, ttl: float | None = None
    ) -> SessionInfo:
        """Opens a session; without ``ttl`` (seconds) it lives as long as the host likes."""
        request = host_pb2.OpenSessionRequest()
        _fill_metadata(request.metadata, metadata)
        if ttl is not None:
            fill_duration(request.ttl, check_ttl(ttl))
        response = await self._ask("OpenSession", request, host_pb2.OpenSessionResponse, scope)
        return read_session(response.session)

    async def get_session(self, scope: CallScope) -> SessionInfo:
        """Describes the session."""
        request = host_pb2.GetSessionRequest(session_id=session_of(scope))
        response = await self._ask("GetSession", request, host_pb2.GetSessionResponse, scope)
        return read_session(response.session)

    async def heartbeat(self, scope: CallScope) -> float:
        """Keeps the session; when it ends if nothing happens from now on, seconds since the epoch."""
        request = host_pb2.HeartbeatRequest(session_id=session_of(scope))
        response = await self._ask("Heartbeat", request, host_pb2.HeartbeatResponse, scope)
        return read_time(response.expires_at)

    async def close_session(self, scope: CallScope) -> None:
        """Ends the session and frees its variables."""
        request = host_pb2.CloseSessionRequest(session_id=session_of(scope))
        await self._ask("CloseSession", request, host_pb2.CloseSessionResponse, scope)

    async def list_sessions(self, scope: CallScope, limit: int = 0) -> list[SessionInfo]:
        """The caller's sessions, newest first; at most ``limit`` (0: as many as the host is willing to list)."""
        request = host_pb2.ListSessionsRequest(limit=_count(limit))
        response = await self._ask("ListSessions", request, host_pb2.ListSessionsResponse, scope)
        return [read_session(message) for message in response.sessions]

    # Variables

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables at one instant; those that do not exist are absent."""
        for name in names:
            check_name(name)
        request = host_pb2.GetVariablesRequest(session_id=session_of(scope), names=names)
        response = await self._ask("GetVariables", request, host_pb2.GetVariablesResponse, scope)
        return {name: read_variable(message) for name, message in response.variables.items()}

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Atomic: all or nothing, and the first refusal is raised. Otherwise each name has the new
        version or the error.

        Several writes in one request share their metadata and time to live: what differs in that is sent one by one,
        or refused if it was to be atomic.
        """
        if len({write.name for write in writes}) < len(writes):
            raise invalid_argument("writes", "a name must not be there twice")
        if len(writes) == 1:
            return await self._set_each(scope, writes) if not atomic else await self._set_one(scope, writes[0])
        if all(write.ttl == writes[0].ttl and write.metadata == writes[0].metadata for write in writes):
            return await self._set_batch(scope, writes, atomic)
        if atomic:
            description = "an atomic batch over gRPC has one metadata and one ttl for all writes"
            raise invalid_argument("writes", description)
        return await self._set_each(scope, writes)

    async def _set_one(self, scope: CallScope, write: Write) -> dict[str, WriteResult]:
        check_name(write.name)
        request = host_pb2.SetVariableRequest(session_id=session_of(scope), name=write.name)
        encode(write.value, request.value, write.name)
        _fill_metadata(request.metadata, write.metadata)
        if write.expected_version is not None:
            request.expected_version = _checked(write.expected_version)
        if write.ttl is not None:
            fill_duration(request.ttl, check_ttl(write.ttl))
        response = await self._ask("SetVariable", request, host_pb2.SetVariableResponse, scope)
        return {write.name: response.version}

    async def _set_each(self, scope: CallScope, writes: Sequence[Write]) -> dict[str, WriteResult]:
        results: dict[str, WriteResult] = {}
        for write in writes:
            try:
                results.update(await self._set_one(scope, write))
            except BridgeError as error:
                if error.reason in ("SESSION_NOT_FOUND", "NO_SESSION"):
                    raise
                results[write.name] = error
        return results

    async def _set_batch(self, scope: CallScope, writes: Sequence[Write], atomic: bool) -> dict[str, WriteResult]:
        request = host_pb2.SetVariablesRequest(session_id=session_of(scope), atomic=atomic)
        results: dict[str, WriteResult] = {}
        for write in writes:
            try:
                check_name(write.name)
                encode(write.value, request.updates[write.name], write.name)
                if write.expected_version is not None:
                    request.expected_versions[write.name] = _checked(write.expected_version)
            except BridgeError as error:
                if atomic:
                    raise
                request.updates.pop(write.name, None)
                results[write.name] = error
        if writes:
            _fill_metadata(request.metadata, writes[0].metadata)
            if writes[0].ttl is not None:
                fill_duration(request.ttl, check_ttl(writes[0].ttl))
        response = await self._ask("SetVariables", request, host_pb2.SetVariablesResponse, scope)
        results.update(response.versions)
        for name, failure in response.failures.items():
            results[name] = read_failure(name, failure)
        return results

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable. A name that exists gets the new declaration as its next version."""
        name = declaration.name
        check_name(name)
        check_constraints(declaration.type, declaration.constraints)
        request = host_pb2.RegisterVariableRequest(session_id=session_of(scope), name=name, type=declaration.type)
        _fill_metadata(request.metadata, declaration.metadata)
        encode(declaration.value, request.value, name)
        fill_constraints(request.constraints, declaration.constraints)
        if declaration.ttl is not None:
            fill_duration(request.ttl, check_ttl(declaration.ttl))
        response = await self._ask("RegisterVariable", request, host_pb2.RegisterVariableResponse, scope)
        return read_variable(response.variable)

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""
        check_pattern(pattern)
        request = host_pb2.ListVariablesRequest(session_id=session_of(scope), pattern=pattern)
        response = await self._ask("ListVariables", request, host_pb2.ListVariablesResponse, scope)
        return [read_variable(message) for message in response.variables]

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        check_name(name)
        request = host_pb2.DeleteVariableRequest(session_id=session_of(scope), name=name)
        if expected_version is not None:
            request.expected_version = _checked(expected_version)
        await self._ask("DeleteVariable", request, host_pb2.DeleteVariableResponse, scope)

    # What was, and what happens

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first, the current one included; at most ``limit``
        (0: all). NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if none is."""
        check_name(name)
        request = host_pb2.GetVariableHistoryRequest(session_id=session_of(scope), name=name, limit=_count(limit))
        response = await self._ask("GetVariableHistory", request, host_pb2.GetVariableHistoryResponse, scope)
        return [read_history(name, entry) for entry in response.entries]

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """Writes the value of an earlier version again, as a new version; OUT_OF_RANGE, reason ``VERSION_GONE``, if it
        is not kept."""
        check_name(name)
        check_version(version, "target_version")
        request = host_pb2.RollbackVariableRequest(session_id=session_of(scope), name=name, target_version=version)
        if expected_version is not None:
            request.expected_version = _checked(expected_version)
        response = await self._ask("RollbackVariable", request, host_pb2.RollbackVariableResponse, scope)
        return read_variable(response.variable)

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Yields ``STARTED``, then the values there are if ``initial``, then every committed change in order; see
        ``bridge.host.Host.watch_variables``. UNAVAILABLE if the host vanishes; the last versions that came say where
        to resume."""
        for name in names:
            check_name(name)
        request = host_pb2.WatchVariablesRequest(
            session_id=session_of(scope), names=names, include_initial_values=initial
        )
        for name, version in (resume_after or {}).items():
            check_version(version, "resume_after")
            request.resume_after[name] = version
        path, data = _SERVICE + "WatchVariables", request.SerializeToString()
        messages = self._channel.stream(path, data, headers=headers_of(scope), timeout=time_left(scope))
        async with aclosing(messages):
            async for message in messages:
                yield read_update(parse_response(host_pb2.VariableUpdate, message))
        # A watch has no end of its own.
        raise BridgeError(Code.UNAVAILABLE, "the host ended the watch: resume it", reason="WATCH_ENDED")

    # Tools

    async def list_tools(self, scope: CallScope) -> list[bridge_pb2.ToolSpec]:
        """The host's tools, sorted by name."""
        request = host_pb2.ListHostToolsRequest()
        response = await self._ask("ListHostTools", request, host_pb2.ListHostToolsResponse, scope)
        return list(response.tools)

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the host and returns its result."""
        request = pack_call(tool, arguments, scope.session_id)
        path = _SERVICE + "ExecuteHostTool"
        return read_result(
            await self._channel.unary(path, request, headers=headers_of(scope), timeout=time_left(scope))
        )

    async def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; yields what it yields. Closing the generator cancels the tool."""
        request = pack_call(tool, arguments, scope.session_id)
        path = _SERVICE + "ExecuteStreamingHostTool"
        messages = self._channel.stream(path, request, headers=headers_of(scope), timeout=time_left(scope))
        async with aclosing(read_stream(messages)) as chunks:
            async for chunk in chunks:
                if chunk.value is not NO_VALUE:
                    yield chunk.value

    async def aclose(self) -> None:
        """Closes the channel."""
        await self._channel.aclose()

    async def _ask(self, method: str, request: Message, response: type[M], scope: CallScope) -> M:
        data = request.SerializeToString()
        answer = await self._channel.unary(_SERVICE + method, data, headers=headers_of(scope), timeout=time_left(scope))
        return parse_response(response, answer)


def _fill_metadata(into: MutableMapping[str, str], metadata: Mapping[str, str] | None) -> None:
    if metadata:
        try:
            into.update(metadata)
        except (TypeError, ValueError):
            raise invalid_argument("metadata", "keys and values must be text") from None


def _count(limit: int) -> int:
    if not 0 <= limit < 2**31:
        raise invalid_argument("limit", "must be 0 (all) or more, and of 32 bits")
    return limit


def _checked(expected_version: int) -> int:
    check_version(expected_version)
    return expected_version
