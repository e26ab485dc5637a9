"""Calls that are given up really stop, whatever the tool does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.mcp.conftest import Connect, is_alive
from tests.support.waiting import until


async def test_C03_a_cancelled_plain_tool_is_killed(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "process"
    async with connect() as client:
        call = asyncio.create_task(client.call_tool("sleeps", {"file": str(file)}))
        await until(lambda: file.exists() and file.read_text())
        process = int(file.read_text())
        assert is_alive(process)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not is_alive(process))
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_C02_a_cancelled_async_tool_hears_of_it_once(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "state"
    async with connect() as client:
        call = asyncio.create_task(client.call_tool("waits", {"file": str(file)}))
        await until(file.exists)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: file.read_text() == "cleaned up")


async def test_C01_a_fast_call_overtakes_a_slow_one(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "state"
    async with connect() as client:
        slow = asyncio.create_task(client.call_tool("waits", {"file": str(file)}))
        await until(file.exists)
        results = await asyncio.gather(*(client.call_tool("add", {"a": number}) for number in range(100)))
        assert [result.structured_content for result in results] == [{"result": n + 2} for n in range(100)]
        assert not slow.done()
        slow.cancel()
