"""Giving up a side that begins messages and does not end them, as it holds memory and a place of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["PARTIAL_TIMEOUT", "SlowSender"]

PARTIAL_TIMEOUT = 30.0
"""Seconds between two looks at a message that is not complete."""
MIN_RATE = 1024
"""Bytes a second that have to come of it meanwhile."""


class SlowSender:
    """Looks whether a message that has begun to come goes on.

    Args:
        loop: whose clock is looked at.
        timeout: seconds between two looks.
        give_up: called if too little has come since the last look.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, give_up: Callable[[], None]) -> None:
        self._loop, self._timeout, self._give_up = loop, timeout, give_up
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = 0

    @property
    def is_watched(self) -> bool:
        """Whether a message is known to have begun."""
        return self._timer is not None

    def begin(self) -> None:
        """A message has begun: the first since ``end``, or since another was complete."""
        self.end()
        self._bytes = 0
        self._timer = self._loop.call_later(self._timeout, self._look)

    def heard(self, size: int) -> None:
        """More of the message has come."""
        self._bytes += size

    def end(self) -> None:
        """It is complete, or nobody waits for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._bytes < MIN_RATE * self._timeout:
            self._timer = None
            self._give_up()
        else:
            self.begin()
