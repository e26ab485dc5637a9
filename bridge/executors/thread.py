"""In threads: for tools that block.

A thread cannot be killed. A cancelled tool is told (``ctx.cancelled``) and its thread stays taken until the tool has
really ended; only then does the next call get it. The threads are daemons of our own, because those of
``concurrent.futures`` would keep a stopping process alive until the last stuck tool ends.

A call inside another call never waits for a thread: the threads may all be taken by calls that wait for it, here or by
way of another server. If none is free it gets one beyond the limit, which ends with it; the dispatcher's limit of calls
bounds those, too.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bridge.call import Chunk, Emit
from bridge.call_path import is_nested
from bridge.cancel_event import CancelEvent
from bridge.executors._channel import Channel, ChannelClosedError
from bridge.executors._queue import check_queue
from bridge.invocation import Invocation

__all__ = ["ThreadExecutor"]

T = TypeVar("T")


class ThreadExecutor:
    """Runs an invocation's blocking code in one thread, the same from ``initialize`` to ``cleanup``.

    Args:
        threads: most threads, and so most invocations at once that are not nested in another.
        queue_size: most invocations waiting for a thread.
        on_wait: told the tool and the seconds it waited for its thread.
    """

    def __init__(self, threads: int, queue_size: int, on_wait: Callable[[str, float], None] | None = None) -> None:
        self._max_threads = threads
        self._queue_size = queue_size
        self._on_wait = on_wait
        self._idle: list[_Worker] = []
        self._count = 0
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._busy: set[_Worker] = set()
        self._hold = 0.0
        """Seconds an invocation keeps its thread, as a moving average."""

    async def run(self, invocation: Invocation) -> Any:
        if self._idle or self._count < self._max_threads:
            worker = await self._acquire(invocation)
        elif is_nested(invocation.call):
            worker = self._add_extra()
        else:
            waiting = len(self._waiting)
            check_queue(
                invocation,
                "thread",
                places=self._max_threads,
                hold=self._hold,
                waiting=waiting,
                limit=self._queue_size,
            )
            worker = await self._acquire(invocation)
        worker.cancelled = invocation.context.cancelled
        since = time.monotonic()
        try:
            return await invocation.run(worker)
        finally:
            self._hold += 0.2 * (time.monotonic() - since - self._hold)
            self._release(worker)

    async def _acquire(self, invocation: Invocation) -> _Worker:
        if self._idle:
            worker = self._idle.pop()
        elif self._count < self._max_threads:
            self._count += 1
            worker = _Worker()
        else:
            worker = await self._wait(invocation)
        self._busy.add(worker)
        return worker

    def _add_extra(self) -> _Worker:
        worker = _Worker(extra=True)
        self._busy.add(worker)
        return worker

    async def _wait(self, invocation: Invocation) -> _Worker:
        since = time.monotonic()
        waiter: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            worker = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release(waiter.result())  # handed over in the same turn as the cancel
            elif waiter in self._waiting:  # else a thread came free in the same turn and passed over it
                self._waiting.remove(waiter)
            raise
        if self._on_wait is not None:
            self._on_wait(invocation.entry.tool.name, time.monotonic() - since)
        return worker

    def _release(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        if worker.extra:
            worker.abandon()
        if worker.abandoned:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    async def aclose(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.abandon()
        self._idle.clear()


class _Worker:
    """A thread, and the place it is for an invocation."""

    _numbers = itertools.count(1)

    def __init__(self, *, extra: bool = False) -> None:
        self.extra = extra
        """Beyond the limit, for one invocation."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._running: _Job | None = None
        self.cancelled: CancelEvent | None = None
        """Of the invocation that has this thread."""
        self.abandoned = False
        threading.Thread(target=self._work, name=f"bridge-tool-{next(self._numbers)}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # the thread must not keep the last call's values while it is idle

    async def call(self, function: Callable[[], T]) -> T:
        if self.abandoned:
            raise asyncio.CancelledError  # the thread is stuck in what it was given before
        job = self._running = _Job(function, self.cancelled)
        self._jobs.put(job)
        result: T = await job.wait()
        return result

    async def pump(self, values: Iterator[Any], emit: Emit) -> None:
        channel = Channel(asyncio.get_running_loop())
        job = self._running = _Job(lambda: _produce(values, channel), self.cancelled)
        self._jobs.put(job)
        try:
            while batch := await channel.take():
                for value in batch:
                    await emit(Chunk(value))
        except BaseException:
            if self.cancelled is not None:
                self.cancelled.set()  # a generator that waits for something else than room would not notice
            raise
        finally:
            channel.close()
            await job.wait()

    def abandon(self) -> None:
        """Ends the thread when its tool ends, and whoever waits for it now."""
        self.abandoned = True
        self._jobs.put(None)
        if self._running is not None:
            self._running.abandon()


def _produce(values: Iterator[Any], channel: Channel) -> None:
    try:
        for value in values:
            channel.put(value)
    except ChannelClosedError:
        pass  # the call is over; the generator is closed below, in its own thread
    finally:
        try:
            values.close()  # type: ignore[attr-defined]
        finally:
            channel.finish()


class _Job:
    """One function, run by a thread, awaited by a task."""

    __slots__ = ("_abandoned", "_cancelled", "_context", "_done", "_failed", "_function", "_loop", "_result", "_waiter")

    def __init__(self, function: Callable[[], Any], cancelled: CancelEvent | None) -> None:
        self._cancelled = cancelled
        self._function: Callable[[], Any] | None = function
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._done = self._failed = self._abandoned = False
        self._result: Any = None

    def run(self) -> None:
        """In the thread."""
        function, self._function = self._function, None
        failed = False
        try:
            result = self._context.run(function)  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - whatever it is, the task that waits gets it
            result, failed = error, True
        try:
            self._loop.call_soon_threadsafe(self._finish, result, failed)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _finish(self, result: Any, failed: bool) -> None:
        self._result, self._failed, self._done = result, failed, True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> Any:
        """The result. A cancel is answered only when the function has ended, or was given up."""
        cancelled: asyncio.CancelledError | None = None
        while not self._done and not self._abandoned:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled = error
                if self._cancelled is not None:
                    self._cancelled.set()  # all that can be done about a thread: its tool may look at it
        result, self._result = self._result, None
        if cancelled is not None:
            raise cancelled
        if not self._done:
            raise asyncio.CancelledError
        if self._failed:
            raise result
        return result

    def abandon(self) -> None:
        self._abandoned = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
