"""Events that wait for a stream to take them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from threading import Lock, get_ident

__all__ = ["EventQueue"]

log = logging.getLogger("bridge.snakepit")


class EventQueue:
    """A bounded queue. Any thread may add; one task at a time takes.

    When it is full what comes is dropped, not what waits: the first events tell of the start of the worker, and a full
    queue that nobody reads costs nothing.

    Args:
        limit: events that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[bytes] = deque()
        self._lock = Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, int, asyncio.Event] | None = None
        """Who takes: its loop, the thread of that, and what wakes it."""
        self._untold = 0
        self.dropped = 0
        """Events that found no room so far."""

    @property
    def is_full(self) -> bool:
        """Whether what comes is dropped."""
        return len(self._events) >= self._limit

    def add(self, event: bytes) -> None:
        """Adds an event, or drops it."""
        with self._lock:
            is_full = self.is_full
            if not is_full:
                self._events.append(event)
            waiting, self._waiting = self._waiting, None
        if is_full:
            self.drop(1)
        _wake(waiting)

    def drop(self, count: int) -> None:
        """Notes that events did not get in."""
        with self._lock:
            self.dropped += count
            self._untold += count
            is_first = self._untold == count
        if is_first:
            log.info("telemetry events are dropped from here on: %d wait, and no stream takes them", self._limit)

    def take(self) -> bytes | None:
        """The oldest event; ``None`` if there is none."""
        with self._lock:
            return self._events.popleft() if self._events else None

    def put_back(self, event: bytes) -> None:
        """Returns an event that could not be sent to where it was."""
        with self._lock:
            self._events.appendleft(event)

    def tell_dropped(self) -> None:
        """Logs how many were dropped since the last time, if any were."""
        with self._lock:
            count, self._untold = self._untold, 0
        if count:
            log.info("%d telemetry events were dropped: they came faster than a stream took them", count)

    async def wait(self) -> None:
        """Returns when there is something to take, or at ``wake``."""
        woken = asyncio.Event()
        with self._lock:
            if self._events:
                return
            self._waiting = (asyncio.get_running_loop(), get_ident(), woken)
        await woken.wait()

    def wake(self) -> None:
        """Lets go who waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        _wake(waiting)


def _wake(waiting: tuple[asyncio.AbstractEventLoop, int, asyncio.Event] | None) -> None:
    if waiting is None:
        return
    loop, thread, woken = waiting
    if thread == get_ident():
        woken.set()
        return
    try:
        loop.call_soon_threadsafe(woken.set)
    except RuntimeError:
        pass  # the loop is closed, and who waited is gone
