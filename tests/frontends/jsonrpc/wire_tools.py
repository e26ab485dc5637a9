"""Tools of servers that are talked to byte by byte."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

from bridge import Adapter, tool

runs = 0


class Wired(Adapter):
    @tool
    async def echo(self, value: Any = None) -> Any:
        return value

    @tool
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @tool
    async def count(self) -> int:
        global runs
        runs += 1
        return runs

    @tool
    async def wait(self) -> None:
        await asyncio.sleep(600)

    @tool
    async def fail(self) -> None:
        raise ValueError("a plain mistake")

    @tool
    async def odd(self, what: str) -> Any:
        return {"nan": math.nan, "bytes": b"hi", "object": object()}[what]

    @tool
    async def some(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
