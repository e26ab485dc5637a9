"""Tools that MCP clients call in tests; served from this file, also in processes of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bridge import Adapter, SessionContext, ToolError, tool

print("printed while being imported")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class Point(msgspec.Struct):
    x: int
    y: float = 0.5


class Tools(Adapter):
    """Tools for tests of MCP."""

    @tool(read_only=True, idempotent=True, metadata={"title": "Add numbers"})
    async def add(self, a: int, b: int = 2) -> int:
        """Adds.  a: the first number."""
        return a + b

    @tool
    async def point(self, point: Point) -> Point:
        return point

    @tool
    async def text(self, size: int) -> str:
        return "x" * size

    @tool
    async def numbers(self, size: int) -> list[int]:
        return list(range(size))

    @tool
    async def moment(self) -> datetime:
        return datetime(2026, 7, 28, tzinfo=UTC)

    @tool
    async def image(self) -> bytes:
        return PNG

    @tool
    async def same(self, data: bytes) -> bytes:
        return data

    @tool
    async def mixed(self) -> Any:
        return ["a text", PNG, {"a": 1}]

    @tool
    async def strange(self, which: str) -> Any:
        return {"nan": [1.0, float("nan")], "half": "\ud800", "object": object()}[which]

    @tool
    async def fails(self, how: str) -> None:
        if how == "tool error":
            raise ToolError("NOT_FOUND", "there is no such row", metadata={"row": "7"})
        raise ValueError("no good \ud800")

    @tool
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @tool
    def steps(self, ctx: SessionContext, file: str, size: int = 4) -> str:
        """Tells how far it is, and goes on when somebody has heard of it and made a file."""
        for step in range(3):
            ctx.progress(step / 4, f"step {step}")
            while not Path(f"{file}{step}").exists():
                ctx.cancelled.wait_blocking(0.005)
        return "done" * (size // 4)

    @tool
    async def remember(self, ctx: SessionContext, value: int) -> int | None:
        """Sets a variable and returns what it was."""
        before: int | None = await ctx.get("value", default=None)
        await ctx.set("value", value)
        return before

    @tool
    async def prints(self) -> str:
        print("printed")
        os.write(1, b"written\n")
        await asyncio.create_subprocess_shell("echo echoed; cat")
        return "ok"

    @tool
    def sleeps(self, file: str) -> str:
        """Blocks, after having written down which process it is in."""
        Path(file).write_text(str(os.getpid()))
        time.sleep(60)
        return "slept"

    @tool
    async def waits(self, file: str) -> str:
        """Waits, and takes its time to clean up when it is cancelled."""
        state = Path(file)
        state.write_text("begun")  # noqa: ASYNC240 - small
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            for _ in range(10):  # a second cancel would end it here
                await asyncio.sleep(0)
            state.write_text("cleaned up")  # noqa: ASYNC240 - small
            raise
        return "waited"

    @tool
    async def trace(self, ctx: SessionContext) -> str:
        return str(ctx.log.extra["trace_id"]) if ctx.log.extra else ""
