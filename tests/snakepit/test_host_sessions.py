"""Sessions and tools of a host that speaks Snakepit's wire; row by row what its listener answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Adapter, SessionContext, tool
from bridge.errors import BridgeError, Code
from bridge.frontends.snakepit_registrations import Registrations
from bridge.host import CallScope
from bridge.hosts.limits import HostLimits
from bridge.hosts.memory import InMemoryHost
from bridge.snakepit import messages
from bridge.variables import SessionInfo
from tests.snakepit.host_stub import SessionStub, Stub, host_stub, packed, status

pytestmark = pytest.mark.timeout(30)

LIMIT = 64 * 1024


class Tools(Adapter):
    """A host's own tools."""

    @tool(metadata={"area": "sums"})
    async def add(self, a: int, b: int = 2) -> int:
        """Adds.

        Args:
            a: the first
        """
        return a + b

    @tool
    async def echo(self, value: object) -> object:
        """Gives back what it gets."""
        return value

    @tool
    async def fail(self) -> None:
        """Fails."""
        raise ValueError("as told")

    @tool
    async def large(self, size: int) -> bytes:
        """Gives many bytes."""
        return bytes(size)

    @tool
    async def rest(self) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()

    @tool
    async def remember(self, ctx: SessionContext, value: int) -> int:
        """Writes a variable of the session."""
        return await ctx.set("remembered", value)

    @tool
    async def count(self) -> AsyncIterator[int]:
        """Streams."""
        yield 1


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with host_stub(Tools, max_message_bytes=LIMIT) as stub:
        yield stub


@pytest.fixture
async def session(stub: Stub) -> SessionStub:
    await stub.InitializeSession(session_id="session_1_2", metadata={"elixir_node": "a@b"})
    return SessionStub(stub, "session_1_2")


# -- sessions --------------------------------------------------------------------------------------------------------


async def test_ping_is_answered_with_the_time(stub: Stub) -> None:
    answer = await stub.Ping(message="connection_test")
    assert answer.message == "pong: connection_test"
    assert abs(answer.server_time.seconds - time.time()) < 60


async def test_session_is_created_and_an_existing_one_stays_as_it_is(stub: Stub) -> None:
    for metadata in ({"first": "1"}, {"second": "2"}):
        answer = await stub.InitializeSession(session_id="s", metadata=metadata)
        assert (answer.success, answer.error_message, dict(answer.available_tools)) == (True, "", {})
    assert dict((await stub.GetSession(session_id="s")).metadata) == {"first": "1"}


@pytest.mark.parametrize("session_id", ["", "x" * 129, "a b", "a\nb", "ä", "a\x00"])
async def test_id_that_could_be_no_session_is_refused(stub: Stub, session_id: str) -> None:
    code, text = await status(stub.InitializeSession(session_id=session_id))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("session_id: is not 1 to 128 of")


@pytest.mark.parametrize(
    "session_id", ["x", "x" * 128, "session_12_1700000000", "#PID<0.1.0>", "a/b:c.d@e-f", "ab" * 16]
)
async def test_id_of_a_pool_is_taken(stub: Stub, session_id: str) -> None:
    assert (await stub.InitializeSession(session_id=session_id)).success
    assert (await stub.Heartbeat(session_id=session_id)).session_valid


async def test_there_are_no_more_sessions_than_allowed() -> None:
    async with host_stub(max_sessions=1) as stub:
        await stub.InitializeSession(session_id="a")
        await stub.InitializeSession(session_id="a")
        assert (await status(stub.InitializeSession(session_id="b")))[0] == "RESOURCE_EXHAUSTED"


async def test_too_much_metadata_is_refused(stub: Stub) -> None:
    code, _ = await status(stub.InitializeSession(session_id="s", metadata={"k": "x" * 9000}))
    assert code == "RESOURCE_EXHAUSTED"
    assert not (await stub.Heartbeat(session_id="s")).session_valid


async def test_cleanup_always_succeeds_and_ends_the_session(session: SessionStub) -> None:
    answers = [await session.CleanupSession(force=force) for force in (False, True)]
    assert [(answer.success, answer.resources_cleaned) for answer in answers] == [(True, 1), (True, 0)]
    assert not (await session.Heartbeat()).session_valid
    assert (await session.stub.CleanupSession()).success


async def test_session_is_described_with_the_time_of_day_it_was_opened(session: SessionStub) -> None:
    answer = await session.GetSession()
    assert (answer.session_id, dict(answer.metadata), answer.tool_count) == ("session_1_2", {"elixir_node": "a@b"}, 0)
    assert abs(answer.created_at.seconds - time.time()) < 60


@pytest.mark.parametrize("session_id", ["gone", "", "a b"])
async def test_session_that_is_not_there_is_not_found(stub: Stub, session_id: str) -> None:
    assert await status(stub.GetSession(session_id=session_id)) == ("NOT_FOUND", f"Session not found: {session_id}")
    assert not (await stub.Heartbeat(session_id=session_id)).session_valid


async def test_heartbeat_says_the_time_and_that_the_session_is_there(session: SessionStub) -> None:
    answer = await session.Heartbeat()
    assert answer.session_valid
    assert abs(answer.server_time.seconds - time.time()) < 60


async def test_host_without_chosen_ids_opens_none() -> None:
    host = InMemoryHost()
    with pytest.raises(BridgeError) as caught:
        await host.ensure_session(CallScope("chosen"))
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "SESSION_ID_REFUSED")
    with pytest.raises(BridgeError) as caught:
        await host.get_session(CallScope("chosen"))
    assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_chosen_id_of_somebody_else_is_not_found() -> None:
    host = InMemoryHost(chosen_ids=True)
    await host.ensure_session(CallScope("s", principal="alice"))
    assert (await host.ensure_session(CallScope("s", principal="alice"))).session_id == "s"
    with pytest.raises(BridgeError) as caught:
        await host.ensure_session(CallScope("s", principal="bob"))
    assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_chosen_id_whose_session_is_over_is_free_again() -> None:
    now = 1_700_000_000.0
    host = InMemoryHost(chosen_ids=True, clock=lambda: now, limits=HostLimits(default_ttl=10))
    first = await host.ensure_session(CallScope("s", principal="alice"))
    now += 11
    second = await host.ensure_session(CallScope("s", principal="bob"))
    assert second.created_at == first.created_at + 11


async def test_auto_opened_session_may_have_a_chosen_id() -> None:
    host = InMemoryHost(chosen_ids=True, auto_open=True)
    assert (await host.get_session(CallScope("session_1_2"))).session_id == "session_1_2"


# -- tools of workers ------------------------------------------------------------------------------------------------


async def test_tools_of_a_worker_are_registered_under_ids_of_their_session(session: SessionStub) -> None:
    answer = await session.RegisterTools(tools=[{"name": "one"}, {"name": " two "}], worker_id="python-1")
    assert (answer.success, answer.error_message) == (True, "")
    assert dict(answer.tool_ids) == {"one": "session_1_2:one", "two": "session_1_2:two"}
    assert (await session.GetSession()).tool_count == 2


@pytest.mark.parametrize("name", ["a", "A9_.-z", "9", "x" * 64])
async def test_name_by_the_rules_is_taken(session: SessionStub, name: str) -> None:
    assert (await session.RegisterTools(tools=[{"name": name}])).success


FULL = {f"k{number}": "" for number in range(31)}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "invalid_tool_name"),
    ({"name": "_a"}, "invalid_tool_name"),
    ({"name": "a b"}, "invalid_tool_name"),
    ({"name": "ä"}, "invalid_tool_name"),
    ({"name": "x" * 65}, "invalid_tool_name"),
    ({"name": "a", "metadata": {**FULL, "more": ""}}, "invalid_metadata"),
    ({"name": "a", "metadata": {"k": "x" * 4096}}, "invalid_metadata"),
    ({"name": "fine"}, "duplicate_tool"),
    ({"name": "add"}, "duplicate_tool"),
]


@pytest.mark.parametrize(("wrong", "reason"), REFUSED)
async def test_tool_against_the_rules_is_refused_with_all_that_came_along(
    session: SessionStub, wrong: dict[str, Any], reason: str
) -> None:
    answer = await session.RegisterTools(tools=[{"name": "fine"}, wrong])
    assert (answer.success, dict(answer.tool_ids)) == (False, {})
    assert reason in answer.error_message
    assert (await session.GetSession()).tool_count == 0


async def test_metadata_may_be_as_much_as_allowed(session: SessionStub) -> None:
    assert (await session.RegisterTools(tools=[{"name": "a", "metadata": FULL}])).success


async def test_tool_that_is_registered_twice_is_a_duplicate(session: SessionStub) -> None:
    await session.RegisterTools(tools=[{"name": "one"}])
    assert "duplicate_tool" in (await session.RegisterTools(tools=[{"name": "one"}])).error_message


async def test_number_of_registered_tools_is_bounded(session: SessionStub) -> None:
    tools = [{"name": f"t{number}"} for number in range(1000)]
    assert (await session.RegisterTools(tools=tools)).success
    assert "too_many_tools" in (await session.RegisterTools(tools=[{"name": "more"}])).error_message


async def test_registration_ends_with_its_session(session: SessionStub) -> None:
    await session.RegisterTools(tools=[{"name": "one"}])
    await session.CleanupSession()
    assert (await session.RegisterTools(tools=[{"name": "one"}])).error_message == "Session not found: session_1_2"
    await session.stub.InitializeSession(session_id="session_1_2")
    assert (await session.GetSession()).tool_count == 0
    assert (await session.RegisterTools(tools=[{"name": "one"}])).success


def _opened(session_id: str, created_at: float) -> SessionInfo:
    return SessionInfo(
        session_id=session_id, metadata={}, created_at=created_at, ttl=1.0, expires_at=created_at + 1, variable_count=0
    )


def test_later_session_of_the_same_id_has_no_registrations() -> None:
    registrations = Registrations((), 10)
    registrations.add(_opened("s", 1.0), [messages.ToolRegistration(name="one")], "python-1")
    assert registrations.of(_opened("s", 1.0)) == {"one": "python-1"}
    assert registrations.of(_opened("s", 2.0)) == {}
    registrations.add(_opened("s", 2.0), [messages.ToolRegistration(name="one")], "python-2")
    registrations.forget("s")
    assert registrations.of(_opened("s", 2.0)) == {}


def test_registrations_of_the_session_used_longest_ago_go_first() -> None:
    registrations = Registrations((), 2)
    for session_id in ("a", "b"):
        registrations.add(_opened(session_id, 1.0), [messages.ToolRegistration(name="one")], "w")
    registrations.of(_opened("a", 1.0))
    registrations.add(_opened("c", 1.0), [messages.ToolRegistration(name="one")], "w")
    assert [len(registrations.of(_opened(session_id, 1.0))) for session_id in "abc"] == [1, 0, 1]


async def test_tool_of_a_worker_is_not_called_by_the_host(session: SessionStub) -> None:
    await session.RegisterTools(tools=[{"name": "one"}], worker_id="python-1")
    for answer in (await session.ExecuteTool(tool_name="one"), await session.ExecuteElixirTool(tool_name="one")):
        assert not answer.success
        assert answer.error_message.startswith("Worker not found")


# -- the host's own tools --------------------------------------------------------------------------------------------


async def test_own_tools_are_exposed(session: SessionStub) -> None:
    tools = {spec.name: spec for spec in (await session.GetExposedElixirTools()).tools}
    assert sorted(tools) == ["add", "count", "echo", "fail", "large", "remember", "rest"]
    spec = tools["add"]
    assert (spec.description, dict(spec.metadata)) == ("Adds.", {"area": "sums", "exposed_to_python": "true"})
    a, b = spec.parameters
    assert (a.name, a.type, a.description, a.required, a.HasField("default_value")) == (
        "a",
        "int",
        "the first",
        True,
        False,
    )
    assert (b.required, json.loads(b.default_value.value)) == (False, 2)
    assert json.loads(b.validation_json)["type"] == "integer"
    assert (tools["count"].supports_streaming, spec.supports_streaming) == (True, False)


VALUES = [None, True, 5, -(2**63), 10**30, 2.5, "text", "", [1, [2.0]], {"a": {"b": None}}]


@pytest.mark.parametrize("value", VALUES)
async def test_value_goes_to_a_tool_and_back_exactly(session: SessionStub, value: Any) -> None:
    for execute in (session.ExecuteElixirTool, session.ExecuteTool):
        answer = await execute(tool_name="echo", parameters={"value": packed(value)})
        assert (answer.success, answer.error_message) == (True, "")
        result = json.loads(answer.result.value)
        assert (result, type(result)) == (value, type(value))
        assert answer.metadata["execution_time"] == str(answer.execution_time_ms)


async def test_tool_is_said_to_be_local(session: SessionStub) -> None:
    answer = await session.ExecuteTool(tool_name="add", parameters={"a": packed(1)})
    assert (json.loads(answer.result.value), answer.metadata["tool_type"]) == (3, "local")


async def test_packed_text_of_stock_python_is_read(session: SessionStub) -> None:
    value = {"type_url": "type.googleapis.com/google.protobuf.StringValue", "value": b"\n\x05hello"}
    answer = await session.ExecuteElixirTool(tool_name="echo", parameters={"value": value})
    assert json.loads(answer.result.value) == "hello"


async def test_bytes_come_and_go_beside_the_json(session: SessionStub) -> None:
    answer = await session.ExecuteTool(tool_name="echo", binary_parameters={"value": b"\x00\xff"})
    assert (answer.success, answer.binary_result) == (True, b"\x00\xff")


@pytest.mark.parametrize(
    ("tool_name", "parameters", "text"),
    [
        ("fail", {}, "ValueError: as told"),
        ("none", {}, "Tool none not found for session session_1_2"),
        ("add", {"a": packed("x")}, "Invalid parameter a: expected int, got str"),
        ("add", {}, "Invalid parameter a: is required"),
        ("add", {"a": {"type_url": "x/y", "value": b"{oops"}}, "Invalid parameter a: "),
        ("large", {"size": packed(LIMIT)}, "tool 'large' gave a message of "),
    ],
)
async def test_failure_is_text_in_the_answer(session: SessionStub, tool_name: str, parameters: Any, text: str) -> None:
    for execute in (session.ExecuteElixirTool, session.ExecuteTool):
        answer = await execute(tool_name=tool_name, parameters=parameters)
        assert (answer.success, answer.HasField("result"), dict(answer.metadata)) == (False, False, {})
        assert answer.error_message.startswith(text)


async def test_tool_is_not_run_outside_of_a_session(stub: Stub) -> None:
    answer = await stub.ExecuteElixirTool(session_id="gone", tool_name="fail")
    assert (answer.success, answer.error_message) == (False, "Session not found: gone")


async def test_time_is_over_by_the_deadline_or_by_the_metadata(session: SessionStub) -> None:
    async with asyncio.timeout(5):
        code, _ = await status(session.ExecuteElixirTool(tool_name="rest", metadata={"timeout_ms": "20"}, timeout=60))
    assert code == "DEADLINE_EXCEEDED"
    assert (await status(session.ExecuteTool(tool_name="rest", timeout=0.05)))[0] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "9" * 40])
async def test_timeout_that_is_no_number_is_none(session: SessionStub, text: str) -> None:
    answer = await session.ExecuteTool(tool_name="add", parameters={"a": packed(1)}, metadata={"timeout_ms": text})
    assert answer.success


async def test_tool_writes_variables_of_the_session_it_is_called_in(session: SessionStub) -> None:
    assert (await session.ExecuteElixirTool(tool_name="remember", parameters={"value": packed(7)})).success
    variable = (await session.GetVariable(variable_identifier="remembered")).variable
    assert (json.loads(variable.value.value), variable.source) == (7, 1)


@pytest.mark.parametrize(
    ("session_id", "tool_name", "code", "text"),
    [
        ("session_1_2", "add", "UNIMPLEMENTED", "Streaming execution is not enabled for tool add. "),
        ("session_1_2", "none", "NOT_FOUND", "no tool 'none'"),
        ("gone", "add", "NOT_FOUND", "Session not found: gone"),
    ],
)
async def test_host_streams_nothing(
    session: SessionStub, session_id: str, tool_name: str, code: str, text: str
) -> None:
    found = await status(session.stub.ExecuteStreamingTool(session_id=session_id, tool_name=tool_name).read())
    assert found[0] == code
    assert found[1].startswith(text)


async def test_host_has_no_telemetry(stub: Stub) -> None:
    call = stub._channel.stream_stream("/snakepit.bridge.BridgeService/StreamTelemetry")(timeout=5)
    assert (await status(call.read()))[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize("method", ["InitializeSession", "SetVariable", "WatchVariables", "ExecuteElixirTool"])
async def test_request_that_is_no_message_is_refused(stub: Stub, method: str) -> None:
    call = stub._channel.unary_unary(f"/snakepit.bridge.BridgeService/{method}")(b"\x0a\x02\xff\xfe", timeout=5)
    assert (await status(call))[0] == "INVALID_ARGUMENT"
