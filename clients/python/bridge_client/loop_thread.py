"""An event loop on a thread of its own, for code that blocks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.call_path import enclosing
from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from bridge.cancel_event import CancelEvent

__all__ = ["LoopThread"]

T = TypeVar("T")

_STOP_TIMEOUT = 10.0
"""Seconds that stopping waits for the loop; after that the thread, a daemon, is left to the end of the process."""


class LoopThread:
    """Runs coroutines for other threads. Stopping it ends them, so that no thread waits for ever.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # Between the look at `stopped` and the handing over of a coroutine nobody may stop the loop: the coroutine
        # would never run and its caller wait for ever.
        self._lock = threading.Lock()
        self.stopped = False
        """Whether it takes no more coroutines."""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def check(self) -> None:
        """Raises FAILED_PRECONDITION if no coroutine can be run from here."""
        if os.getpid() != self._process:
            raise _refused("FORKED", "the client was made before a fork: make one in each process")
        if threading.get_ident() == self._thread.ident:
            raise _refused("WOULD_BLOCK", "a blocking call inside a callback of the client would wait for itself")
        if self.stopped:
            raise _refused("CLIENT_CLOSED", "the client is closed: make another one")

    def run(self, coroutine: Coroutine[Any, Any, T], *, to_its_end: bool = False) -> T:
        """Runs a coroutine in the context of the caller and waits for its result.

        Interrupting the wait (Ctrl-C) cancels it. In a tool, so does whoever cancels the tool, and the answer is
        CANCELLED. Raises FAILED_PRECONDITION, reason ``CLIENT_CLOSED``, if the loop is stopped, before or meanwhile;
        ``FORKED`` in another process; ``WOULD_BLOCK`` in the loop's own thread, and in the event loop of a server.

        Args:
            coroutine: what to run.
            to_its_end: also if the tool is cancelled: for what cleans up.
        """
        around = None if to_its_end else enclosing()
        try:
            self.check()
            if around is not None:
                _check_thread()
                coroutine = _until(around.cancelled, coroutine)
            with self._lock:
                self.check()
                future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError:
            if around is not None and around.cancelled.is_set() and not self.stopped:
                raise BridgeError(Code.CANCELLED, "the tool that made the call was cancelled") from None
            raise _refused("CLIENT_CLOSED", "the client was closed during the call") from None
        except BaseException:
            future.cancel()
            raise

    def stop(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        """Runs a last coroutine, cancels all others, and ends the thread. Repeating it is harmless, from any thread."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
        own_thread = threading.get_ident() == self._thread.ident
        asyncio.run_coroutine_threadsafe(self._finish(cleanup), self._loop)
        if not own_thread:
            # A client that is forgotten may be collected in the loop's thread itself, which must not wait for itself.
            self._thread.join(_STOP_TIMEOUT)

    async def _finish(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT / 2):
                await cleanup()
        except (BridgeError, TimeoutError):
            # The connections go with the process at the latest.
            pass
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_STOP_TIMEOUT / 4)
            await self._loop.shutdown_asyncgens()
            # Once more round the loop, so that the results of the tasks reach the threads that wait for them.
            self._loop.call_soon(self._loop.call_soon, self._loop.stop)


def _check_thread() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = "the blocking client would stop the server that runs this tool: use bridge_client.BridgeClient and await"
    raise _refused("WOULD_BLOCK", message)


async def _until(cancelled: CancelEvent, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine and cancels it when the event is set, which happens in another thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)  # type: ignore[union-attr]

    cancelled.add_callback(cancel)
    try:
        return await coroutine
    finally:
        cancelled.discard_callback(cancel)


def _refused(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)
