"""The workers of one plugin, and what each of them has to be told before it takes calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bridge.call import ToolCall
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.worker.frames import Settings
from bridge.worker.journal import Journal
from bridge.worker.lineage import Lineage
from bridge.worker.pool import Pool, PoolLimits
from bridge.worker.process import Worker
from bridge.worker.recipe import Recipe

__all__ = ["PluginWorkers", "Prepare"]

Prepare = Callable[[Worker], Awaitable[None]]
"""Called with each worker before it takes calls; if it fails so has the start."""


class PluginWorkers:
    """A zygote, and the pool of its workers.

    Args:
        recipe: how to start the zygote.
        limits: of the pool.
        settings: what workers are told.
        grace: seconds a cancelled call has to end before its worker is killed.
        prepare: called with each worker.
        journal: what they write.
    """

    def __init__(
        self,
        recipe: Recipe,
        limits: PoolLimits,
        settings: Settings,
        grace: float,
        prepare: Prepare,
        journal: Journal,
    ) -> None:
        self._lineage = Lineage(recipe, settings, grace=grace, journal=journal)
        self._prepare = prepare
        self._pool = Pool(self._spawn, limits)
        self._all: set[Worker] = set()
        self.tools = b""
        """``bridge.v1.ListToolsResponse``: what they can run; there when they were started."""
        self.deaths = 0
        """How many have died by themselves."""
        self.restarts = 0
        """How many were started in place of those."""
        self._trouble: BridgeError | None = None
        """How the last start has failed, or the last worker has died."""

    @property
    def all(self) -> list[Worker]:
        """Those that take calls, the oldest first. Can be asked for in any thread."""
        return sorted((worker for worker in tuple(self._all) if worker.usable), key=lambda worker: worker.since)

    @property
    def root(self) -> int | None:
        """The process that they all descend from."""
        return self._lineage.root

    async def start(self) -> None:
        """Starts the first worker. Raises ``BridgeError`` if it cannot."""
        self.tools = await self._pool.start()

    async def run(self, call: ToolCall) -> Any:
        """See ``Pool.run``; why workers cannot be started is told with the error."""
        try:
            return await self._pool.run(call)
        except BridgeError as error:
            if error.reason == "WORKER_DIED":
                self._trouble = error
            elif self._trouble is not None and error.reason in _NO_WORKER:
                raise _told(error, self._trouble) from self._trouble
            raise

    async def aclose(self) -> None:
        """Ends all of them, those that run a call, too."""
        try:
            await self._pool.aclose()
        finally:
            await self._lineage.aclose()

    async def _spawn(self) -> Worker:
        try:
            worker = await self._start_worker()
        except BridgeError as error:
            self._trouble = error
            raise
        self.restarts = min(self.restarts + 1, self.deaths)
        self._all.add(worker)
        worker.exited.add_done_callback(lambda _: self._on_exit(worker))
        return worker

    async def _start_worker(self) -> Worker:
        worker = await self._lineage.bear()
        try:
            await self._prepare(worker)
        except BaseException:
            await worker.shut_down()
            raise
        return worker

    def _on_exit(self, worker: Worker) -> None:
        self._all.discard(worker)
        self.deaths += not worker.is_ending


_NO_WORKER = {
    "WORKER_START_FAILED": "the plugin was not called, as no worker could be started",
    "WORKER_QUARANTINED": "the plugin was not called: its workers die again and again, and none is started for a while",
}


def _told(error: BridgeError, cause: BridgeError) -> BridgeError:
    metadata = {**cause.details.metadata, "cause": cause.reason}
    details = ErrorDetails(retry_after=error.retry_after, metadata=metadata, debug=cause.details.debug)
    message = f"{_NO_WORKER[error.reason]}; at last: {cause.message}"
    return BridgeError(Code.UNAVAILABLE, message, reason=error.reason, details=details)
