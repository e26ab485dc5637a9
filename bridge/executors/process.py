"""In worker processes: for tools that must not be able to harm the server, and that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bridge.adapter import WRAPS
from bridge.errors import BridgeError, Code
from bridge.invocation import Invocation
from bridge.runtime.loading import FILE_MODULE
from bridge.tool import IN_PROCESSES
from bridge.worker.frames import Settings
from bridge.worker.lineage import Lineage
from bridge.worker.pool import Pool, PoolLimits
from bridge.worker.recipe import Recipe

__all__ = ["PoolLimits", "ProcessExecutor", "Settings", "adapter_spec"]


class ProcessExecutor:
    """Runs invocations in workers: of a pool that is kept (isolation ``process``), or fresh ones (``call``).

    Args:
        recipe: how to start the process that they are forked from.
        isolations: which of the two are needed from the beginning.
        limits: of each pool.
        grace: seconds a cancelled tool has to end before it is killed.
        settings: what workers are told.
        start_timeout: seconds a worker has to begin.
        on_wait: told the tool and the seconds it waited for its worker.
        on_health: told whether tools can run here, when that changes.
    """

    tools: bytes = b""
    """``bridge.v1.ListToolsResponse``: what the workers can run; there when they were started."""

    def __init__(
        self,
        recipe: Recipe,
        isolations: Iterable[str],
        limits: PoolLimits,
        *,
        grace: float = 1.0,
        settings: Settings | None = None,
        start_timeout: float = 30.0,
        on_wait: Callable[[str, float], None] | None = None,
        on_health: Callable[[bool], None] | None = None,
    ) -> None:
        self._first = sorted(isolations)
        self._lineage = Lineage(recipe, settings or Settings(), grace=grace, start_timeout=start_timeout)
        self._on_health = on_health
        self._pools: dict[str, Pool] = {}
        self._is_well = dict.fromkeys(self._first, True)
        """Pools; one that is not needed from the beginning counts from its first trouble on."""
        for isolation in sorted({*IN_PROCESSES, *self._first}):
            own = msgspec.structs.replace(limits, max_calls=1) if isolation == "call" else limits
            on_change = partial(self._note_health, isolation)
            self._pools[isolation] = Pool(self._lineage.bear, own, on_wait=on_wait, on_health=on_change)

    async def start(self) -> None:
        """Starts the first workers. Raises ``BridgeError`` if an adapter cannot be imported or begun in a process."""
        for isolation in self._first:
            self.tools = await self._pools[isolation].start()

    def run(self, invocation: Invocation) -> Any:
        return self._pools[invocation.entry.tool.isolation].run(invocation.call)

    async def aclose(self) -> None:
        await asyncio.gather(*(pool.aclose() for pool in self._pools.values()))
        await self._lineage.aclose()

    def _note_health(self, isolation: str, is_well: bool) -> None:
        was = any(self._is_well.values())
        self._is_well[isolation] = is_well
        if self._on_health is not None and any(self._is_well.values()) != was:
            self._on_health(not was)


def adapter_spec(adapter: type) -> str:
    """How another process finds an adapter: ``package.module:Class``, or ``path/to/file.py:Class`` if it was loaded
    from a file.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``NOT_IMPORTABLE``, if it cannot.
    """
    module = sys.modules.get(adapter.__module__)
    found: Any = module
    for part in adapter.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is getattr(adapter, WRAPS, adapter) and module is not None:
        if adapter.__module__.startswith(FILE_MODULE) and module.__file__:
            return f"{Path(module.__file__).resolve()}:{adapter.__qualname__}"
        if adapter.__module__ != "__main__":
            return f"{adapter.__module__}:{adapter.__qualname__}"
    raise BridgeError(
        Code.FAILED_PRECONDITION,
        f"{adapter.__module__}:{adapter.__qualname__} has tools that run in processes, and another process cannot "
        "import it by this name: define it at the top of a module that is not the program itself",
        reason="NOT_IMPORTABLE",
    )
