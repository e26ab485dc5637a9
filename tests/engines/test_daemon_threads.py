"""Threads for what blocks are few, are used again, and never hold up the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from bridge.engines.daemon_threads import DaemonThreads

BOUND = 10


@pytest.fixture
async def one() -> AsyncIterator[DaemonThreads]:
    threads = DaemonThreads(1)
    yield threads
    threads.close()


class Gate:
    """Holds up whoever passes."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.is_reached.set)
        assert self._open.wait(BOUND)
        return "through"

    def open(self) -> None:
        self._open.set()


async def test_what_waits_for_a_thread_runs_when_there_is_one_and_not_if_cancelled(one: DaemonThreads) -> None:
    ran: list[str] = []
    gate = Gate()
    async with asyncio.timeout(BOUND):
        first = asyncio.create_task(one.run(gate))
        await gate.is_reached.wait()
        second = asyncio.create_task(one.run(lambda: ran.append("second")))
        third = asyncio.create_task(one.run(lambda: ran.append("third")))
        await asyncio.sleep(0)
        second.cancel()
        gate.open()
        assert await first == "through"
        await third
    assert second.cancelled()
    assert ran == ["third"]


async def test_a_cancel_ends_the_waiting_and_not_the_function(one: DaemonThreads) -> None:
    gate = Gate()
    async with asyncio.timeout(BOUND):
        call = asyncio.create_task(one.run(gate))
        await gate.is_reached.wait()
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()
        gate.open()
        assert await one.run(lambda: "next") == "next"


@pytest.mark.parametrize(
    "error", [KeyError("x"), SystemExit(1), StopIteration()], ids=lambda error: type(error).__name__
)
async def test_whatever_a_function_raises_is_raised(one: DaemonThreads, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((KeyError, SystemExit, RuntimeError)) as caught:
        await one.run(fail)
    assert error in (caught.value, caught.value.__cause__)


async def test_threads_are_used_again_and_are_daemons() -> None:
    threads = DaemonThreads(8)
    seen = {await threads.run(threading.current_thread) for _ in range(20)}
    assert len(seen) == 1
    (thread,) = seen
    assert thread.daemon
    threads.close()
    await asyncio.to_thread(thread.join, BOUND)
    assert not thread.is_alive()


async def test_where_no_thread_can_be_made_the_next_one_can(
    one: DaemonThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with asyncio.timeout(BOUND):
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await one.run(lambda: 1)
        assert await one.run(lambda: 2) == 2


async def test_as_many_threads_run_at_once_as_are_needed() -> None:
    threads = DaemonThreads(4)
    meeting = threading.Barrier(4)
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(threads.run(lambda: meeting.wait(BOUND)) for _ in range(4)))
    threads.close()
