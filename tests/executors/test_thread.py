"""What only the thread executor can show: threads are handed on, whatever happens in the same turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.executors.thread import ThreadExecutor


@pytest.fixture
async def taken() -> AsyncIterator[tuple[ThreadExecutor, Any]]:
    """An executor of one thread, and that thread, which is taken."""
    executor = ThreadExecutor(threads=1, queue_size=4)
    worker = await executor._acquire(None)  # type: ignore[arg-type]
    yield executor, worker
    await executor.aclose()


async def waiting_for(executor: ThreadExecutor) -> asyncio.Task[Any]:
    task = asyncio.create_task(executor._acquire(None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task


async def test_a_wait_cancelled_as_the_thread_comes_free_leaves_the_thread_free(taken: Any) -> None:
    executor, worker = taken
    waiting = await waiting_for(executor)
    waiting.cancel()
    executor._release(worker)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert executor._idle == [worker]


async def test_a_wait_cancelled_after_it_got_the_thread_gives_it_back(taken: Any) -> None:
    executor, worker = taken
    waiting = await waiting_for(executor)
    executor._release(worker)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert executor._idle == [worker]


async def test_a_wait_that_is_cancelled_makes_room_for_the_next(taken: Any) -> None:
    executor, worker = taken
    first, second = await waiting_for(executor), await waiting_for(executor)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    executor._release(worker)
    assert await second is worker
