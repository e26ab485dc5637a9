"""In worker processes: for tools that must not be able to harm the server, and that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.invocation import Invocation
from bridge.worker.frames import Settings
from bridge.worker.nursery import Nursery
from bridge.worker.pool import Pool, PoolLimits
from bridge.worker.process import Worker

__all__ = ["PoolLimits", "ProcessExecutor", "Settings", "adapter_spec"]


class ProcessExecutor:
    """Runs invocations in workers: of a pool that is kept (isolation ``process``), or fresh ones (``call``).

    Args:
        adapters: the adapters whose tools run here.
        isolations: which of the two are needed.
        limits: of each pool.
        grace: seconds a cancelled tool has to end before it is killed.
        settings: what workers are told.
        on_wait: told the tool and the seconds it waited for its worker.
        on_health: told whether tools can run here, when that changes.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``NOT_IMPORTABLE``, for an adapter that another process cannot
    find by its name.
    """

    def __init__(
        self,
        adapters: Sequence[type],
        isolations: Iterable[str],
        limits: PoolLimits,
        *,
        grace: float = 1.0,
        settings: Settings | None = None,
        on_wait: Callable[[str, float], None] | None = None,
        on_health: Callable[[bool], None] | None = None,
    ) -> None:
        self._specs = [adapter_spec(adapter) for adapter in adapters]
        self._grace = grace
        self._settings = settings or Settings()
        self._on_health = on_health
        self._nursery: Nursery | None = None
        self._starting = asyncio.Lock()
        self._pools: dict[str, Pool] = {}
        self._is_well: dict[str, bool] = {}
        for isolation in isolations:
            own = msgspec.structs.replace(limits, max_calls=1) if isolation == "call" else limits
            on_change = partial(self._note_health, isolation)
            self._pools[isolation] = Pool(self._spawn, own, on_wait=on_wait, on_health=on_change)
            self._is_well[isolation] = True

    async def start(self) -> None:
        """Starts the first workers. Raises ``BridgeError`` if an adapter cannot be imported or begun in a process."""
        for pool in self._pools.values():
            await pool.start()

    def run(self, invocation: Invocation) -> Any:
        return self._pools[invocation.entry.tool.isolation].run(invocation)

    async def aclose(self) -> None:
        await asyncio.gather(*(pool.aclose() for pool in self._pools.values()))
        if self._nursery is not None:
            await self._nursery.aclose()
            self._nursery = None

    async def _spawn(self) -> Worker:
        nursery = await self._living_nursery()
        newborn = await nursery.fork()
        return await Worker.start(newborn, nursery.kill, self._settings, grace=self._grace)

    async def _living_nursery(self) -> Nursery:
        """The parent of all workers; another one if it has died, and they with it."""
        async with self._starting:
            if self._nursery is not None and self._nursery.died.done():
                await self._nursery.aclose()
                self._nursery = None
            if self._nursery is None:
                nursery = Nursery(self._specs)
                await nursery.start()
                self._nursery = nursery
            return self._nursery

    def _note_health(self, isolation: str, is_well: bool) -> None:
        was = any(self._is_well.values())
        self._is_well[isolation] = is_well
        if self._on_health is not None and any(self._is_well.values()) != was:
            self._on_health(not was)


def adapter_spec(adapter: type) -> str:
    """How another process finds an adapter: ``package.module:Class``, or ``path/to/file.py:Class`` if it was loaded
    from a file."""
    module = sys.modules.get(adapter.__module__)
    found: Any = module
    for part in adapter.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is adapter and module is not None:
        if adapter.__module__.startswith("bridge_adapter_") and module.__file__:
            return f"{Path(module.__file__).resolve()}:{adapter.__qualname__}"
        if adapter.__module__ != "__main__":
            return f"{adapter.__module__}:{adapter.__qualname__}"
    raise BridgeError(
        Code.FAILED_PRECONDITION,
        f"{adapter.__module__}:{adapter.__qualname__} has tools that run in processes, and another process cannot "
        "import it by this name: define it at the top of a module that is not the program itself",
        reason="NOT_IMPORTABLE",
    )
