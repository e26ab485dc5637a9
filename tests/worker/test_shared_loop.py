"""The loop that its callers drive: who runs what, and that nobody is left waiting."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.worker import shared_loop
from bridge.worker.shared_loop import SharedLoop

NUMBER: ContextVar[int] = ContextVar("number")


async def nothing() -> None:
    return


async def who() -> int:
    return threading.get_ident()


@pytest.fixture
def loop() -> Iterator[SharedLoop]:
    shared = SharedLoop("shared-loop-test", nothing)
    yield shared
    shared.close()
    assert "shared-loop-test" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def threads(loop: SharedLoop) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
        loop.close()  # a test that has failed may have left some waiting


class Gate:
    """A coroutine that waits until it is opened, from any thread; and a sign that it has begun."""

    def __init__(self, loop: SharedLoop) -> None:
        self._loop = loop
        self._open: asyncio.Event
        self.begun = threading.Event()
        self.cancelled = threading.Event()
        self.driver = 0
        """The thread in which it went on."""

    async def wait(self) -> str:
        self._open = asyncio.Event()
        self.begun.set()
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.driver = threading.get_ident()
        return "open"

    async def insist(self) -> str:
        """As ``wait``, whatever cancels it."""
        waiting = asyncio.ensure_future(self.wait())
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                self.cancelled.set()
        return waiting.result()

    def open(self) -> None:
        self._loop.call_soon(self._open.set)


@pytest.fixture
def gate(loop: SharedLoop) -> Gate:
    return Gate(loop)


def begun(gate: Gate, future: Future[Any]) -> None:
    assert gate.begun.wait(5), future


# -- who drives ------------------------------------------------------------------------------------------------------


def test_a_coroutine_runs_in_the_thread_that_waits_for_it(loop: SharedLoop, threads: ThreadPoolExecutor) -> None:
    def call() -> bool:
        return loop.run(who()) == threading.get_ident()

    assert call()
    assert threads.submit(call).result(5)


def test_a_coroutine_has_the_context_of_its_caller(loop: SharedLoop, gate: Gate, threads: ThreadPoolExecutor) -> None:
    async def number() -> int:
        return NUMBER.get()

    def call() -> int:
        NUMBER.set(2)
        return loop.run(number())

    NUMBER.set(1)
    assert loop.run(number()) == 1
    leader = threads.submit(loop.run, gate.wait())
    begun(gate, leader)
    assert threads.submit(call).result(5) == 2, "also if another thread drives"
    gate.open()
    leader.result(5)


def test_an_error_reaches_the_thread_whose_call_it_is(
    loop: SharedLoop, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    async def fail() -> None:
        raise LookupError("mine")

    leader = threads.submit(loop.run, gate.wait())
    begun(gate, leader)
    with pytest.raises(LookupError, match="mine"):
        threads.submit(loop.run, fail()).result(5)
    gate.open()
    assert leader.result(5) == "open"
    with pytest.raises(LookupError, match="mine"):
        loop.run(fail())


def test_a_thread_that_waits_drives_on_when_the_driver_is_done(loop: SharedLoop, threads: ThreadPoolExecutor) -> None:
    first, second = Gate(loop), Gate(loop)
    leader = threads.submit(loop.run, first.wait())
    begun(first, leader)

    def call() -> int:
        loop.run(second.wait())
        return threading.get_ident()

    follower = threads.submit(call)
    begun(second, follower)
    first.open()
    assert leader.result(5) == "open"
    second.open()
    assert follower.result(5) == second.driver


def test_what_nobody_waits_for_goes_on_in_the_background(loop: SharedLoop) -> None:
    done = threading.Event()
    driver = []

    def later() -> None:
        driver.append(threading.get_ident())
        done.set()

    async def start() -> None:
        asyncio.get_running_loop().call_later(0.001, later)

    loop.run(start())
    assert done.wait(5)
    assert driver != [threading.get_ident()]


def test_a_caller_takes_over_from_the_background(loop: SharedLoop, gate: Gate) -> None:
    future = loop.submit(gate.wait())
    begun(gate, future)
    assert loop.run(who()) == threading.get_ident()
    gate.open()
    assert future.result(5) == "open"
    assert gate.driver != threading.get_ident()
    assert loop.run(who()) == threading.get_ident()


async def test_another_loop_can_await_what_was_submitted(loop: SharedLoop) -> None:
    async with asyncio.timeout(5):
        driver = await asyncio.wrap_future(loop.submit(who()))
    assert driver != threading.get_ident()


async def test_a_thread_with_a_running_loop_may_call_and_block(loop: SharedLoop) -> None:
    assert loop.run(who()) != threading.get_ident()


def test_cancelling_what_was_submitted_cancels_the_coroutine(loop: SharedLoop, gate: Gate) -> None:
    future = loop.submit(gate.wait())
    begun(gate, future)
    assert future.cancel()
    assert gate.cancelled.wait(5)


def test_a_blocking_call_in_the_loop_itself_is_refused(loop: SharedLoop) -> None:
    async def nested() -> None:
        loop.run(nothing())

    with pytest.raises(BridgeError) as caught:
        loop.run(nested())
    assert caught.value.reason == "WOULD_BLOCK"


def test_many_threads_with_calls_of_all_lengths_all_get_their_own_answer(loop: SharedLoop) -> None:
    async def work(number: int, kind: int) -> int:
        if kind == 1:
            await asyncio.sleep(0)
        elif kind == 2:
            await asyncio.sleep(number % 7 / 10_000)
        elif kind == 3:
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(number % 5)))
        return number

    wrong: list[object] = []

    def caller(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for step in range(150):
                number = seed * 1000 + step
                kind = chance.randrange(5)
                if kind == 4:
                    result = loop.submit(work(number, 1)).result(20)
                else:
                    result = loop.run(work(number, kind))
                if result != number:
                    wrong.append((number, result))
        except BaseException as error:  # noqa: BLE001 - it is told by the test
            wrong.append(error)

    callers = [threading.Thread(target=caller, args=(seed,), daemon=True) for seed in range(16)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(30)
    assert [thread for thread in callers if thread.is_alive()] == []
    assert wrong == []


# -- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupt() -> None:
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_cancels_the_call_of_the_main_thread_when_it_drives(loop: SharedLoop, gate: Gate) -> None:
    async def wait() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        await gate.wait()

    with pytest.raises(KeyboardInterrupt):
        loop.run(wait())
    assert gate.cancelled.is_set(), "it has ended when Ctrl-C is told"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert loop.run(who()) == threading.get_ident()


def test_ctrl_c_cancels_the_call_of_the_main_thread_when_another_one_drives(
    loop: SharedLoop, threads: ThreadPoolExecutor
) -> None:
    other, mine = Gate(loop), Gate(loop)
    leader = threads.submit(loop.run, other.wait())
    begun(other, leader)

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        await mine.wait()

    with pytest.raises(KeyboardInterrupt):
        loop.run(wait())
    assert mine.cancelled.is_set()
    assert not other.cancelled.is_set()
    other.open()
    assert leader.result(5) == "open"


@pytest.mark.parametrize("drives", [True, False], ids=["driving", "waiting"])
def test_ctrl_c_twice_leaves_a_call_that_does_not_end(
    loop: SharedLoop, threads: ThreadPoolExecutor, drives: bool
) -> None:
    other, mine = Gate(loop), Gate(loop)
    leader: Future[str] | None = None
    if not drives:
        leader = threads.submit(loop.run, other.wait())
        begun(other, leader)

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        asyncio.get_running_loop().call_later(0.02, interrupt)
        await mine.insist()

    too_late = threading.Timer(5, mine.open)
    too_late.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(wait())
    too_late.cancel()
    assert mine.cancelled.is_set()
    assert not mine.driver
    mine.open()
    if leader is not None:
        other.open()
        assert leader.result(5) == "open"
    assert loop.run(who()) == threading.get_ident()


def test_a_driver_that_is_thrown_out_of_the_loop_is_replaced(loop: SharedLoop, threads: ThreadPoolExecutor) -> None:
    mine, other = Gate(loop), Gate(loop)

    def throw() -> None:
        raise KeyboardInterrupt

    def follow_and_throw() -> str:
        assert mine.begun.wait(5)
        following = threads.submit(loop.run, other.wait())
        begun(other, following)
        loop.call_soon(throw)
        return following.result(10)

    following = threads.submit(follow_and_throw)
    with pytest.raises(KeyboardInterrupt):
        loop.run(mine.wait())
    assert mine.cancelled.wait(5)
    other.open()
    assert following.result(5) == "open"


class Alarm(Exception):
    """What a signal handler raises."""


def test_a_signal_handler_that_raises_leaves_the_others_alone(loop: SharedLoop, threads: ThreadPoolExecutor) -> None:
    def raise_it(*_: object) -> None:
        raise Alarm("by a handler")  # no OSError: asyncio swallows one if it comes while it wakes the loop

    other, mine, third = Gate(loop), Gate(loop), Gate(loop)
    main = threading.get_ident()

    def interrupt_main() -> None:
        begun(mine, leader)
        signal.pthread_kill(main, signal.SIGUSR1)

    leader = threads.submit(loop.run, other.wait())
    begun(other, leader)
    before = signal.signal(signal.SIGUSR1, raise_it)
    try:
        threads.submit(interrupt_main)
        with pytest.raises(Alarm, match="by a handler"):
            loop.run(mine.wait())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert mine.cancelled.wait(5)
    follower = threads.submit(loop.run, third.wait())
    begun(third, follower)
    other.open()
    assert leader.result(5) == "open"
    third.open()
    assert follower.result(5) == "open", "its turn came although the one before it has left"


# -- the end ---------------------------------------------------------------------------------------------------------


def test_close_runs_the_last_coroutine_and_ends_the_calls_of_other_threads(threads: ThreadPoolExecutor) -> None:
    last = threading.Event()

    async def note() -> None:
        last.set()

    loop = SharedLoop("closing", note)
    gates = [Gate(loop) for _ in range(3)]
    calls = [threads.submit(loop.run, gate.wait()) for gate in gates]
    for gate, call in zip(gates, calls, strict=True):
        begun(gate, call)
    loop.close()
    assert last.is_set()
    for call in calls:
        with pytest.raises(BridgeError) as caught:
            call.result(5)
        assert caught.value.reason == "CLOSED"
    with pytest.raises(BridgeError) as caught:
        loop.run(nothing())
    assert caught.value.reason == "CLOSED"
    with pytest.raises(BridgeError) as caught:
        loop.submit(nothing())
    assert caught.value.reason == "CLOSED"
    loop.close()
    assert "closing" not in [thread.name for thread in threading.enumerate()]


def test_close_does_not_wait_for_ever(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_loop, "STOP_TIMEOUT", 0.05)
    loop = SharedLoop("closing", nothing)

    async def never_ends(has_begun: threading.Event) -> None:
        has_begun.set()
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    calls = []
    for _ in range(3):  # one drives, and the others wait
        has_begun = threading.Event()
        calls.append(threads.submit(loop.run, never_ends(has_begun)))
        assert has_begun.wait(5)
    loop.close()
    for call in calls:
        with pytest.raises(BridgeError) as caught:
            call.result(5)
        assert caught.value.reason == "CLOSED"


def test_close_in_many_threads_that_still_call_ends_them_all() -> None:
    for _ in range(10):
        loop = SharedLoop("closing", nothing)
        outcomes: list[str] = []

        def caller(act: Callable[[], object], outcomes: list[str] = outcomes) -> None:
            try:
                while True:
                    act()
            except BridgeError as error:
                outcomes.append(error.reason)

        callers = [
            threading.Thread(target=caller, args=(lambda loop=loop: loop.run(asyncio.sleep(0)),), daemon=True)
            for _ in range(6)
        ]
        closers = [threading.Thread(target=loop.close, daemon=True) for _ in range(2)]
        for thread in callers + closers:
            thread.start()
        for thread in callers + closers:
            thread.join(10)
        assert outcomes == ["CLOSED"] * 6


def test_an_abandoned_loop_ends_by_itself() -> None:
    last = threading.Event()

    async def note() -> None:
        last.set()

    loop = SharedLoop("abandoned", note)
    loop.abandon()
    assert last.wait(5)
    loop._thread.join(5)
    assert not loop._thread.is_alive()


async def test_a_loop_can_be_closed_where_another_one_runs() -> None:
    last = threading.Event()

    async def note() -> None:
        last.set()

    loop = SharedLoop("closing", note)
    loop.close()
    assert last.is_set()
    assert not loop._thread.is_alive()


def test_a_forked_child_is_refused_and_does_the_parent_no_harm(loop: SharedLoop, gate: Gate) -> None:
    future = loop.submit(gate.wait())
    begun(gate, future)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, which is the point
        child = os.fork()
    if not child:
        try:
            loop.run(nothing())
        except BridgeError as error:
            os._exit(7 if error.reason == "FORKED" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    gate.open()
    assert future.result(5) == "open"


PROGRAM = """
import asyncio, sys, threading
from bridge.worker.shared_loop import SharedLoop
async def last():
    await asyncio.sleep(0)
    print("closed", flush=True)
loop = SharedLoop("left open", last)
loop.run(asyncio.sleep(0))
if sys.argv[1] == "waiting":
    begun = threading.Event()
    async def for_ever():
        begun.set()
        await asyncio.Event().wait()
    def wait():
        try:
            loop.run(for_ever())
        except Exception as error:
            print(error.reason, flush=True)
    threading.Thread(target=wait, daemon=True).start()
    begun.wait(5)
"""


@pytest.mark.parametrize("state", ["idle", "waiting"])
def test_the_end_of_the_interpreter_closes_it(state: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, state], capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[0] == "closed"
    assert ended.stderr == ""
