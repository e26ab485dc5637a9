"""A call that a worker has, from the server's side: what has come and was not taken yet, and how it ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.errors import BridgeError
from bridge.runtime.shared import Memory
from bridge.status import read_status
from bridge.tool_messages import read_chunk, read_result
from bridge.worker import frames, lending

__all__ = ["RunningCall"]


class _SharedChunk(msgspec.Struct):
    """A chunk whose value is in memory that came with it: it is read when it is taken."""

    data: bytes
    memory: Memory


class RunningCall(msgspec.Struct, eq=False):
    """One call."""

    id: int
    request: ToolCall
    end: frames.Result | frames.Error | BridgeError | None = None
    """How it ended: by the word of the worker, or by an error of the worker itself."""
    _memory: Memory | None = None
    """What came with its result."""
    _chunks: deque[Chunk | _SharedChunk] = msgspec.field(default_factory=deque)
    _owed: int = 0
    """Values that came and for which no credit was given."""
    _is_stopped: bool = False
    _waiter: asyncio.Future[None] | None = None

    def ended(self, end: frames.Result | frames.Error | BridgeError, memory: Memory | None = None) -> None:
        """Notes how it ended, and the memory that came with its result; the first word counts."""
        if self.end is None:
            self.end, self._memory = end, memory
            self._wake()

    def stop(self) -> None:
        """Nobody takes chunks any more."""
        self._is_stopped = True
        self._chunks.clear()

    def add(self, data: bytes, memory: Memory | None = None) -> str:
        """Takes a chunk as it came; what is wrong with it, or nothing."""
        if self._is_stopped or self.end is not None:
            return ""
        chunk: Chunk | _SharedChunk
        try:
            chunk = read_chunk(data) if memory is None else _SharedChunk(data, memory)
        except BridgeError as error:
            return _unreadable(error)
        if not _is_note(chunk):
            self._owed += 1
            if self._owed > frames.CREDIT:
                return f"sent more than {frames.CREDIT} chunks at once"
        elif self._chunks and _is_note(self._chunks[-1]):
            self._chunks.pop()  # of notes of progress only the newest is of interest
        self._chunks.append(chunk)
        self._wake()
        return ""

    async def relay(self, give: Callable[[frames.Credit], None], misbehaved: Callable[[str], None]) -> Any:
        """Takes chunks to the caller, in order and no faster than it takes them, and returns the result.

        Args:
            give: sends credit for what was taken.
            misbehaved: told what is wrong with a chunk or result, when that shows late.

        Raises ``BridgeError``: what the call ended with.
        """
        emit, taken = self.request.emit, 0
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                if isinstance(chunk, _SharedChunk):
                    try:
                        chunk = await lending.read(chunk.memory, partial(read_chunk, chunk.data))
                    except BridgeError as error:
                        misbehaved(_unreadable(error))
                        break
                    taken += 1
                else:
                    taken += chunk.value is not NO_VALUE
                await emit(chunk)
                if taken >= frames.CREDIT // 2 and self.end is None:  # in two goes, so that neither waits for the other
                    self._owed -= taken
                    give(frames.Credit(self.id, taken))
                    taken = 0
            match self.end:
                case None:
                    await self._change()
                case frames.Result(response=response):
                    is_end_of_stream = not response and self.request.streaming
                    return NO_VALUE if is_end_of_stream else await self._read(response, misbehaved)
                case frames.Error(status=status):
                    raise read_status(status)
                case failure:
                    raise failure

    async def _read(self, response: bytes, misbehaved: Callable[[str], None]) -> Any:
        if self._memory is None:
            return read_result(response)
        try:
            return await lending.read(self._memory, partial(read_result, response))
        except BridgeError as error:
            if self._memory.is_misused:
                misbehaved(f"sent a result that cannot be read: {error.message}")
            raise

    async def wait(self) -> None:
        """Returns when it has ended."""
        while self.end is None:
            await self._change()

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _is_note(chunk: Chunk | _SharedChunk) -> bool:
    """Whether it is of progress only."""
    return isinstance(chunk, Chunk) and chunk.value is NO_VALUE


def _unreadable(error: BridgeError) -> str:
    return f"sent a chunk that cannot be read: {error.message}"
