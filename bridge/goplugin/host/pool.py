"""Several processes of one plugin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

from bridge.errors import BridgeError, invalid_argument
from bridge.goplugin.host.client import PluginClient
from bridge.goplugin.host.restart import RestartPolicy
from bridge.goplugin.host.to_its_end import to_its_end

__all__ = ["PluginPool"]


class PluginPool:
    """Runs a plugin several times, and gives calls to the process that has the fewest:
    ``async with PluginPool(4, cmd=[…], handshake=…, plugins=…) as pool``. Those that die are started again.

    Args:
        size: processes.
        settings: as for ``PluginClient``; ``restart`` is by default a ``RestartPolicy()``.
    """

    def __init__(self, size: int, **settings: Any) -> None:
        if size < 1:
            raise invalid_argument("size", "is 1 or more")
        settings.setdefault("restart", RestartPolicy())
        self._clients = [PluginClient(**settings) for _ in range(size)]
        self._leases = dict.fromkeys(self._clients, 0)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as group:
                for client in self._clients:
                    group.create_task(client.start())
        except BaseException as error:
            await to_its_end(self.aclose())
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(client.kill() for client in self._clients))

    @property
    def clients(self) -> tuple[PluginClient, ...]:
        """One for each process."""
        return tuple(self._clients)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[Any, None]:
        """What ``dispense`` gives of the process that has the fewest leases. Others may have leases of the same.

        While some are being started again the rest serve; raises ``BridgeError`` as ``PluginClient.dispense`` when none
        is left.
        """
        for others in reversed(range(len(self._clients))):
            client = self._best()
            with self._counted(client):
                try:
                    dispensed = await client.dispense(name)
                except BridgeError:
                    if not others or client.is_running:
                        raise
                    continue  # it was given up while it was waited for
                yield dispensed
                return

    def _best(self) -> PluginClient:
        return min(self._clients, key=lambda c: (not c.is_running, not c.is_coming_back, self._leases[c]))

    @contextmanager
    def _counted(self, client: PluginClient) -> Generator[None, None, None]:
        self._leases[client] += 1
        try:
            yield
        finally:
            self._leases[client] -= 1
