"""Servers to talk to: one that answers as tests want, and a real one with the probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import UnixServer, listen_unix
from bridge.server import Server
from bridge_client.jsonrpc import Client
from tests.jsonrpc.ends import FRAMINGS, Answers

Serve = Callable[..., Awaitable[UnixServer]]
ConnectTools = Callable[..., Awaitable[Client]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where servers listen."""
    return tmp_path / "own" / "rpc.sock"


@pytest.fixture
def address(path: Path) -> str:
    """The same as clients write it."""
    return f"unix:{path}"


@pytest.fixture
async def serve(path: Path) -> AsyncIterator[Serve]:
    """Serves there, until the end of the test: ``server = await serve(answers, framing)``."""
    async with AsyncExitStack() as stack:

        async def serve(answers: Answers, framing: str = "content-length") -> UnixServer:
            stack.callback(answers.release.set)
            return await stack.enter_async_context(listen_unix(path, lambda: Connection(FRAMINGS[framing](), answers)))

        yield serve


@pytest.fixture
async def connect_tools(start: Callable[..., Awaitable[Server]], address: str) -> AsyncIterator[ConnectTools]:
    """Starts a server that speaks JSON-RPC alone, and gives a client: ``await connect_tools(Adapter, setting=...)``."""
    async with AsyncExitStack() as stack:

        async def connect(*adapters: type, client: dict[str, Any] | None = None, **settings: Any) -> Client:
            await start(*adapters, listen=(), jsonrpc=address, **settings)
            async with asyncio.timeout(10):
                return await stack.enter_async_context(await Client.connect(address, **(client or {})))

        yield connect
