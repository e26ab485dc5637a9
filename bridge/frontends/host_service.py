"""HostService on the gRPC engine: sessions and variables. The host's tools have methods of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from bridge.engines.base import Method, ServerCall
from bridge.frontends.answering import answering, scope_of
from bridge.hosts.limits import limit_exceeded
from bridge.hosts.messages import (
    fill_history,
    fill_session,
    fill_stored,
    fill_time,
    fill_update,
    fill_variable,
)
from bridge.hosts.requests import (
    fill_results,
    pack_version,
    read_declaration,
    read_expected,
    read_ttl,
    read_write,
    read_writes,
)
from bridge.hosts.session_keeper import MAX_LISTED
from bridge.hosts.sessions import SessionHost
from bridge.tool_messages import parse_request
from bridge.v1 import host_pb2
from bridge.variables import variable_not_found

__all__ = ["host_methods"]

R = TypeVar("R", bound=Message)


def host_methods(host: SessionHost, *, max_message_bytes: int = 16 * 1024 * 1024) -> list[Method]:
    """The methods for an engine, all but those about the host's tools.

    What a request means is decided by the host; here it is read and answered.

    Args:
        host: decides and keeps.
        max_message_bytes: most bytes of an answer.
    """
    return _HostService(host, max_message_bytes).methods()


class _HostService:
    def __init__(self, host: SessionHost, max_message_bytes: int) -> None:
        self._host = host
        self._max_message_bytes = max_message_bytes

    def methods(self) -> list[Method]:
        return [
            self._method("OpenSession", host_pb2.OpenSessionRequest.FromString, self._open_session),
            self._method("CloseSession", host_pb2.CloseSessionRequest.FromString, self._close_session),
            self._method("GetSession", host_pb2.GetSessionRequest.FromString, self._get_session),
            self._method("ListSessions", host_pb2.ListSessionsRequest.FromString, self._list_sessions),
            self._method("Heartbeat", host_pb2.HeartbeatRequest.FromString, self._heartbeat),
            self._method("RegisterVariable", host_pb2.RegisterVariableRequest.FromString, self._register_variable),
            self._method("GetVariable", host_pb2.GetVariableRequest.FromString, self._get_variable),
            self._method("GetVariables", host_pb2.GetVariablesRequest.FromString, self._get_variables),
            Method("/bridge.v1.HostService/SetVariable", unary=self._set_variable),
            self._method("SetVariables", host_pb2.SetVariablesRequest.FromString, self._set_variables),
            self._method("ListVariables", host_pb2.ListVariablesRequest.FromString, self._list_variables),
            self._method("DeleteVariable", host_pb2.DeleteVariableRequest.FromString, self._delete_variable),
            self._method(
                "GetVariableHistory", host_pb2.GetVariableHistoryRequest.FromString, self._get_variable_history
            ),
            self._method("RollbackVariable", host_pb2.RollbackVariableRequest.FromString, self._rollback_variable),
            Method("/bridge.v1.HostService/WatchVariables", stream=self._watch_variables),
        ]

    def _method(
        self, name: str, from_string: Callable[[bytes], R], handle: Callable[[ServerCall, R], Awaitable[Message]]
    ) -> Method:
        return answering(f"/bridge.v1.HostService/{name}", from_string, handle, self._max_message_bytes)

    async def _open_session(self, call: ServerCall, request: host_pb2.OpenSessionRequest) -> Message:
        ttl = read_ttl(request, request.ttl)
        session = await self._host.open_session(scope_of(call, ""), metadata=request.metadata, ttl=ttl)
        response = host_pb2.OpenSessionResponse()
        fill_session(response.session, session)
        return response

    async def _close_session(self, call: ServerCall, request: host_pb2.CloseSessionRequest) -> Message:
        await self._host.close_session(scope_of(call, request.session_id))
        return host_pb2.CloseSessionResponse()

    async def _get_session(self, call: ServerCall, request: host_pb2.GetSessionRequest) -> Message:
        response = host_pb2.GetSessionResponse()
        fill_session(response.session, await self._host.get_session(scope_of(call, request.session_id)))
        return response

    async def _list_sessions(self, call: ServerCall, request: host_pb2.ListSessionsRequest) -> Message:
        sessions = await self._host.list_sessions(scope_of(call, ""), request.limit)
        response = host_pb2.ListSessionsResponse()
        for session in sessions:
            fill_session(response.sessions.add(), session)
        response.truncated = len(sessions) >= (request.limit or MAX_LISTED)
        return response

    async def _heartbeat(self, call: ServerCall, request: host_pb2.HeartbeatRequest) -> Message:
        response = host_pb2.HeartbeatResponse()
        fill_time(response.expires_at, await self._host.heartbeat(scope_of(call, request.session_id)))
        return response

    async def _register_variable(self, call: ServerCall, request: host_pb2.RegisterVariableRequest) -> Message:
        variable = await self._host.register_variable(scope_of(call, request.session_id), read_declaration(request))
        response = host_pb2.RegisterVariableResponse()
        fill_variable(response.variable, variable)
        return response

    async def _get_variable(self, call: ServerCall, request: host_pb2.GetVariableRequest) -> Message:
        name = request.name
        found = await self._host.read_stored(scope_of(call, request.session_id), (name,))
        if name not in found:
            raise variable_not_found(name)
        response = host_pb2.GetVariableResponse()
        fill_stored(response.variable, found[name])
        return response

    async def _get_variables(self, call: ServerCall, request: host_pb2.GetVariablesRequest) -> Message:
        names = request.names
        found = await self._host.read_stored(scope_of(call, request.session_id), names)
        response = host_pb2.GetVariablesResponse()
        for name, stored in found.items():
            fill_stored(response.variables[name], stored)
        if len(found) < len(names):
            response.missing.extend(name for name in dict.fromkeys(names) if name not in found)
        return response

    async def _set_variable(self, call: ServerCall, data: bytes) -> bytes:
        # What is asked most often goes without the frames and messages that a method by ``_method`` has.
        request = parse_request(host_pb2.SetVariableRequest.FromString, data)
        return pack_version(await self._host.set_variable(scope_of(call, request.session_id), read_write(request)))

    async def _set_variables(self, call: ServerCall, request: host_pb2.SetVariablesRequest) -> Message:
        # Counted before anything is decoded: the point of the limit is the work.
        maximum = self._host.limits.max_names_per_call
        if len(request.updates) > maximum:
            subject = f"{len(request.updates)} variables in one call"
            raise limit_exceeded("max_names_per_call", maximum, subject, "use several calls")
        writes, refused = read_writes(request)
        results = await self._host.set_variables(scope_of(call, request.session_id), writes, atomic=request.atomic)
        results.update(refused)
        response = host_pb2.SetVariablesResponse()
        fill_results(response, results)
        return response

    async def _list_variables(self, call: ServerCall, request: host_pb2.ListVariablesRequest) -> Message:
        response = host_pb2.ListVariablesResponse()
        for stored in await self._host.list_stored(scope_of(call, request.session_id), request.pattern):
            fill_stored(response.variables.add(), stored)
        return response

    async def _delete_variable(self, call: ServerCall, request: host_pb2.DeleteVariableRequest) -> Message:
        scope = scope_of(call, request.session_id)
        await self._host.delete_variable(scope, request.name, expected_version=read_expected(request))
        return host_pb2.DeleteVariableResponse()

    async def _get_variable_history(self, call: ServerCall, request: host_pb2.GetVariableHistoryRequest) -> Message:
        scope = scope_of(call, request.session_id)
        response = host_pb2.GetVariableHistoryResponse()
        for stored in await self._host.read_history(scope, request.name, limit=request.limit):
            fill_history(response.entries.add(), stored, stored.kind)
        return response

    async def _rollback_variable(self, call: ServerCall, request: host_pb2.RollbackVariableRequest) -> Message:
        scope, expected = scope_of(call, request.session_id), read_expected(request)
        variable = await self._host.rollback_variable(
            scope, request.name, request.target_version, expected_version=expected
        )
        response = host_pb2.RollbackVariableResponse()
        fill_variable(response.variable, variable)
        return response

    async def _watch_variables(self, call: ServerCall, data: bytes) -> None:
        request = parse_request(host_pb2.WatchVariablesRequest.FromString, data)
        updates = self._host.watch_stored(
            scope_of(call, request.session_id),
            request.names,
            initial=request.include_initial_values,
            resume_after=request.resume_after,
        )
        async with aclosing(updates):
            async for update in updates:
                message = host_pb2.VariableUpdate()
                fill_update(message, update)
                await call.write(message.SerializeToString())
