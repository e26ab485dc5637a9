"""Fixtures of the tests in which more than one server takes part."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bridge.server import Server
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as SyncBridgeClient
from tests.support import probes
from tests.support.nesting import Ends, Links, Nest, OnBridge, OnHost


@pytest.fixture
async def nest(start: Callable[..., Awaitable[Server]], journal: probes.Journal) -> AsyncIterator[Nest]:
    """Starts a bridge and a host that call each other, and gives a client of the bridge:
    ``client = await nest(Adapter, gate=..., setting=value)``."""
    async with AsyncExitStack() as stack:

        async def nest(*adapters: type, gate: threading.Barrier | None = None, **settings: Any) -> BridgeClient:
            host = await start(OnHost, Ends, role="host", **settings)
            server = await start(OnBridge, Ends, *adapters, host=host.addresses[0], **settings)
            options: dict[str, Any] = {"host": host.addresses[0], "retry": None, "breaker": None}
            client = await stack.enter_async_context(BridgeClient(server.addresses[0], **options))
            blocking = await asyncio.to_thread(SyncBridgeClient, server.addresses[0], **options)
            stack.push_async_callback(asyncio.to_thread, blocking.close)
            journal.notes["links"] = Links(client, blocking, server, host, gate)
            return client

        yield nest
