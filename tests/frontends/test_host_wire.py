"""HostService as a program in another language sees it: generated stubs and nothing of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from google.rpc import error_details_pb2, status_pb2

from bridge.testing import serving
from bridge.v1 import bridge_pb2, host_pb2
from bridge.v1.host_pb2 import VariableUpdate
from bridge.v1.host_pb2_grpc import HostServiceStub

pytestmark = pytest.mark.timeout(20)


def packed(value: int | str) -> Any:
    message = Any()
    message.Pack(Int64Value(value=value) if isinstance(value, int) else StringValue(value=value))
    return message


def number(message: Any) -> int:
    value = Int64Value()
    assert message.Unpack(value)
    return int(value.value)


@pytest.fixture
async def stub() -> AsyncIterator[HostServiceStub]:
    async with (
        serving(role="host", listen=("127.0.0.1:0",)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield HostServiceStub(channel)


@pytest.fixture
async def session_id(stub: HostServiceStub) -> str:
    response = await stub.OpenSession(host_pb2.OpenSessionRequest(metadata={"job": "7"}), timeout=5)
    return str(response.session.session_id)


async def test_session_from_its_opening_to_its_end(stub: HostServiceStub, session_id: str) -> None:
    described = await stub.GetSession(host_pb2.GetSessionRequest(session_id=session_id), timeout=5)
    assert dict(described.session.metadata) == {"job": "7"}
    beat = await stub.Heartbeat(host_pb2.HeartbeatRequest(session_id=session_id), timeout=5)
    assert beat.expires_at.seconds >= described.session.expires_at.seconds
    listed = await stub.ListSessions(host_pb2.ListSessionsRequest(), timeout=5)
    assert [session.session_id for session in listed.sessions] == [session_id]
    assert not listed.truncated
    await stub.CloseSession(host_pb2.CloseSessionRequest(session_id=session_id), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetSession(host_pb2.GetSessionRequest(session_id=session_id), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_variable_from_its_registration_to_its_end(stub: HostServiceStub, session_id: str) -> None:
    named = {"session_id": session_id, "name": "x"}
    limits = host_pb2.Constraints(min=packed(0))
    registered = await stub.RegisterVariable(
        host_pb2.RegisterVariableRequest(**named, type="integer", value=packed(1), constraints=limits), timeout=5
    )
    assert registered.variable.version == 1
    await stub.SetVariable(host_pb2.SetVariableRequest(**named, value=packed(2), expected_version=1), timeout=5)
    batch = await stub.SetVariables(
        host_pb2.SetVariablesRequest(
            session_id=session_id, updates={"x": packed(3), "y": packed("new")}, expected_versions={"x": 2}, atomic=True
        ),
        timeout=5,
    )
    assert dict(batch.versions) == {"x": 3, "y": 1}
    one = await stub.GetVariable(host_pb2.GetVariableRequest(**named), timeout=5)
    assert (number(one.variable.value), one.variable.version, one.variable.changed_by) == (3, 3, "client")
    many = await stub.GetVariables(
        host_pb2.GetVariablesRequest(session_id=session_id, names=["x", "y", "z"]), timeout=5
    )
    assert (sorted(many.variables), list(many.missing)) == (["x", "y"], ["z"])
    listed = await stub.ListVariables(host_pb2.ListVariablesRequest(session_id=session_id, pattern="?"), timeout=5)
    assert [variable.name for variable in listed.variables] == ["x", "y"]
    back = await stub.RollbackVariable(host_pb2.RollbackVariableRequest(**named, target_version=1), timeout=5)
    assert (number(back.variable.value), back.variable.version) == (1, 4)
    await stub.DeleteVariable(host_pb2.DeleteVariableRequest(**named, expected_version=4), timeout=5)
    history = await stub.GetVariableHistory(host_pb2.GetVariableHistoryRequest(**named, limit=3), timeout=5)
    assert [(entry.version, entry.kind) for entry in history.entries] == [
        (5, VariableUpdate.KIND_DELETED),
        (4, VariableUpdate.KIND_CHANGED),
        (3, VariableUpdate.KIND_CHANGED),
    ]
    assert not history.entries[0].HasField("value")


async def test_watch_says_where_it_begins_and_then_what_happens(stub: HostServiceStub, session_id: str) -> None:
    named = {"session_id": session_id, "name": "x"}
    await stub.SetVariable(host_pb2.SetVariableRequest(**named, value=packed(1)), timeout=5)
    names = ["x", "new"]
    request = host_pb2.WatchVariablesRequest(session_id=session_id, names=names, include_initial_values=True)
    watch = stub.WatchVariables(request, timeout=15)
    started, initial = await watch.read(), await watch.read()
    assert (started.kind, dict(started.positions)) == (VariableUpdate.KIND_STARTED, {"new": 0})
    assert (initial.kind, number(initial.variable.value)) == (VariableUpdate.KIND_INITIAL, 1)
    await stub.SetVariable(host_pb2.SetVariableRequest(**named, value=packed(2)), timeout=5)
    await stub.DeleteVariable(host_pb2.DeleteVariableRequest(**named), timeout=5)
    changed, deleted = await watch.read(), await watch.read()
    assert (changed.kind, changed.variable.version) == (VariableUpdate.KIND_CHANGED, 2)
    assert (deleted.kind, deleted.variable.version) == (VariableUpdate.KIND_DELETED, 3)
    assert not deleted.variable.HasField("value")
    await stub.CloseSession(host_pb2.CloseSessionRequest(session_id=session_id), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_compare_and_set_that_fails_says_the_current_version_to_programs(
    stub: HostServiceStub, session_id: str
) -> None:
    request = host_pb2.SetVariableRequest(session_id=session_id, name="x", value=packed(1), expected_version=7)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.SetVariable(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    trailers = dict(caught.value.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("VERSION_MISMATCH", {"name": "x", "current_version": "0"})


async def test_host_tools_are_listed_and_an_unknown_one_is_not_found(stub: HostServiceStub, session_id: str) -> None:
    assert not (await stub.ListHostTools(host_pb2.ListHostToolsRequest(), timeout=5)).tools
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExecuteHostTool(bridge_pb2.ExecuteToolRequest(session_id=session_id, tool_name="none"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_answer_that_no_message_can_carry_says_to_ask_for_less() -> None:
    async with (
        serving(role="host", max_message_bytes=64 * 1024) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        stub = HostServiceStub(channel)
        opened = await stub.OpenSession(host_pb2.OpenSessionRequest(), timeout=5)
        named = {"session_id": opened.session.session_id}
        value = Any()
        value.Pack(StringValue(value="x" * 40_000))
        for name in ("a", "b"):
            await stub.SetVariable(host_pb2.SetVariableRequest(**named, name=name, value=value), timeout=5)
        for answer in (
            stub.ListVariables(host_pb2.ListVariablesRequest(**named), timeout=5),
            stub.GetVariables(host_pb2.GetVariablesRequest(**named, names=["a", "b"]), timeout=5),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await answer
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "max_message_bytes is 65536; ask for fewer" in str(caught.value.details())
        listed = await stub.ListVariables(host_pb2.ListVariablesRequest(**named, pattern="a"), timeout=5)
        assert [variable.name for variable in listed.variables] == ["a"]
