"""How many calls run, for who waits until there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

__all__ = ["RunningCalls"]

P = ParamSpec("P")
R = TypeVar("R")


class RunningCalls:
    """Counts the calls of what it was put ``around``."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def around(self, answer: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """The same function; while it runs it counts."""

        async def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            self._count += 1
            self._idle.clear()
            try:
                return await answer(*args, **kwargs)
            finally:
                self._count -= 1
                if not self._count:
                    self._idle.set()

        return counted

    async def wait(self, timeout: float) -> bool:
        """Returns when none runs, or after so many seconds; whether none does."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
