"""Requests of ``bridge.v1.HostService`` answered by any ``Host``: what tools in other processes ask of theirs.

On whose behalf is said by whoever relays, in the scope: the session that a request names is not looked at. Sessions
are not a tool's business, so their methods are not there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from bridge.call import Chunk
from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.hosts.messages import fill_history, fill_update, fill_variable
from bridge.hosts.requests import (
    fill_results,
    pack_version,
    read_declaration,
    read_expected,
    read_write,
    read_writes,
)
from bridge.tool_messages import pack_chunk, pack_result, parse_request, read_call, unsupported_result
from bridge.v1 import host_pb2
from bridge.variables import variable_not_found

__all__ = ["answer", "answer_stream"]


async def answer(host: Host, scope: CallScope, path: str, request: bytes) -> bytes:
    """Answers an RPC with one message.

    Args:
        host: does what is asked.
        scope: on whose behalf.
        path: ``/bridge.v1.HostService/Method``.
        request: the message of the method.

    Raises ``BridgeError``: what the host raises; UNIMPLEMENTED, reason ``NO_METHOD``.
    """
    operation = _UNARY.get(path)
    if operation is None:
        raise _no_method(path)
    return await operation(host, scope, request)


async def answer_stream(host: Host, scope: CallScope, path: str, request: bytes) -> AsyncGenerator[bytes, None]:
    """Answers an RPC with messages, until it is closed. Otherwise as ``answer``."""
    operation = _STREAM.get(path)
    if operation is None:
        raise _no_method(path)
    async with aclosing(operation(host, scope, request)) as messages:
        async for message in messages:
            yield message


def _no_method(path: str) -> BridgeError:
    message = f"tools cannot ask for {path[:256]!r}: they have the variables of their session and the host's tools"
    return BridgeError(Code.UNIMPLEMENTED, message, reason="NO_METHOD")


async def _get_variable(host: Host, scope: CallScope, data: bytes) -> bytes:
    name = parse_request(host_pb2.GetVariableRequest.FromString, data).name
    found = await host.get_variables(scope, (name,))
    if name not in found:
        raise variable_not_found(name)
    response = host_pb2.GetVariableResponse()
    fill_variable(response.variable, found[name])
    return response.SerializeToString()


async def _get_variables(host: Host, scope: CallScope, data: bytes) -> bytes:
    names = list(parse_request(host_pb2.GetVariablesRequest.FromString, data).names)
    found = await host.get_variables(scope, names)
    response = host_pb2.GetVariablesResponse(missing=[name for name in dict.fromkeys(names) if name not in found])
    for name, variable in found.items():
        fill_variable(response.variables[name], variable)
    return response.SerializeToString()


async def _set_variable(host: Host, scope: CallScope, data: bytes) -> bytes:
    write = read_write(parse_request(host_pb2.SetVariableRequest.FromString, data))
    return pack_version((await host.set_variables(scope, (write,)))[write.name])


async def _set_variables(host: Host, scope: CallScope, data: bytes) -> bytes:
    request = parse_request(host_pb2.SetVariablesRequest.FromString, data)
    writes, refused = read_writes(request)
    results = await host.set_variables(scope, writes, atomic=request.atomic)
    response = host_pb2.SetVariablesResponse()
    fill_results(response, {**results, **refused})
    return response.SerializeToString()


async def _register_variable(host: Host, scope: CallScope, data: bytes) -> bytes:
    declaration = read_declaration(parse_request(host_pb2.RegisterVariableRequest.FromString, data))
    response = host_pb2.RegisterVariableResponse()
    fill_variable(response.variable, await host.register_variable(scope, declaration))
    return response.SerializeToString()


async def _list_variables(host: Host, scope: CallScope, data: bytes) -> bytes:
    pattern = parse_request(host_pb2.ListVariablesRequest.FromString, data).pattern
    response = host_pb2.ListVariablesResponse()
    for variable in await host.list_variables(scope, pattern):
        fill_variable(response.variables.add(), variable)
    return response.SerializeToString()


async def _delete_variable(host: Host, scope: CallScope, data: bytes) -> bytes:
    request = parse_request(host_pb2.DeleteVariableRequest.FromString, data)
    await host.delete_variable(scope, request.name, expected_version=read_expected(request))
    return b""  # DeleteVariableResponse


async def _get_variable_history(host: Host, scope: CallScope, data: bytes) -> bytes:
    request = parse_request(host_pb2.GetVariableHistoryRequest.FromString, data)
    response = host_pb2.GetVariableHistoryResponse()
    for update in await host.get_history(scope, request.name, limit=request.limit):
        if update.variable is not None:
            fill_history(response.entries.add(), update.variable, update.kind)
    return response.SerializeToString()


async def _rollback_variable(host: Host, scope: CallScope, data: bytes) -> bytes:
    request = parse_request(host_pb2.RollbackVariableRequest.FromString, data)
    variable = await host.rollback_variable(
        scope, request.name, request.target_version, expected_version=read_expected(request)
    )
    response = host_pb2.RollbackVariableResponse()
    fill_variable(response.variable, variable)
    return response.SerializeToString()


async def _watch_variables(host: Host, scope: CallScope, data: bytes) -> AsyncGenerator[bytes, None]:
    request = parse_request(host_pb2.WatchVariablesRequest.FromString, data)
    updates = host.watch_variables(
        scope, request.names, initial=request.include_initial_values, resume_after=request.resume_after
    )
    async with aclosing(updates):
        async for update in updates:
            message = host_pb2.VariableUpdate()
            fill_update(message, update)
            yield message.SerializeToString()


async def _list_tools(host: Host, scope: CallScope, data: bytes) -> bytes:
    lister = getattr(host, "list_tools", None)
    response = host_pb2.ListHostToolsResponse(tools=() if lister is None else await lister(scope))
    return response.SerializeToString()


async def _execute_tool(host: Host, scope: CallScope, data: bytes) -> bytes:
    request, arguments = read_call(data)
    value = await host.call_tool(scope, request.tool_name, arguments)
    try:
        return pack_result(value)
    except BridgeError as error:
        raise unsupported_result(request.tool_name, error) from error


async def _execute_streaming_tool(host: Host, scope: CallScope, data: bytes) -> AsyncGenerator[bytes, None]:
    request, arguments = read_call(data)
    sequence = 0
    async with aclosing(host.stream_tool(scope, request.tool_name, arguments)) as values:
        async for value in values:
            yield _pack(request.tool_name, value, sequence)
            sequence += 1
    yield pack_chunk(Chunk(), sequence, final=True)


def _pack(tool: str, value: Any, sequence: int) -> bytes:
    try:
        return pack_chunk(Chunk(value), sequence, final=False)
    except BridgeError as error:
        raise unsupported_result(tool, error) from error


_SERVICE = "/bridge.v1.HostService/"

_UNARY: dict[str, Callable[[Host, CallScope, bytes], Awaitable[bytes]]] = {
    _SERVICE + "GetVariable": _get_variable,
    _SERVICE + "GetVariables": _get_variables,
    _SERVICE + "SetVariable": _set_variable,
    _SERVICE + "SetVariables": _set_variables,
    _SERVICE + "RegisterVariable": _register_variable,
    _SERVICE + "ListVariables": _list_variables,
    _SERVICE + "DeleteVariable": _delete_variable,
    _SERVICE + "GetVariableHistory": _get_variable_history,
    _SERVICE + "RollbackVariable": _rollback_variable,
    _SERVICE + "ListHostTools": _list_tools,
    _SERVICE + "ExecuteHostTool": _execute_tool,
}
_STREAM: dict[str, Callable[[Host, CallScope, bytes], AsyncGenerator[bytes, None]]] = {
    _SERVICE + "WatchVariables": _watch_variables,
    _SERVICE + "ExecuteStreamingHostTool": _execute_streaming_tool,
}
