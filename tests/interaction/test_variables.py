"""Tools and clients share the variables of a session, wherever the host is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.call_path import MAX_CALL_DEPTH
from bridge.codec import encode
from bridge.testing import serving
from bridge.v1.bridge_pb2 import ExecuteToolRequest
from bridge_client import BridgeClient
from tests.support import probes


class Counting(Adapter):
    """What the context offers beyond single reads and writes."""

    @tool
    async def many(self, names: list[str], ctx: SessionContext) -> dict[str, Any]:
        return await ctx.get_many(names)

    @tool
    async def defaulted(self, name: str, ctx: SessionContext) -> Any:
        return await ctx.get(name, default="fallback")

    @tool
    async def raise_to(self, name: str, value: int, version: int, ctx: SessionContext) -> int:
        return await ctx.set(name, value, expected_version=version)

    @tool(isolation="inline")  # it waits for the test
    async def read_twice(self, name: str, ctx: SessionContext) -> list[Any]:
        """Reads, lets the client write, reads from memory, then afresh."""
        first = await ctx.get(name)
        probes.journal.add("read")
        await asyncio.to_thread(probes.journal.release.wait, 5)
        return [first, await ctx.get(name), await ctx.get(name, fresh=True)]

    @tool
    async def write_then_read(self, name: str, ctx: SessionContext) -> Any:
        await ctx.get(name)
        await ctx.set(name, "written")
        return await ctx.get(name)

    @tool
    async def catalogue(self, ctx: SessionContext) -> list[str]:
        await ctx.set_many({"b": 1, "a": 2})
        await ctx.delete("b")
        return [variable.name for variable in await ctx.list("*")]

    @tool
    async def who(self, name: str, ctx: SessionContext) -> str:
        return (await ctx.get_variable(name)).changed_by


@pytest.fixture(params=["embedded host", "separate host"])
async def client(request: pytest.FixtureRequest, start: Any, probe: type) -> AsyncIterator[BridgeClient]:
    """A client of a server whose sessions are its own, or those of a host of their own."""
    adapters = (probe, Counting)
    async with AsyncExitStack() as stack:
        if request.param == "embedded host":
            server = await start(*adapters)
            yield await stack.enter_async_context(BridgeClient(server.addresses[0]))
        else:
            host = await start(probes.HostTools, role="host")
            server = await start(*adapters, host=host.addresses[0])
            yield await stack.enter_async_context(BridgeClient(server.addresses[0], host=host.addresses[0]))


@pytest.mark.parametrize("value", [1, 0.5, "text", True, b"\x00", {"k": [1, None]}, 2**60], ids=repr)
async def test_a_tool_reads_what_the_client_set_and_the_other_way_round(client: BridgeClient, value: Any) -> None:
    async with asyncio.timeout(5), client.session() as session:
        await session.set("x", value)
        assert await session.call("read", name="x") == value
        assert await session.call("write", name="y", value=value) == 1
        assert await session.get("y") == value


async def test_a_missing_variable_is_not_found_unless_there_is_a_default(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as session:
        with pytest.raises(BridgeError) as caught:
            await session.call("read", name="nothing")
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")
        assert await session.call("defaulted", name="nothing") == "fallback"


async def test_a_call_without_a_session_says_how_to_get_one(client: BridgeClient) -> None:
    with pytest.raises(BridgeError, match=r"client\.session\(\)") as caught:
        await client.call("read", name="x")
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NO_SESSION")


@pytest.mark.parametrize("session", ["0" * 32, "nonsense", "x" * 10_000, "../../etc"])
async def test_an_unknown_session_is_not_found(client: BridgeClient, session: str) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("read", name="x", session=session)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_a_stale_version_is_refused_with_the_current_one(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as session:
        assert await session.set("n", 1) == 1
        assert await session.call("raise_to", name="n", value=2, version=1) == 2
        with pytest.raises(BridgeError) as caught:
            await session.call("raise_to", name="n", value=3, version=1)
        assert (caught.value.code, caught.value.reason) == (Code.ABORTED, "VERSION_MISMATCH")
        assert caught.value.details.metadata["current_version"] == "2"


async def test_reads_are_remembered_for_the_call_until_asked_afresh(
    client: BridgeClient, journal: probes.Journal
) -> None:
    async with asyncio.timeout(5), client.session() as session:
        await session.set("x", 1)
        call = asyncio.create_task(session.call("read_twice", name="x"))
        await journal.wait("read")
        await session.set("x", 2)
        journal.release.set()
        assert await call == [1, 1, 2]


async def test_a_write_is_seen_by_the_next_read_of_the_same_call(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as session:
        await session.set("x", "before")
        assert await session.call("write_then_read", name="x") == "written"


async def test_several_variables_are_read_and_written_together(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as session:
        await session.set_many({"a": 1, "b": [2], "c": "3"})
        assert await session.call("many", names=["a", "b", "nothing"]) == {"a": 1, "b": [2]}
        assert await session.call("catalogue") == ["a", "c"]


async def test_a_variable_knows_which_tool_wrote_it(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as session:
        await session.set("x", 1)
        assert await session.call("who", name="x") == "client"
        await session.call("write", name="x", value=2)
        assert await session.call("who", name="x") == "tool:write"


async def test_sessions_do_not_see_each_other(client: BridgeClient) -> None:
    async with asyncio.timeout(5), client.session() as one, client.session() as other:
        await one.set("x", 1)
        assert await other.get("x", default=None) is None


async def test_a_closed_session_is_gone(client: BridgeClient) -> None:
    async with asyncio.timeout(5):
        async with client.session() as session:
            session_id = session.session_id
            await session.set("x", 1)
        with pytest.raises(BridgeError) as caught:
            await client.call("read", name="x", session=session_id)
        assert caught.value.reason == "SESSION_NOT_FOUND"


@pytest.fixture
async def with_host(start: Any, probe: type) -> AsyncIterator[BridgeClient]:
    host = await start(probes.HostTools, role="host")
    server = await start(probe, host=host.addresses[0])
    async with BridgeClient(server.addresses[0], host=host.addresses[0]) as client:
        yield client


async def test_a_tool_calls_a_tool_of_the_host(with_host: BridgeClient) -> None:
    assert await with_host.call("ask_host", tool="double", value=21, timeout=5) == 42


async def test_an_error_of_a_host_tool_reaches_the_caller_as_it_is(with_host: BridgeClient) -> None:
    with pytest.raises(BridgeError, match="the host says no") as caught:
        await with_host.call("ask_host", tool="refuse", timeout=5)
    assert (caught.value.code, caught.value.reason) == (Code.PERMISSION_DENIED, "HOST_SAYS_NO")


async def test_a_cancelled_call_cancels_its_host_tool(with_host: BridgeClient, journal: probes.Journal) -> None:
    call = asyncio.create_task(with_host.call("ask_host", tool="hang_up"))
    async with asyncio.timeout(5):
        await journal.wait("host started")
        call.cancel()
        await journal.wait("host ended")


async def test_the_deadline_travels_with_a_callback(with_host: BridgeClient, journal: probes.Journal) -> None:
    with pytest.raises(BridgeError) as caught:
        await with_host.call("ask_host", tool="hang_up", timeout=0.3)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    await journal.wait("host ended")


async def test_tools_that_call_each_other_without_end_are_stopped(with_host: BridgeClient) -> None:
    path = ",".join(f"f{number}" for number in range(MAX_CALL_DEPTH))
    channel = with_host._open().channel
    request = ExecuteToolRequest(tool_name="ask_host")
    encode("double", request.parameters["tool"])
    with pytest.raises(BridgeError) as caught:
        await channel.unary(
            "/bridge.v1.BridgeService/ExecuteTool",
            request.SerializeToString(),
            headers=[("bridge-call-path", path)],
            timeout=5,
        )
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CALL_DEPTH")


async def test_a_server_without_host_tools_says_so(start: Any, probe: type) -> None:
    server = await start(probe)
    async with BridgeClient(server.addresses[0]) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("ask_host", tool="double", value=1)
        assert caught.value.code is Code.NOT_FOUND


async def test_a_host_that_is_down_is_unavailable_and_says_which(start: Any, probe: type) -> None:
    server = await start(probe, host="127.0.0.1:1")
    async with BridgeClient(server.addresses[0], retry=None) as client:
        with pytest.raises(BridgeError, match=r"127\.0\.0\.1:1") as caught:
            await client.call("read", name="x", session="0" * 32, timeout=5)
        assert caught.value.code is Code.UNAVAILABLE


class Once(Adapter):
    @tool
    async def charge(self, ctx: SessionContext) -> None:
        probes.journal.add("charged")
        await ctx.call("double", value=1)


async def test_a_tool_whose_host_is_down_is_not_run_again(start: Any, journal: probes.Journal) -> None:
    server = await start(Once, host="127.0.0.1:1")
    async with BridgeClient(server.addresses[0]) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("charge", timeout=5)
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "HOST_UNAVAILABLE")
    assert journal.count("charged") == 1


async def test_a_tool_whose_host_is_busy_is_not_run_again(start: Any, journal: probes.Journal) -> None:
    host = await start(probes.HostTools, role="host", max_concurrent_calls=1)
    server = await start(Once, probes.Inline, host=host.addresses[0])
    async with asyncio.timeout(5), BridgeClient(server.addresses[0]) as client:
        occupying = asyncio.create_task(client.call("ask_host", tool="hang_up"))
        await journal.wait("host started")
        with pytest.raises(BridgeError) as caught:
            await client.call("charge")
        assert (caught.value.code, caught.value.retry_after) == (Code.RESOURCE_EXHAUSTED, None)
        occupying.cancel()
    assert journal.count("charged") == 1


async def test_a_host_that_dies_mid_callback_costs_one_call(start: Any, probe: type, journal: probes.Journal) -> None:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(serving(probes.HostTools, role="host", grace=0.0))
        server = await start(probe, host=host.addresses[0])
        async with asyncio.timeout(10), BridgeClient(server.addresses[0], retry=None) as client:
            call = asyncio.create_task(client.call("ask_host", tool="hang_up"))
            await journal.wait("host started")
            await stack.aclose()
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.code is Code.UNAVAILABLE
            assert await client.call("echo", value=1) == 1
