"""Tools that a command line may meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool


class Sample(Adapter):
    """Harmless tools."""

    @tool
    async def echo(self, value: Any) -> Any:
        """Returns what it gets."""
        return value

    @tool
    async def kind(self, value: Any) -> str:
        """Type of what it gets."""
        return type(value).__name__

    @tool
    async def text(self, text: str, times: int = 1, note: str | None = None, ratio: Decimal | None = None) -> list[Any]:
        """Returns its typed arguments.

        Args:
            text: repeated.
            times: how often.
        """
        return [text * times, note, ratio]

    @tool
    async def size(self, data: bytes) -> int:
        """Length of bytes."""
        return len(data)

    @tool
    def shout(self) -> str:
        """Prints."""
        print("to stdout, by a tool")
        return "done"

    @tool
    async def steps(self, ctx: SessionContext, n: int = 3) -> AsyncIterator[int]:
        """Yields numbers and says how far it is."""
        for number in range(1, n + 1):
            ctx.progress(number / n, f"step {number} of {n}")
            yield number

    @tool
    async def endless(self) -> AsyncIterator[int]:
        """Never stops yielding."""
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0)

    @tool
    async def read_variable(self, name: str, ctx: SessionContext) -> Any:
        """A variable of the session."""
        return await ctx.get(name)


class Slow(Adapter):
    """Tools that do not end by themselves."""

    @tool
    def hold(self, fifo: str) -> Iterator[str]:
        """Yields, waits in a thread until somebody writes to a FIFO, yields what was written."""
        yield "started"
        yield Path(fifo).read_text("utf-8")

    @tool
    async def stubborn(self) -> AsyncIterator[str]:
        """Ignores that it is cancelled."""
        yield "started"
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    @tool
    async def block(self) -> AsyncIterator[str]:
        """Keeps the event loop from running."""
        yield "started"
        while True:
            pass

    @tool
    async def leave_task(self) -> str:
        """Leaves a task behind that ignores being cancelled."""
        Slow.task = asyncio.create_task(_forever())
        return "left"


async def _forever() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
