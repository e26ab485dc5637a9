"""A host in Python has the tools of `bridge plugin` by the reference client."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path

import pytest

from bridge.goplugin import PluginClient, sync
from bridge.goplugin.tools import HANDSHAKE, PLUGINS
from bridge_client import BridgeClient
from bridge_client import sync as blocking
from tests.cli.running import command

SHOP = """\
    from bridge import Adapter, SessionContext, tool

    class Shop(Adapter):
        @tool
        async def total(self, cents: list[int]) -> int:
            return sum(cents)

        @tool
        async def several(self, cents: int, ctx: SessionContext) -> int:
            return cents * await ctx.get("times", 1)

        @tool
        async def count(self, to: int):
            for number in range(to):
                yield number
"""


@pytest.fixture
def shop(tmp_path: Path) -> list[str]:
    path = tmp_path / "shop.py"
    path.write_text(textwrap.dedent(SHOP))
    return command("plugin", path)


@pytest.mark.parametrize("multiplex", [False, True])
async def test_tools_streams_and_variables_of_a_plugin(shop: list[str], multiplex: bool) -> None:
    async with asyncio.timeout(30):
        async with (
            PluginClient(cmd=shop, handshake=HANDSHAKE, plugins=PLUGINS, multiplex=multiplex) as plugin,
            BridgeClient(plugin.target) as client,
        ):
            assert await client.call("total", cents=[35, 2**60]) == 35 + 2**60
            assert [number async for number in client.stream("count", to=3)] == [0, 1, 2]
            async with client.session() as session:
                await session.set("times", 2)
                assert await session.call("several", cents=3) == 6


def test_the_same_for_code_that_blocks(shop: list[str]) -> None:
    with (
        sync.PluginClient(cmd=shop, handshake=HANDSHAKE, plugins=PLUGINS) as plugin,
        blocking.BridgeClient(plugin.target) as client,
    ):
        assert client.call("total", cents=[35, 7]) == 42
