"""Whether a worker hears what it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

__all__ = ["Pulse"]

INTERVAL = 5.0
"""Seconds that a call runs before its worker is asked, and that the worker has to answer."""


class Pulse:
    """Pings a worker when somebody wants to know, and while one call runs and runs; short ones cost next to nothing.

    Args:
        ping: sends a ``Ping`` of a number.
        on_change: called when the worker that runs a call falls silent, and when it is heard again.
    """

    def __init__(self, ping: Callable[[int], None], on_change: Callable[[], None]) -> None:
        self._ping, self._on_change = ping, on_change
        self.is_silent = False
        """It runs a call and has not answered for ``INTERVAL`` seconds."""
        self._call = self._seen = 0
        """The call that runs, and the one that did at the last beat; 0: none."""
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[None]] = {}
        self._last: asyncio.Future[None] | None = None
        """The answer that a beat has asked for."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: int) -> None:
        """A call begins. Numbers are never used again."""
        self._call = call
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._beat)

    def end(self) -> None:
        """No call runs."""
        self._call, self.is_silent = 0, False

    async def ping(self, timeout: float) -> bool:
        """Whether the worker answers within so many seconds."""
        answer = self._ask()
        await asyncio.wait((answer,), timeout=timeout)
        return answer.done() and not answer.cancelled()

    def answered(self, number: int) -> None:
        """The worker has answered a ping."""
        answer = self._open.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(None)
            if self.is_silent:
                self.is_silent = False
                self._on_change()

    def close(self) -> None:
        """The worker is gone."""
        self.end()
        if self._timer is not None:
            self._timer.cancel()
        for answer in self._open.values():
            answer.cancel()

    def _ask(self) -> asyncio.Future[None]:
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        self._ping(number)
        return answer

    def _beat(self) -> None:
        self._timer = None
        if not self._call:
            return  # the next call begins anew
        if self._call == self._seen:  # it runs since the last beat at least
            self._look()
        self._seen = self._call
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._beat)

    def _look(self) -> None:
        if self._last is None or self._last.done():
            self._last = self._ask()
        elif not self.is_silent:
            self.is_silent = True
            self._on_change()
