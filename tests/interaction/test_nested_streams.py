"""Nested calls and streams end together: by the outermost deadline, a cancel, or a reader that has enough."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from bridge import BridgeError, Code, engines
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from tests.support import probes
from tests.support.nesting import Nest, links

UNARY = ["a x a hang", "a x a x hang", "b y b hang", "b y b y hang", "a own own x b hang", "b by_thread a y hang"]
STREAMS = [
    "a_stream x_stream a_stream endless",
    "b_stream y_stream b_stream endless",
    "a_stream y_stream b_stream x_stream endless",
    "b_stream x_stream endless",
]


def split(route: str) -> tuple[str, list[str], list[int]]:
    """The first tool, the others, and the depth of each tool that notes what happens to it."""
    first, *rest = route.split()
    return first, rest, [level for level, name in enumerate([first, *rest]) if not name.startswith("by_")]


async def all_noted(journal: probes.Journal, what: str, levels: list[int]) -> None:
    for level in levels:
        await journal.wait(f"{what} {level}")


@pytest.mark.parametrize("route", UNARY)
async def test_a_cancel_of_the_outermost_call_reaches_every_level(
    nest: Nest, journal: probes.Journal, route: str
) -> None:
    client = await nest(threads=1)
    first, rest, levels = split(route)
    async with asyncio.timeout(20):
        call = asyncio.create_task(client.call(first, route=rest))
        await journal.wait(f"begun {levels[-1]}")
        call.cancel()
        await all_noted(journal, "cancelled", levels)
        assert await client.call("b", route=["y"]) == "b"


@pytest.mark.parametrize("route", UNARY)
async def test_the_outermost_deadline_ends_every_level(nest: Nest, journal: probes.Journal, route: str) -> None:
    client = await nest(threads=1)
    first, rest, levels = split(route)
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError) as caught:
            await client.call(first, route=rest, timeout=1)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await all_noted(journal, "over", levels)
        assert await client.call("b", route=["y"]) == "b"


async def test_a_deadline_ends_a_tool_that_minds_no_failed_call(nest: Nest, journal: probes.Journal) -> None:
    await nest(default_timeout=0.3)
    host = GrpcHost(engines.connect(links().host.addresses[0]))
    async with asyncio.timeout(20):
        # Both calls are the host's own and end at the same instant; several times, because either may come first.
        calls = [host.call_tool(CallScope(), "persists", {"route": []}) for _ in range(8)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(error, "code", error) for error in errors] == [Code.DEADLINE_EXCEEDED] * 8
        await journal.wait("cancelled 0", 8)
        await journal.wait("cancelled 1", 8)
    await host.aclose()


@pytest.mark.parametrize("route", ["a x", "b y", "a x b y", "a own x", "b by_thread", "b by_loop", "a by_task"])
async def test_no_level_has_more_time_than_the_outermost(nest: Nest, route: str) -> None:
    client = await nest(default_timeout=30)
    first, *rest = route.split()
    async with asyncio.timeout(20):
        # gRPC rounds times up, by 1 % at most on each way.
        assert 0 < await client.call(first, route=[*rest, "remaining"], timeout=10) < 11
        assert 15 < await client.call(first, route=[*rest, "remaining"]) < 33


@pytest.mark.parametrize("route", STREAMS)
async def test_a_reader_that_has_enough_ends_every_level(nest: Nest, journal: probes.Journal, route: str) -> None:
    client = await nest(threads=1)
    first, rest, levels = split(route)
    async with asyncio.timeout(20):
        async with client.stream(first, route=rest) as values:
            assert [await anext(values) for _ in range(3)] == [0, 1, 2]
        await all_noted(journal, "cancelled", levels)
        assert await client.call("b", route=["y"]) == "b"


@pytest.mark.parametrize("route", STREAMS)
async def test_the_outermost_deadline_ends_streams(nest: Nest, journal: probes.Journal, route: str) -> None:
    client = await nest(threads=1)
    first, rest, levels = split(route)
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError) as caught:
            async for _ in client.stream(first, route=rest, timeout=0.5):
                pass
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await all_noted(journal, "over", levels)
        assert await client.call("b", route=["y"]) == "b"


async def test_a_cancelled_tool_closes_the_session_it_opened(nest: Nest, journal: probes.Journal) -> None:
    client = await nest()
    async with asyncio.timeout(20):
        call = asyncio.create_task(client.call("b", route=["holds_a_session"]))
        await journal.wait("session open")
        call.cancel()
        await journal.wait("over 1")
        with pytest.raises(BridgeError) as caught:
            await client._open_host()[0].get_session(CallScope(journal.notes["session"]))
        assert caught.value.reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("first", ["a_stream", "b_stream"])
async def test_a_tool_cancelled_between_two_values_cancels_the_stream_it_reads(
    nest: Nest, journal: probes.Journal, first: str
) -> None:
    client = await nest(threads=1)
    async with asyncio.timeout(20):
        # Nobody reads on, so the tool stands still with a value in its hands when its time is over.
        async with client.stream(first, route=["pour"], timeout=1) as values:
            await anext(values)
            await all_noted(journal, "over", [0, 1])


@pytest.mark.parametrize(
    "route", ["a_stream count", "b_stream count", "a_stream x_stream count", "b_stream y_stream count"]
)
async def test_values_come_one_by_one_and_then_the_error(nest: Nest, journal: probes.Journal, route: str) -> None:
    client = await nest()
    first, rest, levels = split(route)
    async with asyncio.timeout(20), aclosing(client.stream(first, route=rest)) as values:
        for expected in range(3):
            assert await anext(values) == expected  # the tool waits for this before it goes on
            journal.release.set()
        with pytest.raises(BridgeError, match="midway") as caught:
            await anext(values)
        assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "ValueError")
        await all_noted(journal, "over", levels)


@pytest.mark.parametrize("route", ["a_stream pour", "b_stream y_stream pour"])
async def test_a_reader_that_does_not_read_holds_every_level_back(
    nest: Nest, journal: probes.Journal, route: str
) -> None:
    client = await nest()
    first, rest, levels = split(route)
    async with asyncio.timeout(20):
        async with client.stream(first, route=rest) as values:
            await anext(values)
            # The tool stops as soon as the buffers on the way are full.
            with pytest.raises(TimeoutError):
                while True:
                    await journal.wait("poured", journal.count("poured") + 1, timeout=0.3)
            assert journal.count("poured") * 64 * 1024 < 64 * 1024 * 1024 * len(levels)
        await all_noted(journal, "cancelled", levels)
