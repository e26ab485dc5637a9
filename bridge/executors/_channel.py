"""A bounded hand-over of values from a thread to the event loop, in batches.

Waking the loop costs more than most values, so the loop is woken once for all that is there, not once per value.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any

__all__ = ["Channel", "ChannelClosedError"]

CAPACITY = 32
"""Values that may wait between the thread and the loop."""


class ChannelClosedError(Exception):
    """Nobody takes the values any more."""


class Channel:
    """One thread puts, the event loop takes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int = CAPACITY) -> None:
        self._loop = loop
        self._values: deque[Any] = deque()
        self._space = threading.Semaphore(capacity)
        self._woken = False
        self._closed = False
        self._finished = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, value: Any) -> None:
        """Adds a value; blocks while the channel is full. Raises ``ChannelClosedError``."""
        self._space.acquire()
        if self._closed:
            raise ChannelClosedError
        self._values.append(value)
        self._wake()

    def finish(self) -> None:
        """Says that no more values come."""
        self._finished = True
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._on_wake)
            except RuntimeError:
                self._closed = True  # the loop is gone, and with it whoever took the values

    def _on_wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[Any]:
        """All values that are there, at least one; empty when no more come."""
        while True:
            # Cleared before looking: a value added after the look wakes the loop again.
            self._woken = False
            finished = self._finished
            if self._values:
                batch = [self._values.popleft() for _ in range(len(self._values))]
                self._space.release(len(batch))
                return batch
            if finished:
                return []
            self._waiter = self._loop.create_future()
            await self._waiter

    def close(self) -> None:
        """Refuses further values; a thread blocked in ``put`` goes on and is told."""
        self._closed = True
        self._space.release()
