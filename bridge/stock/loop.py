"""The event loop on which coroutines of stock adapters run: one of their own, in a thread of its own.

What a stock adapter asks of Elixir blocks, also in its coroutines. On the loop that the answer has to come by it would
wait for ever; here it holds up nobody but other coroutines of stock adapters, as in Snakepit's own server. The loop is
there as long as the process, so what a coroutine leaves behind goes on, and what it keeps can be used by the next.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

from bridge.cancel_event import CancelEvent

__all__ = ["run", "run_blocking"]

_making = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _the_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _making:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(_loop,), name="bridge-stock-loop", daemon=True).start()
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Runs it as long as the process. asyncio lets ``sys.exit`` of a coroutine, which is an error of the tool like any
    other, out of the loop as well."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue


class _Running:
    """Something awaited on the loop, with the context variables of who asked for it."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.ended: Future[Any] = Future()
        """Done when it has really ended, however."""
        self._loop = _the_loop()
        self._task: asyncio.Future[Any] | None = None
        self._loop.call_soon_threadsafe(self._start, awaitable)

    def _start(self, awaitable: Awaitable[Any]) -> None:
        self._task = asyncio.ensure_future(awaitable, loop=self._loop)
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self.ended.set_result(task.result())
        else:
            self.ended.set_exception(error)

    def cancel(self) -> None:
        """Tells it to end; from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def run(awaitable: Awaitable[Any]) -> Any:
    """Runs it there and returns its result; for coroutines on another loop.

    A cancel is passed on, and answered when it has ended.
    """
    running = _Running(awaitable)
    ended = asyncio.wrap_future(running.ended)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait((ended,))
        except asyncio.CancelledError as error:
            cancelled = error
            running.cancel()
    if cancelled is not None:
        ended.exception()  # taken, so that asyncio does not report it as forgotten
        raise cancelled
    return ended.result()


def run_blocking(awaitable: Awaitable[Any], cancelled: CancelEvent | None = None) -> Any:
    """Runs it there and returns its result; for threads.

    Args:
        awaitable: what to run.
        cancelled: cancels it when set.
    """
    running = _Running(awaitable)
    if cancelled is None:
        return running.ended.result()
    cancelled.add_callback(running.cancel)
    try:
        return running.ended.result()
    finally:
        cancelled.discard_callback(running.cancel)
