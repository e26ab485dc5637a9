"""What a caller of a streaming tool sees."""

from __future__ import annotations

import asyncio

import pytest

from bridge import BridgeError, Code
from tests.conftest import Connect
from tests.support import probes


async def test_values_arrive_in_order_and_cleanup_runs_once(
    connect: Connect, probe: type, listen: str, journal: probes.Journal
) -> None:
    client = await connect(probe, listen=(listen,))
    assert [value async for value in client.stream("count", n=500)] == list(range(500))
    assert journal.count("cleanup") == 1


async def test_an_empty_stream_ends(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    assert [value async for value in client.stream("count", n=0)] == []


async def test_a_unary_tool_streams_one_value(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    assert [value async for value in client.stream("add", a=1)] == [2]
    assert [value async for value in client.stream("echo", value=None)] == [None]
    assert [value async for value in client.stream("echo", value=b"")] == [b""]


async def test_progress_comes_between_the_values(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    stream = client.stream("progress")
    chunks = [chunk async for chunk in stream.chunks()]
    notes = [chunk.progress for chunk in chunks if chunk.progress is not None]
    assert [(note.fraction, note.message) for note in notes][-1] == (1.0, "whole")
    assert stream.progress == notes[-1]


async def test_an_error_after_some_values_arrives_after_them(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    seen = []
    with pytest.raises(BridgeError, match="midway") as caught:
        async for value in client.stream("fail_midway", n=3):
            seen.append(value)
    assert seen == [0, 1, 2]
    assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "ValueError")
    assert journal.count("cleanup") == 1


async def test_a_client_that_stops_reading_closes_the_generator(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    stream = client.stream("endless")
    async with asyncio.timeout(5):
        async for value in stream:
            if value == 10:
                break
        await stream.aclose()
        await journal.wait("closed")
        await journal.wait("cleanup")
        assert await client.call("add", a=1) == 2


async def test_a_slow_reader_holds_the_generator_back(connect: Connect, probe: type, journal: probes.Journal) -> None:
    client = await connect(probe)
    stream = client.stream("pour")
    async with asyncio.timeout(20):
        await anext(aiter(stream))
        # Nobody reads on. The generator stops as soon as the buffers on the way are full.
        with pytest.raises(TimeoutError):
            while True:
                await journal.wait("poured", journal.count("poured") + 1, timeout=0.3)
        assert journal.count("poured") * 64 * 1024 < 64 * 1024 * 1024
        await stream.aclose()
        await journal.wait("closed")


async def test_a_deadline_reaches_a_reader_that_does_not_read(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe, default_timeout=0.5)
    stream = client.stream("pour")
    async with asyncio.timeout(20):
        await anext(aiter(stream))
        await journal.wait("closed")
        with pytest.raises(BridgeError) as caught:
            async for _ in stream:
                pass
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert await client.call("add", a=1) == 2


async def test_large_and_small_chunks_keep_their_order(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    sizes = [len(value) async for value in client.stream("sizes", pattern=[1, 20_000, 2, 3, 9_000, 4] * 20)]
    assert sizes == [1, 20_000, 2, 3, 9_000, 4] * 20


async def test_a_generator_that_goes_on_after_its_cancel_is_closed(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    stream = client.stream("yields_after_cancel")
    async with asyncio.timeout(5):
        await anext(aiter(stream))
        await stream.aclose()
        await journal.wait("closed")
        await journal.wait("cleanup")


async def test_a_stream_that_never_yields_ends_at_its_deadline(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError) as caught:
        async for _ in client.stream("silent", timeout=0.3):
            pass
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    await journal.wait("cleanup")
