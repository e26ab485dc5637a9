"""Workers of the tests of Snakepit's wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.snakepit import wire_adapters
from tests.snakepit.elixir_client import ElixirClient, serving_worker


@pytest.fixture
async def elixir() -> AsyncIterator[ElixirClient]:
    """Elixir's connection to a worker whose tools all run in its process."""
    wire_adapters.ENDED.clear()
    async with asyncio.timeout(20), serving_worker(wire_adapters.Wire, wire_adapters.Streams) as client:
        yield client
