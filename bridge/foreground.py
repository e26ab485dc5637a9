"""A server as a process of its own: from a coroutine to an exit code.

The first SIGINT or SIGTERM drains, the second ends the process at once, whatever state it is in.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn

__all__ = ["StopSignals", "close_loop", "run_in_foreground", "say"]

STOP_MARGIN = 10.0
"""Seconds beyond the grace period in which a server must have ended. Draining takes no more than a second of them; the
rest is for adapters that close what they opened."""
LEFTOVER_TIMEOUT = 1.0
"""Seconds that tasks left behind by adapters get to end after they were cancelled."""


class StopSignals:
    """The wish of the outside world that a server ends.

    The first signal is handled on the event loop. The second is handled where Python runs signal handlers, between two
    instructions of the main thread, because a tool may be what keeps the loop from running; and for the same reason
    the end that the first one asks for is enforced by a thread.

    Args:
        loop: of the server.
        limit: seconds after the first signal, or ``request``, in which the process must have ended.
        unfinished: exit code of one that has not, and is ended by force.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float, unfinished: int) -> None:
        self.signal = 0
        """Number of the first signal, 0 before."""
        self._loop = loop
        self._limit = limit
        self._unfinished = unfinished
        self._requested = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._ready = False
        self._count = 0
        self._guard: threading.Timer | None = None

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
        self._begin_limit()
        self._requested.set()
        if not self._ready and self._main is not None:
            self._main.cancel()

    def ended(self) -> None:
        """Says that the server has ended. The process has to follow it only if a signal has said so."""
        if self._guard is not None and not self.signal:
            self._guard.cancel()

    def _count_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            _end("stopped at once", 128 + number)
        self.signal = number
        self._begin_limit()

    def _begin_limit(self) -> None:
        if self._guard is not None:
            return
        self._guard = threading.Timer(self._limit, self._enforce)
        self._guard.daemon = True
        self._guard.start()

    def _enforce(self) -> None:
        _end("not stopped in time; ended by force", self._unfinished)


def run_in_foreground(
    run: Callable[[StopSignals], Coroutine[Any, Any, bool]],
    grace: float,
    *,
    unfinished: int,
    margin: float | None = None,
) -> int:
    """Runs a server and returns the exit code: 0, ``unfinished``, or 128 and the signal that came before it was ready.

    The loop is its own: ``asyncio.run`` would wait at its end for tasks that ignore being cancelled, and a tool may do
    that. May end the process by itself, where something is left that does not end.

    Args:
        run: the server; returns whether every tool had ended.
        grace: seconds that running calls get.
        unfinished: exit code if calls were cut off.
        margin: seconds beyond the grace period; by default ``STOP_MARGIN``.
    """
    loop = asyncio.new_event_loop()
    stop = StopSignals(loop, grace + (STOP_MARGIN if margin is None else margin), unfinished)
    main = loop.create_task(run(stop))
    stop.install(main)
    try:
        clean = loop.run_until_complete(main)
    except asyncio.CancelledError:
        if not stop.signal:
            raise
        say("stopped before it was ready")
        return 128 + stop.signal
    if not clean:
        say("calls were still running after the grace period; they are cut off")
        _leave(unfinished)
    close_loop(loop)
    stop.ended()
    return 0


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Closes the loop of a program that has come to its end, with what is left in it. May end the process, with exit
    code 0, where something does not end."""
    if _has_stuck_tasks(loop):
        _leave(0)
    loop.close()


def say(text: str) -> None:
    """Tells people something, beside the log."""
    try:
        sys.stderr.write(f"bridge: {text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # a closed stderr is no reason not to stop in order


def _has_stuck_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Cancels what adapters left behind; whether some of it goes on all the same."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return False
    _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=LEFTOVER_TIMEOUT))
    return bool(pending)


def _leave(code: int) -> NoReturn:
    """Ends the process without waiting for anything: threads and tasks that do not end must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    os._exit(code)


def _end(why: str, code: int) -> NoReturn:
    try:
        os.write(2, f"bridge: {why}\n".encode())
    finally:
        os._exit(code)
