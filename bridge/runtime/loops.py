"""The event loop of a worker, if its plugin needs one; it runs while something async does, and reads the pipe then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Callable

from .pipe import Pipe
from .running import RunningCall

__all__ = ["Loop"]

STOP_TIME = 0.2
"""Seconds that cancelled tasks have to end before the loop is closed."""


class Loop:
    """Runs what is async in the main thread.

    Args:
        pipe: read by the loop while it runs.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(pipe.fileno(), self._read)
        self._own: set[asyncio.Task[Any]] = set()
        """Tasks that only wait for us."""
        self._has_tasks = False
        self._change: asyncio.Future[None] | None = None

    @property
    def must_run(self) -> bool:
        """Whether tasks were left behind that go on by themselves: the loop has to run between the calls."""
        return self._has_tasks

    def run(self, coroutine: Coroutine[Any, Any, Any], call: RunningCall | None = None) -> Any:
        """Runs something and returns its result.

        Args:
            coroutine: what to run.
            call: cancels it when nobody waits for that call any more.
        """
        if not self._pipe.is_own_thread:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        with self._pipe.reading_elsewhere():
            task = self._loop.create_task(coroutine)
            if call is not None:
                call.interrupt = lambda: self._loop.call_soon_threadsafe(task.cancel)
                if call.failure is not None:
                    task.cancel()
            try:
                return self._loop.run_until_complete(task)
            finally:
                if call is not None:
                    call.interrupt = None
                self._look()

    def run_beside(self, function: Callable[[], Any]) -> Any:
        """Calls a function in a thread, and runs meanwhile."""

        async def wait() -> Any:
            future: asyncio.Future[Any] = self._loop.create_future()

            def work() -> None:
                try:
                    result, failure = function(), None
                except BaseException as error:  # noqa: BLE001 - whoever waits raises it
                    result, failure = None, error
                self._loop.call_soon_threadsafe(tell, result, failure)

            def tell(result: Any, failure: BaseException | None) -> None:
                if failure is None:
                    future.set_result(result)
                else:
                    future.set_exception(failure)

            threading.Thread(target=work, name="bridge-tool", daemon=True).start()
            return await future

        return self.run(wait())

    def run_until(self, done: Callable[[], Any]) -> None:
        """Runs until something is so, which can only change by the pipe, a signal, or what runs here."""

        async def wait() -> None:
            while not done() and not self._pipe.is_lost:
                self._change = self._loop.create_future()
                await self._change

        self.run(wait())

    def wake(self) -> None:
        """Has ``run_until`` look again; usable in a signal handler."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed)

    def hold(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts a task that waits for us, so that the loop need not run for it."""
        task = self._loop.create_task(coroutine)
        self._own.add(task)
        return task

    def close(self) -> None:
        """Cancels what was left behind, and ends."""
        tasks = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
        for task in tasks:
            task.cancel()

        async def settle() -> None:
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_TIME)
            await self._loop.shutdown_asyncgens()

        self.run(settle())
        self._loop.remove_reader(self._pipe.fileno())
        self._loop.close()

    def _look(self) -> None:
        self._has_tasks = any(task not in self._own and not task.done() for task in asyncio.all_tasks(self._loop))

    def _read(self) -> None:
        self._pipe.read_now()
        if self._pipe.is_lost:
            self._loop.remove_reader(self._pipe.fileno())
        self._changed()

    def _changed(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
