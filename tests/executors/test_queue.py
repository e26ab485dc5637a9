"""Places are handed on, whatever happens in the same turn of the loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge import BridgeError, Code
from bridge.call import ToolCall
from bridge.executors._queue import Queue
from bridge.host import NoHost

PLACE = "the place"


class Line:
    """A queue for one place, and what has become of that."""

    def __init__(self, limit: int = 4) -> None:
        self.free: list[str] = []
        self.waited: list[tuple[str, float]] = []
        self.queue: Queue[str] = Queue(
            "place",
            "--places",
            places=1,
            limit=limit,
            take_back=self.release,
            on_wait=lambda tool, seconds: self.waited.append((tool, seconds)),
        )

    def release(self, place: str = PLACE) -> None:
        if not self.queue.hand_on(place):
            self.free.append(place)

    async def enter(self, tool: str = "tool", *, first: bool = False) -> asyncio.Task[str]:
        """A call that waits."""
        waiting = asyncio.create_task(self.queue.wait(call(tool), self.queue.join(first=first)))
        await asyncio.sleep(0)
        return waiting


def call(tool: str = "tool", remaining: float | None = None) -> ToolCall:
    return ToolCall(tool, {}, NoHost(), deadline=None if remaining is None else time.monotonic() + remaining)


async def test_places_go_to_those_who_wait_in_their_order() -> None:
    line = Line()
    first, second = await line.enter("a"), await line.enter("b")
    before_all = await line.enter("c", first=True)
    for number, waiting in enumerate((before_all, first, second)):
        line.release(f"{number}")
        assert await waiting == f"{number}"
    assert [tool for tool, _ in line.waited] == ["c", "a", "b"]
    assert all(0 <= seconds < 5 for _, seconds in line.waited)
    assert line.free == []


async def test_a_wait_cancelled_as_the_place_comes_free_leaves_it_free() -> None:
    line = Line()
    waiting = await line.enter()
    waiting.cancel()
    line.release()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert line.free == [PLACE]


async def test_a_wait_cancelled_after_it_got_the_place_gives_it_back() -> None:
    line = Line()
    waiting = await line.enter()
    line.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert line.free == [PLACE]
    assert line.waited == []


async def test_a_place_given_back_goes_to_the_next() -> None:
    line = Line()
    waiting, following = await line.enter(), await line.enter()
    line.release()
    waiting.cancel()
    assert await following == PLACE
    assert line.free == []


async def test_a_wait_that_is_cancelled_makes_room_for_the_next() -> None:
    line = Line()
    first, second = await line.enter(), await line.enter()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(line.queue) == 1
    line.release()
    assert await second == PLACE


async def test_a_wait_that_has_failed_and_is_cancelled_gives_nothing_back() -> None:
    line = Line()
    waiting = await line.enter()
    line.queue.fail(BridgeError(Code.UNAVAILABLE, "none", reason="NONE"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert line.free == []


async def test_one_failure_is_for_one_who_waits_and_the_end_for_all() -> None:
    line = Line()
    waiting = [await line.enter() for _ in range(3)]
    line.queue.fail(BridgeError(Code.UNAVAILABLE, "one", reason="ONE"))
    line.queue.fail_all(BridgeError(Code.UNAVAILABLE, "all", reason="ALL"))
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [error.reason for error in errors if isinstance(error, BridgeError)] == ["ONE", "ALL", "ALL"]
    line.release()
    assert line.free == [PLACE]


async def test_a_call_behind_a_full_queue_is_refused_with_a_time_to_retry() -> None:
    line = Line(limit=1)
    line.queue.check(call())
    waiting = await line.enter()
    line.queue.note(10.0)
    with pytest.raises(BridgeError, match=r"tool 'b' was not started: 1 places are busy and 1 calls wait") as caught:
        line.queue.check(call("b"))
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
    assert caught.value.retry_after == 4.0
    waiting.cancel()


async def test_a_call_that_would_wait_beyond_its_deadline_is_refused() -> None:
    line = Line()
    line.queue.note(10.0)  # of which the average takes a fifth
    line.queue.check(call(remaining=5.0))
    with pytest.raises(BridgeError, match=r"free in about 2\.00 s, and the deadline is in [01]\.\d\d s \(--places\)"):
        line.queue.check(call(remaining=1.0))
