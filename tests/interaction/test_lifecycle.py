"""Hooks around a call, and resources of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge import Adapter, BridgeError, SessionContext, tool
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support import probes


class WithResources(Adapter):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[dict[str, int]]:
        probes.journal.add("opened")
        yield {"calls": 0}
        probes.journal.add("closed")

    @tool
    async def count(self) -> int:
        self.resources["calls"] += 1
        return int(self.resources["calls"])

    @tool
    def own_state(self) -> bool:
        fresh = not hasattr(self, "used")
        self.used = True
        return fresh


async def test_resources_are_made_once_and_adapters_for_every_call(start: Any, journal: probes.Journal) -> None:
    async with serving(WithResources) as server, BridgeClient(server.addresses[0]) as client:
        assert [await client.call("count") for _ in range(3)] == [1, 2, 3]
        assert [await client.call("own_state") for _ in range(3)] == [True] * 3
        assert (journal.count("opened"), journal.count("closed")) == (1, 0)
    assert (journal.count("opened"), journal.count("closed")) == (1, 1)


class Failing(Adapter):
    """Hooks that fail where the test wants."""

    async def initialize(self) -> None:
        probes.journal.add("initialize")
        if self.context.metadata.get("fail") == "initialize":
            raise RuntimeError("cannot begin")

    async def cleanup(self) -> None:
        probes.journal.add("cleanup")
        if self.context.metadata.get("fail") == "cleanup":
            raise RuntimeError("cannot end")
        if self.context.metadata.get("slow") == "cleanup":
            probes.journal.add("cleaning")
            await asyncio.to_thread(probes.journal.release.wait, 5)
            probes.journal.add("cleaned")

    @tool
    async def work(self) -> str:
        return "done"

    @tool
    async def hang(self, ctx: SessionContext) -> None:
        probes.journal.add("started")
        await ctx.cancelled.wait()


async def test_a_failing_initialize_is_the_callers_error_and_is_cleaned_up(
    connect: Connect, journal: probes.Journal
) -> None:
    client = await connect(Failing)
    with pytest.raises(BridgeError, match="cannot begin"):
        await client.call("work", metadata={"fail": "initialize"})
    assert journal.count("cleanup") == 1


async def test_a_failing_cleanup_hides_no_result(connect: Connect, journal: probes.Journal, caplog: Any) -> None:
    client = await connect(Failing)
    assert await client.call("work", metadata={"fail": "cleanup"}) == "done"
    assert "cannot end" in caplog.text


async def test_a_cleanup_that_has_begun_is_finished_although_the_client_is_gone(
    connect: Connect, journal: probes.Journal
) -> None:
    client = await connect(Failing)
    async with asyncio.timeout(5):
        call = asyncio.create_task(client.call("work", metadata={"slow": "cleanup"}))
        await journal.wait("cleaning")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        journal.release.set()
        await journal.wait("cleaned")
    assert journal.count("cleanup") == 1


class OneThread(Adapter):
    """Remembers the thread of each step."""

    def __init__(self) -> None:
        self.threads = [threading.current_thread().name]

    def initialize(self) -> None:
        self.threads.append(threading.current_thread().name)

    def cleanup(self) -> None:
        probes.journal.notes["threads"] = [*self.threads, threading.current_thread().name]

    @tool
    def work(self) -> None:
        self.threads.append(threading.current_thread().name)


async def test_all_of_a_plain_tool_runs_in_one_thread(connect: Connect, journal: probes.Journal) -> None:
    client = await connect(OneThread)
    await client.call("work")
    threads = journal.notes["threads"]
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0].startswith("bridge-tool-")


class BadLifespan(WithResources):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[Any]:
        raise RuntimeError("no model")
        yield


async def test_a_server_whose_resources_fail_does_not_start(start: Any) -> None:
    with pytest.raises(BridgeError, match="no model"):
        await start(BadLifespan)
