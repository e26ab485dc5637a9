"""Adapters for a Ray cluster, and what they meet there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bridge import Adapter, SessionContext, tool
from bridge.call_path import CALL_PATH
from tests.support import probes
from tests.support.hazards import begun

CPUS = os.cpu_count() or 1
"""How many a cluster on this machine has."""


class OnRay(probes.Threaded):
    """Plain tools on the cluster."""


class OnRayAsync(probes.Inline):
    """Async tools on the cluster."""


class Apart(Adapter):
    """Tools of one adapter in several places."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[int]:
        probes.journal.add("lifespan entered")
        yield os.getpid()

    @tool(isolation="inline")
    async def here(self) -> list[Any]:
        return [os.getpid(), self.resources]

    @tool(isolation="ray", resources={"num_cpus": 0.5})
    async def there(self) -> list[Any]:
        return [os.getpid(), self.resources]

    @tool(isolation="ray", resources={"num_cpus": 0.25, "memory": 2**20})
    def elsewhere(self) -> list[Any]:
        return [os.getpid(), self.resources]

    @tool(isolation="ray", resources={"num_cpus": 0.5})
    async def path_below(self, ctx: SessionContext) -> Any:
        return await ctx.call("path_of")


class PathOfHost(Adapter):
    """Tells by which way it was called."""

    @tool
    async def path_of(self, ctx: SessionContext) -> str:
        return ctx._call.headers.get(CALL_PATH, "")


class Greedy(Adapter):
    """Takes all that a node has."""

    @tool(isolation="ray", resources={"num_cpus": CPUS})
    async def holds(self, ctx: SessionContext) -> None:
        begun()
        await ctx.cancelled.wait()

    @tool(isolation="ray", resources={"num_cpus": CPUS})
    def pid(self) -> int:
        return os.getpid()


class Impossible(Adapter):
    """Needs what no node has."""

    @tool(isolation="ray", resources={"num_cpus": 0, "num_gpus": 1000})
    def renders(self) -> None:
        return None


class Odd(Adapter):
    """Needs what Ray does not understand."""

    @tool(isolation="ray", resources={"num_gpus": 1.5})
    def renders(self) -> None:
        return None


class Far(Adapter):
    """Runs on a node of its own."""

    @tool(isolation="ray", resources={"num_cpus": 0, "far": 1})
    async def holds(self, ctx: SessionContext) -> None:
        begun()
        await ctx.cancelled.wait()

    @tool(isolation="ray", resources={"num_cpus": 0})
    def near(self) -> str:
        return "near"
