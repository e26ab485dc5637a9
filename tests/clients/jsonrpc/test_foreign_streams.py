"""Streams of servers that do not follow the protocol, or know less of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.streams import MAX_AHEAD
from bridge.protocols.messages import Request
from bridge_client.jsonrpc import Client
from tests.clients.jsonrpc.conftest import Serve
from tests.jsonrpc.ends import Answers

Act = Callable[[Connection, Any], Any]


class Streaming(Answers):
    """Answers ``tools.stream`` as told."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.act = act

    async def request(self, connection: Connection, request: Request) -> Any:
        if request.method == "echo":
            return request.params
        return self.act(connection, request.id)


def chunk(connection: Connection, id: Any, sequence: Any, value: Any = 0) -> None:
    connection.notify("tools.chunk", {"id": id, "sequence": sequence, "value": value})


async def outcome(serve: Serve, address: str, act: Act) -> tuple[list[Any], Code | None, str]:
    """What comes of a stream: its values, and how it fails."""
    await serve(Streaming(act))
    values: list[Any] = []
    async with asyncio.timeout(10), await Client.connect(address) as client:
        try:
            async for value in client.stream("x"):
                values.append(value)
        except BridgeError as error:
            return values, error.code, error.reason
        finally:
            assert await client.request("echo", [1]) == [1], "the connection lives"
    return values, None, ""


def skips_a_chunk(connection: Connection, id: Any) -> Any:
    chunk(connection, id, 0)
    chunk(connection, id, 2)
    return {"chunks": 2}


def loses_the_last(connection: Connection, id: Any) -> Any:
    chunk(connection, id, 0)
    return {"chunks": 2}


def says_no_number(connection: Connection, id: Any) -> Any:
    chunk(connection, id, 0)
    return "done"


def talks_nonsense(connection: Connection, id: Any) -> Any:
    chunk(connection, id, 0)
    chunk(connection, id, "one")
    return {"chunks": 2}


@pytest.mark.parametrize("act", [skips_a_chunk, loses_the_last, says_no_number, talks_nonsense])
async def test_C07_a_stream_with_a_gap_is_data_loss(serve: Serve, address: str, act: Act) -> None:
    assert await outcome(serve, address, act) == ([0], Code.DATA_LOSS, "BAD_RESPONSE")


async def test_C07_chunks_of_others_are_nobodys(serve: Serve, address: str) -> None:
    def act(connection: Connection, id: Any) -> Any:
        chunk(connection, id + 1, 0, "of another")
        chunk(connection, None, 0)
        connection.notify("tools.chunk", {"sequence": 0})
        connection.notify("tools.chunk")
        chunk(connection, id, 0, "mine")
        return {"chunks": 1}

    assert await outcome(serve, address, act) == (["mine"], None, "")


async def test_C07_a_server_that_knows_no_windows_is_kept_up_with(serve: Serve, address: str) -> None:
    def act(connection: Connection, id: Any) -> Any:
        for sequence in range(1000):
            chunk(connection, id, sequence, sequence)
        return {"chunks": 1000}

    assert await outcome(serve, address, act) == (list(range(1000)), None, "")


async def test_C07_a_server_that_sends_without_end_is_given_up(serve: Serve, address: str) -> None:
    def act(connection: Connection, id: Any) -> Any:
        for sequence in range(MAX_AHEAD + 1000):
            chunk(connection, id, sequence)
        return {"chunks": MAX_AHEAD + 1000}

    await serve(Streaming(act))
    async with asyncio.timeout(20), await Client.connect(address) as client:
        stream = client.stream("x")
        assert await anext(stream) == 0
        await client.request("echo")  # everything has come
        count = 1
        with pytest.raises(BridgeError) as caught:
            async for _ in stream:
                count += 1
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "STREAM_BEHIND")
        assert MAX_AHEAD <= count < MAX_AHEAD + 1000, "what was kept comes first"


@pytest.mark.parametrize("listing", [None, [], {"tools": [{}]}, {"tools": [{"name": 1}]}])
async def test_a_listing_that_is_none_is_data_loss(serve: Serve, address: str, listing: Any) -> None:
    await serve(Streaming(lambda connection, id: msgspec.Raw(msgspec.json.encode(listing))))
    async with asyncio.timeout(5), await Client.connect(address) as client:
        with pytest.raises(BridgeError) as caught:
            await client.tools()
        assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")
