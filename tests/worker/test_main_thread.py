"""The event loop and blocking functions take turns in one thread, and neither waits long for the other."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from bridge.call import Chunk
from bridge.cancel_event import CancelEvent
from bridge.worker import main_thread
from bridge.worker.main_thread import MainThread
from tests.worker.pids import open_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")

VARIABLE = ContextVar("VARIABLE", default="")

Test = Callable[[MainThread], Coroutine[Any, Any, Any]]


def live(test: Test) -> Any:
    """Runs a test in a main thread of its own."""
    main = MainThread()

    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await test(main)

    return main.live(bounded())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop stands still until somebody asks for it."""
    monkeypatch.setattr(main_thread, "PATIENCE", 60.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deputy has the loop nearly at once."""
    monkeypatch.setattr(main_thread, "PATIENCE", 0.0005)


def test_a_function_runs_in_the_main_thread_and_so_does_the_loop_around_it(patient: None) -> None:
    async def test(main: MainThread) -> list[int]:
        return [threading.get_ident(), await main.call(threading.get_ident), threading.get_ident()]

    assert live(test) == [threading.get_ident()] * 3


def test_errors_and_context_come_through() -> None:
    async def test(main: MainThread) -> None:
        VARIABLE.set("seen")
        assert await main.call(VARIABLE.get) == "seen"
        with pytest.raises(KeyError, match="missing"):
            await main.call(lambda: {}["missing"])
        with pytest.raises(SystemExit):
            await main.call(lambda: sys.exit(3))

    live(test)


def test_a_function_may_run_a_loop_of_its_own(patient: None) -> None:
    async def test(main: MainThread) -> Any:
        return await main.call(lambda: asyncio.run(asyncio.sleep(0, "slept")))

    assert live(test) == "slept"


def test_a_function_that_takes_long_does_not_stop_the_loop(impatient: None) -> None:
    async def test(main: MainThread) -> None:
        let_go, seen = threading.Event(), []

        def from_the_loop() -> None:
            seen.append(threading.get_ident())
            let_go.set()

        asyncio.get_running_loop().call_later(0.01, from_the_loop)
        assert await main.call(lambda: let_go.wait(5))
        assert seen[0] != threading.get_ident()
        assert await main.call(threading.get_ident) == threading.get_ident() == threading.main_thread().ident

    live(test)


def test_what_a_function_asks_of_the_loop_is_done_at_once(patient: None) -> None:
    async def test(main: MainThread) -> None:
        loop = asyncio.get_running_loop()

        def ask() -> str:
            return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "answer"), loop).result(5)

        for _ in range(3):
            assert await main.call(ask) == "answer"
            assert await main.call(threading.get_ident) == threading.get_ident()

    live(test)


def test_a_cancel_is_told_and_answered_when_the_function_has_ended(impatient: None) -> None:
    async def test(main: MainThread) -> list[str]:
        events: list[str] = []
        main.cancelled = cancelled = CancelEvent()
        begun = threading.Event()

        def function() -> None:
            begun.set()
            events.append("told" if cancelled.wait_blocking(5) else "not told")
            events.append("ended")

        call = asyncio.ensure_future(main.call(function))
        await asyncio.to_thread(begun.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return events

    assert live(test) == ["told", "ended"]


def test_a_main_thread_that_is_given_up_keeps_nobody(impatient: None) -> None:
    async def test(main: MainThread) -> None:
        let_go = threading.Event()
        call = asyncio.ensure_future(main.call(lambda: let_go.wait(10)))
        await asyncio.sleep(0)
        await main.aclose()  # in the deputy: the main thread is in the function
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(asyncio.CancelledError):
            await main.call(int)
        let_go.set()

    live(test)


def test_a_generator_is_taken_in_order_and_no_faster_than_its_values_go(patient: None) -> None:
    async def test(main: MainThread) -> None:
        made, taken = [0], []

        def values() -> Iterator[int]:
            for number in range(500):
                made[0] = number
                yield number

        async def emit(chunk: Chunk) -> None:
            assert made[0] - chunk.value < 100
            taken.append(chunk.value)
            await asyncio.sleep(0)

        await main.pump(values(), emit)
        assert taken == list(range(500))

    live(test)


def test_what_ends_the_loop_ends_it_also_in_the_other_thread(impatient: None) -> None:
    async def test(main: MainThread) -> None:
        let_go = threading.Event()

        def end() -> None:
            let_go.set()
            sys.exit("the loop is over")

        asyncio.get_running_loop().call_later(0.01, end)
        await main.call(lambda: let_go.wait(5))
        raise AssertionError("the loop went on")

    with pytest.raises(SystemExit, match="the loop is over"):
        live(test)


def test_the_loop_is_in_one_thread_at_a_time_whenever_functions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_thread, "PATIENCE", 0.001)
    random_ = random.Random(7)

    async def test(main: MainThread) -> int:
        inside, ticks = threading.Lock(), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                assert inside.acquire(blocking=False), "the loop runs in two threads"
                ticks += 1
                inside.release()
                await asyncio.sleep(random_.choice([0, 0.0005, 0.001]))

        def function(seconds: float) -> float:
            time.sleep(seconds)
            return seconds

        ticking = asyncio.ensure_future(tick())
        for _ in range(300):
            seconds = random_.choice([0.0, 0.0005, 0.001, 0.0011, 0.002])
            assert await main.call(lambda seconds=seconds: function(seconds)) == seconds
            assert not ticking.done()
            assert threading.get_ident() == threading.main_thread().ident
        ticking.cancel()
        return ticks

    assert live(test) > 300


def test_functions_that_are_short_do_not_need_the_deputy_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main_thread, "PATIENCE", 0.1)

    async def test(main: MainThread) -> set[int]:
        drivers: set[int] = set()
        run_forever = main._loop.run_forever

        def noted() -> None:
            drivers.add(threading.get_ident())
            run_forever()

        monkeypatch.setattr(main._loop, "run_forever", noted)
        for _ in range(150):
            await main.call(lambda: time.sleep(0.002))
        return drivers

    assert live(test) == {threading.get_ident()}


def test_an_alarm_that_goes_off_when_its_function_has_ended_means_nothing(impatient: None) -> None:
    async def test(main: MainThread) -> None:
        for _ in range(10):
            assert await main.call(int) == 0
            await asyncio.sleep(0.002)
            assert await main.call(lambda: time.sleep(0.002)) is None

    live(test)


def test_its_end_leaves_no_thread_and_no_descriptor() -> None:
    async def test(main: MainThread) -> None:
        await main.call(int)

    live(test)
    before = (threading.active_count(), open_files())
    for _ in range(20):
        live(test)
    assert (threading.active_count(), open_files()) == before
