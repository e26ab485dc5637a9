"""``max_concurrency``: so many calls of a tool at once, wherever it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.call import ToolCall
from bridge.call_path import CALL_PATH
from bridge.executors.tool_limit import ToolLimit
from bridge.host import NoHost
from bridge.invocation import Invocation
from bridge.server import Server
from bridge_client import BridgeClient
from tests.support import probes
from tests.support.waiting import until

PROMPT: dict[str, Any] = {"retry": None, "breaker": None}


class Narrow(Adapter):
    """Tools that await."""

    @tool(max_concurrency=2)
    async def hold(self, ctx: SessionContext) -> None:
        probes.journal.add("started")
        await ctx.cancelled.wait()

    @tool(max_concurrency=1)
    async def recurse(self, address: str, n: int) -> int:
        if n == 0:
            return 0
        async with BridgeClient(address) as client:
            result: int = await client.call("recurse", address=address, n=n - 1)
            return 1 + result

    @tool
    async def free(self) -> str:
        return "free"


class NarrowThreads(Adapter):
    """Tools that block."""

    @tool(max_concurrency=2)
    def hold(self, ctx: SessionContext) -> None:
        probes.journal.add("started")
        ctx.cancelled.wait_blocking(30)

    @tool(max_concurrency=1)
    def stubborn(self) -> None:
        probes.journal.add("started")
        probes.journal.release.wait(30)

    @tool
    def free(self) -> str:
        return "free"


class NarrowProcesses(Narrow):
    """In worker processes, of which there are enough."""

    isolation = "process"


@pytest.fixture(params=[Narrow, NarrowThreads, NarrowProcesses], ids=["inline", "thread", "process"])
def narrow(request: pytest.FixtureRequest, journal: probes.Journal) -> type:
    """The adapter of each executor."""
    adapter: type = request.param
    journal.listen()
    return adapter


async def waiting(server: Server, calls: int) -> None:
    """Returns when so many calls are there, running or waiting."""
    await until(lambda: server.dispatcher.running == calls)


async def test_w16_no_more_calls_run_at_once_than_the_tool_allows(
    start: Any, narrow: type, journal: probes.Journal
) -> None:
    server = await start(narrow, workers=4)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        running = [asyncio.create_task(client.call("hold")) for _ in range(2)]
        await journal.wait("started", 2)
        third = asyncio.create_task(client.call("hold"))
        await waiting(server, 3)
        assert await client.call("free") == "free"
        assert journal.count("started") == 2
        running[0].cancel()
        await journal.wait("started", 3)
        third.cancel()
        running[1].cancel()
        await waiting(server, 0)


async def test_calls_behind_a_full_queue_are_refused_with_a_time_to_retry(
    start: Any, narrow: type, journal: probes.Journal
) -> None:
    server = await start(narrow, workers=4, queue_size=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        calls = [asyncio.create_task(client.call("hold")) for _ in range(3)]
        await waiting(server, 3)
        with pytest.raises(BridgeError, match="max_concurrency") as caught:
            await client.call("hold")
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert caught.value.retry_after is not None
        assert await client.call("free") == "free"
        for call in calls:
            call.cancel()
        await waiting(server, 0)


async def test_who_gives_up_while_waiting_leaves_the_queue(start: Any, narrow: type, journal: probes.Journal) -> None:
    server = await start(narrow, workers=4, queue_size=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        running = [asyncio.create_task(client.call("hold")) for _ in range(2)]
        await journal.wait("started", 2)
        with pytest.raises(BridgeError) as caught:
            await client.call("hold", timeout=0.2)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        impatient = asyncio.create_task(client.call("hold"))
        await waiting(server, 3)
        impatient.cancel()
        await waiting(server, 2)
        patient = asyncio.create_task(client.call("hold"))
        await waiting(server, 3)
        running[0].cancel()
        await journal.wait("started", 3)
        assert journal.count("started") == 3
        running[1].cancel()
        patient.cancel()
        await waiting(server, 0)


@pytest.mark.parametrize("adapter", [Narrow, NarrowProcesses], ids=["inline", "process"])
async def test_a_call_inside_another_does_not_wait_for_it(start: Any, adapter: type, journal: probes.Journal) -> None:
    server = await start(adapter, workers=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        calls = [client.call("recurse", address=server.addresses[0], n=1) for _ in range(2)]
        assert await asyncio.gather(*calls) == [1, 1]
        assert await client.call("recurse", address=server.addresses[0], n=0) == 0


async def test_a_place_is_free_when_the_tool_is_dead_not_when_its_caller_is_gone(
    start: Any, journal: probes.Journal
) -> None:
    server = await start(NarrowThreads)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("stubborn", timeout=0.2)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        following = asyncio.create_task(client.call("stubborn"))
        await waiting(server, 2)
        assert await client.call("free") == "free"
        assert journal.count("started") == 1
        journal.release.set()
        await following
        assert journal.count("started") == 2


# Who gets a place, turn by turn


class Held:
    """An executor of calls that end when the test says so."""

    def __init__(self) -> None:
        self.limit = ToolLimit(places=1, queue_size=8)
        self.running: dict[str, asyncio.Event] = {}

    async def run(self, invocation: Invocation) -> None:
        ended = self.running[invocation.call.tool] = asyncio.Event()
        try:
            await ended.wait()
        finally:
            del self.running[invocation.call.tool]

    async def aclose(self) -> None:
        return

    async def call(self, name: str, path: str = "") -> asyncio.Task[None]:
        """A call that has begun, or waits."""
        call = ToolCall(name, {}, NoHost(), headers={CALL_PATH: path} if path else {})
        invocation: Any = Invocation(None, call, None, None)  # type: ignore[arg-type]
        task = asyncio.create_task(self.limit.run(self, invocation))
        await asyncio.sleep(0)
        return task

    async def end(self, name: str, task: asyncio.Task[None]) -> None:
        self.running[name].set()
        await task
        await asyncio.sleep(0)  # for whoever has got its place


async def test_a_place_beyond_the_limit_goes_with_its_call() -> None:
    held = Held()
    first, nested, waits = await held.call("first"), await held.call("nested", path="outer"), await held.call("waits")
    assert {*held.running} == {"first", "nested"}
    await held.end("nested", nested)
    assert {*held.running} == {"first"}
    await held.end("first", first)
    assert {*held.running} == {"waits"}
    await held.end("waits", waits)


async def test_a_call_cancelled_as_it_gets_its_place_leaves_it_free() -> None:
    held = Held()
    first, cancelled = await held.call("first"), await held.call("cancelled")
    held.running["first"].set()
    asyncio.get_running_loop().call_soon(cancelled.cancel)  # right after the first one has given it the place
    await first
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    following = await held.call("following")
    assert {*held.running} == {"following"}
    await held.end("following", following)
