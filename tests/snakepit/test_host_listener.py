"""SnakepitHost asks a listener that answers as the BEAM's does."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import engines
from bridge.codec import decode
from bridge.errors import BridgeError, Code, NoHostError, NoSessionError
from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.hosts.snakepit import SnakepitHost
from bridge.hosts.snakepit_listener import MAX_KNOWN
from bridge.snakepit import messages
from bridge.variables import Declaration, Write
from tests.snakepit.listener import STRING_URL, Binary, FakeListener, Inspected, listening

pytestmark = pytest.mark.timeout(20)

SCOPE = CallScope("session_1_2")
CORRELATION = "x-snakepit-correlation-id"


def _divide(arguments: dict[str, Any]) -> Any:
    return 1 / arguments["by"]


@pytest.fixture
async def listener() -> AsyncIterator[FakeListener]:
    results = {
        "map": {"a": [1, 2.5, None, "x"]},
        "binary": Binary(b"\x00\xff"),
        "described": Binary(b"\x01", {"mime": "image/png"}),
        "pid": Inspected("#PID<0.1.0>"),
    }
    tools = {name: lambda _, result=result: result for name, result in results.items()}
    async with listening(FakeListener(echo=lambda arguments: arguments, divide=_divide, **tools)) as listener:
        yield listener


@pytest.fixture
async def host(listener: FakeListener) -> AsyncIterator[SnakepitHost]:
    host = SnakepitHost(engines.connect(listener.address))
    async with asyncio.timeout(15):
        yield host
    await host.aclose()


async def _refusal(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value


ARGUMENTS = [
    "hello",
    "",
    'say "hi"\n',
    "\n\x05hello",
    1,
    -(2**63),
    10**30,
    2.5,
    True,
    None,
    [1, "a", [None]],
    {"a": {"b": [1.5]}},
    (1, 2),
]


@pytest.mark.parametrize("value", ARGUMENTS)
async def test_argument_of_every_type_arrives_as_json(host: SnakepitHost, value: Any) -> None:
    result = await host.call_tool(SCOPE, "echo", {"value": value})
    assert result == {"value": list(value) if isinstance(value, tuple) else value}


@pytest.mark.parametrize("value", [b"", b"x", bytearray(b"x"), memoryview(b"x"), object(), {1: 2}, {"a": object()}])
async def test_argument_that_json_cannot_carry_is_refused_before_anybody_is_asked(
    host: SnakepitHost, listener: FakeListener, value: Any
) -> None:
    error = await _refusal(host.call_tool(SCOPE, "echo", {"value": value}))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "UNSUPPORTED_VALUE")
    assert "$.value" in error.message
    assert listener.asked == []


@pytest.mark.parametrize(
    ("tool", "result"),
    [
        ("map", {"a": [1, 2.5, None, "x"]}),
        ("binary", b"\x00\xff"),
        ("described", (b"\x01", {"mime": "image/png"})),
        ("pid", "#PID<0.1.0>"),
    ],
)
async def test_result_comes_in_the_form_the_listener_gives_it(host: SnakepitHost, tool: str, result: Any) -> None:
    assert await host.call_tool(SCOPE, tool, {}) == result
    assert [value async for value in host.stream_tool(SCOPE, tool, {})] == [result]


async def test_tool_that_fails_is_unknown_with_what_the_listener_says(host: SnakepitHost) -> None:
    error = await _refusal(host.call_tool(SCOPE, "divide", {"by": 0}))
    assert (error.code, error.reason) == (Code.UNKNOWN, "HOST_TOOL_FAILED")
    assert "Tool execution failed: division by zero" in error.message


async def test_tool_that_is_not_there_is_not_found(host: SnakepitHost, listener: FakeListener) -> None:
    error = await _refusal(host.call_tool(SCOPE, "none", {}))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "TOOL_NOT_FOUND")
    assert listener.methods.count("ExecuteElixirTool") == 1


async def test_session_is_told_of_once_and_only_when_it_is_needed(host: SnakepitHost, listener: FakeListener) -> None:
    await host.ping()
    assert listener.methods == ["Ping"]
    await host.call_tool(SCOPE, "map", {})
    await host.call_tool(SCOPE, "map", {})
    assert listener.methods == ["Ping", "InitializeSession", "ExecuteElixirTool", "ExecuteElixirTool"]


async def test_session_that_the_listener_has_forgotten_is_told_of_again(
    host: SnakepitHost, listener: FakeListener
) -> None:
    await host.call_tool(SCOPE, "map", {})
    listener.sessions.clear()
    assert await host.call_tool(SCOPE, "echo", {"a": 1}) == {"a": 1}
    assert listener.methods.count("InitializeSession") == 2


async def test_session_is_kept_and_ended(host: SnakepitHost, listener: FakeListener) -> None:
    assert not await host.heartbeat_session("s", 5.0)
    await host.initialize_session("s", {"node": "a@b"})
    assert await host.heartbeat_session("s", 5.0)
    await host.cleanup_session("s")
    assert not await host.heartbeat_session("s", 5.0)
    sent = dict(listener.asked)["InitializeSession"]
    assert dict(sent.metadata) == {"node": "a@b"}
    await host.call_tool(CallScope("s"), "map", {})
    assert listener.methods.count("InitializeSession") == 2


async def test_no_more_sessions_are_remembered_than_the_listener_has(host: SnakepitHost) -> None:
    host._listener._known = dict.fromkeys(map(str, range(MAX_KNOWN)))
    await host.initialize_session("newest")
    known = host._listener._known
    assert (len(known), "0" in known, "newest" in known) == (MAX_KNOWN, False, True)


async def test_every_call_has_a_deadline_and_a_correlation_id(host: SnakepitHost, listener: FakeListener) -> None:
    await host.ping()
    await host.initialize_session("session_1_2")
    await host.heartbeat_session("session_1_2", 5.0)
    await host.list_tools(SCOPE)
    await host.cleanup_session("session_1_2")
    assert all(0 < (deadline or 0) <= 30.5 for deadline in listener.deadlines)
    ids = [headers[CORRELATION] for headers in listener.headers]
    assert all(re.fullmatch("sp-[0-9a-f]{24}", one) for one in ids)
    assert len(set(ids)) == len(ids)


async def test_correlation_id_deadline_and_author_of_a_call_go_along(
    host: SnakepitHost, listener: FakeListener
) -> None:
    deadline = time.monotonic() + 12
    scope = CallScope("s", deadline, {CORRELATION: "sp-1", "traceparent": "00-1"}, "tool:t")
    await host.initialize_session("s")
    await host.call_tool(scope, "map", {})
    headers = listener.headers[-1]
    assert (headers[CORRELATION], headers["traceparent"], headers["bridge-changed-by"]) == ("sp-1", "00-1", "tool:t")
    assert 0 < (listener.deadlines[-1] or 0) < 13.5


async def test_tool_has_the_time_that_its_caller_gives_it(host: SnakepitHost, listener: FakeListener) -> None:
    await host.call_tool(SCOPE, "map", {})
    assert (listener.deadlines[-1] or 1e9) > 1e6  # grpc's way to say none


async def test_call_whose_time_is_over_asks_nobody(host: SnakepitHost, listener: FakeListener) -> None:
    error = await _refusal(host.call_tool(CallScope("s", time.monotonic() - 1), "map", {}))
    assert error.code is Code.DEADLINE_EXCEEDED
    assert listener.asked == []


async def test_call_outside_of_a_session_asks_nobody(host: SnakepitHost, listener: FakeListener) -> None:
    with pytest.raises(NoSessionError):
        await host.call_tool(CallScope(), "map", {})
    assert listener.asked == []


async def test_listener_that_is_not_there_is_unavailable() -> None:
    async with listening(FakeListener()) as listener:
        address = listener.address
    host = SnakepitHost(engines.connect(address))
    async with asyncio.timeout(10):
        error = await _refusal(host.ping(2.0))
    await host.aclose()
    assert error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


async def test_tools_are_listed_with_what_the_listener_says_of_them(host: SnakepitHost, listener: FakeListener) -> None:
    spec = messages.ToolSpec(name="add", description="Adds", metadata={"exposed_to_python": "true"})
    spec.parameters.add(name="a", type="integer", required=True, validation_json="{}")
    for name, default in (("b", b"2"), ("c", b"#Ref<0.1>")):
        packed = spec.parameters.add(name=name, type="any").default_value
        packed.type_url, packed.value = STRING_URL, default
    listener.exposed = [spec]
    (tool,) = await host.list_tools(SCOPE)
    assert (tool.name, tool.description, dict(tool.metadata)) == ("add", "Adds", {"exposed_to_python": "true"})
    a, b, c = tool.parameters
    assert (a.name, a.type, a.required, a.HasField("default_value")) == ("a", "integer", True, False)
    assert (b.required, decode(b.default_value)) == (False, 2)
    assert not c.HasField("default_value")


VARIABLES: list[Any] = [
    lambda host: host.get_variables(SCOPE, ["x"]),
    lambda host: host.set_variables(SCOPE, [Write(name="x", value=1)]),
    lambda host: host.set_variables(SCOPE, [Write(name="x", value=1)], atomic=False),
    lambda host: host.set_variables(SCOPE, [Write(name="x", value=1), Write(name="y", value=1)]),
    lambda host: host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1)),
    lambda host: host.list_variables(SCOPE),
    lambda host: host.delete_variable(SCOPE, "x"),
    lambda host: host.get_history(SCOPE, "x"),
    lambda host: host.rollback_variable(SCOPE, "x", 1),
    lambda host: anext(host.watch_variables(SCOPE, ["x"])),
]


@pytest.mark.parametrize("ask", VARIABLES)
async def test_listener_without_variables_says_where_to_get_them(host: SnakepitHost, ask: Any) -> None:
    error = await _refusal(ask(host))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "NO_VARIABLES")
    assert "bridge host --snakepit" in error.message
    assert isinstance(error, NoHostError)  # what a tool may do without


class Closable(InMemoryHost):
    """Notes that it was closed."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


async def test_variables_are_kept_by_another_host_if_there_is_one(listener: FakeListener) -> None:
    variables = Closable()
    session = await variables.open_session(CallScope())
    scope = CallScope(session.session_id)
    host = SnakepitHost(engines.connect(listener.address), variables)
    assert await host.set_variables(scope, [Write(name="x", value=1)]) == {"x": 1}
    assert (await variables.get_variables(scope, ["x"]))["x"].value == 1
    assert (await host.register_variable(scope, Declaration(name="y", type="string", value="a"))).version == 1
    assert [variable.name for variable in await host.list_variables(scope, "*")] == ["x", "y"]
    assert len(await host.get_history(scope, "x")) == 1
    watch = host.watch_variables(scope, ["x"], initial=True)
    assert (await anext(watch)).kind.name == "STARTED"
    await watch.aclose()
    assert (await host.rollback_variable(scope, "x", 1)).version == 2
    await host.delete_variable(scope, "x", expected_version=2)
    assert listener.asked == []
    await host.aclose()
    assert variables.is_closed
