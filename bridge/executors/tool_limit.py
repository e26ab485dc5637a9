"""So many calls of one tool at once, wherever it runs: ``@tool(max_concurrency=...)``."""

from __future__ import annotations

import time
from typing import Any

from bridge.call_path import is_nested
from bridge.executors._queue import OnWait, Queue
from bridge.executors.base import Executor
from bridge.invocation import Invocation

__all__ = ["ToolLimit"]


class ToolLimit:
    """The places of one tool. A call has one as long as its executor has the call, so a place is free when the tool is
    dead.

    A call inside another call does not wait: what it would wait for may wait for it. It gets a place beyond the limit,
    and the next call one when there are fewer again.

    Args:
        places: how many there are.
        queue_size: most calls that wait for one.
        on_wait: told the tool and the seconds it waited.
    """

    def __init__(self, places: int, queue_size: int, on_wait: OnWait | None = None) -> None:
        self.places = places
        self._running = 0
        self._queue: Queue[None] = Queue(
            "place",
            "max_concurrency of the tool",
            places=places,
            limit=queue_size,
            take_back=lambda _: self._leave(),
            on_wait=on_wait,
        )

    async def run(self, executor: Executor, invocation: Invocation) -> Any:
        """Runs an invocation when there is a place for it. Raises what the executor does, and RESOURCE_EXHAUSTED,
        reason ``SERVER_BUSY``, for a call that would wait in vain or behind too many."""
        call = invocation.call
        if self._running < self.places or is_nested(call):
            self._running += 1
        else:
            self._queue.check(call)
            await self._queue.wait(call, self._queue.join())
        since = time.monotonic()
        try:
            return await executor.run(invocation)
        finally:
            self._queue.note(time.monotonic() - since)
            self._leave()

    def _leave(self) -> None:
        if self._running > self.places or not self._queue.hand_on(None):
            self._running -= 1
