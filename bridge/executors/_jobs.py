"""Functions that a thread runs and a task awaits."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bridge.call import Emit, as_chunk
from bridge.cancel_event import CancelEvent
from bridge.executors._channel import Channel, ChannelClosedError

__all__ = ["Job", "JobPlace"]

T = TypeVar("T")


class Job:
    """One function, run by a thread, awaited by a task."""

    __slots__ = ("_abandoned", "_cancelled", "_context", "_done", "_failed", "_function", "_result", "_waiter", "loop")

    def __init__(self, function: Callable[[], Any], cancelled: CancelEvent | None) -> None:
        self._cancelled = cancelled
        self._function: Callable[[], Any] | None = function
        self._context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._done = self._failed = self._abandoned = False
        self._result: Any = None

    def run(self) -> None:
        """Runs the function, in the thread; then ``finish`` has to be called."""
        function, self._function = self._function, None
        try:
            self._result = self._context.run(function)  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - whatever it is, the task that waits gets it
            self._result, self._failed = error, True

    def finish(self) -> None:
        """Wakes the task, in the event loop."""
        self._done = True
        self._wake()

    async def wait(self) -> Any:
        """The result. A cancel is answered only when the function has ended, or was given up."""
        cancelled: asyncio.CancelledError | None = None
        while not self._done and not self._abandoned:
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled = error
                if self._cancelled is not None:
                    self._cancelled.set()  # all that can be done about a thread: its tool may look at it
        if not self._done:
            raise cancelled or asyncio.CancelledError
        result, self._result = self._result, None
        if cancelled is not None:
            raise cancelled
        if self._failed:
            raise result
        return result

    def abandon(self) -> None:
        """Lets the task go on without it."""
        self._abandoned = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class JobPlace:
    """A thread, as the place of one invocation at a time. A ``bridge.invocation.Place``.

    Args:
        give: hands a job to the thread.
    """

    def __init__(self, give: Callable[[Job], None]) -> None:
        self._give = give
        self._running: Job | None = None
        self.cancelled: CancelEvent | None = None
        """Of the invocation that has this place."""
        self.abandoned = False

    async def call(self, function: Callable[[], T]) -> T:
        if self.abandoned:
            raise asyncio.CancelledError  # the thread is stuck in what it was given before
        result: T = await self._begin(function).wait()
        return result

    async def pump(self, values: Iterator[Any], emit: Emit) -> None:
        channel = Channel(asyncio.get_running_loop())
        job = self._begin(lambda: _produce(values, channel))
        try:
            while batch := await channel.take():
                for value in batch:
                    await emit(as_chunk(value))
        except BaseException:
            if self.cancelled is not None:
                self.cancelled.set()  # a generator that waits for something else than room would not notice
            raise
        finally:
            channel.close()
            await job.wait()

    def abandon(self) -> None:
        """Gives up the thread, which may be stuck, and lets go whoever waits for it."""
        self.abandoned = True
        if self._running is not None:
            self._running.abandon()

    def _begin(self, function: Callable[[], Any]) -> Job:
        job = self._running = Job(function, self.cancelled)
        self._give(job)
        return job


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
