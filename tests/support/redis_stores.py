"""Short ways to try stores in Redis whose server is not always there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

import pytest

from bridge.errors import BridgeError
from bridge.stores.redis import RedisStore
from tests.support.records import NOW, Listener

__all__ = ["OpenStore", "listen", "recovered", "refusal"]


class OpenStore(Protocol):
    """Opens a store that is closed at the end of the test."""

    async def __call__(self, url: str, **options: Any) -> RedisStore: ...


async def refusal(awaitable: Awaitable[object]) -> BridgeError:
    """The error it raises."""
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as refused:
            await awaitable
    return refused.value


async def recovered(store: RedisStore) -> None:
    """Waits until the store can be used."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.read("s", (), NOW)
            except BridgeError:
                await asyncio.sleep(0.01)  # between two tries; what ends the wait is the answer
            else:
                return


async def listen(store: RedisStore) -> None:
    """Listens for a moment."""
    async with store.subscribe("s", Listener()):
        return
