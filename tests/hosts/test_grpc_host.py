"""What only a wire can show: bytes that are no messages, headers, deadlines, hosts of another make."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from google.protobuf import wrappers_pb2

from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.memory import InMemoryHost
from bridge.v1 import bridge_pb2, host_pb2, values_pb2
from bridge.variables import Constraints, Write
from tests.support.declare import declare

SERVICE = "/bridge.v1.HostService/"
Connect = Callable[[InMemoryHost], Awaitable[Channel]]


@pytest.fixture
async def channel(connect: Connect) -> Channel:
    return await connect(InMemoryHost())


@pytest.fixture
async def session_id(channel: Channel) -> str:
    answer = await channel.unary(SERVICE + "OpenSession", b"")
    return host_pb2.OpenSessionResponse.FromString(answer).session.session_id


async def _refusal(awaitable: Awaitable[Any]) -> BridgeError:
    with pytest.raises(BridgeError) as refusal:
        await awaitable
    return refusal.value


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
async def test_request_that_is_no_message_is_refused(channel: Channel, data: bytes) -> None:
    error = await _refusal(channel.unary(SERVICE + "GetVariable", data))
    assert error.code is Code.INVALID_ARGUMENT
    await channel.unary(SERVICE + "OpenSession", b"")


async def test_missing_names_are_told(channel: Channel, session_id: str) -> None:
    request = host_pb2.GetVariablesRequest(session_id=session_id, names=["b", "a", "b"])
    answer = await channel.unary(SERVICE + "GetVariables", request.SerializeToString())
    assert list(host_pb2.GetVariablesResponse.FromString(answer).missing) == ["b", "a"]


async def test_single_read_of_nothing_is_not_found(channel: Channel, session_id: str) -> None:
    request = host_pb2.GetVariableRequest(session_id=session_id, name="x")
    error = await _refusal(channel.unary(SERVICE + "GetVariable", request.SerializeToString()))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")


async def test_single_read_gives_the_whole_variable(channel: Channel, session_id: str) -> None:
    constraints = Constraints(min=0, max=2)
    scope = CallScope(session_id, changed_by="tool:t")
    registered = await GrpcHost(channel).register_variable(
        scope, declare("x", "integer", 1, constraints=constraints, metadata={"a": "b"}, ttl=60.0)
    )
    request = host_pb2.GetVariableRequest(session_id=session_id, name="x")
    answer = await channel.unary(SERVICE + "GetVariable", request.SerializeToString())
    found = host_pb2.GetVariableResponse.FromString(answer).variable
    assert (found.name, found.type, found.version, found.changed_by) == ("x", "integer", 1, "tool:t")
    assert (registered.constraints, registered.metadata, registered.changed_by) == (constraints, {"a": "b"}, "tool:t")
    assert registered.expires_at == pytest.approx(registered.updated_at + 60.0, abs=1e-5)


@pytest.mark.parametrize("claim", ["host", "tool:", "tool:a b", "tool:" + "x" * 129, "root"])
async def test_claim_of_who_writes_must_be_a_tool(channel: Channel, session_id: str, claim: str) -> None:
    host = GrpcHost(channel)
    await host.set_variables(CallScope(session_id, changed_by=claim), [Write(name="x", value=1)])
    assert (await host.get_variables(CallScope(session_id), ["x"]))["x"].changed_by == "client"


async def test_pattern_travels_and_the_host_obeys_it(channel: Channel, session_id: str) -> None:
    pytest.importorskip("re2")
    host, scope = GrpcHost(channel), CallScope(session_id)
    constraints = Constraints(pattern="[a-z]+")
    registered = await host.register_variable(scope, declare("x", "string", "abc", constraints=constraints))
    assert registered.constraints == constraints
    error = await _refusal(host.set_variables(scope, [Write(name="x", value="abc1")]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINT_VIOLATED")
    bad = declare("y", "string", "", constraints=Constraints(pattern="(?=a)"))
    error = await _refusal(host.register_variable(scope, bad))
    assert (error.reason, error.violations[0].field) == ("CONSTRAINTS_REFUSED", "constraints.pattern")


@pytest.mark.parametrize("atomic", [True, False])
async def test_value_that_cannot_be_read_is_refused_by_name(channel: Channel, session_id: str, atomic: bool) -> None:
    request = host_pb2.SetVariablesRequest(session_id=session_id, atomic=atomic)
    request.updates["good"].type_url = "type.googleapis.com/google.protobuf.BoolValue"
    request.updates["bad"].type_url = "type.googleapis.com/nobody.Knows"
    sent = channel.unary(SERVICE + "SetVariables", request.SerializeToString())
    if atomic:
        error = await _refusal(sent)
        assert error.violations[0].field == "bad"
    else:
        answer = host_pb2.SetVariablesResponse.FromString(await sent)
        assert dict(answer.versions) == {"good": 1}
        assert answer.failures["bad"].code == Code.INVALID_ARGUMENT
    one = host_pb2.SetVariableRequest(session_id=session_id, name="none")
    error = await _refusal(channel.unary(SERVICE + "SetVariable", one.SerializeToString()))
    assert error.code is Code.INVALID_ARGUMENT


async def test_huge_batch_is_refused_before_it_is_read(channel: Channel, session_id: str) -> None:
    request = host_pb2.SetVariablesRequest(session_id=session_id)
    for number in range(100_000):
        request.updates[f"v{number}"].type_url = "x"
    error = await _refusal(channel.unary(SERVICE + "SetVariables", request.SerializeToString()))
    assert (error.code, error.details.metadata["limit"]) == (Code.RESOURCE_EXHAUSTED, "max_names_per_call")


async def test_expected_version_of_a_name_that_is_not_written_is_refused(channel: Channel, session_id: str) -> None:
    request = host_pb2.SetVariablesRequest(session_id=session_id, expected_versions={"x": 1}, atomic=True)
    error = await _refusal(channel.unary(SERVICE + "SetVariables", request.SerializeToString()))
    assert error.violations[0].field == "expected_versions"


async def test_atomic_batch_with_times_to_live_is_refused_before_it_is_sent(channel: Channel, session_id: str) -> None:
    host, scope = GrpcHost(channel), CallScope(session_id)
    writes = [Write(name="a", value=1, ttl=5.0), Write(name="b", value=1)]
    assert (await _refusal(host.set_variables(scope, writes))).code is Code.INVALID_ARGUMENT
    assert await host.list_variables(scope) == []
    assert await host.set_variables(scope, writes, atomic=False) == {"a": 1, "b": 1}
    assert (await host.get_variables(scope, ["a"]))["a"].expires_at is not None


async def test_impossible_expected_version_spoils_only_its_own_write(channel: Channel, session_id: str) -> None:
    host, scope = GrpcHost(channel), CallScope(session_id)
    writes = [Write(name="a", value=1, expected_version=-1), Write(name="b", value=1)]
    results = await host.set_variables(scope, writes, atomic=False)
    assert isinstance(results["a"], BridgeError)
    assert (results["a"].code, results["b"]) == (Code.INVALID_ARGUMENT, 1)


class Canned:
    """A channel that answers with what it was given."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], float | None]] = []

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        self.asked.append((path, dict(headers), timeout))
        return self.answers.pop(0)

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> Any:
        self.asked.append((path, dict(headers), timeout))
        for answer in self.answers:
            yield answer

    async def ready(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_headers_and_remaining_time_travel_along() -> None:
    channel = Canned(b"", b"")
    headers = {"traceparent": "00-1-2-01", "bridge-call-path": "a"}
    scope = CallScope("s", time.monotonic() + 100, headers, "tool:a")
    await GrpcHost(channel).get_variables(scope, ["x"])
    ((path, sent, timeout),) = channel.asked
    assert path == SERVICE + "GetVariables"
    assert sent == {**headers, "bridge-changed-by": "tool:a"}
    assert timeout is not None
    assert 0 < timeout <= 100


async def test_nothing_is_asked_when_time_is_over() -> None:
    channel = Canned()
    scope = CallScope("s", time.monotonic() - 1)
    assert (await _refusal(GrpcHost(channel).get_variables(scope, ["x"]))).code is Code.DEADLINE_EXCEEDED
    assert channel.asked == []


async def test_damaged_answer_is_data_loss() -> None:
    host, scope = GrpcHost(Canned(b"\xff", b"\xff")), CallScope("s")
    assert (await _refusal(host.get_variables(scope, ["x"]))).code is Code.DATA_LOSS
    assert (await _refusal(host.call_tool(scope, "t", {}))).code is Code.DATA_LOSS


async def test_stream_without_an_end_is_damaged() -> None:
    chunk = bridge_pb2.ToolChunk(data=b"x").SerializeToString()
    values = aiter(GrpcHost(Canned(chunk)).stream_tool(CallScope(), "t", {}))
    assert await anext(values) == b"x"
    assert (await _refusal(anext(values))).code is Code.DATA_LOSS


async def test_tools_are_listed() -> None:
    answer = host_pb2.ListHostToolsResponse(tools=[bridge_pb2.ToolSpec(name="t")]).SerializeToString()
    assert [tool.name for tool in await GrpcHost(Canned(answer)).list_tools(CallScope())] == ["t"]


@pytest.mark.parametrize("arguments", [{"x": object()}, {"\ud800": 1}, {1: 1}])
async def test_argument_that_cannot_be_sent_is_refused(arguments: Any) -> None:
    error = await _refusal(GrpcHost(Canned()).call_tool(CallScope(), "t", arguments))
    assert error.code is Code.INVALID_ARGUMENT


async def test_constraint_of_a_strange_kind_is_refused(channel: Channel, session_id: str) -> None:
    request = host_pb2.RegisterVariableRequest(session_id=session_id, name="x", type="integer")
    request.constraints.min.Pack(values_pb2.Tensor(dtype="int8", shape=[2], data=b"\0\0"))
    request.value.Pack(wrappers_pb2.Int64Value(value=1))
    error = await _refusal(channel.unary(SERVICE + "RegisterVariable", request.SerializeToString()))
    assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "constraints.min")
