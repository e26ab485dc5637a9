"""Asked by way of a relay a host says what it says over gRPC, but of one session only and nothing about sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host, NoHost
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.memory import InMemoryHost
from bridge.hosts.relay import answer, answer_stream
from bridge.status import read_status, to_status
from bridge.v1 import host_pb2
from bridge.variables import Constraints, UpdateKind, Write
from tests.support.declare import declare

SERVICE = "/bridge.v1.HostService/"

Connect = Callable[[InMemoryHost], Awaitable[Channel]]
Operation = Callable[[Host, CallScope], Awaitable[Any]]


class Relayed:
    """A channel to a relay: on behalf of one scope, whatever is asked."""

    def __init__(self, host: Host, scope: CallScope) -> None:
        self._host, self._scope = host, scope

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        return await answer(self._host, self._scope, path, request)

    def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        return answer_stream(self._host, self._scope, path, request)

    async def ready(self) -> None:
        return

    async def aclose(self) -> None:
        return


class Tools:
    """Tools of a host."""

    async def run(self, call: ToolCall) -> Any:
        match call.tool:
            case "echo":
                return call.arguments
            case "session":
                return [call.session_id, call.principal]
            case "count":
                for number in range(call.arguments["n"]):
                    await call.emit(Chunk(number))
                return NO_VALUE
            case "object":
                return object()
            case "objects":
                await call.emit(Chunk(object()))
            case "fail":
                await call.emit(Chunk("first"))
                raise BridgeError(Code.ABORTED, "not today", reason="NOT_TODAY")
        raise BridgeError(Code.NOT_FOUND, f"no tool {call.tool}", reason="TOOL_NOT_FOUND")


async def _take(values: AsyncGenerator[Any, None], count: int = 1000) -> list[Any]:
    taken: list[Any] = []
    async with aclosing(values):
        async for value in values:
            taken.append(value)
            if len(taken) == count:
                break
    return taken


OPERATIONS: list[Operation] = [
    lambda host, scope: host.get_variables(scope, ["a", "none"]),
    lambda host, scope: host.set_variables(scope, [Write(name="a", value=1, metadata={"k": "v"}, ttl=60.0)]),
    lambda host, scope: host.set_variables(scope, [Write(name="a", value=2, expected_version=1)]),
    lambda host, scope: host.set_variables(scope, [Write(name="a", value=3, expected_version=1)]),
    lambda host, scope: host.set_variables(scope, [Write(name="a", value="of another type")]),
    lambda host, scope: host.set_variables(scope, [Write(name="not a name", value=1)]),
    lambda host, scope: host.set_variables(scope, [Write(name="b", value=None), Write(name="c", value=[1, 2.5])]),
    lambda host, scope: host.set_variables(
        scope,
        [
            Write(name="b", value={"deep": 1.5}, expected_version=9),
            Write(name="d", value=2.5),
            Write(name="!", value=1),
        ],
        atomic=False,
    ),
    lambda host, scope: host.set_variables(scope, [Write(name=f"v{i}", value=i) for i in range(2000)]),
    lambda host, scope: host.get_variables(scope, ["a", "b", "c", "d", "d"]),
    lambda host, scope: host.register_variable(
        scope, declare("r", "integer", 5, constraints=Constraints(min=1, max=9), metadata={"unit": "m"}, ttl=9.0)
    ),
    lambda host, scope: host.register_variable(
        scope, declare("r", "integer", 50, constraints=Constraints(min=1, max=9))
    ),
    lambda host, scope: host.set_variables(scope, [Write(name="r", value=10)]),
    lambda host, scope: host.list_variables(scope),
    lambda host, scope: host.list_variables(scope, "[ab]*"),
    lambda host, scope: host.list_variables(scope, "?"),
    lambda host, scope: host.delete_variable(scope, "d", expected_version=7),
    lambda host, scope: host.delete_variable(scope, "d"),
    lambda host, scope: host.delete_variable(scope, "d"),
    lambda host, scope: host.get_history(scope, "d"),
    lambda host, scope: host.get_history(scope, "a", limit=1),
    lambda host, scope: host.get_history(scope, "r"),
    lambda host, scope: host.get_history(scope, "none"),
    lambda host, scope: host.rollback_variable(scope, "a", 1, expected_version=2),
    lambda host, scope: host.rollback_variable(scope, "a", 1, expected_version=2),
    lambda host, scope: host.rollback_variable(scope, "a", 77),
    lambda host, scope: _take(host.watch_variables(scope, ["a", "b", "none"], initial=True), 3),
    lambda host, scope: _take(host.watch_variables(scope, ["a", "d"], resume_after={"a": 1, "d": 0}), 5),
    lambda host, scope: _take(host.watch_variables(scope, ["a"], resume_after={"a": 99})),
    lambda host, scope: _take(host.watch_variables(scope, [])),
    lambda host, scope: host.call_tool(scope, "echo", {"value": {"x": [1, None]}, "raw": b"\x00"}),
    lambda host, scope: host.call_tool(scope, "nothing", {}),
    lambda host, scope: host.call_tool(scope, "object", {}),
    lambda host, scope: _take(host.stream_tool(scope, "count", {"n": 30})),
    lambda host, scope: _take(host.stream_tool(scope, "count", {"n": 30}), 2),
    lambda host, scope: _take(host.stream_tool(scope, "fail", {}), 1),
    lambda host, scope: _take(host.stream_tool(scope, "fail", {})),
    lambda host, scope: _take(host.stream_tool(scope, "objects", {})),
]


async def _outcome(operation: Operation, host: Host, scope: CallScope) -> Any:
    try:
        async with asyncio.timeout(5):
            result = await operation(host, scope)
    except BridgeError as error:
        return _facts(error)
    if isinstance(result, dict):
        return {key: _facts(value) if isinstance(value, BridgeError) else value for key, value in result.items()}
    return result


def _facts(error: BridgeError) -> Any:
    error = read_status(to_status(error))  # as it travels
    return (error.code, error.reason, error.message, error.details)


async def test_every_operation_has_the_outcome_it_has_over_grpc(connect: Connect, clock: Any, of: Any) -> None:
    hosts = [InMemoryHost(tools=Tools(), clock=clock) for _ in range(2)]
    ids = [(await host.open_session(of("alice"))).session_id for host in hosts]
    scopes = [of("alice", session_id, changed_by="tool:t") for session_id in ids]
    over_grpc, relayed = GrpcHost(await connect(hosts[0])), GrpcHost(Relayed(hosts[1], scopes[1]))
    for number, operation in enumerate(OPERATIONS):
        expected = await _outcome(operation, over_grpc, scopes[0])
        assert await _outcome(operation, relayed, scopes[1]) == expected, number
        clock.advance(0.25)
    assert not hosts[1]._watching


@pytest.fixture
async def host() -> InMemoryHost:
    return InMemoryHost(tools=Tools())


@pytest.fixture
async def scope(host: InMemoryHost) -> CallScope:
    session = await host.open_session(CallScope(principal="alice"))
    return CallScope(session.session_id, changed_by="tool:t", principal="alice")


async def test_the_session_is_the_scopes_whatever_the_request_says(host: InMemoryHost, scope: CallScope) -> None:
    other = (await host.open_session(CallScope(principal="alice"))).session_id
    relayed = GrpcHost(Relayed(host, scope))
    claim = CallScope(other, changed_by="tool:somebody", principal="bob")
    await relayed.set_variables(claim, [Write(name="x", value=1)])
    assert (await host.get_variables(scope, ["x"]))["x"].changed_by == "tool:t"
    assert not await host.get_variables(CallScope(other, principal="alice"), ["x"])
    assert await relayed.call_tool(claim, "session", {}) == [scope.session_id, "alice"]


@pytest.mark.parametrize(
    "method",
    [
        "OpenSession", "CloseSession", "GetSession", "ListSessions", "Heartbeat", "WatchVariables", "",
        "x" * 10_000,
    ],
)  # fmt: skip
async def test_nothing_but_variables_and_tools_can_be_asked_for(
    host: InMemoryHost, scope: CallScope, method: str
) -> None:
    with pytest.raises(BridgeError) as refused:
        await answer(host, scope, SERVICE + method, b"")
    assert (refused.value.code, refused.value.reason) == (Code.UNIMPLEMENTED, "NO_METHOD")
    assert len(refused.value.message) < 500
    with pytest.raises(BridgeError) as refused:
        await anext(answer_stream(host, scope, SERVICE + "GetVariables" + method, b""))
    assert refused.value.code is Code.UNIMPLEMENTED


async def test_one_variable_can_be_asked_for(host: InMemoryHost, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="x", value=7)])
    request = host_pb2.GetVariableRequest(name="x").SerializeToString()
    found = host_pb2.GetVariableResponse.FromString(await answer(host, scope, SERVICE + "GetVariable", request))
    assert (found.variable.name, found.variable.version) == ("x", 1)
    request = host_pb2.GetVariableRequest(name="y").SerializeToString()
    with pytest.raises(BridgeError) as refused:
        await answer(host, scope, SERVICE + "GetVariable", request)
    assert refused.value.reason == "VARIABLE_NOT_FOUND"


async def test_missing_names_are_told(host: InMemoryHost, scope: CallScope) -> None:
    request = host_pb2.GetVariablesRequest(names=["b", "a", "b"]).SerializeToString()
    found = host_pb2.GetVariablesResponse.FromString(await answer(host, scope, SERVICE + "GetVariables", request))
    assert list(found.missing) == ["b", "a"]


@pytest.mark.parametrize("method", ["GetVariable", "SetVariables", "ExecuteHostTool"])
async def test_bytes_that_are_no_request_are_refused(host: InMemoryHost, scope: CallScope, method: str) -> None:
    with pytest.raises(BridgeError) as refused:
        await answer(host, scope, SERVICE + method, b"\xff")
    assert refused.value.reason == "MALFORMED_REQUEST"


async def test_a_value_that_cannot_be_read_is_refused_by_name(host: InMemoryHost, scope: CallScope) -> None:
    request = host_pb2.SetVariablesRequest()
    request.updates["good"].type_url = "type.googleapis.com/google.protobuf.BoolValue"
    request.updates["bad"].type_url = "type.googleapis.com/nobody.Knows"
    data = await answer(host, scope, SERVICE + "SetVariables", request.SerializeToString())
    response = host_pb2.SetVariablesResponse.FromString(data)
    assert dict(response.versions) == {"good": 1}
    assert response.failures["bad"].code == Code.INVALID_ARGUMENT


async def test_a_watch_tells_of_gone_variables_without_a_value(host: InMemoryHost, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="x", value=None)])
    request = host_pb2.WatchVariablesRequest(names=["x"], include_initial_values=True).SerializeToString()
    updates: list[host_pb2.VariableUpdate] = []
    async with asyncio.timeout(5), aclosing(answer_stream(host, scope, SERVICE + "WatchVariables", request)) as stream:
        for _ in range(2):
            updates.append(host_pb2.VariableUpdate.FromString(await anext(stream)))
        await host.delete_variable(scope, "x")
        updates.append(host_pb2.VariableUpdate.FromString(await anext(stream)))
    assert [update.kind for update in updates] == [UpdateKind.STARTED, UpdateKind.INITIAL, UpdateKind.DELETED]
    assert [update.variable.HasField("value") for update in updates] == [False, True, False]  # None is a value


async def test_a_way_in_without_a_host_says_so(scope: CallScope) -> None:
    relayed = GrpcHost(Relayed(NoHost(), scope))
    with pytest.raises(BridgeError) as refused:
        await relayed.get_variables(scope, ["x"])
    assert refused.value.reason == "NO_HOST"
    with pytest.raises(BridgeError) as refused:
        await _take(relayed.watch_variables(scope, ["x"]))
    assert refused.value.reason == "NO_HOST"
