"""What a plugin's streaming tool yields, for ``for`` and for ``async for``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from bridge.call import Chunk, Emit
from bridge.worker.callers_loop import Place

__all__ = ["AsyncValues", "Values"]

AHEAD = 8
"""Values that wait for whoever iterates; beyond that the tool waits."""

Start = Callable[[Emit], Awaitable[None]]
"""Runs a call whose values go where it is told."""


class _Source:
    """A call, begun when the first values are asked for; lives on the event loop of the proxy."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._values: deque[Any] = deque()
        self._change = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def take(self) -> list[Any]:
        """The values that are there, at least one; none at the end. Raises what the call ended with, after the last."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._start(self._put))
            self._task.add_done_callback(lambda _: self._change.set())
        while not self._values:
            if self._task.done():
                self._task.result()
                return []
            self._change.clear()
            await self._change.wait()
        values = list(self._values)
        self._values.clear()
        self._room.set()
        return values

    async def _put(self, chunk: Chunk) -> None:
        self._values.append(chunk.value)
        self._change.set()
        while len(self._values) >= AHEAD:
            self._room.clear()
            await self._room.wait()

    def drop(self) -> None:
        """Ends the call."""
        if self._task is not None:
            self._task.cancel()
            self._task.add_done_callback(_heard)

    async def aclose(self) -> None:
        """Ends the call and returns when it has ended."""
        self.drop()
        if self._task is not None:
            await asyncio.wait((self._task,))


def _heard(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # or it is logged as one that nobody has asked for


class _Stream:
    def __init__(self, place: Place, start: Start, owner: object) -> None:
        self._place = place
        self._owner = owner  # which ends when it is forgotten
        self._source = _Source(start)
        self._values: deque[Any] = deque()
        self._is_over = False

    def _took(self, values: list[Any]) -> bool:
        """Whether there are more."""
        self._values.extend(values)
        self._is_over = not values
        return bool(values)

    def __del__(self) -> None:
        if not self._is_over:
            self._place.call_soon(self._source.drop)


class Values(_Stream):
    """Iterates over what a tool yields; blocks. Leaving early ends the call: by ``with``, ``close()``, or, soon after,
    by forgetting it."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._values and (self._is_over or not self._took(self._take())):
            raise StopIteration
        return self._values.popleft()

    def _take(self) -> list[Any]:
        try:
            return self._place.run(self._source.take())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the call if it runs; its generator is closed when this returns. Repeating it is harmless."""
        was_over, self._is_over = self._is_over, True
        if not was_over:
            self._place.finish(self._source.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncValues(_Stream):
    """Iterates over what a tool yields. Leaving early ends the call: by ``async with``, ``aclose()``, or, soon after,
    by forgetting it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if not self._values and (self._is_over or not self._took(await self._place.wait(self._source.take()))):
            raise StopAsyncIteration
        return self._values.popleft()

    async def aclose(self) -> None:
        """Ends the call if it runs; its generator is closed when this returns. Repeating it is harmless."""
        was_over, self._is_over = self._is_over, True
        if not was_over:
            await self._place.wait(self._source.aclose())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
