"""Clients hear that the list of tools has changed when the code of tools was exchanged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client.client import Client

from tests.mcp.conftest import serving

BEFORE = """
from bridge import Adapter, tool

class Changing(Adapter):
    isolation = "process"

    @tool
    def one(self) -> int:
        return 1
"""
AFTER = (
    BEFORE
    + """
    @tool
    def two(self) -> int:
        return 2
"""
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An adapter that can be changed."""
    file = tmp_path / "changing.py"
    file.write_text(BEFORE)
    return file


def change(source: Path) -> None:
    source.write_text(AFTER)


async def test_clients_of_2026_07_28_hear_of_it_if_they_listen(source: Path) -> None:
    async with asyncio.timeout(30), serving(source) as (server, url), Client(url) as client:
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        async with client.listen(tools_list_changed=True) as changes:
            change(source)
            await server.reload()
            await anext(aiter(changes))
            assert [tool.name for tool in (await client.list_tools()).tools] == ["one", "two"]
        assert (await client.call_tool("two")).structured_content == {"result": 2}


async def test_clients_of_earlier_revisions_are_told(source: Path) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.put_nowait(message)

    async with (
        asyncio.timeout(30),
        serving(source) as (server, url),
        Client(url, mode="legacy", message_handler=on_message) as client,
    ):
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        await server.reload()  # the same as before: nothing to tell
        change(source)
        await server.reload()
        await told.get()
        assert [tool.name for tool in (await client.list_tools()).tools] == ["one", "two"]
        assert told.empty()
