"""Fixtures: nurseries that end with their test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.worker.nursery import Newborn, Nursery
from tests.worker.talking import Talk

SAMPLE = "tests.worker.sample:Sample"
OBEY = "tests.worker.targets:obey"

StartNursery = Callable[..., Awaitable[Nursery]]
StartWorker = Callable[[Nursery], Awaitable[tuple[Newborn, Talk]]]
WriteAdapter = Callable[[str, str], str]


@pytest.fixture
async def start_nursery() -> AsyncIterator[StartNursery]:
    """``await start_nursery(*adapters, **parameters)``"""
    async with AsyncExitStack() as stack:

        async def start(*adapters: str, **parameters: Any) -> Nursery:
            nursery = Nursery(adapters or [SAMPLE], **{"target": OBEY, **parameters})
            stack.push_async_callback(nursery.aclose)
            async with asyncio.timeout(20):
                await nursery.start()
            return nursery

        yield start


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
