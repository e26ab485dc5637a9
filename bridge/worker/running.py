"""A call that a worker has, from the server's side: what has come and was not taken yet, and how it ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.call import NO_VALUE, Chunk
from bridge.errors import BridgeError
from bridge.invocation import Invocation
from bridge.status import read_status
from bridge.tool_messages import read_chunk, read_result
from bridge.worker import frames

__all__ = ["RunningCall"]


class RunningCall(msgspec.Struct, eq=False):
    """One call."""

    id: int
    invocation: Invocation
    end: frames.Result | frames.Error | BridgeError | None = None
    """How it ended: by the word of the worker, or by an error of the worker itself."""
    _chunks: deque[Chunk] = msgspec.field(default_factory=deque)
    _owed: int = 0
    """Values that came and for which no credit was given."""
    _is_stopped: bool = False
    _waiter: asyncio.Future[None] | None = None

    def ended(self, end: frames.Result | frames.Error | BridgeError) -> None:
        """Notes how it ended; the first word counts."""
        if self.end is None:
            self.end = end
            self._wake()

    def stop(self) -> None:
        """Nobody takes chunks any more."""
        self._is_stopped = True
        self._chunks.clear()

    def add(self, data: bytes) -> str:
        """Takes a chunk as it came; what is wrong with it, or nothing."""
        if self._is_stopped or self.end is not None:
            return ""
        try:
            chunk = read_chunk(data)
        except BridgeError as error:
            return f"sent a chunk that cannot be read: {error.message}"
        if chunk.value is not NO_VALUE:
            self._owed += 1
            if self._owed > frames.CREDIT:
                return f"sent more than {frames.CREDIT} chunks at once"
        elif self._chunks and self._chunks[-1].value is NO_VALUE:
            self._chunks.pop()  # of notes of progress only the newest is of interest
        self._chunks.append(chunk)
        self._wake()
        return ""

    async def relay(self, give: Callable[[frames.Credit], None]) -> Any:
        """Takes chunks to the caller, in order and no faster than it takes them, and returns the result.

        Args:
            give: sends credit for what was taken.

        Raises ``BridgeError``: what the call ended with.
        """
        emit, taken = self.invocation.call.emit, 0
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                await emit(chunk)
                taken += chunk.value is not NO_VALUE
                if taken and self.end is None and (not self._chunks or taken >= frames.CREDIT // 2):
                    self._owed -= taken
                    give(frames.Credit(self.id, taken))
                    taken = 0
            match self.end:
                case None:
                    await self._change()
                case frames.Result(response=response):
                    is_end_of_stream = not response and self.invocation.call.streaming
                    return NO_VALUE if is_end_of_stream else read_result(response)
                case frames.Error(status=status):
                    raise read_status(status)
                case failure:
                    raise failure

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
