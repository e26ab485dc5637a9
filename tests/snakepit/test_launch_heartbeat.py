"""Heartbeats, and waiting for the listener, without a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bridge.errors import BridgeError, Code
from bridge.snakepit_worker import listener
from bridge.snakepit_worker.heartbeat import MAX_SESSIONS, Heartbeats
from bridge.snakepit_worker.heartbeat_options import HeartbeatOptions
from bridge.snakepit_worker.listener import wait_for_listener

FAST = HeartbeatOptions(interval=0.001, max_missed=3)
GONE = BridgeError(Code.UNAVAILABLE, "nobody answers")


class Beam:
    """Answers as it is told to, and counts."""

    def __init__(self, *answers: bool | BridgeError) -> None:
        self._answers = iter(answers)
        self.beats: list[str] = []
        self.lost = asyncio.Event()
        self.over = asyncio.Event()

    async def beat(self, session_id: str, timeout: float) -> bool:
        assert timeout == FAST.timeout
        answer = next(self._answers, None)
        if answer is None:
            self.over.set()
            await asyncio.Event().wait()
        self.beats.append(session_id)
        if isinstance(answer, BridgeError):
            raise answer
        return bool(answer)


@asynccontextmanager
async def beating(beam: Beam, options: HeartbeatOptions = FAST) -> AsyncIterator[Heartbeats]:
    heartbeats = Heartbeats(beam.beat, options, beam.lost.set)
    try:
        async with asyncio.timeout(5):
            yield heartbeats
    finally:
        await heartbeats.aclose()


async def test_too_many_missed_in_a_row_mean_that_the_beam_is_lost() -> None:
    beam = Beam(True, GONE, GONE, GONE, True)
    async with beating(beam) as heartbeats:
        heartbeats.begin("s")
        await beam.lost.wait()
    assert len(beam.beats) == 4


async def test_answer_makes_up_for_what_was_missed() -> None:
    beam = Beam(GONE, GONE, True, GONE, GONE, True)
    async with beating(beam) as heartbeats:
        heartbeats.begin("s")
        await beam.over.wait()
    assert not beam.lost.is_set()


async def test_session_that_the_beam_has_forgotten_is_no_lost_beam() -> None:
    beam = Beam(False, False, False, False)
    async with beating(beam) as heartbeats:
        heartbeats.begin("s")
        await beam.over.wait()
    assert not beam.lost.is_set()


async def test_independent_worker_says_once_that_the_beam_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    beam = Beam(*[GONE] * 9)
    async with beating(beam, HeartbeatOptions(interval=0.001, dependent=False)) as heartbeats:
        heartbeats.begin("s")
        await beam.over.wait()
    assert not beam.lost.is_set()
    assert caplog.text.count("going on") == 1


async def test_session_that_is_over_is_beaten_for_no_more() -> None:
    beam = Beam(True, True)
    async with beating(beam) as heartbeats:
        heartbeats.begin("a")
        heartbeats.end("a")
        heartbeats.end("never begun")
        heartbeats.begin("b")
        await beam.over.wait()
    assert beam.beats == ["b", "b"]


async def test_session_that_begins_again_is_beaten_for_once() -> None:
    beam = Beam(True)
    async with beating(beam, HeartbeatOptions(interval=3600)) as heartbeats:
        heartbeats.begin("a")
        heartbeats.begin("a")
        for _ in range(5):
            await asyncio.sleep(0)
    assert beam.beats == ["a"]


async def test_sessions_that_are_beaten_for_are_bounded() -> None:
    beam = Beam(*[True] * 100)
    async with beating(beam, HeartbeatOptions(interval=3600)) as heartbeats:
        for number in range(100):
            heartbeats.begin(str(number))
        for _ in range(5):
            await asyncio.sleep(0)
    assert len(beam.beats) == MAX_SESSIONS


async def test_heartbeats_that_are_not_wanted_are_not_sent() -> None:
    beam = Beam(True)
    async with beating(beam, HeartbeatOptions(enabled=False)) as heartbeats:
        heartbeats.begin("a")
        await asyncio.sleep(0)
    assert beam.beats == []


# -- the listener ------------------------------------------------------------------------------------------------


def refusing(times: int) -> tuple[list[float], Callable[[float], Awaitable[object]]]:
    """A listener that answers after so many pings; what they were sent with."""
    asked: list[float] = []

    async def ping(timeout: float) -> object:
        asked.append(timeout)
        if len(asked) <= times:
            raise GONE
        return "pong"

    return asked, ping


@pytest.fixture
def without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_DELAY", 0.0)


@pytest.mark.usefixtures("without_delay")
async def test_listener_that_is_late_is_waited_for() -> None:
    asked, ping = refusing(9)
    await wait_for_listener(ping, "127.0.0.1:1", 10)
    assert asked == [1.0] * 10


@pytest.mark.usefixtures("without_delay")
async def test_listener_that_never_answers_is_given_up() -> None:
    asked, ping = refusing(10)
    with pytest.raises(
        BridgeError, match=r"did not answer at 127\.0\.0\.1:1, asked 10 times.*nobody answers"
    ) as caught:
        await wait_for_listener(ping, "127.0.0.1:1", 10)
    assert (caught.value.reason, len(asked)) == ("NO_LISTENER", 10)
