"""Threads for what blocks: at most so many at once, and none that keeps a process from ending."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

__all__ = ["DaemonThreads"]

T = TypeVar("T")


class _Outcome(msgspec.Struct):
    """What a function returned or raised; a future takes no ``StopIteration``."""

    value: object = None
    error: BaseException | None = None


_Job = tuple[Callable[[], object], contextvars.Context, asyncio.AbstractEventLoop, "asyncio.Future[_Outcome]"]


class DaemonThreads:
    """Runs functions for the tasks of one event loop. Threads are made when they are needed and kept until ``close``.

    They are daemons, because those of ``concurrent.futures`` would keep a stopping process until the last function
    ends.

    Args:
        limit: most threads. What comes when all are busy waits.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._count = self._open = 0
        """Threads; jobs that no thread is done with."""

    async def run(self, function: Callable[[], T]) -> T:
        """Calls the function in a thread, with the context variables of the caller, and returns what it returns.

        A cancel ends the waiting at once. A function that runs goes on to its end; one that waits for a thread never
        runs.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Outcome] = loop.create_future()
        if self._open >= self._count and self._count < self._limit:
            # Raises where the system gives no more threads, and then nothing is counted.
            threading.Thread(target=self._work, name=f"bridge-service-{self._count + 1}", daemon=True).start()
            self._count += 1
        self._open += 1
        self._jobs.put((function, contextvars.copy_context(), loop, future))
        outcome = await future
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the threads, each when its function ends."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, context, loop, future = job
            outcome = _Outcome()
            if not future.cancelled():
                try:
                    outcome.value = context.run(function)
                except BaseException as error:  # noqa: BLE001 - whatever it is, the task that waits gets it
                    outcome.error = error
            try:
                loop.call_soon_threadsafe(self._finish, future, outcome)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            del job, function, context, future, outcome  # an idle thread must not keep the last call's values

    def _finish(self, future: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
        self._open -= 1
        if not future.done():
            future.set_result(outcome)
