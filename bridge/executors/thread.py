"""In threads: for tools that block.

A thread cannot be killed. A cancelled tool is told (``ctx.cancelled``) and its thread stays taken until the tool has
really ended; only then does the next call get it. The threads are daemons of our own, because those of
``concurrent.futures`` would keep a stopping process alive until the last stuck tool ends.

A call inside another call never waits for a thread: the threads may all be taken by calls that wait for it, here or by
way of another server. If none is free it gets one beyond the limit, which ends with it; the dispatcher's limit of calls
bounds those, too.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import Any

from bridge.call_path import is_nested
from bridge.executors._jobs import Job, JobPlace
from bridge.executors._queue import OnWait, Queue
from bridge.invocation import Invocation

__all__ = ["ThreadExecutor"]


class ThreadExecutor:
    """Runs an invocation's blocking code in one thread, the same from ``initialize`` to ``cleanup``.

    Args:
        threads: most threads, and so most invocations at once that are not nested in another.
        queue_size: most invocations waiting for a thread.
        on_wait: told the tool and the seconds it waited for its thread.
    """

    def __init__(self, threads: int, queue_size: int, on_wait: OnWait | None = None) -> None:
        self._max_threads = threads
        self._queue: Queue[_Thread] = Queue(
            "thread", "--threads", places=threads, limit=queue_size, take_back=self._release, on_wait=on_wait
        )
        self._idle: list[_Thread] = []
        self._count = 0
        self._busy: set[_Thread] = set()

    async def run(self, invocation: Invocation) -> Any:
        thread = self._take(invocation) or await self._wait(invocation)
        self._busy.add(thread)
        thread.cancelled = invocation.context.cancelled
        since = time.monotonic()
        try:
            return await invocation.run(thread)
        finally:
            self._queue.note(time.monotonic() - since)
            self._release(thread)

    def _take(self, invocation: Invocation) -> _Thread | None:
        if self._idle:
            return self._idle.pop()
        if self._count < self._max_threads:
            self._count += 1
            return _Thread()
        return _Thread(extra=True) if is_nested(invocation.call) else None

    async def _wait(self, invocation: Invocation) -> _Thread:
        self._queue.check(invocation.call)
        return await self._queue.wait(invocation.call, self._queue.join())

    def _release(self, thread: _Thread) -> None:
        self._busy.discard(thread)
        if thread.extra:
            thread.abandon()
        if not thread.abandoned and not self._queue.hand_on(thread):
            self._idle.append(thread)

    async def aclose(self) -> None:
        for thread in (*self._idle, *self._busy):
            thread.abandon()
        self._idle.clear()


class _Thread(JobPlace):
    """A thread that does jobs until it is given up."""

    _numbers = itertools.count(1)

    def __init__(self, *, extra: bool = False) -> None:
        self.extra = extra
        """Beyond the limit, for one invocation."""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        super().__init__(self._jobs.put)
        threading.Thread(target=self._work, name=f"bridge-tool-{next(self._numbers)}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            try:
                job.loop.call_soon_threadsafe(job.finish)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            del job  # the thread must not keep the last call's values while it is idle

    def abandon(self) -> None:
        """Ends the thread when its tool ends, and whoever waits for it now."""
        super().abandon()
        self._jobs.put(None)
