"""Servers with services of others, and channels to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge import engines
from bridge.engines.base import ChannelOptions, DuplexChannel, Method, ServerOptions
from bridge.engines.services import Services
from tests.engines import numbers

Serve = Callable[..., Awaitable[DuplexChannel]]

GENEROUS: dict[str, Any] = {"max_message_bytes": 4 * 2**20, "max_metadata_bytes": 16384, "max_concurrent_streams": 256}


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where ``serve`` listens."""
    return f"unix:{tmp_path / 's'}"


@pytest.fixture
async def serve(address: str) -> AsyncIterator[Serve]:
    """Starts a server until the end of the test, and gives a channel to it: ``await serve(servicer, option=value)``."""
    async with AsyncExitStack() as stack:

        async def serve(
            *servicers: Any, services: Services | None = None, methods: tuple[Method, ...] = (), **options: Any
        ) -> DuplexChannel:
            services = services or Services()
            for servicer in servicers:
                numbers.add(servicer, services)
            engine = engines.serve(ServerOptions(**{**GENEROUS, **options}))
            engine.listen(address)
            stack.push_async_callback(engine.aclose, 0.0)
            await engine.start(methods, services)
            channel = engines.connect(address, ChannelOptions(max_message_bytes=2**31 - 1))
            stack.push_async_callback(channel.aclose)
            return channel

        yield serve
