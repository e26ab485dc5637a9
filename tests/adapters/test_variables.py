"""Showcase tools that remember, and that ask the host."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.showcase import HostTools, VariableTools
from bridge import BridgeError, Code
from bridge.testing import serving
from bridge_client import BridgeClient


@pytest.fixture
async def client() -> AsyncIterator[BridgeClient]:
    async with (
        serving(HostTools, role="host") as host,
        serving(VariableTools, host=host.addresses[0]) as server,
        BridgeClient(server.addresses[0], host=host.addresses[0]) as client,
    ):
        yield client


async def test_total_lasts_from_call_to_call(client: BridgeClient) -> None:
    async with client.session() as session:
        assert await session.call("add_to_total", amount=1.5) == 1.5
        assert await session.call("add_to_total", amount=2.0) == 3.5
        assert await session.get("total") == 3.5


async def test_concurrent_additions_lose_nothing(client: BridgeClient) -> None:
    async with asyncio.timeout(20), client.session() as session:
        await asyncio.gather(*(session.call("add_to_total", amount=1.0) for _ in range(4)))
        total = await session.get_variable("total")
        assert (total.value, total.version) == (4.0, 4)


async def test_sessions_have_totals_of_their_own(client: BridgeClient) -> None:
    async with client.session() as one, client.session() as other:
        await one.call("add_to_total", amount=1.0)
        assert await other.call("add_to_total", amount=5.0) == 5.0


async def test_temperature_keeps_its_history(client: BridgeClient) -> None:
    async with client.session() as session:
        await session.set("temperature", 20.5)
        assert await session.call("adjust_temperature", by=1.5) == [20.5, 22.0]
        assert await session.call("adjust_temperature", by=-4.0) == [20.5, 22.0, 18.0]
        assert await session.get("temperature") == 18.0


async def test_price_comes_from_the_host(client: BridgeClient) -> None:
    async with client.session() as session:
        assert await session.call("quote", item="coffee", quantity=3) == 1350


async def test_error_of_the_host_tool_reaches_the_caller(client: BridgeClient) -> None:
    async with client.session() as session:
        with pytest.raises(BridgeError, match="no item 'gold'") as caught:
            await session.call("quote", item="gold", quantity=1)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NO_ITEM")


async def test_sync_tool_lists_variables_with_their_types(client: BridgeClient) -> None:
    async with client.session() as session:
        await session.set("room/temperature", 20.5)
        await session.set("room/name", "kitchen")
        await session.set("other", 1)
        assert await session.call("list_variables", pattern="room/*") == {
            "room/name": "string",
            "room/temperature": "float",
        }


async def test_call_without_a_session_says_what_to_do(client: BridgeClient) -> None:
    with pytest.raises(BridgeError, match="session") as caught:
        await client.call("add_to_total", amount=1.0)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NO_SESSION")
