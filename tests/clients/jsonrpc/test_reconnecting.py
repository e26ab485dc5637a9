"""A connection that was lost is made again when it is needed, or not, as the client was told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.hosts.memory import InMemoryHost
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
from bridge.protocols.messages import Request
from bridge_client.backoff import Backoff
from bridge_client.jsonrpc import Client
from tests.jsonrpc.ends import Answers
from tests.support.waiting import until

QUICK = Backoff(initial=0.001, maximum=0.01)


async def lost(client: Client) -> None:
    await until(lambda: not client.is_connected)


async def test_after_a_restart_of_the_server_requests_go_on(path: Path, address: str) -> None:
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            client = await Client.connect(address, reconnect=QUICK)
            assert await client.request("echo", [1]) == [1]
        await lost(client)
        assert repr(client) == f"<Client {address} lost>"
        async with client, listen_unix(path, lambda: Connection(ContentLength(), Answers())) as server:
            answers = await asyncio.gather(*(client.request("echo", [number]) for number in range(10)))
            assert answers == [[number] for number in range(10)]
            assert len(server.connections) == 1, "all wait for the same attempt"


async def test_a_request_waits_for_a_server_that_comes_back(path: Path, address: str) -> None:
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            client = await Client.connect(address, reconnect=QUICK)
        await lost(client)
        asking = asyncio.ensure_future(client.request("echo", [1]))
        impatient = asyncio.ensure_future(client.request("echo", [2], timeout=0.01))
        with pytest.raises(BridgeError) as caught:
            await impatient
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert not asking.done(), "the cancel of one is not that of all"
        async with client, listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            assert await asking == [1]


async def test_a_server_that_stays_away_is_given_up(path: Path, address: str) -> None:
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            client = await Client.connect(address, reconnect=QUICK, patience=0.02)
        async with client:
            await lost(client)
            with pytest.raises(BridgeError) as caught:
                await client.request("echo")
            assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "NO_SERVER")
            async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
                assert await client.request("echo", [1]) == [1], "the next request tries it again"


async def test_without_reconnecting_what_is_lost_stays_lost(path: Path, address: str) -> None:
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            client = await Client.connect(address, reconnect=None)
        async with client, listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            await lost(client)
            with pytest.raises(BridgeError) as caught:
                await client.request("echo")
            assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "CONNECTION_LOST")


async def test_closing_ends_the_attempts(path: Path, address: str) -> None:
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), Answers())):
            client = await Client.connect(address)
        await lost(client)
        asking = asyncio.ensure_future(client.request("echo"))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(BridgeError) as caught:
            await asking
        assert caught.value.reason == "CLIENT_CLOSED"


async def test_each_connection_begins_by_saying_that_the_client_is_a_host(path: Path, address: str) -> None:
    class Greeted(Answers):
        async def request(self, connection: Connection, request: Request) -> object:
            self.begun.append(request.method)
            return {}

    first, second = Greeted(), Greeted()
    async with asyncio.timeout(5):
        async with listen_unix(path, lambda: Connection(ContentLength(), first)):
            client = await Client.connect(address, host=InMemoryHost(), reconnect=QUICK)
        await lost(client)
        async with client, listen_unix(path, lambda: Connection(ContentLength(), second)):
            await client.request("x")
    assert (first.begun, second.begun) == (["system.initialize"], ["system.initialize", "x"])


@pytest.mark.parametrize("reconnect", [None, QUICK])
async def test_who_is_turned_away_hears_why(path: Path, address: str, reconnect: Backoff | None) -> None:
    def make() -> Connection:
        return Connection(ContentLength(), Answers())

    async with (
        asyncio.timeout(5),
        listen_unix(path, make, max_connections=1),
        await Client.connect(address) as first,
    ):
        assert await first.request("echo", [1]) == [1]
        async with await Client.connect(address, reconnect=reconnect) as second:
            for _ in range(2):
                with pytest.raises(BridgeError, match="connections are open") as caught:
                    await second.request("echo", [1])
                assert caught.value.reason == "CONNECTION_LOST"
