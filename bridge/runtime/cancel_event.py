"""How a tool learns that nobody waits for it any more."""

from __future__ import annotations

import threading
from typing import Callable

__all__ = ["CancelEvent"]

_making = threading.Lock()


class CancelEvent:
    """Set when nobody waits for the tool any more: the caller gave up, its deadline passed, or the server stops."""

    __slots__ = ("_callbacks", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._callbacks: list[Callable[[], object]] | None = None

    def is_set(self) -> bool:
        """Whether the tool should stop. The way for loops in sync tools to notice."""
        return self._is_set

    def set(self) -> None:
        """Says that the tool should stop."""
        self._is_set = True
        callbacks, self._callbacks = self._callbacks, None
        for callback in tuple(callbacks or ()):  # other threads may take theirs back meanwhile
            callback()

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Calls back when set, in the thread that reads what the server says, which must not be kept waiting; at once
        if it is."""
        with _making:  # two threads that both make the list would lose one of their callbacks
            callbacks = self._callbacks
            if callbacks is None:
                callbacks = self._callbacks = []
            callbacks.append(callback)
        if self._is_set:  # looked at last: whoever sets it meanwhile either sees the callback or is seen here
            callback()

    def discard_callback(self, callback: Callable[[], object]) -> None:
        """Forgets a callback."""
        callbacks = self._callbacks
        try:
            if callbacks is not None:
                callbacks.remove(callback)
        except ValueError:
            pass  # it has been called, or another thread has taken it back

    async def wait(self) -> None:
        """Returns when set (async tools)."""
        if not self._is_set:
            import asyncio

            happened, loop = asyncio.Event(), asyncio.get_running_loop()
            self.add_callback(lambda: loop.call_soon_threadsafe(happened.set))
            await happened.wait()

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Blocks until set or ``timeout`` seconds are over; returns whether it is set (sync tools)."""
        event = threading.Event()
        self.add_callback(event.set)
        event.wait(timeout)
        self.discard_callback(event.set)
        return self._is_set
