"""What was written to a stream and waits for the other side to take it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["WriteQueue"]

_HIGH: Final = 64 * 1024
"""Bytes above which a writer is asked to wait, unless it has chosen others; as in transports of asyncio."""


class WriteQueue:
    """Bytes in pieces, with the two marks of ``asyncio.WriteTransport.set_write_buffer_limits``.

    Args:
        pause: called when it holds more than the upper mark.
        resume: called when it then holds no more than the lower mark.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause, self._resume = pause, resume
        self._pieces: deque[memoryview] = deque()
        self._low, self._high = _HIGH // 4, _HIGH
        self._paused = False
        self.size = 0
        """Bytes that wait."""

    @property
    def limits(self) -> tuple[int, int]:
        """The lower and the upper mark."""
        return self._low, self._high

    def set_limits(self, high: int | None, low: int | None) -> None:
        """As in asyncio. Raises ``ValueError``."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError("high has to be at least low, and low at least 0")
        self._low, self._high = low, high
        self._pause_if_full()

    def put(self, data: bytes) -> None:
        """Adds bytes, which are not copied."""
        self._pieces.append(memoryview(data))
        self.size += len(data)
        self._pause_if_full()

    def take(self, limit: int) -> memoryview:
        """Takes no more than ``limit`` bytes from the beginning. To be followed by ``resume_if_low``."""
        piece = self._pieces[0]
        if len(piece) <= limit:
            self._pieces.popleft()
        else:
            self._pieces[0], piece = piece[limit:], piece[:limit]
        self.size -= len(piece)
        return piece

    def resume_if_low(self) -> None:
        """Has the writer go on if it waits and can."""
        if self._paused and self.size <= self._low:
            self._paused = False
            self._resume()

    def clear(self) -> None:
        """Throws all away. A writer that waits is not told."""
        self._pieces.clear()
        self.size = 0

    def _pause_if_full(self) -> None:
        if not self._paused and self.size > self._high:
            self._paused = True
            self._pause()
