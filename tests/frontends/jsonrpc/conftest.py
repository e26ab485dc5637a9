"""Servers that speak JSON-RPC, and clients of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.server import Server
from bridge_client.jsonrpc import Client
from tests.support.jsonrpc_wire import Wire, wire_to

Start = Callable[..., Awaitable[Server]]
OpenWire = Callable[..., Awaitable[Wire]]
Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(params=["content-length", "newline"])
def framing(request: pytest.FixtureRequest) -> str:
    """Each framing."""
    value: str = request.param
    return value


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Start:
    """Starts servers that speak JSON-RPC only."""

    numbers = itertools.count()

    async def serve(*adapters: type, **settings: Any) -> Server:
        settings.setdefault("jsonrpc", f"unix:{tmp_path / 'own' / str(next(numbers))}")
        settings.pop("listen", None)
        return await start(*adapters, listen=(), **settings)

    return serve


@pytest.fixture
async def wire(serve: Start) -> AsyncIterator[OpenWire]:
    """Starts a server and gives a bare connection to it: ``wire = await wire(Adapter, framing="newline")``."""
    async with AsyncExitStack() as stack:

        async def open_wire(*adapters: type, **settings: Any) -> Wire:
            server = await serve(*adapters, **settings)
            framing = server.config.framing
            return await stack.enter_async_context(wire_to(server.jsonrpc_address, framing))

        yield open_wire


@pytest.fixture
async def connect(serve: Start) -> AsyncIterator[Connect]:
    """In place of the fixture of gRPC: starts a server and gives a client of it, for tests that both have."""
    async with AsyncExitStack() as stack:

        async def connect(*adapters: type, client: dict[str, Any] | None = None, **settings: Any) -> Client:
            server = await serve(*adapters, **settings)
            options = {key: value for key, value in (client or {}).items() if key not in ("retry", "breaker")}
            return await stack.enter_async_context(await Client.connect(server.jsonrpc_address, **options))

        yield connect
