"""``@tool(reads=[...])``: what a tool is going to read is there when it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, NoHostError, SessionContext, tool
from bridge.call import ToolCall
from bridge.host import CallScope, NoHost
from bridge.hosts.observed import ObservedHost
from bridge.server import Server
from bridge_client import BridgeClient
from tests.support import probes


class Declaring(Adapter):
    """Tools of every kind, all with declared reads."""

    @tool(reads=["a", "b", "nothing"])
    async def on_the_loop(self, ctx: SessionContext) -> list[Any]:
        return [ctx["a"], await ctx.get("b"), "nothing" in ctx, await ctx.get("nothing", "none")]

    @tool(reads=["a", "b", "nothing"])
    def in_a_thread(self, ctx: SessionContext) -> list[Any]:
        return [ctx["a"], ctx.sync.get("b"), "nothing" in ctx, ctx.sync.get("nothing", "none")]

    @tool(reads=["a", "b", "nothing"], isolation="inline")
    def plain_on_the_loop(self, ctx: SessionContext) -> list[Any]:
        return [ctx["a"], ctx.sync.get("b"), "nothing" in ctx, ctx.sync.get("nothing", "none")]

    @tool(reads=["a", "b", "nothing"], collect=True)
    async def streaming(self, ctx: SessionContext) -> AsyncIterator[Any]:
        yield ctx["a"]
        yield ctx["b"]
        yield "nothing" in ctx
        yield "none"

    @tool(reads=["a", "b", "nothing"], collect=True)
    def streaming_from_a_thread(self, ctx: SessionContext) -> Iterator[Any]:
        yield from (ctx["a"], ctx["b"], "nothing" in ctx, "none")

    @tool(reads=["a"])
    async def undemanding(self, ctx: SessionContext, number: int = 0) -> str:
        probes.journal.add("ran")
        return "ran"

    @tool(reads=["a"])
    async def demanding(self, ctx: SessionContext) -> Any:
        return ctx["a"]

    @tool(reads=["a"])
    async def writing(self, ctx: SessionContext) -> list[Any]:
        before = ctx["a"]
        await ctx.set("a", "mine")
        return [before, await ctx.get("a")]

    @tool(reads=["a"])
    async def in_initialize(self) -> Any:
        return self.first

    def initialize(self) -> None:
        self.first = self.context["a"] if self.context.tool == "in_initialize" else None


KINDS = ["on_the_loop", "in_a_thread", "plain_on_the_loop", "streaming", "streaming_from_a_thread"]


class Reads:
    """A client of a server, and what was asked of the host for it."""

    def __init__(self, client: BridgeClient, host: Server) -> None:
        self.client = client
        self.asked: list[tuple[str, ...]] = []
        real: Any = host.host
        read_stored = real.read_stored

        async def read(scope: CallScope, names: Any) -> Any:
            self.asked.append(tuple(names))
            return await read_stored(scope, names)

        real.read_stored = read  # both the host in the server and the one behind a wire read by this


@pytest.fixture(params=["embedded host", "separate host"])
async def reads(request: pytest.FixtureRequest, start: Any, journal: probes.Journal) -> AsyncIterator[Reads]:
    async with AsyncExitStack() as stack:
        if request.param == "embedded host":
            host = server = await start(Declaring)
        else:
            host = await start(role="host")
            server = await start(Declaring, host=host.addresses[0])
        client = await stack.enter_async_context(BridgeClient(server.addresses[0], host=host.addresses[0]))
        yield Reads(client, host)


@pytest.mark.parametrize("kind", KINDS)
async def test_declared_variables_are_read_by_one_request_and_no_other(reads: Reads, kind: str) -> None:
    async with asyncio.timeout(5), reads.client.session() as session:
        await session.set_many({"a": 1, "b": [2]})
        assert await session.call(kind) == [1, [2], False, "none"]
        assert reads.asked == [("a", "b", "nothing")]


async def test_they_are_there_before_initialize(reads: Reads) -> None:
    async with asyncio.timeout(5), reads.client.session() as session:
        await session.set("a", 1)
        assert await session.call("in_initialize") == 1


async def test_a_tool_sees_its_own_writes_of_what_it_declared(reads: Reads) -> None:
    async with asyncio.timeout(5), reads.client.session() as session:
        await session.set("a", "theirs")
        assert await session.call("writing") == ["theirs", "mine"]


async def test_without_a_session_nothing_is_read_and_the_tool_is_told_when_it_asks(reads: Reads) -> None:
    assert await reads.client.call("undemanding", timeout=5) == "ran"
    with pytest.raises(BridgeError) as caught:
        await reads.client.call("demanding", timeout=5)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NO_SESSION")
    assert reads.asked == []


async def test_wrong_arguments_are_refused_before_anything_is_read(reads: Reads) -> None:
    async with asyncio.timeout(5), reads.client.session() as session:
        with pytest.raises(BridgeError) as caught:
            await session.call("undemanding", number="none")
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert reads.asked == []


async def test_an_unknown_session_is_not_found_and_the_tool_does_not_run(reads: Reads, journal: probes.Journal) -> None:
    with pytest.raises(BridgeError) as caught:
        await reads.client.call("undemanding", session="0" * 32, timeout=5)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")
    assert journal.count("ran") == 0


async def test_a_host_that_is_down_is_its_own_error_before_the_tool_has_begun(
    start: Any, journal: probes.Journal
) -> None:
    server = await start(Declaring, host="127.0.0.1:1")
    async with BridgeClient(server.addresses[0], retry=None) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("undemanding", session="0" * 32, timeout=5)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "HOST_UNAVAILABLE")
    assert caught.value.retry_after is not None, "so it may be called again"
    assert journal.count("ran") == 0


@pytest.mark.parametrize("host", [NoHost(), ObservedHost(NoHost())], ids=["bare", "observed"])
async def test_without_a_host_nothing_is_read_and_the_tool_is_told_when_it_asks(host: Any) -> None:
    ctx = SessionContext(ToolCall("tool", {}, host, session_id="0" * 32), asyncio.get_running_loop())
    await ctx.prefetch(["a"])
    with pytest.raises(NoHostError):
        await ctx.get("a")
    with pytest.raises(NoHostError):
        await asyncio.to_thread(lambda: ctx["a"])


async def test_in_an_async_tool_without_a_host_the_missing_host_is_named() -> None:
    ctx = SessionContext(ToolCall("tool", {}, NoHost(), session_id="0" * 32), asyncio.get_running_loop())
    with pytest.raises(NoHostError):
        ctx["a"]
