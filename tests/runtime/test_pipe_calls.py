"""What a plugin's worker makes of cancels, credit, pings and the end of its server."""

from __future__ import annotations

import asyncio
import collections
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from bridge.call import NO_VALUE
from bridge.errors import Code
from bridge.runtime import Adapter, SessionContext, tool
from bridge.runtime.frames import PONG, FrameReader, frame
from bridge.runtime.pipe import Pipe
from bridge.worker import frames
from tests.runtime.conftest import PROBES, StartWorker
from tests.support import probes
from tests.support.waiting import until
from tests.support.worker_pipe import refusal


@pytest.fixture(autouse=True)
def _one_journal(journal: probes.Journal) -> None:
    PROBES.journal = journal


# -- cancels -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_answered_when_its_tool_is_dead(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Cancel(number))
    if probe is probes.Inline:
        await journal.wait("ignored")
    pipe.send(frames.Cancel(number))
    pipe.send(frames.Ping(7))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 7
    assert not pipe.has_more(number)
    journal.release.set()
    assert await pipe.end(number) is None
    assert journal.count("ended") == 1
    assert journal.count("ignored") == (1 if probe is probes.Inline else 0)  # one cancel, not two
    assert await pipe.call("add", a=1) == 2


async def test_a_waiting_tool_is_told_of_its_cancel(start: StartWorker, probe: type, journal: probes.Journal) -> None:
    pipe = await start(probe)
    number = pipe.begin("hang")
    await journal.wait("started")
    pipe.send(frames.Cancel(number))
    message = await pipe.next(number)
    if probe is probes.Inline:
        assert isinstance(message, frames.Error)
    assert journal.count("ended") == 1


async def test_a_late_cancel_does_not_hit_the_next_call(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    first = pipe.begin("add", a=1)
    assert await pipe.end(first) == 2
    second = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Cancel(first))
    pipe.send(frames.Cancel(12345))
    pipe.send(frames.Credit(first, 3))
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 1
    journal.release.set()
    assert await pipe.end(second) is None
    assert journal.count("ignored") == 0


async def test_calls_wait_for_each_other_and_can_be_cancelled_meanwhile(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    first = pipe.begin("stubborn")
    await journal.wait("started")
    second, third = pipe.begin("add", a=1), pipe.begin("add", a=2)
    pipe.send(frames.Cancel(second))
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 1
    assert not pipe.has_more(third)
    journal.release.set()
    assert await pipe.end(first) is None
    assert (await refusal(pipe.end(second))).code is Code.CANCELLED
    assert await pipe.end(third) == 3


async def test_a_call_cancelled_before_it_began_never_begins(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    first = pipe.begin("stubborn")
    await journal.wait("started")
    second = pipe.begin("hang")
    pipe.send(frames.Cancel(second))
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        await pipe.pongs.get()
    journal.release.set()
    await pipe.end(first)
    assert (await refusal(pipe.end(second))).code is Code.CANCELLED
    assert journal.count("started") == 1
    assert await pipe.call("add", a=1) == 2


async def test_a_tool_without_a_reader_is_told_by_the_thread_that_reads(start: StartWorker) -> None:
    told: list[str] = []

    class Told(Adapter):
        @tool
        def waits(self, ctx: SessionContext) -> bool:
            ctx.cancelled.add_callback(lambda: told.append(threading.current_thread().name))
            return ctx.cancelled.wait_blocking(30)

    pipe = await start(Told)
    number = pipe.begin("waits")
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 1
    pipe.send(frames.Cancel(number))
    assert await pipe.end(number) is True
    assert told == ["bridge-watcher"]


# -- streams -------------------------------------------------------------------------------------------------------


async def test_a_generator_stops_when_nobody_takes_what_it_yields(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("pour", streaming=True)
    for _ in range(frames.CREDIT):
        assert isinstance(await pipe.next(number), frames.Chunk)
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 1
    assert not pipe.has_more(number)
    pipe.send(frames.Credit(number, 2))
    for _ in range(2):
        assert isinstance(await pipe.next(number), frames.Chunk)
    pipe.send(frames.Ping(2))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 2
    assert not pipe.has_more(number)
    assert journal.count("poured") == frames.CREDIT + 2
    pipe.send(frames.Cancel(number))
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    assert journal.count("closed") == 1


async def test_a_consumer_that_leaves_ends_a_generator_that_has_credit(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("endless", streaming=True)
    pipe.send(frames.Credit(number, 1_000_000))
    assert isinstance(await pipe.next(number), frames.Chunk)
    pipe.send(frames.Cancel(number))
    while isinstance(message := await pipe.next(number), frames.Chunk):
        pass
    assert isinstance(message, frames.Error)
    assert journal.count("closed") == 1


async def test_notes_of_progress_need_no_credit_and_come_in_order(start: StartWorker) -> None:
    class Chatty(Adapter):
        @tool
        async def chat(self, ctx: SessionContext) -> AsyncIterator[int]:
            for number in range(frames.CREDIT):
                yield number
            ctx.progress(0.5, "still here")
            yield 99

        @tool
        def chat_blocking(self, ctx: SessionContext) -> Iterator[int]:
            yield from range(frames.CREDIT)
            ctx.progress(0.5, "still here")
            yield 99

    pipe = await start(Chatty)
    for name in ("chat", "chat_blocking"):
        number = pipe.begin(name, streaming=True)
        got = [await pipe.next(number) for _ in range(frames.CREDIT + 1)]
        note = got[-1]
        assert isinstance(note, frames.Chunk)
        assert b"still here" in note.chunk
        assert not pipe.has_more(number)
        pipe.send(frames.Credit(number, 1))
        assert isinstance(await pipe.next(number), frames.Chunk)
        assert await pipe.end(number) is NO_VALUE


async def test_what_is_streamed_can_be_collected_and_a_limit_ends_that(
    start: StartWorker, probe: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = await start(probe)
    assert await pipe.call("collect", n=3) == [0, 1, 2]
    monkeypatch.setattr("bridge.runtime.invocation.MAX_COLLECTED", 2)
    assert (await refusal(pipe.call("collect", n=3))).reason == "TOO_MANY_VALUES"


# -- who reads -----------------------------------------------------------------------------------------------------


async def test_short_calls_need_no_second_thread_to_read(start: StartWorker) -> None:
    by_watcher: list[int] = []

    class Where(Adapter):
        @tool
        def here(self) -> str:
            return threading.current_thread().name

    pipe = await start(Where)
    watcher = pipe.worker.pipe._watcher
    receive = watcher._receive

    def counted() -> bool:
        by_watcher.append(1)
        return receive()

    watcher._receive = counted
    for _ in range(50):
        assert await pipe.call("here") == "runtime-worker"
    assert len(by_watcher) < 5  # a busy machine may make a call of milliseconds of one


async def test_a_ping_is_answered_whatever_runs(start: StartWorker, probe: type, journal: probes.Journal) -> None:
    pipe = await start(probe)
    number = pipe.begin("hang")
    await journal.wait("started")
    for ping in range(3):
        pipe.send(frames.Ping(ping))
        async with asyncio.timeout(5):
            assert await pipe.pongs.get() == ping
    pipe.send(frames.Cancel(number))
    await pipe.next(number)
    pipe.send(frames.Ping(9))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 9


async def test_after_a_long_call_the_main_thread_reads_again(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    for round_ in range(3):
        number = pipe.begin("stubborn")
        await journal.wait("started", round_ + 1)
        pipe.send(frames.Ping(round_))
        async with asyncio.timeout(5):
            assert await pipe.pongs.get() == round_
        journal.release.set()
        assert await pipe.end(number) is None
        for number in range(20):
            assert await pipe.call("add", a=number) == number + 1
        journal.release.clear()


async def test_the_watcher_sleeps_when_no_calls_come_and_wakes_for_the_next_long_one(
    start: StartWorker, journal: probes.Journal
) -> None:
    pipe = await start(probes.Threaded)
    assert await pipe.call("add", a=1) == 2
    watcher = pipe.worker.pipe._watcher
    async with asyncio.timeout(5):
        await until(lambda: watcher._is_parked)
    number = pipe.begin("hang")
    await journal.wait("started")
    pipe.send(frames.Cancel(number))
    assert await pipe.end(number) is None
    async with asyncio.timeout(5):
        await until(lambda: watcher._is_parked)


# -- the end -------------------------------------------------------------------------------------------------------


async def test_a_worker_that_is_told_to_end_finishes_what_runs(
    start: StartWorker, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Shutdown())
    late = pipe.begin("add", a=1)
    error = await refusal(pipe.end(late))
    assert (error.reason, error.retry_after) == ("DRAINING", 0.1)
    journal.release.set()
    assert await pipe.end(number) is None
    assert await pipe.ended() == 0


async def test_an_idle_worker_ends_at_once(start: StartWorker) -> None:
    pipe = await start(probes.Threaded)
    pipe.send(frames.Shutdown())
    assert await pipe.ended() == 0
    assert pipe.thread.lost == []


@pytest.mark.parametrize("tool", [None, "hang", "read", "silent"])
async def test_the_end_of_the_pipe_is_told_at_once(
    start: StartWorker, probe: type, journal: probes.Journal, tool: str | None
) -> None:
    pipe = await start(probe)
    if tool is not None:
        arguments = {"name": "x", "session_id": "0" * 32} if tool == "read" else {}
        pipe.begin(tool, streaming=tool == "silent", **arguments)  # type: ignore[arg-type]
        if tool == "read":
            async with asyncio.timeout(5):
                await pipe.asked.get()
        else:
            await journal.wait("started")
    pipe.close()
    await pipe.ended()
    assert pipe.thread.lost == [None]


async def test_nonsense_on_the_pipe_is_its_end(start: StartWorker) -> None:
    for nonsense in (b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x7f", b"\0\0\0\1\x01"):
        pipe = await start(probes.Threaded)
        pipe.send_bytes(nonsense)
        await pipe.ended()
        assert isinstance(pipe.thread.lost[0], (ValueError, KeyError))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 100, 1000])
def test_frames_may_come_cut_in_any_way(size: int) -> None:
    messages: list[Any] = [frames.Ping(1), frames.Cancel(2), frames.Answer(3, bytes(200)), frames.Shutdown()]
    data = b"".join(map(frames.encode, messages))
    reader = FrameReader()
    got = [message for at in range(0, len(data), size) for message in reader.feed(data[at : at + size])]
    assert got == [[8, 1], [2, 2], [4, 3, bytes(200)], [6]]
    assert [*reader.feed(frames.encode(messages[0]))] == [[8, 1]]


async def test_a_long_frame_comes_whole(start: StartWorker, probe: type) -> None:
    pipe = await start(probe)
    value: Any = ["x" * 1000] * 5000
    assert await pipe.call("echo", value=value) == value


async def test_a_record_that_comes_while_another_thread_sends_goes_after_it() -> None:
    ours, theirs = socket.socketpair()
    pipe = Pipe(theirs, print, print)
    long, late = frame(PONG, "x" * 4_000_000), frame(PONG, "late")
    with ours:
        sending = threading.Thread(target=pipe.send, args=(long,))
        sending.start()
        ours.settimeout(5)
        received = bytearray(ours.recv(1))  # it is in the middle of it
        pipe.waiting.append(late)
        pipe.send_waiting()
        while len(received) < len(long) + len(late):
            received += ours.recv(1 << 20)
        sending.join()
    assert received == long + late
    pipe.close()


async def test_a_cancel_that_comes_as_its_call_begins_is_heard(start: StartWorker) -> None:
    class Looks(Adapter):
        @tool
        def looks(self) -> bool:
            return self.context.cancelled.is_set()

    class Handing(collections.deque[Any]):
        """Has the thread that reads come in between."""

        def popleft(self) -> Any:
            call = super().popleft()
            worker._on_cancel([frames.Cancel.__struct_config__.tag, call.number])
            return call

    pipe = await start(Looks)
    worker = pipe.thread.worker
    worker._calls = Handing()
    assert (await refusal(pipe.call("looks"))).code is Code.CANCELLED
