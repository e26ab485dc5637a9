"""Tools of a host, called from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import numpy
import pytest

from bridge.call import NO_VALUE, Chunk, Progress, ToolCall
from bridge.errors import BridgeError, Code, ToolError
from bridge.hosts.memory import InMemoryHost


class Tools:
    """A runner of a few tools."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.emitted = 0
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.finished = False

    async def run(self, call: ToolCall) -> Any:
        self.calls.append(call)
        try:
            return await getattr(self, call.tool)(call)
        finally:
            self.ended.set()

    async def echo(self, call: ToolCall) -> Any:
        return call.arguments

    async def hangs(self, call: ToolCall) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # it takes its time to clean up
        self.finished = True

    async def fails(self, call: ToolCall) -> Any:
        raise ToolError(Code.NOT_FOUND, "no such item", reason="NO_ITEM")

    async def counts(self, call: ToolCall) -> Any:
        for number in range(call.arguments["to"]):
            await call.emit(Chunk(progress=Progress(0.5)))
            await call.emit(Chunk(number))
            self.emitted += 1
        if call.arguments.get("fail"):
            raise ToolError(Code.OUT_OF_RANGE, "that was all")
        return call.arguments.get("result", NO_VALUE)


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
async def host(make_host: Any, tools: Tools) -> Any:
    return await make_host(tools=tools)


def stream(host: Any, scope: Any, tool: str, **arguments: Any) -> AsyncGenerator[Any, None]:
    return cast("AsyncGenerator[Any, None]", host.stream_tool(scope, tool, arguments))


async def drain(values: AsyncGenerator[Any, None], into: list[Any]) -> None:
    async for value in values:
        into.append(value)


async def test_arguments_and_result_are_values(host: Any, of: Any) -> None:
    arguments = {"n": 1, "f": 1.0, "b": b"\0", "t": [1, None], "e": b"", "d": {"x": 2**70}}
    result = await host.call_tool(of("alice"), "echo", arguments)
    assert result == arguments
    assert type(result["f"]) is float
    array = numpy.arange(3)
    assert ((await host.call_tool(of("alice"), "echo", {"a": array}))["a"] == array).all()


async def test_tool_sees_session_headers_and_principal(host: Any, of: Any, tools: Tools) -> None:
    scope = of("alice", "0" * 32, headers={"bridge-call-path": "a,b"})
    await host.call_tool(scope, "echo", {})
    call = tools.calls[0]
    assert (call.session_id, call.principal, call.streaming) == ("0" * 32, "alice", False)
    assert call.headers["bridge-call-path"] == "a,b"


async def test_error_of_the_tool_reaches_the_caller(host: Any, of: Any) -> None:
    with pytest.raises(BridgeError) as error:
        await host.call_tool(of("alice"), "fails", {})
    assert (error.value.code, error.value.reason) == (Code.NOT_FOUND, "NO_ITEM")


async def test_stream_yields_values_and_then_the_result(host: Any, of: Any) -> None:
    assert [value async for value in stream(host, of("alice"), "counts", to=20)] == list(range(20))
    assert [value async for value in stream(host, of("alice"), "counts", to=1, result=None)] == [0, None]
    assert [value async for value in stream(host, of("alice"), "echo")] == [{}]


async def test_stream_ends_with_the_error_after_the_values(host: Any, of: Any) -> None:
    seen: list[Any] = []
    with pytest.raises(BridgeError) as error:
        await drain(stream(host, of("alice"), "counts", to=10, fail=True), seen)
    assert seen == list(range(10))
    assert error.value.code is Code.OUT_OF_RANGE


async def test_closed_stream_cancels_the_tool(host: Any, of: Any, tools: Tools) -> None:
    async with asyncio.timeout(5):
        async with aclosing(stream(host, of("alice"), "counts", to=10**9)) as values:
            async for value in values:
                if value == 3:
                    break
        await tools.ended.wait()
    assert tools.emitted < 10**9


async def test_stream_closed_before_its_first_step_runs_nothing(host: Any, of: Any, tools: Tools) -> None:
    async with aclosing(stream(host, of("alice"), "counts", to=10**9)):
        pass
    assert not tools.calls


async def test_error_in_the_middle_comes_to_a_slow_reader_after_all_values(host: Any, of: Any) -> None:
    seen: list[Any] = []
    with pytest.raises(BridgeError) as error:
        async for value in stream(host, of("alice"), "counts", to=30, fail=True):
            seen.append(value)
            await asyncio.sleep(0)
    assert seen == list(range(30))
    assert (error.value.code, error.value.reason) == (Code.OUT_OF_RANGE, "TOOL_ERROR")


async def test_cancelled_call_cancels_the_tool(host: Any, of: Any, tools: Tools) -> None:
    call = asyncio.ensure_future(host.call_tool(of("alice"), "hangs", {}))
    async with asyncio.timeout(5):
        await tools.began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await tools.ended.wait()
    assert not tools.finished


async def test_cancelled_call_ends_after_the_tool(of: Any, tools: Tools) -> None:
    call = asyncio.ensure_future(InMemoryHost(tools=tools).call_tool(of("alice"), "hangs", {}))
    async with asyncio.timeout(5):
        await tools.began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert tools.ended.is_set()


async def test_deadline_travels_to_the_tool(host: Any, of: Any, tools: Tools) -> None:
    deadline = time.monotonic() + 50
    await host.call_tool(of("alice", deadline=deadline), "echo", {})
    # gRPC rounds times up, by 1 % at most.
    assert tools.calls[0].deadline == pytest.approx(deadline, abs=1)


async def test_host_without_tools_says_so(make_host: Any, of: Any) -> None:
    host = await make_host()
    with pytest.raises(BridgeError) as error:
        await host.call_tool(of("alice"), "echo", {})
    assert (error.value.code, error.value.reason) == (Code.NOT_FOUND, "TOOL_NOT_FOUND")
    with pytest.raises(BridgeError) as error:
        await drain(stream(host, of("alice"), "echo"), [])
    assert error.value.reason == "TOOL_NOT_FOUND"


async def test_slow_reader_holds_the_tool_back(of: Any, tools: Tools) -> None:
    async with aclosing(stream(InMemoryHost(tools=tools), of("alice"), "counts", to=10**6)) as values:
        assert await anext(values) == 0
        for _ in range(100):
            await asyncio.sleep(0)
        assert tools.emitted < 20
