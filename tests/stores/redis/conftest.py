"""Fixtures: a server of the test's own, and stores on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.stores.redis import RedisStore
from tests.support.redis_server import RedisServer
from tests.support.redis_stores import OpenStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that keeps what it acknowledges."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Opens stores that are closed at the end of the test: ``await open_store(url, ...)``."""
    async with AsyncExitStack() as stack:

        async def open_store(url: str, **options: Any) -> RedisStore:
            store = RedisStore(url, **options)
            stack.push_async_callback(store.aclose)
            async with asyncio.timeout(10):
                await store.open()
            return store

        yield open_store
