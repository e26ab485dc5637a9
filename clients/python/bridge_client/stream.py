"""The answer of a streaming tool, as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

from bridge.call import NO_VALUE, Chunk, Progress

__all__ = ["ToolStream"]


class ToolStream:
    """The values that a streaming tool yields.

    The call starts with the first step of the iteration and can be iterated once. Leaving early cancels it: by
    ``async with``, by ``aclose()``, or, later, by forgetting the stream::

        async with client.stream("tail", path="log") as lines:
            async for line in lines: ...

    Iterating raises the ``BridgeError`` of the call; DATA_LOSS, reason ``BAD_RESPONSE``, if chunks are missing.
    """

    __slots__ = ("__weakref__", "_chunks", "_on_progress", "_state", "_tool", "progress")

    def __init__(
        self,
        tool: str,
        chunks: AsyncGenerator[Chunk, None],
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        self._tool = tool
        self._chunks = chunks
        self._on_progress = on_progress
        self._state = "new"
        self.progress: Progress | None = None
        """The latest note of progress; kept up to date while the stream is iterated."""

    def __repr__(self) -> str:
        return f"<ToolStream {self._tool!r} {self._state}>"

    async def next_chunk(self) -> Chunk | None:
        """The next value or note of progress; ``None`` at the end."""
        self._state = "running"
        try:
            chunk = await anext(self._chunks, None)
        except BaseException:
            self._state = "failed"
            raise
        if chunk is None:
            self._state = "ended"
        elif chunk.progress is not None:
            self.progress = chunk.progress
            if self._on_progress is not None:
                self._on_progress(chunk.progress)
        return chunk

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while (chunk := await self.next_chunk()) is not None:
            if chunk.value is not NO_VALUE:
                return chunk.value
        raise StopAsyncIteration

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The same stream with the notes of progress between the values: each chunk has a value or progress or both."""
        while (chunk := await self.next_chunk()) is not None:
            yield chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancels the call if it runs. Must come from the task that iterates, or after it; repeating it is harmless."""
        if self._state in ("new", "running"):
            self._state = "closed"
        await self._chunks.aclose()
