"""Showcase tools that yield."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.showcase import StreamingTools
from bridge import BridgeError, Code
from bridge.testing import connect
from bridge_client import BridgeClient


@pytest.fixture
async def client() -> AsyncIterator[BridgeClient]:
    async with connect(StreamingTools) as client:
        yield client


async def test_lines_stream_in_order(client: BridgeClient) -> None:
    lines = [line async for line in client.stream("stream_lines", contains="TO-MORROW")]
    assert lines == ["To-morrow, and to-morrow, and to-morrow,"]


async def test_sync_generator_streams_pieces(client: BridgeClient) -> None:
    assert [piece async for piece in client.stream("split_text", text="abcdefg", size=3)] == ["abc", "def", "g"]


async def test_collecting_tool_gives_a_list_when_called_without_streaming(client: BridgeClient) -> None:
    assert await client.call("split_text", text="abcdefg", size=3) == ["abc", "def", "g"]


async def test_tool_that_only_streams_refuses_the_unary_call(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("stream_lines")
    assert caught.value.code is Code.FAILED_PRECONDITION


async def test_long_job_says_how_far_it_is(client: BridgeClient) -> None:
    stream = client.stream("count_slowly", n=3, delay=0.0)
    assert [number async for number in stream] == [1, 2, 3]
    assert stream.progress is not None
    assert (stream.progress.fraction, stream.progress.message) == (1.0, "3 of 3")


async def test_caller_that_leaves_a_stream_can_call_again(client: BridgeClient) -> None:
    async with asyncio.timeout(10), client.stream("count_slowly", n=1000, delay=0.01) as stream:
        assert await anext(stream) == 1
    assert await client.call("split_text", text="") == []
