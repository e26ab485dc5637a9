"""Showcase tools that fail: what callers see, and that the next call works."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.showcase import ErrorTools
from bridge import BridgeError, Code
from bridge.testing import connect
from bridge_client import BridgeClient


@pytest.fixture
async def client() -> AsyncIterator[BridgeClient]:
    async with connect(ErrorTools) as client:
        yield client
        assert await client.call("withdraw", amount=40) == 60


async def test_tool_chooses_code_reason_and_facts(client: BridgeClient) -> None:
    with pytest.raises(BridgeError, match="withdraw less") as caught:
        await client.call("withdraw", amount=250)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
    assert caught.value.details.metadata["missing"] == "150"


async def test_plain_exception_is_unknown_with_its_name(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("divide", a=1.0, b=0.0)
    assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "ZeroDivisionError")


async def test_deadline_cuts_a_slow_tool(client: BridgeClient) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as caught:
            await client.call("sleep", seconds=60.0, timeout=0.1)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_value_that_cannot_be_carried_is_named_by_its_path(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("return_uncarriable")
    assert "$.rows[1]" in str(caught.value)
    assert "object at 0x" not in str(caught.value)
