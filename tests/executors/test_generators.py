"""Plain generators go to the event loop in batches: to be woken for each value would cost more than most values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge import Adapter, tool
from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.host import NoHost
from bridge.tool_messages import pack_chunk
from bridge.worker.frames import CREDIT, Result
from bridge.worker.running import RunningCall
from tests.support.waiting import until

VALUES = 4000


class Fast(Adapter):
    @tool
    def numbers(self, n: int) -> Iterator[int]:
        yield from range(n)


class FastInProcesses(Fast):
    isolation = "process"


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Begins to note what the event loop is woken for: something happens, or another thread wants something."""

    def begin() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        notes: list[str] = []
        select, call = loop._selector.select, loop.call_soon_threadsafe

        def noted_select(timeout: float | None) -> Any:
            notes.append("select")
            return select(timeout)

        def noted_call(*args: Any, **options: Any) -> Any:
            notes.append("thread")
            return call(*args, **options)

        monkeypatch.setattr(loop._selector, "select", noted_select)
        monkeypatch.setattr(loop, "call_soon_threadsafe", noted_call)
        return notes

    return begin


@pytest.mark.parametrize("adapter", [Fast, FastInProcesses], ids=["thread", "process"])
async def test_a_fast_generator_wakes_the_server_once_for_many_values(
    start: Any, woken: Callable[[], list[str]], adapter: type
) -> None:
    server = await start(adapter, workers=1)
    taken: list[int] = []

    async def emit(chunk: Chunk) -> None:
        taken.append(chunk.value)

    call = ToolCall("numbers", {"n": VALUES}, NoHost(), streaming=True, emit=emit)
    async with asyncio.timeout(20):
        notes = woken()
        await asyncio.create_task(server.dispatcher.run(call))
    assert taken == [*range(VALUES)]
    assert notes.count("select") < VALUES / 4
    assert notes.count("thread") < VALUES / 4


async def test_credit_is_given_for_several_values_at_once() -> None:
    taken: list[int] = []
    given: list[int] = []
    go_on = asyncio.Semaphore(0)

    async def emit(chunk: Chunk) -> None:
        await go_on.acquire()
        taken.append(chunk.value)

    running = RunningCall(1, ToolCall("numbers", {}, NoHost(), streaming=True, emit=emit))
    relay = asyncio.create_task(running.relay(lambda credit: given.append(credit.chunks), pytest.fail))
    for number in range(CREDIT):
        assert running.add(pack_chunk(Chunk(number), number, final=False), None) == ""
    half = CREDIT // 2
    async with asyncio.timeout(5):
        for count, expected in ((half - 1, []), (1, [half]), (half - 1, [half]), (1, [half, half])):
            for _ in range(count):
                go_on.release()
            before = len(taken)
            await until(lambda: len(taken) == before + count)  # noqa: B023 - it is called here
            await asyncio.sleep(0)
            assert given == expected
        running.ended(Result(1, b""))
        assert await relay is NO_VALUE
    assert taken == [*range(CREDIT)]
