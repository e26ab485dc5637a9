"""Workers of one recipe, whichever zygote they descend from."""

from __future__ import annotations

import asyncio

from bridge.worker.frames import Settings
from bridge.worker.journal import Journal
from bridge.worker.nursery import Nursery, Recipe
from bridge.worker.process import Worker

__all__ = ["Lineage"]


class Lineage:
    """Starts workers. Their zygote is started with the first of them, and again when it has died, and they with it.

    Args:
        recipe: how to start the zygote.
        settings: what workers are told.
        grace: seconds a cancelled call has to end before its worker is killed.
        start_timeout: seconds a worker has to begin; by default as long as the recipe's zygote has.
        journal: what workers print goes there, too.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        *,
        grace: float,
        start_timeout: float | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._recipe, self._settings, self._grace, self._journal = recipe, settings, grace, journal
        self._start_timeout = recipe.start_timeout if start_timeout is None else start_timeout
        self._nursery: Nursery | None = None
        self._starting = asyncio.Lock()

    @property
    def root(self) -> int | None:
        """The process that they all descend from."""
        return None if self._nursery is None else self._nursery.pid

    async def bear(self) -> Worker:
        """A worker that takes calls. Raises ``BridgeError``: what ``Nursery.start``, ``Nursery.fork`` and
        ``Worker.start`` do."""
        nursery = await self._living_nursery()
        newborn = await nursery.fork()
        return await Worker.start(
            newborn,
            nursery.kill,
            self._settings,
            grace=self._grace,
            timeout=self._start_timeout,
            journal=self._journal,
        )

    async def aclose(self) -> None:
        """Ends the zygote, and with it all that is left of it."""
        if self._nursery is not None:
            await self._nursery.aclose()
            self._nursery = None

    async def _living_nursery(self) -> Nursery:
        async with self._starting:
            if self._nursery is not None and self._nursery.died.done():
                await self.aclose()
            if self._nursery is None:
                nursery = Nursery(self._recipe)
                await nursery.start()
                self._nursery = nursery
            return self._nursery
