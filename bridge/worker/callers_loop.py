"""Where the coroutines of a proxy run: on the event loop of its caller, or on one that blocking callers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from bridge.errors import BridgeError, Code
from bridge.worker.shared_loop import SharedLoop

__all__ = ["CallersLoop", "Place", "ThreadsLoop"]

T = TypeVar("T")


class Place(Protocol):
    """Where coroutines run."""

    @property
    def closed(self) -> bool:
        """Whether nothing can run there any more."""

    def check(self) -> None:
        """Raises FAILED_PRECONDITION, reason ``WOULD_BLOCK``, if ``run`` cannot be used at all."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and blocks until it is done."""

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and awaits it, in any event loop."""

    def do(self, function: Callable[[], T]) -> T:
        """Calls a function there that does not wait, from any thread."""

    def finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs what lets go of something, and blocks until it is done, if it may."""

    def call_soon(self, function: Callable[[], object]) -> None:
        """Calls a function there; takes no lock, does not wait, and does nothing when all is over."""

    def close(self) -> None:
        """Runs what is the last to run there, and blocks until it is done."""

    async def close_async(self) -> None:
        """Runs what is the last to run there."""

    def abandon(self) -> None:
        """As ``close``, without waiting, and as ``call_soon``."""


class CallersLoop:
    """The loop that runs here: nothing can block.

    Args:
        last: what is run when it is closed.
    """

    closed = False

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._last = last
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Task[None] | None = None

    def check(self) -> None:
        message = "this would block the event loop that the proxy was started in: use what ends with _async"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="WOULD_BLOCK")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        coroutine.close()
        self.check()
        raise AssertionError

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop() is self._loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def do(self, function: Callable[[], T]) -> T:
        if asyncio._get_running_loop() is self._loop:
            return function()
        return asyncio.run_coroutine_threadsafe(_call(function), self._loop).result()

    def finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._loop.create_task(coroutine)

    def call_soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self.check()

    async def close_async(self) -> None:
        self.closed = True
        await self.wait(self._last())

    def abandon(self) -> None:
        self.closed = True
        self.call_soon(self._end)

    def _end(self) -> None:
        self._ending = self._loop.create_task(self._last())


class ThreadsLoop(SharedLoop):
    """A loop that blocking callers drive; asyncio may await what runs there."""

    def check(self) -> None:
        return

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self.submit(coroutine))

    def do(self, function: Callable[[], T]) -> T:
        return function() if self.is_here else self.run(_call(function))

    def finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            if self.is_here:
                self.submit(coroutine)
            else:
                self.run(coroutine)
        except BridgeError:
            if not self.closed:
                raise

    async def close_async(self) -> None:
        await asyncio.to_thread(self.close)


async def _call(function: Callable[[], T]) -> T:
    return function()
