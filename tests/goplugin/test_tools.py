"""Tools as a plugin: what `bridge serve` does, and sessions of a host through the broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from bridge import Adapter, SessionContext, tool
from bridge.errors import BridgeError, Code
from bridge.goplugin import tools
from bridge.host import CallScope
from bridge.v1.bridge_pb2 import GetServerInfoRequest, GetServerInfoResponse, ListToolsRequest, ListToolsResponse
from tests.goplugin.broker_pair import short_folder
from tests.goplugin.tools_plugin import BRIDGE, ToolsHost, host_of_tools, open_session, tools_host
from tests.support.worker_tools import Processes

LIMIT = 20.0


class Events:
    """What a test and a tool tell each other."""

    def __init__(self) -> None:
        self.began, self.goes_on, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()


class Tools(Adapter):
    events: Events

    @tool
    async def add(self, a: int, b: int) -> int:
        return a + b

    @tool
    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @tool
    async def remember(self, name: str, value: Any, ctx: SessionContext) -> int:
        return await ctx.set(name, value)

    @tool
    async def recall(self, name: str, ctx: SessionContext) -> Any:
        return await ctx.get(name)

    @tool
    async def ask(self, tool: str, ctx: SessionContext) -> Any:
        return await ctx.call(tool)

    @tool
    async def wait(self) -> str:
        self.events.began.set()
        try:
            await self.events.goes_on.wait()
        except asyncio.CancelledError:
            self.events.cancelled.set()
            raise
        return "waited"


class HostTools(Adapter):
    events: Events

    @tool
    async def who(self) -> str:
        return "the host"

    @tool
    async def never(self) -> None:
        self.events.began.set()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def events() -> Events:
    Tools.events = HostTools.events = Events()
    return Tools.events


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture(params=[False, True], ids=["sockets", "multiplexed"])
async def plugin(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[ToolsHost]:
    async with asyncio.timeout(LIMIT), tools_host(folder, Tools, mux=request.param) as host:
        yield host


@asynccontextmanager
async def attached(plugin: ToolsHost) -> AsyncIterator[tuple[Any, CallScope]]:
    """A host that is attached, and a session in it."""
    async with host_of_tools(HostTools) as server, plugin.attached(server):
        yield server.parts.session_host, await open_session(server)


def failure(caught: pytest.ExceptionInfo[BridgeError]) -> tuple[Code, str]:
    return caught.value.code, caught.value.reason


async def test_a_host_calls_and_lists_tools(plugin: ToolsHost) -> None:
    assert await plugin.call("add", a=2, b=3) == 5
    assert [value async for value in plugin.stream("count", n=3)] == [0, 1, 2]
    listed = await plugin.channel.unary(BRIDGE + "ListTools", ListToolsRequest().SerializeToString(), timeout=5)
    names = [spec.name for spec in ListToolsResponse.FromString(listed).tools]
    assert names == ["add", "ask", "count", "recall", "remember", "wait"]
    told = await plugin.channel.unary(BRIDGE + "GetServerInfo", GetServerInfoRequest().SerializeToString(), timeout=5)
    assert "host" in GetServerInfoResponse.FromString(told).features


async def test_health_is_that_of_a_plugin_and_tells_of_no_service_of_ours(plugin: ToolsHost) -> None:
    path = "/grpc.health.v1.Health/Check"
    answer = await plugin.channel.unary(path, HealthCheckRequest(service="plugin").SerializeToString(), timeout=5)
    assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
    with pytest.raises(BridgeError) as caught:
        request = HealthCheckRequest(service="bridge.v1.BridgeService").SerializeToString()
        await plugin.channel.unary(path, request, timeout=5)
    assert caught.value.code is Code.NOT_FOUND


async def test_the_plugin_keeps_sessions_itself_when_no_host_is_attached(plugin: ToolsHost) -> None:
    session = (await plugin.inner.open_session(CallScope())).session_id
    assert await plugin.call("remember", session, name="x", value=b"\xff") == 1
    assert (await plugin.inner.get_variables(CallScope(session), ["x"]))["x"].value == b"\xff"
    with pytest.raises(BridgeError) as caught:
        await plugin.call("ask", session, tool="who")
    assert failure(caught) == (Code.NOT_FOUND, "TOOL_NOT_FOUND")


async def test_variables_and_tools_are_those_of_the_attached_host(plugin: ToolsHost) -> None:
    async with attached(plugin) as (host, scope):
        assert await plugin.call("remember", scope.session_id, name="x", value={"a": 1.0}) == 1
        variable = (await host.get_variables(scope, ["x"]))["x"]
        assert (variable.value, variable.changed_by) == ({"a": 1.0}, "tool:remember")
        assert await plugin.call("recall", scope.session_id, name="x") == {"a": 1.0}
        assert await plugin.call("ask", scope.session_id, tool="who") == "the host"
        with pytest.raises(BridgeError) as caught:
            await plugin.call("recall", "0" * 32, name="x")
        assert failure(caught) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_a_session_that_tools_would_not_find_is_not_opened(plugin: ToolsHost) -> None:
    async with attached(plugin):
        with pytest.raises(BridgeError) as caught:
            await plugin.inner.open_session(CallScope())
        assert failure(caught) == (Code.FAILED_PRECONDITION, "HOST_ATTACHED")


async def test_another_host_takes_the_place_of_the_first(plugin: ToolsHost) -> None:
    async with attached(plugin) as (_, first), attached(plugin) as (_, second):
        await plugin.call("remember", second.session_id, name="x", value=2)
        with pytest.raises(BridgeError) as caught:
            await plugin.call("recall", first.session_id, name="x")
        assert failure(caught) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_who_waits_for_a_host_that_is_replaced_hears_of_it(plugin: ToolsHost, events: Events) -> None:
    async with attached(plugin) as (_, first):
        waiting = asyncio.create_task(plugin.call("ask", first.session_id, tool="never"))
        await events.began.wait()
        async with attached(plugin):
            with pytest.raises(BridgeError) as caught:
                await waiting
    assert failure(caught) == (Code.UNAVAILABLE, "HOST_UNAVAILABLE")
    assert "another one has been attached" in caught.value.message


async def test_a_host_that_is_gone_is_unavailable_until_one_is_attached_again(plugin: ToolsHost) -> None:
    async with attached(plugin) as (_, scope):
        await plugin.call("remember", scope.session_id, name="x", value=1)
    for _ in range(2):
        with pytest.raises(BridgeError) as caught:
            await plugin.call("recall", scope.session_id, timeout=2, name="x")  # no time for a knock in vain
        assert failure(caught) == (Code.UNAVAILABLE, "HOST_UNAVAILABLE")
        assert "AttachHost" in caught.value.message
    async with attached(plugin) as (_, scope):
        assert await plugin.call("remember", scope.session_id, name="x", value=1) == 1


async def test_an_attachment_that_fails_leaves_the_host_that_was_there(
    plugin: ToolsHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "DIAL_TIMEOUT", 0.1)
    async with attached(plugin) as (_, scope):
        with pytest.raises(BridgeError) as caught:
            await plugin.attach(4711)
        assert caught.value.reason in ("BROKER_TIMEOUT", "KNOCK_TIMEOUT")
        assert await plugin.call("remember", scope.session_id, name="x", value=1) == 1


async def test_bytes_that_are_no_request_attach_nothing(plugin: ToolsHost) -> None:
    with pytest.raises(BridgeError) as caught:
        await plugin.channel.unary("/bridge.v1.PluginService/AttachHost", b"\xff", timeout=5)
    assert failure(caught) == (Code.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_a_deadline_and_a_cancel_reach_the_tool(plugin: ToolsHost, events: Events) -> None:
    with pytest.raises(BridgeError) as caught:
        await plugin.call("wait", timeout=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    await events.cancelled.wait()
    events.began.clear()
    events.cancelled.clear()
    call = asyncio.create_task(plugin.call("wait"))
    await events.began.wait()
    call.cancel()
    await events.cancelled.wait()


async def test_a_tool_may_run_in_a_process_of_its_own(folder: Path) -> None:
    async with asyncio.timeout(LIMIT), tools_host(folder, Processes, isolation="process", workers=1) as plugin:
        assert await plugin.call("pid") != os.getpid()


async def test_a_running_call_has_its_grace_when_the_plugin_ends(folder: Path, events: Events) -> None:
    async with asyncio.timeout(LIMIT), tools_host(folder, Tools, grace=10) as plugin:
        call = asyncio.create_task(plugin.call("wait"))
        await events.began.wait()
        end = asyncio.ensure_future(plugin.end())
        assert await plugin.call("add", a=1, b=1) == 2
        assert not end.done()
        events.goes_on.set()
        assert await call == "waited"
        await end


async def test_a_call_that_outlasts_the_grace_is_cancelled_and_the_plugin_ends(folder: Path, events: Events) -> None:
    async with asyncio.timeout(LIMIT), tools_host(folder, Tools, grace=0.3) as plugin:
        call = asyncio.create_task(plugin.call("wait"))
        await events.began.wait()
        await plugin.end()
        assert events.cancelled.is_set()
        with pytest.raises(BridgeError) as caught:
            await call
        assert caught.value.code in (Code.UNAVAILABLE, Code.CANCELLED)


async def test_adapters_that_cannot_be_served_stop_the_start(folder: Path) -> None:
    with pytest.raises(BridgeError) as caught:
        async with tools_host(folder, Tools, Tools):
            pass
    assert caught.value.reason == "DUPLICATE_TOOL"
