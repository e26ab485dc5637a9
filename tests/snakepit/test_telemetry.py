"""Telemetry events over a real stream, to a client that behaves as Elixir does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.snakepit import messages
from bridge.snakepit.telemetry import TelemetrySource
from bridge.snakepit.telemetry_queue import EventQueue
from tests.snakepit.telemetry_stream import Pool, Stream, run, serving
from tests.support.waiting import until

QUIET = messages.TelemetryEventFilter(deny=["python.*.sampled"])
"""Keeps samples of memory and CPU out, which come by themselves."""


@pytest.fixture
def source() -> TelemetrySource:
    source = TelemetrySource()
    source._filter.obey(messages.TelemetryControl(filter=QUIET).SerializeToString())
    return source


@pytest.fixture
async def pool(source: TelemetrySource) -> AsyncIterator[Pool]:
    async with asyncio.timeout(20), serving(source) as pool:
        yield pool


async def obeyed(source: TelemetrySource, stream: Stream, **control: object) -> None:
    """Sends a control message and waits until it has its effect."""
    chance, enabled = source._filter.chance, source._filter.enabled
    await stream.control(**control)
    async with asyncio.timeout(5):
        await until(lambda: source._filter.chance is not chance or source._filter.enabled is not enabled)


# --- what events say


async def test_call_is_told_by_its_start_and_its_stop(source: TelemetrySource, pool: Pool) -> None:
    began = time.time_ns()
    await run(source, session_id="session_1", correlation_id="sp-1")
    stream = await pool.open()
    start, stop = await stream.next(), await stream.next()
    assert (start.name, stop.name) == ("tool.execution.start", "tool.execution.stop")
    assert start.metadata == stop.metadata == {"tool": "word_count", "session_id": "session_1"}
    assert start.correlation_id == stop.correlation_id == "sp-1"
    assert began <= start.measurements["system_time"] <= start.timestamp <= stop.timestamp <= time.time_ns()
    assert start.measurements.keys() == {"system_time", "count"}
    assert stop.measurements.keys() == {"duration", "count"}
    assert 0 < stop.measurements["duration"] < 10**9  # nanoseconds
    assert type(stop.measurements["duration"]) is int


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (BridgeError(Code.UNKNOWN, "no 'secret'", reason="KeyError"), ("KeyError", "UNKNOWN")),
        (BridgeError(Code.UNAVAILABLE, "it died", reason="WORKER_DIED"), ("WORKER_DIED", "UNAVAILABLE")),
        (ZeroDivisionError("secret"), ("ZeroDivisionError", "INTERNAL")),
    ],
)
async def test_failure_of_python_code_is_an_exception_and_an_error(
    source: TelemetrySource, pool: Pool, error: Exception, about: tuple[str, str]
) -> None:
    with pytest.raises(type(error)):
        await run(source, error)
    stream = await pool.open()
    start, stop, fault = await stream.next(), await stream.next(), await stream.next()
    assert (start.name, stop.name) == ("tool.execution.start", "tool.execution.exception")
    assert (fault.name, fault.measurements) == ("python.error.occurred", {"count": 1})
    assert stop.measurements.keys() == {"duration", "count"}
    assert (stop.metadata["error_type"], stop.metadata["grpc_status"]) == about
    assert fault.metadata == stop.metadata
    assert "secret" not in str((start, stop, fault))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BridgeError(Code.INVALID_ARGUMENT, "bad", reason="BAD", details=ErrorDetails()), "BAD"),
        (BridgeError(Code.DEADLINE_EXCEEDED, "late"), "BridgeError"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
async def test_failure_that_is_the_callers_is_an_exception_only(
    source: TelemetrySource, pool: Pool, error: BaseException, kind: str
) -> None:
    with pytest.raises(type(error)):
        await run(source, error)
    await run(source)
    stream = await pool.open()
    assert (await stream.next()).name == "tool.execution.start"
    failed = await stream.next()
    assert (failed.name, failed.metadata["error_type"]) == ("tool.execution.exception", kind)
    assert (await stream.next()).name == "tool.execution.start"


async def test_size_of_a_result_is_told(source: TelemetrySource, pool: Pool) -> None:
    source.result_size("word_count", 12)
    event = await (await pool.open()).next()
    assert (event.name, event.measurements, event.metadata) == (
        "tool.result_size",
        {"message_size": 12},
        {"tool": "word_count"},
    )


async def test_memory_and_cpu_are_sampled_while_a_stream_is_open() -> None:
    source = TelemetrySource(sample_interval=0.01)
    async with asyncio.timeout(20), serving(source) as pool:
        stream = await pool.open()
        memory, again, cpu = await stream.next(), await stream.next(), await stream.next()
    assert memory.name == again.name == "python.memory.sampled"
    assert 2**20 < memory.measurements["rss_bytes"] < memory.measurements["vms_bytes"]
    assert cpu.name == "python.cpu.sampled"
    assert cpu.measurements["cpu_percent"] >= 0.0


# --- streams


async def test_headers_come_before_any_event(pool: Pool) -> None:
    async with asyncio.timeout(5):
        await pool.open()


async def test_event_reaches_a_stream_that_waits(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    waiting = asyncio.create_task(stream.next())
    await until(lambda: source._queue._waiting)
    await run(source)
    assert (await waiting).name == "tool.execution.start"


async def test_event_of_another_thread_reaches_a_stream_that_waits(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    waiting = asyncio.create_task(stream.next())
    await until(lambda: source._queue._waiting)
    thread = threading.Thread(target=source.emit, args=("tool.result_size", {"bytes": 7}))
    thread.start()
    event = await waiting
    thread.join()
    assert event.measurements == {"bytes": 7}


async def test_stream_ends_at_its_deadline_and_the_next_goes_on(source: TelemetrySource, pool: Pool) -> None:
    first = await pool.open(timeout=0.2)
    await run(source, correlation_id="sp-1")
    assert await first.names(2) == ["tool.execution.start", "tool.execution.stop"]
    assert await first.call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await run(source, correlation_id="sp-2")
    assert (await (await pool.open()).next()).correlation_id == "sp-2"


async def test_taking_over_from_a_slow_client_loses_and_doubles_nothing(source: TelemetrySource, pool: Pool) -> None:
    for number in range(1000):
        source.emit("tool.result_size", {"bytes": number}, {"padding": "x" * 1000})
    slow = await pool.open()
    await slow.next()  # and no more: flow control stops the server, with an event in its hands
    second = await pool.open()
    got = [0, *(event.measurements["bytes"] for event in await slow.rest())]
    assert len(got) < 1000
    got += [(await second.next()).measurements["bytes"] for _ in range(1000 - len(got))]
    assert sorted(got) == list(range(1000))


async def test_second_stream_takes_over_and_the_first_ends_well(source: TelemetrySource, pool: Pool) -> None:
    first = await pool.open()
    await run(source)
    await first.names(2)
    second = await pool.open()
    assert await first.rest() == []
    await run(source)
    assert await second.names(2) == ["tool.execution.start", "tool.execution.stop"]


async def test_closing_sends_what_waits_and_ends_the_stream(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    await run(source)
    source.close()
    assert [event.name for event in await stream.rest()] == ["tool.execution.start", "tool.execution.stop"]


async def test_closing_ends_a_stream_that_waits(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    await until(lambda: source._queue._waiting)
    source.close()
    assert await stream.rest() == []
    assert await (await pool.open()).rest() == []


async def test_client_that_says_nothing_more_still_gets_events(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    await stream.call.done_writing()
    await run(source)
    assert await stream.names(2) == ["tool.execution.start", "tool.execution.stop"]


class Unwritable:
    """An RPC whose client takes nothing."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.error: Exception | None = None

    async def start(self) -> None: ...

    async def write(self, message: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.message = message
        self.writing.set()
        await asyncio.Event().wait()


async def no_controls() -> AsyncIterator[bytes]:
    return
    yield


async def test_event_that_could_not_be_written_waits_for_the_next_stream(source: TelemetrySource, pool: Pool) -> None:
    answer, rpc = source.methods()[0].duplex, Unwritable()
    assert answer is not None
    await run(source, correlation_id="sp-1")
    stuck = asyncio.create_task(answer(rpc, no_controls()))  # type: ignore[arg-type,func-returns-value]
    await rpc.writing.wait()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert source._queue._events[0] == rpc.message
    rpc.error = RuntimeError("the engine lost the client")
    with pytest.raises(BridgeError, match="client is gone") as caught:
        await answer(rpc, no_controls())  # type: ignore[arg-type]
    assert caught.value.code == Code.CANCELLED
    event = await (await pool.open()).next()
    assert (event.name, event.correlation_id) == ("tool.execution.start", "sp-1")


# --- the queue


async def test_first_events_wait_and_later_ones_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="bridge.snakepit")
    source = TelemetrySource(max_waiting=4)
    source._filter.obey(messages.TelemetryControl(filter=QUIET).SerializeToString())
    for number in range(5):
        await run(source, correlation_id=f"sp-{number}")
    source.emit("tool.result_size", {"bytes": 1})
    assert source.dropped == 7
    assert [record.message for record in caplog.records] == [
        "telemetry events are dropped from here on: 4 wait, and no stream takes them"
    ]
    async with asyncio.timeout(20), serving(source) as pool:
        stream = await pool.open()
        ids = [(await stream.next()).correlation_id for _ in range(4)]
        assert ids == ["sp-0", "sp-0", "sp-1", "sp-1"]
        assert "7 telemetry events were dropped" in caplog.records[-1].message
        await run(source, correlation_id="sp-9")
        assert (await stream.next()).correlation_id == "sp-9"
        await pool.open()
    assert len(caplog.records) == 2


async def test_event_that_came_before_the_waiting_ends_it() -> None:
    queue = EventQueue(1)
    queue.add(b"event")
    async with asyncio.timeout(5):
        await queue.wait()
    assert queue.take() == b"event"


async def test_threads_lose_no_event_and_count_every_drop() -> None:
    source = TelemetrySource(max_waiting=100)

    def emit() -> None:
        for _ in range(200):
            source.emit("tool.result_size", {"bytes": 1})

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(source._queue._events) == 100
    assert source.dropped == 700


# --- controls


async def test_toggle_stops_events_until_it_is_taken_back(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    await obeyed(source, stream, toggle=messages.TelemetryToggle(enabled=False))
    await run(source, correlation_id="sp-1")
    source.emit("tool.result_size", {"bytes": 1})
    source.result_size("word_count", 1)
    await obeyed(source, stream, toggle=messages.TelemetryToggle(enabled=True))
    await run(source, correlation_id="sp-2")
    assert (await stream.next()).correlation_id == "sp-2"
    assert source.dropped == 0


async def test_filter_lets_out_what_is_allowed_and_not_denied(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    wanted = messages.TelemetryEventFilter(allow=["tool.execution.*"], deny=["*.start"])
    await obeyed(source, stream, filter=wanted)
    source.result_size("word_count", 1)
    await run(source)
    assert (await stream.next()).name == "tool.execution.stop"


async def test_sampling_of_some_events_leaves_the_others(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    none = messages.TelemetrySamplingUpdate(sampling_rate=0.0, event_patterns=["tool.execution.*"])
    await obeyed(source, stream, sampling=none)
    await run(source)
    source.result_size("word_count", 1)
    assert (await stream.next()).name == "tool.result_size"


async def test_sampling_leaves_begin_and_end_of_a_call_together(source: TelemetrySource, pool: Pool) -> None:
    stream = await pool.open()
    await obeyed(source, stream, sampling=messages.TelemetrySamplingUpdate(sampling_rate=0.5))
    for _ in range(200):
        await run(source)
    source.close()
    names = [event.name.rpartition(".")[2] for event in await stream.rest()]
    assert 100 < len(names) < 300  # of 400
    assert names == ["start", "stop"] * (len(names) // 2)


async def test_refused_control_is_logged_and_ends_nothing(
    source: TelemetrySource, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="bridge.snakepit")
    stream = await pool.open()
    await stream.control(sampling=messages.TelemetrySamplingUpdate(sampling_rate=1.5))
    await stream.raw(b"\xff\xff not protobuf")
    await obeyed(source, stream, filter=messages.TelemetryEventFilter(deny=["*.stop"]))
    await run(source)
    await run(source)
    assert await stream.names(2) == ["tool.execution.start", "tool.execution.start"]
    (line,) = [record.message for record in caplog.records if record.name == "bridge.snakepit"]
    assert "sampling.sampling_rate: must be from 0 to 1" in line
