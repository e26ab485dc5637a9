"""The tools the bench calls. ``bridge serve bench.adapters:Bench``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from bridge import Adapter, SessionContext, tool

__all__ = ["NAMES", "Bench"]

NAMES = [f"v{index}" for index in range(20)]
"""Variables of every session of the bench."""


class Bench(Adapter):
    """Tools that do next to nothing, so that what is measured is the way to them and back."""

    @tool
    async def echo(self, text: str, top: int) -> dict[str, Any]:
        """Returns its arguments."""
        return {"text": text, "top": top}

    @tool
    def echo_sync(self, text: str, top: int) -> dict[str, Any]:
        """Returns its arguments, from a thread."""
        return {"text": text, "top": top}

    @tool
    async def blob(self, data: bytes) -> bytes:
        """Returns its argument."""
        return data

    @tool
    async def stream(self, count: int, size: int) -> AsyncIterator[bytes]:
        """Yields zeros: so many chunks of so many bytes."""
        data = bytes(size)
        for _ in range(count):
            yield data

    @tool
    def stream_sync(self, count: int, size: int) -> Iterator[bytes]:
        """Yields zeros from a thread."""
        data = bytes(size)
        for _ in range(count):
            yield data

    @tool
    async def read(self, count: int, ctx: SessionContext) -> int:
        """Adds up the variables v0, v1, ..., read one after the other."""
        total = 0
        for index in range(count):
            total += await ctx.get(f"v{index}")
        return total

    @tool(reads=NAMES)
    async def read_declared(self, count: int, ctx: SessionContext) -> int:
        """Has 20 variables fetched before it starts and adds up so many of them."""
        return await _total(count, ctx)

    @tool
    async def read_cached(self, count: int, ctx: SessionContext) -> int:
        """Fetches 20 variables at once and then reads so many of them again."""
        await ctx.get_many(NAMES)
        return await _total(count, ctx)


async def _total(count: int, ctx: SessionContext) -> int:
    total = 0
    for name in NAMES[:count]:
        total += await ctx.get(name)
    return total
