"""Workers for calls: started when needed, kept warm, replaced when worn, given up on when they die and die again.

A call has a worker for itself. If none is idle and there are as many as are allowed, it waits in a queue; a call inside
another call never does, because the workers may all be taken by calls that wait for it: it gets one beyond the limit,
which ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bridge.call import ToolCall
from bridge.call_path import is_nested
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.executors._queue import OnWait, Queue
from bridge.worker.frames import NOT_PLACED
from bridge.worker.memory import tree_rss
from bridge.worker.process import NotTaken, Worker
from bridge.worker.restarts import Restarts

__all__ = ["Pool", "PoolLimits"]

log = logging.getLogger("bridge.worker")


class PoolLimits(msgspec.Struct, frozen=True):
    """How many workers there may be, and how long each is used. Zero means "no limit", but for the first two."""

    workers: int = 2
    """Most workers at one time, but for those of nested calls."""
    queue_size: int = 256
    """Most calls that wait for one."""
    max_calls: int = 0
    """Calls after which a worker is replaced."""
    ttl: float = 0.0
    """Seconds after which it is."""
    max_rss: int = 0
    """Bytes of memory after which it is, together with the processes it has started."""
    idle: float = 0.0
    """Seconds without a call after which it ends."""
    option: str = "--workers"
    """What sets how many there may be, for messages."""


class Pool:
    """Workers that can all run the same tools.

    Args:
        spawn: starts a worker; raises ``BridgeError`` if it cannot.
        limits: how many, and how long each is used.
        on_wait: told the tool and the seconds it waited for its worker.
        on_health: told whether workers can be started, when that changes.
    """

    def __init__(
        self,
        spawn: Callable[[], Awaitable[Worker]],
        limits: PoolLimits,
        *,
        on_wait: OnWait | None = None,
        on_health: Callable[[bool], None] | None = None,
    ) -> None:
        self._spawn, self._limits, self._on_health = spawn, limits, on_health
        self._queue: Queue[Worker] = Queue(
            "worker",
            limits.option,
            places=limits.workers,
            limit=limits.queue_size,
            take_back=self._hand_on,
            on_wait=on_wait,
        )
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        """All that are not reaped."""
        self._starts: set[asyncio.Task[None]] = set()
        self._restarts = Restarts()
        self._quarantine: asyncio.TimerHandle | None = None
        self._is_quarantined = False
        self._is_closing = False

    async def start(self) -> bytes:
        """Starts a worker; the tools it says it has. Raises ``BridgeError`` if it cannot: there is something wrong with
        an adapter."""
        worker = await self._spawn()
        self._adopt(worker)
        self._rest(worker)
        return worker.tools

    async def run(self, call: ToolCall) -> Any:
        """Runs a call in a worker. Raises what ``Worker.run`` does, and what proves that the tool did not run:
        RESOURCE_EXHAUSTED, reason ``SERVER_BUSY``, UNAVAILABLE, reason ``WORKER_QUARANTINED`` or
        ``WORKER_START_FAILED``, or of reason ``NOT_PLACED``."""
        while True:
            worker = self._take_idle() or await self._wait(call)
            since = time.monotonic()
            try:
                return await worker.run(call)
            except NotTaken:
                pass  # the next one may
            finally:
                self._queue.note(time.monotonic() - since)
                self._release(worker)

    async def aclose(self) -> None:
        """Ends all workers; those that run a call, too."""
        self._is_closing = True
        if self._quarantine is not None:
            self._quarantine.cancel()
        self._queue.fail_all(BridgeError(Code.UNAVAILABLE, "the server is stopping", reason="SHUTDOWN"))
        self._idle.clear()
        for start in tuple(self._starts):
            start.cancel()
        ending: list[asyncio.Future[Any]] = [worker.shut_down() for worker in self._workers]
        if ending or self._starts:
            await asyncio.wait((*ending, *self._starts))

    # -- workers for calls ---------------------------------------------------------------------------------------

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()  # the last one used: the others get old and cold
            if worker.usable and not self._is_old(worker):
                return worker
            worker.shut_down()
        return None

    async def _wait(self, call: ToolCall) -> Worker:
        is_first = is_nested(call)
        if self._is_quarantined:
            raise self._quarantined()
        if not is_first and self._count >= self._limits.workers:
            self._queue.check(call)
        turn = self._queue.join(first=is_first)
        if is_first:
            self._start_one()
        else:
            self._grow()
        return await self._queue.wait(call, turn)

    def _release(self, worker: Worker) -> None:
        if worker.usable:
            self._restarts.well()
        if not worker.usable or self._is_closing or self._are_too_many() or self._is_worn(worker):
            worker.shut_down()
        else:
            self._hand_on(worker)

    def _hand_on(self, worker: Worker) -> None:
        if self._queue.hand_on(worker):
            return
        if self._are_too_many() or self._is_closing:
            worker.shut_down()
        else:
            self._rest(worker)

    def _rest(self, worker: Worker) -> None:
        self._idle.append(worker)
        if self._limits.idle:
            asyncio.get_running_loop().call_later(self._limits.idle, self._retire, worker, worker.calls)

    def _retire(self, worker: Worker, calls: int) -> None:
        """Ends a worker that has had no call since then."""
        if worker in self._idle and worker.calls == calls:
            self._idle.remove(worker)
            worker.shut_down()

    def _is_old(self, worker: Worker) -> bool:
        ttl = self._limits.ttl
        return ttl > 0 and time.monotonic() - worker.since > ttl

    def _is_worn(self, worker: Worker) -> bool:
        limits = self._limits
        return (
            0 < limits.max_calls <= worker.calls
            or self._is_old(worker)
            or (limits.max_rss > 0 and tree_rss(worker.pid) > limits.max_rss)
        )

    # -- their number --------------------------------------------------------------------------------------------

    @property
    def _count(self) -> int:
        return len(self._workers) + len(self._starts)

    def _are_too_many(self) -> bool:
        """Whether a worker for a nested call, or another one instead of it, has to go."""
        size = self._limits.workers
        return self._count > size and len(self._starts) + sum(not worker.is_ending for worker in self._workers) > size

    def _grow(self) -> None:
        """Starts workers for those who wait, as many as are allowed."""
        while len(self._starts) < len(self._queue) and self._count < self._limits.workers:
            self._start_one()

    def _start_one(self) -> None:
        start = asyncio.get_running_loop().create_task(self._start())
        self._starts.add(start)

    async def _start(self) -> None:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine runs in a task
        try:
            if delay := self._restarts.delay(time.monotonic()):
                await asyncio.sleep(delay)
            worker = await self._spawn()
        except Exception as error:  # noqa: BLE001 - somebody waits for this worker, or for an error
            self._starts.discard(this)
            self._failed_to_start(error)
            return
        finally:
            self._starts.discard(this)
        self._adopt(worker)
        if self._is_quarantined:
            self._set_quarantined(False)
        self._hand_on(worker)

    def _adopt(self, worker: Worker) -> None:
        self._workers.add(worker)
        worker.exited.add_done_callback(lambda _: self._on_exit(worker))

    def _on_exit(self, worker: Worker) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if not worker.is_ending:
            log.warning("worker %d ended with %s", worker.pid, worker.exited.result().describe())
            self._note_death(at_start=False)
        self._grow()

    # -- trouble -------------------------------------------------------------------------------------------------

    def _failed_to_start(self, error: Exception) -> None:
        trace = None if isinstance(error, BridgeError | OSError) else error
        log.error("a worker could not be started: %s", error, exc_info=trace)
        if isinstance(error, BridgeError) and error.reason == NOT_PLACED:
            self._queue.fail(error)
        else:
            self._note_death(at_start=True)
            self._queue.fail(self._start_failed())
        self._grow()

    def _start_failed(self) -> BridgeError:
        retry_after = max(0.1, self._restarts.delay(time.monotonic()))
        return BridgeError(
            Code.UNAVAILABLE,
            "no worker could be started for the tool; the server's log says why",
            reason="WORKER_START_FAILED",
            details=ErrorDetails(retry_after=retry_after),
        )

    def _note_death(self, *, at_start: bool) -> None:
        seconds = self._restarts.died(time.monotonic(), at_start=at_start)
        if seconds and not self._is_closing:
            log.error("workers die again and again: none is started for %g s", seconds)
            if self._quarantine is not None:
                self._quarantine.cancel()
            # Nobody calls what is not healthy, so a worker is tried without a call.
            self._quarantine = asyncio.get_running_loop().call_later(seconds, self._start_one)
            self._set_quarantined(True)
            self._queue.fail_all(self._quarantined())

    def _set_quarantined(self, is_quarantined: bool) -> None:
        was, self._is_quarantined = self._is_quarantined, is_quarantined
        if was != is_quarantined and self._on_health is not None:
            self._on_health(not is_quarantined)

    def _quarantined(self) -> BridgeError:
        until = self._quarantine.when() if self._quarantine is not None else 0.0
        left = until - asyncio.get_running_loop().time()
        return BridgeError(
            Code.UNAVAILABLE,
            "the workers for this tool die again and again, as the server's log tells: none is started for a while",
            reason="WORKER_QUARANTINED",
            details=ErrorDetails(retry_after=max(0.1, left)),
        )
