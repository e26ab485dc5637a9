"""On the event loop: for tools that await, and for those that never block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from bridge.call import Emit, as_chunk
from bridge.invocation import Invocation

__all__ = ["InlineExecutor"]

T = TypeVar("T")


class InlineExecutor:
    """Runs everything on the event loop."""

    def __init__(self) -> None:
        self._place = _Here()

    def run(self, invocation: Invocation) -> Awaitable[Any]:
        return invocation.run(self._place)

    async def aclose(self) -> None:
        return


class _Here:
    """The event loop as a place."""

    async def call(self, function: Callable[[], T]) -> T:
        return function()

    async def pump(self, values: Iterator[Any], emit: Emit) -> None:
        try:
            for value in values:
                await emit(as_chunk(value))
        finally:
            values.close()  # type: ignore[attr-defined]
