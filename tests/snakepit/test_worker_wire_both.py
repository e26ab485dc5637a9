"""One server, one port, two wires: Snakepit's and ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from bridge_client import BridgeClient
from tests.cli.running import running
from tests.snakepit import wire_adapters
from tests.snakepit.elixir_bytes import text
from tests.snakepit.elixir_client import calling, serving_worker
from tests.snakepit.wire_adapters import Wire

ADAPTER = f"{wire_adapters.__file__}:Wire"


async def test_both_wires_show_the_same_tools_and_the_same_session() -> None:
    async with (
        asyncio.timeout(10),
        serving_worker(Wire, sessions="auto-open") as elixir,
        BridgeClient(elixir.server.addresses[0]) as client,
    ):
        assert await client.call("echo", value=2**70) == 2**70
        assert await elixir.value("echo", {"value": 2**70}) == 2**70
        assert await elixir.value("remember", {"session_id": "user-7", "name": "x", "value": [1]}) == [1]
        async with client.session(session_id="user-7") as session:
            assert await session.get("x") == [1]
            await session.set("x", {"a": 2**70})
        assert await elixir.value("recall", {"session_id": "user-7", "name": "x"}) == {"a": 2**70}


async def test_served_from_the_command_line_both_wires_answer_on_one_port(tmp_path: Path) -> None:
    with running("serve", ADAPTER, "--snakepit", "--listen=127.0.0.1:0", cwd=tmp_path) as server:
        address = await asyncio.to_thread(server.address)
        async with asyncio.timeout(10), calling(address) as elixir, BridgeClient(address) as client:
            assert await elixir.exchange("InitializeSession", text(1, "s"))
            assert await elixir.value("echo", {"value": [1, 2.0, None]}) == [1, 2.0, None]
            assert await client.call("echo", value=[1, 2.0, None]) == [1, 2.0, None]


async def test_served_without_snakepit_its_wire_is_unimplemented(tmp_path: Path) -> None:
    async with asyncio.timeout(10), serving_worker(Wire, snakepit=False) as elixir:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await elixir.exchange("Ping", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
