"""Says in the log how much of what was printed was dropped, and why; not too often."""

from __future__ import annotations

import asyncio
import logging

from bridge.goplugin.output.output_buffer import STDERR, STDOUT, OutputBuffer

__all__ = ["DroppedOutput"]

TELL_INTERVAL = 10.0
"""Seconds between two notes in the log."""
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}

log = logging.getLogger("bridge.goplugin")


class DroppedOutput:
    """Looks by the event loop, and never by the threads that read the pipes: what is logged may go into one of them.

    Args:
        buffer: what counts what was dropped.
    """

    def __init__(self, buffer: OutputBuffer) -> None:
        self._buffer = buffer
        self._next: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Says what was dropped, unless it is too soon after the last time; then it is said later."""
        if self._next is None:
            self._say_and_wait()

    def close(self) -> None:
        """Says the rest."""
        if self._next is not None:
            self._next.cancel()
        self._say()

    def _say_and_wait(self) -> None:
        self._next = asyncio.get_running_loop().call_later(TELL_INTERVAL, self._say_and_wait) if self._say() else None

    def _say(self) -> bool:
        lost = self._buffer.take_lost()
        for (channel, why), size in lost.items():
            log.warning("%d bytes of %s were dropped because %s", size, _NAMES[channel], why)
        return bool(lost)
