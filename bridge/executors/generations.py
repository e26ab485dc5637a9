"""Exchanging the code of tools while they are called: new workers take the calls that come, old ones end theirs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from bridge.executors.process import ProcessExecutor
from bridge.invocation import Invocation

__all__ = ["Generations"]

log = logging.getLogger("bridge.worker")


class Generations:
    """An executor that can be exchanged for another one of its kind.

    Args:
        make: makes a generation, of the code as it is now; it takes what is told about its health.
        on_health: told whether tools can run in the generation of today, when that changes.
    """

    def __init__(
        self,
        make: Callable[[Callable[[bool], None]], ProcessExecutor],
        on_health: Callable[[bool], None],
    ) -> None:
        self._make, self._on_health = make, on_health
        self._current: ProcessExecutor
        self._running: Counter[ProcessExecutor] = Counter()
        self._retiring: dict[ProcessExecutor, asyncio.Future[None]] = {}
        """Old ones, and what is done when their last call has ended."""
        self._endings: set[asyncio.Task[None]] = set()

    async def start(self) -> bytes:
        """Starts the first generation; its tools, as ``ProcessExecutor`` has them. Raises what that does."""
        self._current = await self.prepare()
        return self._current.tools

    async def prepare(self) -> ProcessExecutor:
        """Starts another generation, which is given no calls yet. Raises what ``ProcessExecutor.start`` does; nothing
        of it is left then."""
        generation: ProcessExecutor

        def on_health(is_well: bool) -> None:
            if generation is self._current:
                self._on_health(is_well)

        generation = self._make(on_health)
        try:
            await generation.start()
        except BaseException:
            await generation.aclose()
            raise
        return generation

    def adopt(self, generation: ProcessExecutor) -> None:
        """Gives calls to a generation from now on. The one before ends when its calls have."""
        old, self._current = self._current, generation
        last = self._retiring[old] = asyncio.get_running_loop().create_future()
        if not self._running[old]:
            last.set_result(None)
        self._on_health(True)
        ending = asyncio.ensure_future(self._retire(old, last))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def run(self, invocation: Invocation) -> Any:
        generation = self._current
        self._running[generation] += 1
        try:
            return await generation.run(invocation)
        finally:
            self._running[generation] -= 1
            last = self._retiring.get(generation)
            if not self._running[generation] and last is not None and not last.done():
                last.set_result(None)

    async def aclose(self) -> None:
        """Ends all workers, those that run a call, too."""
        for last in self._retiring.values():
            if not last.done():
                last.set_result(None)
        if hasattr(self, "_current"):
            await self._current.aclose()
        if self._endings:
            await asyncio.wait(self._endings)

    async def _retire(self, generation: ProcessExecutor, last: asyncio.Future[None]) -> None:
        await last
        try:
            await generation.aclose()
        except Exception:  # nobody waits for this, and calls do not depend on it
            log.exception("old workers could not be ended")
        del self._retiring[generation], self._running[generation]
