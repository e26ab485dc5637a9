"""Tools that a host offers to the tools of its servers: `bridge host adapters.showcase:HostTools`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge import Adapter, Code, ToolError, tool

__all__ = ["HostTools"]

PRICES = {"apple": 35, "bread": 280, "cheese": 640, "coffee": 450, "milk": 119}
"""Prices in cents."""


class HostTools(Adapter):
    """A shop: prices, and a log of what was asked."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[list[str]]:
        """The audit log, one per process; every adapter of the process has it as `self.resources`."""
        yield []

    @tool(idempotent=True, read_only=True)
    async def lookup_price(self, item: str) -> int:
        """Price of an item in cents."""
        try:
            return PRICES[item]
        except KeyError:
            message = f"no item {item!r}; there are {', '.join(PRICES)}"
            raise ToolError(Code.NOT_FOUND, message, reason="NO_ITEM") from None

    @tool
    async def audit(self, event: str) -> int:
        """Writes an event to the audit log and returns how many there are."""
        self.resources.append(event)
        return len(self.resources)
