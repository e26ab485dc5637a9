"""What SIGINT and SIGTERM do to a server: the first drains, the second ends it at once, whatever state it is in."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from bridge.cli.exit_codes import ExitCode

__all__ = ["StopSignals"]

STOP_MARGIN = 10.0
"""Seconds beyond the grace period in which a server must have ended. Draining takes no more than a second of them; the
rest is for adapters that close what they opened."""


class StopSignals:
    """The wish of the outside world that a server ends.

    The first signal is handled on the event loop. The second is handled where Python runs signal handlers, between two
    instructions of the main thread, because a tool may be what keeps the loop from running; and for the same reason
    the end that the first one asks for is enforced by a thread.

    Args:
        loop: of the server.
        grace: seconds that running calls get.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self.signal = 0
        """Number of the first signal, 0 before."""
        self._loop = loop
        self._limit = grace + STOP_MARGIN
        self._requested = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._ready = False
        self._count = 0

    def install(self, main: asyncio.Task[Any]) -> None:
        """Takes over the signals.

        Args:
            main: the task of the server; cancelled by a signal that comes before it waits.
        """
        self._main = main
        for number in (signal.SIGINT, signal.SIGTERM):
            # The loop first: it makes sure that the signal wakes it, and then sets a handler that does nothing.
            self._loop.add_signal_handler(number, self.request)
            signal.signal(number, self._count_signal)

    async def wait(self) -> None:
        """Says that the server is ready, and returns at the first signal."""
        self._ready = True
        await self._requested.wait()

    def request(self) -> None:
        """Asks for the end, as the first signal does."""
        self._requested.set()
        if not self._ready and self._main is not None:
            self._main.cancel()

    def _count_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            _end("stopped at once", 128 + number)
        self.signal = number
        guard = threading.Timer(self._limit, self._enforce)
        guard.daemon = True
        guard.start()

    def _enforce(self) -> None:
        _end("not stopped in time; ended by force", ExitCode.UNFINISHED)


def _end(why: str, code: int) -> NoReturn:
    try:
        os.write(2, f"bridge: {why}\n".encode())
    finally:
        os._exit(code)
