"""The worker processes of a handler server: started when the first handler needs one."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any

from bridge.invocation import ErrorPolicy, Invocation

if TYPE_CHECKING:
    from bridge.executors.process import ProcessExecutor

__all__ = ["WorkerPool"]

_ADAPTER = "bridge.jsonrpc.worker_handlers:WorkerHandlers"


class WorkerPool:
    """Runs handlers in worker processes. An ``Executor``.

    Args:
        workers: most at one time that are kept (isolation ``process``); as many again that are not (``call``).
        queue_size: most handlers that wait for one.
        grace: seconds a cancelled handler has to end before it is killed.
        errors: what callers see of exceptions.
    """

    def __init__(self, workers: int, queue_size: int, grace: float, errors: ErrorPolicy) -> None:
        self._workers, self._queue_size, self._grace, self._errors = workers, queue_size, grace, errors
        self._executor: ProcessExecutor | None = None

    async def start(self, isolations: Collection[str]) -> None:
        """Starts the first workers, if there are handlers for them. Raises ``BridgeError`` if it cannot."""
        if isolations and self._executor is None:
            self._executor = self._make(isolations)
            await self._executor.start()

    def run(self, invocation: Invocation) -> Awaitable[Any]:
        if self._executor is None:
            self._executor = self._make(())
        return self._executor.run(invocation)  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            await executor.aclose()

    def _make(self, isolations: Collection[str]) -> ProcessExecutor:
        from bridge.executors.process import PoolLimits, ProcessExecutor, Settings  # most servers start no processes
        from bridge.worker.recipe import adapters_recipe

        return ProcessExecutor(
            adapters_recipe([_ADAPTER]),
            isolations,
            PoolLimits(workers=self._workers, queue_size=self._queue_size, option="workers"),
            grace=self._grace,
            settings=Settings(self._errors.redact, self._errors.debug),
        )
