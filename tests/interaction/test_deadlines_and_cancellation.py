"""Deadlines and cancellation reach the tool, and a slot is held until the work is dead."""

from __future__ import annotations

import asyncio

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from tests.conftest import Connect
from tests.support import probes


async def test_a_deadline_ends_the_call_and_tells_the_tool(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError) as caught:
        await client.call("hang", timeout=0.2)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await journal.wait("ended")
        await journal.wait("cleanup")
    assert await client.call("add", a=1) == 2
    assert journal.count("cleanup") == 2


async def test_the_servers_limit_ends_a_call_whose_client_sets_none(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe, default_timeout=0.2)
    with pytest.raises(BridgeError, match="--default-timeout") as caught:
        await client.call("hang")
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    await journal.wait("ended")


async def test_the_servers_limit_caps_a_client_that_wants_more(connect: Connect, probe: type) -> None:
    client = await connect(probe, max_timeout=0.2, default_timeout=0.1)
    with pytest.raises(BridgeError, match="--max-timeout"):
        await client.call("hang", timeout=60)


async def test_a_tools_own_timeout_ends_it(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError, match="own timeout"):
        await client.call("impatient")


class Stubborn(Adapter):
    """Makes something else of its cancel."""

    @tool
    async def raises(self, ctx: SessionContext) -> None:
        try:
            await ctx.cancelled.wait()
        except asyncio.CancelledError:
            raise ValueError("not a cancel") from None

    @tool
    async def returns(self, ctx: SessionContext) -> str:
        try:
            await ctx.cancelled.wait()
        except asyncio.CancelledError:
            probes.journal.add("swallowed")
        return "all the same"


async def test_a_deadline_is_a_deadline_whatever_the_tool_makes_of_it(connect: Connect) -> None:
    client = await connect(Stubborn, default_timeout=0.1)
    with pytest.raises(BridgeError) as caught:
        await client.call("raises")
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_a_result_that_comes_with_the_deadline_is_a_result(connect: Connect, journal: probes.Journal) -> None:
    client = await connect(Stubborn, default_timeout=0.1)
    for _ in range(2):
        assert await client.call("returns") == "all the same"
    assert journal.count("swallowed") == 2


async def test_a_client_that_gives_up_cancels_the_tool(connect: Connect, probe: type, journal: probes.Journal) -> None:
    client = await connect(probe)
    call = asyncio.create_task(client.call("hang"))
    async with asyncio.timeout(5):
        await journal.wait("started")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await journal.wait("ended")
        await journal.wait("cleanup")


async def test_a_tool_that_ignores_its_deadline_is_answered_without_it_and_keeps_its_slot(
    connect: Connect, probe_here: type, journal: probes.Journal
) -> None:
    client = await connect(
        probe_here, default_timeout=0.2, max_concurrent_calls=1, client={"retry": None, "breaker": None}
    )
    async with asyncio.timeout(5):
        with pytest.raises(BridgeError) as caught:
            await client.call("stubborn")
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert journal.count("ended") == 0
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1)
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert caught.value.retry_after is not None
        journal.release.set()
        await journal.wait("cleanup")
        assert await client.call("add", a=1) == 2


async def test_a_call_that_waits_for_a_thread_can_be_cancelled_before_it_starts(
    connect: Connect, journal: probes.Journal
) -> None:
    client = await connect(probes.Threaded, threads=1, client={"retry": None, "breaker": None})
    async with asyncio.timeout(5):
        first = asyncio.create_task(client.call("stubborn"))
        await journal.wait("started")
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1, timeout=0.2)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        journal.release.set()
        await first
        assert await client.call("add", a=1) == 2
    # The cancelled call never got an adapter.
    assert journal.count("initialize") == 2


async def test_more_calls_than_threads_and_queue_are_shed(connect: Connect, journal: probes.Journal) -> None:
    client = await connect(probes.Threaded, threads=1, queue_size=1, client={"retry": None, "breaker": None})
    async with asyncio.timeout(5):
        running = asyncio.create_task(client.call("stubborn"))
        await journal.wait("started")
        waiting = [asyncio.create_task(client.call("add", a=n)) for n in range(3)]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        error = done.pop().exception()
        assert isinstance(error, BridgeError)
        assert "--queue-size" in error.message
        assert error.retry_after is not None
        journal.release.set()
        await running
        await asyncio.wait(pending)


async def test_requests_in_work_are_bounded_in_bytes(connect: Connect, journal: probes.Journal) -> None:
    limits = {"max_in_flight_bytes": 8192, "max_message_bytes": 8192}
    client = await connect(probes.Threaded, **limits, client={"retry": None, "breaker": None})
    async with asyncio.timeout(5):
        running = asyncio.create_task(client.call("stubborn", metadata={"pad": "x" * 5000}))
        await journal.wait("started")
        with pytest.raises(BridgeError, match="--max-in-flight-bytes") as caught:
            await client.call("echo", value="x" * 5000)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        journal.release.set()
        await running
        assert await client.call("echo", value="x" * 5000)
