"""Fixtures: nurseries and agents that end with their test."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.host import Host
from bridge.registry import Registry
from bridge.worker.agent import Agent
from bridge.worker.nursery import Newborn, Nursery, Recipe, adapters_recipe
from tests.support import probes
from tests.support.worker_pipe import Pipe
from tests.worker.talking import Talk

SAMPLE = "tests.worker.sample:Sample"
OBEY = "tests.worker.targets:obey"

StartAgent = Callable[..., Awaitable[Pipe]]
StartNursery = Callable[..., Awaitable[Nursery]]
StartZygote = Callable[[Recipe], Awaitable[Nursery]]
StartWorker = Callable[[Nursery], Awaitable[tuple[Newborn, Talk]]]
WriteAdapter = Callable[[str, str], str]


def recipe(*adapters: str, **fields: Any) -> Recipe:
    """For workers that obey."""
    return msgspec.structs.replace(adapters_recipe(adapters or [SAMPLE]), **{"run": OBEY, **fields})


class Ends:
    """How the agents of a test have ended."""

    def __init__(self) -> None:
        self.orphaned: list[BaseException | None] = []
        self.agents: list[Agent] = []
        self.codes: list[asyncio.Task[int]] = []


async def ended(code: asyncio.Task[int]) -> int:
    """The exit code of an agent that ends."""
    async with asyncio.timeout(5):
        return await code


@pytest.fixture
async def start_zygote() -> AsyncIterator[StartZygote]:
    """``await start_zygote(recipe)``"""
    async with AsyncExitStack() as stack:

        async def start(recipe: Recipe) -> Nursery:
            nursery = Nursery(recipe)
            stack.push_async_callback(nursery.aclose)
            async with asyncio.timeout(20):
                await nursery.start()
            return nursery

        yield start


@pytest.fixture
def start_nursery(start_zygote: StartZygote) -> StartNursery:
    """``await start_nursery(*adapters, **fields_of_the_recipe)``"""

    async def start(*adapters: str, **fields: Any) -> Nursery:
        return await start_zygote(recipe(*adapters, **fields))

    return start


@pytest.fixture
async def start_worker() -> AsyncIterator[StartWorker]:
    """``newborn, talk = await start_worker(nursery)``: a worker that obeys."""
    async with AsyncExitStack() as stack:

        async def start(nursery: Nursery) -> tuple[Newborn, Talk]:
            async with asyncio.timeout(10):
                newborn = await nursery.fork()
                stack.callback(os.close, newborn.output)
                talk = await Talk.open(newborn)
            stack.push_async_callback(talk.aclose)
            return newborn, talk

        yield start


@pytest.fixture
async def nursery(start_nursery: StartNursery) -> Nursery:
    """One with the sample."""
    return await start_nursery()


@pytest.fixture
def write_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteAdapter:
    """Writes a module where it can be imported; gives the spec of its class A."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:A"

    return write


@pytest.fixture
def ends() -> Ends:
    """How the agents of the test have ended."""
    return Ends()


@pytest.fixture(params=[probes.Inline, probes.Threaded], ids=["async", "plain"])
def probe(request: pytest.FixtureRequest, journal: probes.Journal) -> type:
    """Async and plain tools of one behaviour."""
    adapter: type = request.param
    return adapter


@pytest.fixture
async def start(ends: Ends, journal: probes.Journal) -> AsyncIterator[StartAgent]:
    """Runs an agent in this process and gives the other end of its pipe: ``pipe = await start(Adapter, host=...)``."""
    async with AsyncExitStack() as stack:

        async def start(*adapters: type, host: Host | None = None) -> Pipe:
            ours, theirs = socket.socketpair()
            agent = Agent(Registry(adapters), ends.orphaned.append)
            ends.agents.append(agent)
            serving = asyncio.create_task(agent.serve(theirs))
            ends.codes.append(serving)
            stack.push_async_callback(asyncio.wait, (serving,), timeout=5)
            pipe = await Pipe.open(ours, host)
            stack.callback(pipe.close)
            return pipe

        yield start
        probes.journal.release.set()
    for code in ends.codes:
        assert code.done(), "the agent has ended"
