"""Tools, sessions and hosts of the bridge's own servers."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from bridge.adapter import Adapter
from bridge.call import Progress
from bridge.errors import BridgeError, Code
from bridge.hosts.memory import InMemoryHost
from bridge.tool import tool
from bridge_client.jsonrpc import Client
from bridge_client.retry import Timing
from tests.clients.jsonrpc.conftest import ConnectTools
from tests.support.probes import Inline, Journal, Threaded
from tests.support.waiting import until


async def test_calls_have_exact_values(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5):
        assert await client.call("add", a=1) == 2
        assert await client.call("add", {"a": 1}, b=2, timeout=5) == 3
        values = [None, 2**70, b"\0\xff", {"a": [1.5, "ü"]}, datetime.timedelta(seconds=1.5), float("inf"), {1: 2}]
        for value in values:
            assert await client.call("echo", {"value": value}) == value
        with pytest.raises(TypeError):
            await client.call("add", {"a": 1}, a=1)


async def test_errors_are_those_of_the_tool(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5):
        with pytest.raises(BridgeError) as caught:
            await client.call("fail", kind="tool")
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NO_PLANET")
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a="x", c=1)
        assert {violation.field for violation in caught.value.violations} == {"$.a", "$.c"}
        with pytest.raises(BridgeError) as caught:
            await client.call("nope")
        assert caught.value.reason == "TOOL_NOT_FOUND"
        with pytest.raises(BridgeError) as caught:
            await client.call("echo", value=[object()])
        assert (caught.value.code, caught.value.violations[0].field) == (Code.INVALID_ARGUMENT, "$.value[0]")


async def test_C06_a_call_whose_time_is_over_ends_at_the_server(connect_tools: ConnectTools, journal: Journal) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5):
        with pytest.raises(BridgeError) as caught:
            await client.call("hang", timeout=0.05)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await journal.wait("ended")
        assert await client.call("add", a=1) == 2
        remaining = await client.call("remaining", timeout=60)
        assert 50 < remaining <= 60, "the server knows the time"
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1, timeout=0)
        assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_a_cancelled_call_ends_at_the_server(connect_tools: ConnectTools, journal: Journal) -> None:
    client = await connect_tools(Threaded)
    async with asyncio.timeout(5):
        calling = asyncio.ensure_future(client.call("hang"))
        await journal.wait("started")
        calling.cancel()
        await journal.wait("ended")


async def test_C07_chunks_come_in_order_and_the_end_once(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(10):
        streams = [client.stream("count", n=500) for _ in range(3)]
        results = await asyncio.gather(*(_all(stream) for stream in streams))
        assert results == [list(range(500))] * 3
        seen: list[Progress] = []
        assert await _all(client.stream("progress", on_progress=seen.append)) == ["value"]
        assert seen[-1] == Progress(1.0, "whole"), "of notes that come too fast the last one counts"
        assert await _all(client.stream("add", a=1)) == [2], "a tool with one result is a stream of one"
        got = []
        with pytest.raises(BridgeError) as caught:
            async for value in client.stream("fail_midway", n=3):
                got.append(value)
        assert (got, caught.value.reason) == ([0, 1, 2], "ValueError")


async def test_C07_leaving_a_stream_ends_its_tool(connect_tools: ConnectTools, journal: Journal) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5):
        async with client.stream("endless") as numbers:
            async for number in numbers:
                if number == 3:
                    break
        await journal.wait("closed")
        with pytest.raises(BridgeError) as caught:
            await _all(client.stream("silent", timeout=0.05))
        assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_C07_who_stops_reading_stops_the_tool_and_nobody_else(
    connect_tools: ConnectTools, journal: Journal
) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(10):
        async with client.stream("pour") as drops:
            assert len(await anext(drops)) == 64 * 1024
            await until(lambda: journal.count("poured") >= 64)
            for _ in range(20):
                assert await client.call("add", a=1) == 2, "others go on"
            assert journal.count("poured") <= 66, "the tool waits until something was read"
            for _ in range(200):
                await anext(drops)
            assert journal.count("poured") > 200
        await journal.wait("closed")


async def test_tools_are_listed_once_and_again_when_they_have_changed(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5):
        infos = {info.name: info for info in await client.tools()}
        assert list(infos) == sorted(infos)
        add = infos["add"]
        assert [(one.name, one.required, one.schema["type"]) for one in add.parameters] == [
            ("a", True, "integer"),
            ("b", False, "integer"),
        ]
        assert (add.parameters[1].default, add.input_schema["required"]) == (1, ["a"])
        assert (infos["count"].streaming, add.streaming) == (True, False)
        assert (await client.tools())[0] is infos["add"]
        assert (await client.tools(refresh=True))[0] is not infos["add"]
        first = (await client.tools())[0]
        client._told("tools.changed", None)
        assert (await client.tools())[0] is not first


async def test_sessions_are_those_of_the_other_client(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(10), client.session({"who": "me"}, ttl=60) as session:
        assert session.info.ttl == 60
        assert session.info.metadata == {"who": "me"}
        assert await session.set("x", b"\0") == 1
        assert await session.get("x") == b"\0"
        assert await session.call("read", name="x") == b"\0"
        assert await session.call("write", name="y", value=2) == 1
        assert await client.call("read", session=session, name="y") == 2
        assert (await session.get_variable("y")).changed_by == "tool:write"
        assert await session.set_many({"x": b"\1", "z": [1]}) == {"x": 2, "z": 1}
        assert await session.get_many(["x", "none"]) == {"x": b"\1"}
        assert await session.update("n", lambda n: n + 1, default=0) == 1
        assert [found.name for found in await session.list("?")] == ["n", "x", "y", "z"]
        assert [update.kind.name for update in await session.history("x", limit=1)] == ["CHANGED"]
        assert (await session.rollback("x", 1)).value == b"\0"
        assert (await session.register("b", "boolean", True)).type == "boolean"
        await session.delete("b")
        with pytest.raises(BridgeError) as caught:
            await session.get("b")
        assert caught.value.reason == "VARIABLE_NOT_FOUND"
        with pytest.raises(BridgeError) as caught:
            await session.set("x", b"", expected_version=1)
        assert caught.value.reason == "VERSION_MISMATCH"
        assert [info.session_id for info in await client.list_sessions()] == [session.session_id]
        async with client.session(session_id=session.session_id) as attached:
            assert await attached.get("y") == 2
    with pytest.raises(BridgeError) as caught:
        await client.call("read", session="0" * 32, name="x")
    assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_a_watch_sees_every_change(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(10), client.session() as session, session.watch("x") as watch:
        for number in range(200):
            await session.set("x", number)
            update = await anext(watch)
            assert update.variable is not None
            assert update.variable.value == number
        await session.delete("x")
        assert (await anext(watch)).kind.name == "DELETED"


async def test_a_watch_that_is_not_read_is_told_so_and_resumes(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(10), client.session() as session:
        async with session.watch("x") as watch:
            for number in range(300):
                await session.set("x", number)
            with pytest.raises(BridgeError) as caught:
                for _ in range(300):
                    await anext(watch)
        assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "WATCH_BEHIND")
        resume_after = {"x": int(caught.value.details.metadata["resume_after"])}
        async with session.watch("x", resume_after=resume_after) as watch:
            update = await anext(watch)
            assert update.variable is not None
            assert update.variable.version == resume_after["x"] + 1


async def test_heartbeats_keep_a_session(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline)
    waits: list[float] = []
    beat, quiet = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await (beat if len(waits) == 1 else quiet).wait()

    client._timing = Timing(sleep=sleep)
    async with asyncio.timeout(5), client.session(ttl=60) as session:
        beat.set()
        await until(lambda: len(waits) == 2)
        async with client.session(session_id=session.session_id) as attached:
            assert attached.info.expires_at > session.info.expires_at
        assert waits == [20, 20]


async def test_closing_the_client_closes_its_sessions(connect_tools: ConnectTools, address: str) -> None:
    other = await connect_tools(Inline)
    async with asyncio.timeout(5):
        async with await Client.connect(address) as client:
            await client.session().__aenter__()
            assert len(await other.list_sessions()) == 1
        assert await other.list_sessions() == []


async def test_a_client_that_is_a_host_keeps_the_sessions_of_its_tools(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline, client={"host": InMemoryHost()})
    async with asyncio.timeout(10), client.session() as session:
        await session.set("x", b"mine")
        assert await session.call("read", name="x") == b"mine"
        assert await session.call("write", name="y", value=[1]) == 1
        assert await session.get("y") == [1]
        assert (await session.get_variable("y")).changed_by == "tool:write"
        assert [info.session_id for info in await client.list_sessions()] == [session.session_id]
        with pytest.raises(BridgeError) as caught:
            await client.request("session.list")
        assert caught.value.reason == "CLIENT_IS_HOST"


class ToolHost(InMemoryHost):
    """A host with tools of its own."""

    async def call_tool(self, scope: Any, tool: str, arguments: Any) -> Any:
        return [tool, dict(arguments)]


async def test_a_tool_calls_tools_of_the_client(connect_tools: ConnectTools) -> None:
    client = await connect_tools(Inline, client={"host": ToolHost()})
    async with asyncio.timeout(5):
        assert await client.call("ask_host", tool="double", value=b"2") == ["double", {"value": b"2"}]


async def test_a_lost_connection_ends_streams_and_watches(connect_tools: ConnectTools, address: str) -> None:
    client = await connect_tools(Inline)
    async with asyncio.timeout(5), client.session() as session:
        stream, watch = client.stream("endless"), session.watch("x")
        await anext(stream)
        async with watch:
            link = client._line.link
            assert link is not None
            link.connection.abort()
            for iterated in (_all(stream), anext(watch)):
                with pytest.raises(BridgeError) as caught:
                    await iterated
                assert caught.value.code is Code.UNAVAILABLE
        assert await session.set("x", 1) == 1, "the session is there when the connection is made again"


async def _all(stream: Any) -> list[Any]:
    return [value async for value in stream]


async def test_a_tool_cannot_call_itself_for_ever(connect_tools: ConnectTools, address: str) -> None:
    class Circle(Adapter):
        @tool
        async def around(self) -> Any:
            async with await Client.connect(address) as inner:
                return await inner.call("around")

    client = await connect_tools(Circle)
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as caught:
            await client.call("around")
        assert caught.value.reason == "CALL_CYCLE"
