"""What a worker makes of what its server sends, frame by frame."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.call_path import CALL_PATH, enclosing, path_below
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.host import CallScope, Host, NoHost
from bridge.hosts.memory import InMemoryHost
from bridge.invocation import ErrorPolicy, Invocation
from bridge.registry import Registry
from bridge.session import SessionContext as Context
from bridge.status import read_status, to_status
from bridge.tool_messages import pack_call, pack_chunk
from bridge.variables import Write
from bridge.worker import frames
from bridge.worker.agent import TERMINATED, Agent
from bridge.worker.logs import MAX_RECORDS, MAX_TEXT
from tests.support import probes
from tests.support.worker_pipe import Pipe

Start = Callable[..., Awaitable[Pipe]]


class Ends:
    """How the agents of a test have ended."""

    def __init__(self) -> None:
        self.orphaned: list[BaseException | None] = []
        self.agents: list[Agent] = []
        self.codes: list[asyncio.Task[int]] = []


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture(params=[probes.Inline, probes.Threaded], ids=["async", "plain"])
def probe(request: pytest.FixtureRequest, journal: probes.Journal) -> type:
    """Async and plain tools of one behaviour."""
    adapter: type = request.param
    return adapter


@pytest.fixture
async def start(ends: Ends, journal: probes.Journal) -> AsyncIterator[Start]:
    """Runs an agent in this process and gives the other end of its pipe: ``pipe = await start(Adapter, host=...)``."""
    async with AsyncExitStack() as stack:

        async def start(*adapters: type, host: Host | None = None) -> Pipe:
            ours, theirs = socket.socketpair()
            agent = Agent(adapters, ends.orphaned.append)
            ends.agents.append(agent)
            serving = asyncio.create_task(agent.serve(theirs))
            ends.codes.append(serving)
            stack.push_async_callback(asyncio.wait, (serving,), timeout=5)
            pipe = await Pipe.open(ours, host)
            stack.callback(pipe.close)
            return pipe

        yield start
        probes.journal.release.set()
    for code in ends.codes:
        assert code.done(), "the agent has ended"


async def _refusal(awaitable: Awaitable[Any]) -> BridgeError:
    with pytest.raises(BridgeError) as refusal:
        await awaitable
    return refusal.value


async def _ended(code: asyncio.Task[int]) -> int:
    async with asyncio.timeout(5):
        return await code


# -- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "text", b"", bytes(300_000), [1, {"a": None}], 2.5])
async def test_a_value_goes_in_and_comes_out(start: Start, probe: type, value: Any) -> None:
    pipe = await start(probe)
    assert await pipe.call("echo", value=value) == value


async def test_a_tool_sees_its_call(start: Start, probe: type) -> None:
    pipe = await start(probe)
    facts = await pipe.call("whoami", session_id="s", metadata={"a": "b"}, principal="alice", remaining=60.0)
    assert facts == {
        "tool": "whoami",
        "session": "s",
        "metadata": {"a": "b"},
        "principal": "alice",
        "has_deadline": True,
        "thread": probe is probes.Threaded,
    }
    assert 0 < await pipe.call("remaining", remaining=60.0) <= 60
    assert await pipe.call("remaining") is None


async def test_calls_run_beside_each_other(start: Start, probe: type, journal: probes.Journal) -> None:
    pipe = await start(probe)
    hanging = pipe.begin("hang")
    await journal.wait("started")
    assert await pipe.call("add", a=1) == 2
    pipe.send(frames.Cancel(hanging))
    assert (await _refusal(pipe.end(hanging))).code is Code.CANCELLED


async def test_what_cannot_be_run_is_refused_and_the_worker_goes_on(start: Start, probe: type) -> None:
    pipe = await start(probe)
    assert (await _refusal(pipe.call("nothing"))).reason == "TOOL_NOT_FOUND"
    assert (await _refusal(pipe.call("add", a="x"))).code is Code.INVALID_ARGUMENT
    assert (await _refusal(pipe.call("count", n=1))).reason == "STREAMING_TOOL"
    number = pipe.begin("add", a=1)
    assert await pipe.end(number) == 2
    pipe._calls[100] = asyncio.Queue()
    pipe.send(frames.Call(100, b"\xff", {}, None, "", False))
    assert (await _refusal(pipe.end(100))).reason == "MALFORMED_REQUEST"
    assert await pipe.call("collect", n=3) == [0, 1, 2]


# -- errors --------------------------------------------------------------------------------------------------------


class Odd(Adapter):
    """Gives what cannot be carried, both ways."""

    @tool
    async def gives(self) -> Any:
        return object()

    @tool
    def gives_blocking(self) -> Any:
        return object()

    @tool
    async def yields(self) -> AsyncIterator[Any]:
        yield 1
        yield object()

    @tool
    async def raises_nonsense(self) -> None:
        raise BridgeError("no code", 7)  # type: ignore[arg-type]


async def _run_here(adapter: type, name: str, policy: ErrorPolicy, **arguments: Any) -> BridgeError:
    """What the executors of a server make of a failing call."""
    entry = Registry([adapter])[name]
    call = ToolCall(name, arguments, NoHost())
    context = Context(call, asyncio.get_running_loop(), _task=asyncio.current_task())
    executor = InlineExecutor() if entry.tool.is_async else ThreadExecutor(1, 1)
    error = await _refusal(executor.run(Invocation(entry, call, context, policy)))
    await executor.aclose()
    return read_status(to_status(error))


def _facts(error: BridgeError) -> tuple[Any, ...]:
    metadata = {key: value for key, value in error.details.metadata.items() if key != "error_id"}
    return (error.code, error.reason, metadata, error.retry_after, error.violations)


@pytest.mark.parametrize("kind", [*probes.FAILURES, "tool"])
async def test_a_failure_looks_as_it_does_without_a_pipe(start: Start, probe: type, kind: str) -> None:
    pipe = await start(probe)
    there = await _refusal(pipe.call("fail", kind=kind))
    here = await _run_here(probe, "fail", ErrorPolicy(), kind=kind)
    assert _facts(there) == _facts(here)
    assert there.message == here.message
    assert await pipe.call("add", a=1) == 2


async def test_the_servers_policy_about_errors_is_obeyed(start: Start, probe: type) -> None:
    pipe = await start(probe)
    pipe.send(frames.Settings(redact=True))
    redacted = await _refusal(pipe.call("fail", kind="value"))
    assert "a plain mistake" not in redacted.message
    assert redacted.details.metadata["error_id"] in redacted.message
    pipe.send(frames.Settings(debug=True))
    shown = await _refusal(pipe.call("fail", kind="value"))
    assert "a plain mistake" in shown.message
    assert "Traceback" in (shown.details.debug or "")


async def test_a_value_that_cannot_be_carried_is_the_tools_mistake(start: Start) -> None:
    pipe = await start(Odd)
    for name in ("gives", "gives_blocking"):
        error = await _refusal(pipe.call(name))
        assert (error.code, error.reason) == (Code.UNKNOWN, "UNSUPPORTED_RESULT")
    number = pipe.begin("yields", streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    assert (await _refusal(pipe.end(number))).reason == "UNSUPPORTED_RESULT"


async def test_an_error_that_is_none_is_a_bug(start: Start) -> None:
    pipe = await start(Odd)
    assert (await _refusal(pipe.call("raises_nonsense"))).code is Code.INTERNAL


async def test_what_is_too_large_is_refused_before_it_is_sent(start: Start, probe: type) -> None:
    pipe = await start(probe, host=InMemoryHost())
    pipe.send(frames.Settings(max_message_bytes=1000))
    assert (await _refusal(pipe.call("echo", value=bytes(1001)))).reason == "MESSAGE_TOO_LARGE"
    number = pipe.begin("sizes", pattern=[10, 1001], streaming=True)
    with pytest.raises(BridgeError) as caught:
        async for _ in pipe.chunks(number):
            pass
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    asked = pipe.call("write", name="x", value=bytes(1001), session_id="0" * 32)
    assert (await _refusal(asked)).reason == "MESSAGE_TOO_LARGE"


# -- streams -------------------------------------------------------------------------------------------------------


async def test_a_stream_comes_in_order_and_ends(start: Start, probe: type) -> None:
    pipe = await start(probe)
    chunks = [chunk async for chunk in pipe.chunks(pipe.begin("sizes", pattern=[*range(50)], streaming=True))]
    assert [len(chunk.data) for chunk in chunks if chunk.HasField("data")] == [*range(50)]
    assert [chunk.sequence for chunk in chunks] == [*range(len(chunks))]
    assert not any(chunk.is_final for chunk in chunks)


async def test_a_value_of_a_plain_tool_ends_the_stream_it_is_asked_as(start: Start, probe: type) -> None:
    pipe = await start(probe)
    assert await pipe.call("add", a=1, streaming=True) == 2
    assert await pipe.call("count", n=0, streaming=True) is NO_VALUE


async def test_an_error_comes_after_what_was_yielded_before_it(start: Start, probe: type) -> None:
    pipe = await start(probe)
    number = pipe.begin("fail_midway", n=2, streaming=True)
    for _ in range(2):
        assert isinstance(await pipe.next(number), frames.Chunk)
    assert (await _refusal(pipe.end(number))).message == "ValueError: midway"


async def test_a_generator_stops_when_nobody_takes_what_it_yields(
    start: Start, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("pour", streaming=True)
    for _ in range(frames.CREDIT):
        assert isinstance(await pipe.next(number), frames.Chunk)
    assert await pipe.call("add", a=1) == 2  # whatever was on its way has come
    assert not pipe.has_more(number)
    pipe.send(frames.Credit(number, 2))
    for _ in range(2):
        assert isinstance(await pipe.next(number), frames.Chunk)
    assert await pipe.call("add", a=1) == 2
    assert not pipe.has_more(number)
    assert journal.count("poured") < 80  # credit, and twice the room between a thread and the loop
    pipe.send(frames.Cancel(number))
    assert (await _refusal(pipe.end(number))).code is Code.CANCELLED
    assert journal.count("closed") == 1


async def test_notes_of_progress_need_no_credit(start: Start, journal: probes.Journal) -> None:
    class Chatty(Adapter):
        @tool
        async def chat(self, ctx: SessionContext) -> AsyncIterator[int]:
            for number in range(frames.CREDIT):
                yield number
            ctx.progress(0.5, "still here")
            await ctx.flush()
            yield 99

    pipe = await start(Chatty)
    number = pipe.begin("chat", streaming=True)
    got = [await pipe.next(number) for _ in range(frames.CREDIT + 1)]
    note = got[-1]
    assert isinstance(note, frames.Chunk)
    assert b"still here" in note.chunk
    assert not pipe.has_more(number)
    pipe.send(frames.Credit(number, 1))
    assert isinstance(await pipe.next(number), frames.Chunk)
    assert await pipe.end(number) is NO_VALUE


# -- cancels -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_answered_when_its_tool_is_dead(
    start: Start, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Cancel(number))
    if probe is probes.Inline:
        await journal.wait("ignored")
    pipe.send(frames.Cancel(number))
    assert await pipe.call("add", a=1) == 2
    assert not pipe.has_more(number)
    journal.release.set()
    message = await pipe.next(number)
    assert journal.count("ended") == 1
    assert journal.count("ignored") == (1 if probe is probes.Inline else 0)  # one cancel, not two
    if isinstance(message, frames.Error):
        assert read_status(message.status).code is Code.CANCELLED


async def test_what_a_cancelled_tool_returns_all_the_same_is_its_result(start: Start, journal: probes.Journal) -> None:
    class Stubborn(Adapter):
        @tool
        async def returns(self, ctx: SessionContext) -> bool:
            journal.add("started")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
            return ctx.cancelled.is_set()

    pipe = await start(Stubborn)
    number = pipe.begin("returns")
    await journal.wait("started")
    pipe.send(frames.Cancel(number))
    assert await pipe.end(number) is True


async def test_a_call_cancelled_before_it_began_never_begins(
    start: Start, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("hang")
    pipe.send(frames.Cancel(number))
    assert (await _refusal(pipe.end(number))).code is Code.CANCELLED
    assert journal.count("started") == 0
    assert await pipe.call("add", a=1) == 2


async def test_a_late_cancel_does_not_hit_the_next_call(start: Start, probe: type, journal: probes.Journal) -> None:
    pipe = await start(probe)
    first = pipe.begin("add", a=1)
    assert await pipe.end(first) == 2
    second = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Cancel(first))
    pipe.send(frames.Cancel(12345))
    pipe.send(frames.Credit(first, 3))
    assert await pipe.call("add", a=1) == 2
    journal.release.set()
    assert await pipe.end(second) is None
    assert journal.count("ignored") == 0


async def test_a_cancel_takes_questions_to_the_host_back(start: Start, probe: type) -> None:
    pipe = await start(probe)
    number = pipe.begin("read", name="x", session_id="0" * 32)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert (ask.call, ask.path) == (number, "/bridge.v1.HostService/GetVariables")
        pipe.send(frames.Cancel(number))
        assert await pipe.asked.get() == frames.AskCancel(ask.id)
    assert (await _refusal(pipe.end(number))).code is Code.CANCELLED
    pipe.send(frames.Answer(ask.id, b"late"))
    pipe.send(frames.AnswerEnd(ask.id, b""))
    assert await pipe.call("add", a=1) == 2


async def test_code_of_a_call_knows_what_it_runs_for_and_what_it_left_behind_does_not(start: Start) -> None:
    left: list[asyncio.Task[Any]] = []
    go_on = asyncio.Event()

    class Nested(Adapter):
        @tool
        async def path(self) -> str:
            async def later() -> Any:
                await go_on.wait()
                return enclosing()

            around = enclosing()
            assert around is not None
            assert around.call is not None
            left.append(asyncio.create_task(later()))
            return path_below(around.call)

    pipe = await start(Nested)
    assert await pipe.call("path", headers={CALL_PATH: "outer"}) == "outer,path"
    go_on.set()
    async with asyncio.timeout(5):
        assert await left[0] is None


# -- the host ------------------------------------------------------------------------------------------------------


class Variables(Adapter):
    @tool
    async def everything(self, ctx: SessionContext) -> list[Any]:
        first = await ctx.set("n", 1, metadata={"unit": "m"})
        added = await ctx.update("n", lambda n: n + 1)
        back = await ctx.rollback("n", first)
        many = await ctx.set_many({"a": [1], "b": b"raw"})
        history = [(int(update.kind), update.variable.value) for update in await ctx.history("n") if update.variable]
        await ctx.delete("b")
        found = await ctx.get_many(["a", "b"])
        names = [variable.name for variable in await ctx.list()]
        return [first, added, back.version, back.changed_by, dict(many), history, found, names]

    @tool
    def everything_blocking(self, ctx: SessionContext) -> list[Any]:
        ctx.sync.set("m", {"deep": [None, 2.5]})
        return [ctx.sync.get("m"), ctx["m"], "none" in ctx, ctx.sync.update("m", lambda m: len(m))]

    @tool
    async def watches(self, ctx: SessionContext, count: int) -> list[Any]:
        seen: list[Any] = []
        await ctx.set("w", 0)
        async with ctx.watch("w", initial=True) as watch:
            async for update in watch:
                seen.append(update.variable.value if update.variable else None)
                if len(seen) == count:
                    break
                await ctx.set("w", len(seen))
        return seen

    @tool(reads=["declared"])
    async def declares(self, ctx: SessionContext) -> Any:
        return await ctx.get("declared", "none")

    @tool(reads=["declared"])
    async def does_without(self) -> str:
        return "done"

    @tool
    async def calls(self, ctx: SessionContext, value: int) -> Any:
        return await ctx.call("double", value=value)

    @tool
    async def streams(self, ctx: SessionContext, n: int) -> list[Any]:
        return [value async for value in ctx.stream("count", n=n)]

    @tool
    async def takes_one(self, ctx: SessionContext) -> Any:
        values = ctx.stream("count", n=1_000_000)
        first = await anext(values)
        await values.aclose()
        return first


class Tools:
    """Runs two tools for a host."""

    async def run(self, call: ToolCall) -> Any:
        if call.tool == "double":
            return 2 * call.arguments["value"]
        for number in range(call.arguments["n"]):
            await call.emit(Chunk(number))
        return NO_VALUE


@pytest.fixture
async def host() -> AsyncIterator[InMemoryHost]:
    host = InMemoryHost(tools=Tools())
    yield host
    await host.aclose()


@pytest.fixture
async def session_id(host: InMemoryHost) -> str:
    return (await host.open_session(CallScope())).session_id


async def test_variables_work_through_the_pipe(start: Start, host: InMemoryHost, session_id: str) -> None:
    pipe = await start(Variables, host=host)
    first, added, version, changed_by, many, history, found, names = await pipe.call(
        "everything", session_id=session_id
    )
    assert (first, added, version, changed_by) == (1, 2, 3, "tool:everything")
    assert many == {"a": 1, "b": 1}
    assert history == [[2, 1], [2, 2], [2, 1]]
    assert (found, names) == ({"a": [1]}, ["a", "n"])
    blocking = await pipe.call("everything_blocking", session_id=session_id)
    assert blocking == [{"deep": [None, 2.5]}, {"deep": [None, 2.5]}, False, 1]


async def test_declared_reads_are_there_and_a_call_without_host_goes_on_without(
    start: Start, host: InMemoryHost, session_id: str
) -> None:
    await host.set_variables(CallScope(session_id), [Write(name="declared", value=7)])
    pipe = await start(Variables, host=host)
    assert await pipe.call("declares", session_id=session_id) == 7
    alone = await start(Variables, host=NoHost())
    error = await _refusal(alone.call("declares", session_id=session_id))
    assert error.reason == "NO_HOST"
    assert await alone.call("does_without", session_id=session_id) == "done"
    assert (await _refusal(pipe.call("everything"))).reason == "NO_SESSION"


async def test_a_watch_sees_what_happens_and_frees_its_place(start: Start, host: InMemoryHost, session_id: str) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("watches", count=20, session_id=session_id) == [*range(20)]
    await pipe.call("declares", session_id=session_id)  # what went before it has come
    assert not host._watching


async def test_tools_of_the_host_work_through_the_pipe(start: Start, host: InMemoryHost) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("calls", value=21) == 42
    assert await pipe.call("calls", value=1) == 2
    assert pipe.asked.empty()  # what was answered is not taken back
    assert await pipe.call("streams", n=100) == [*range(100)]
    assert await pipe.call("takes_one") == 0


async def test_answers_of_a_stream_are_taken_by_credit(start: Start) -> None:
    pipe = await start(Variables)
    number = pipe.begin("streams", n=5)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        for sequence in range(frames.CREDIT // 2):
            pipe.send(frames.Answer(ask.id, pack_chunk(Chunk(sequence), sequence, final=False)))
        assert await pipe.asked.get() == frames.AskCredit(ask.id, frames.CREDIT // 2)
        pipe.send(frames.AnswerEnd(ask.id, to_status(BridgeError(Code.ABORTED, "enough", reason="ENOUGH"))))
    error = await _refusal(pipe.end(number))
    assert (error.code, error.reason, error.message) == (Code.ABORTED, "ENOUGH", "enough")


async def test_a_host_that_does_not_answer_in_time_is_given_up(start: Start) -> None:
    pipe = await start(Variables)
    number = pipe.begin("calls", value=1, remaining=0.05)
    assert (await _refusal(pipe.end(number))).code is Code.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert 0 < ask.remaining <= 0.05
        assert await pipe.asked.get() == frames.AskCancel(ask.id)


async def test_questions_carry_the_path_of_calls(start: Start) -> None:
    pipe = await start(Variables)
    number = pipe.begin("calls", value=1, headers={CALL_PATH: "outer", "traceparent": "00-" + "a" * 32})
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
    assert ask.headers[CALL_PATH] == "outer,calls"
    assert ask.headers["traceparent"] == "00-" + "a" * 32
    pipe.send(frames.AnswerEnd(ask.id, b""))
    assert (await _refusal(pipe.end(number))).reason == "BAD_RESPONSE"


# -- logs ----------------------------------------------------------------------------------------------------------


class Loud(Adapter):
    @tool
    async def log(self, ctx: SessionContext) -> None:
        ctx.log.info("rows: %d", 3, extra={"rows": 3})
        logging.getLogger("other").debug("too quiet")

    @tool
    def log_blocking(self) -> None:
        try:
            raise ValueError("inside \ud800")
        except ValueError:
            logging.getLogger("other").exception("it failed")

    @tool
    async def flood(self, count: int) -> None:
        logging.getLogger("other").info("x" * 2 * MAX_TEXT)
        for number in range(count):
            logging.getLogger("other").info("record %d", number)
        probes.journal.add("flooded")

    @tool
    async def flood_widely(self) -> None:
        for _ in range(MAX_RECORDS // 2):
            logging.getLogger("other").info("x" * MAX_TEXT)
            await asyncio.sleep(0)
        probes.journal.add("flooded")


async def test_records_come_before_the_answer_of_their_call(start: Start) -> None:
    pipe = await start(Loud)
    number = pipe.begin("log")
    await pipe.end(number)
    (rows,) = [log for log in pipe.logs if log.call == number]
    assert pipe.logged[number] == 1
    assert (rows.level, rows.logger, rows.message) == (logging.INFO, "bridge.tool", "rows: 3")
    assert rows.fields["rows"] == 3
    pipe.send(frames.Settings(log_level="debug"))
    number = pipe.begin("log")
    await pipe.end(number)
    assert "too quiet" in [log.message for log in pipe.logs if log.call == number]


async def test_records_of_threads_carry_their_call_and_the_traceback(start: Start) -> None:
    pipe = await start(Loud)
    number = pipe.begin("log_blocking")
    await pipe.end(number)
    (record,) = [log for log in pipe.logs if log.call == number]
    assert record.message.startswith("it failed\nTraceback")
    assert record.message.endswith("ValueError: inside ?")


async def test_a_flood_of_records_is_bounded_and_says_so(start: Start) -> None:
    pipe = await start(Loud)
    await pipe.call("flood", count=2 * MAX_RECORDS)
    await pipe.call("log")
    messages = [log.message for log in pipe.logs]
    assert messages[:2] == ["x" * MAX_TEXT, "record 0"]
    dropped = f"{MAX_RECORDS + 1} log records were dropped: they came faster than they could be sent"
    assert dropped in messages
    assert len(messages) == MAX_RECORDS + 2


async def test_records_wait_for_a_server_that_does_not_read(start: Start, ends: Ends, journal: probes.Journal) -> None:
    pipe = await start(Loud)
    reading, writing = pipe._connection._transport, ends.agents[0]._connection._transport
    assert isinstance(reading, asyncio.ReadTransport)
    assert isinstance(writing, asyncio.WriteTransport)
    number = pipe.begin("flood_widely")
    reading.pause_reading()
    await journal.wait("flooded")
    assert writing.get_write_buffer_size() < 32 * MAX_TEXT
    reading.resume_reading()
    await pipe.end(number)
    await pipe.call("log")
    async with asyncio.timeout(5):
        while len(pipe.logs) <= MAX_RECORDS // 2:
            await pipe.call("log")
    assert all(log.message == "x" * MAX_TEXT for log in pipe.logs[: MAX_RECORDS // 2])


async def test_a_record_that_cannot_be_shown_does_no_harm(start: Start, ends: Ends) -> None:
    pipe = await start(Loud)
    misfit = logging.LogRecord("x", logging.ERROR, "", 0, "does not fit: %d", ("x",), None)
    ends.agents[0]._log.handle(misfit)
    number = pipe.begin("log")
    await pipe.end(number)
    assert pipe.logs[0].message == "(a message that cannot be shown: 'does not fit: %d')"


async def test_a_record_without_a_pipe_does_no_harm(start: Start, ends: Ends) -> None:
    pipe = await start(Loud)
    agent = ends.agents[0]
    pipe.send(frames.Shutdown())
    await _ended(ends.codes[0])
    record = logging.LogRecord("x", logging.ERROR, "", 0, "late", None, None)
    await asyncio.to_thread(agent._log.handle, record)
    agent._log.handle(record)


# -- beginnings and ends -------------------------------------------------------------------------------------------


class Lasting(Adapter):
    """Notes how its resources come and go."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[str, None]:
        await asyncio.sleep(0)
        probes.journal.add("opened")
        try:
            yield "resource"
        finally:
            await asyncio.sleep(0)
            probes.journal.add("closed")

    @tool
    async def resource(self) -> Any:
        return self.resources


class Failing(Adapter):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[None, None]:
        explode = probes.journal.notes["explode"]
        raise explode
        yield

    @tool
    async def nothing(self) -> None:
        return


async def test_it_is_ready_when_lifespans_are_open(start: Start, journal: probes.Journal) -> None:
    pipe = await start(Lasting)
    assert journal.count("opened") == 1
    assert await pipe.call("resource") == "resource"


@pytest.mark.parametrize("error", [ValueError("no GPU"), SystemExit("no GPU")])
async def test_a_lifespan_that_fails_is_told(
    start: Start, ends: Ends, journal: probes.Journal, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.notes["explode"] = error
    pipe = await start(Lasting, Failing)
    assert pipe.failed is not None
    assert (pipe.failed.code, pipe.failed.reason) == (Code.FAILED_PRECONDITION, "LIFESPAN_FAILED")
    assert "no GPU" in pipe.failed.message
    assert await _ended(ends.codes[0]) == 1
    assert journal.count("closed") == 1
    assert not ends.orphaned
    assert "Traceback" in capsys.readouterr().err


async def test_shutdown_waits_for_calls_and_takes_no_more(
    start: Start, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    number = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Shutdown())
    assert (await _refusal(pipe.call("resource"))).reason == "DRAINING"
    assert journal.count("closed") == 0
    journal.release.set()
    assert await pipe.end(number) is None
    assert await _ended(ends.codes[0]) == 0
    assert journal.count("closed") == 1
    assert not ends.orphaned


async def test_stop_cancels_what_runs_and_closes_lifespans(
    start: Start, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    number = pipe.begin("hang")
    await journal.wait("started")
    ends.agents[0].stop()
    error = await _refusal(pipe.end(number))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "SHUTDOWN")
    assert await _ended(ends.codes[0]) == TERMINATED
    assert (journal.count("ended"), journal.count("closed")) == (1, 1)


async def test_stop_does_not_wait_for_a_tool_that_does_not_end(
    start: Start, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    pipe.begin("stubborn")
    await journal.wait("started")
    ends.agents[0].stop()
    assert await _ended(ends.codes[0]) == TERMINATED
    assert (journal.count("ended"), journal.count("closed")) == (0, 1)
    journal.release.set()
    await journal.wait("ended")


async def test_the_end_of_the_pipe_is_told_at_once(
    start: Start, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    pipe.begin("hang")
    await journal.wait("started")
    pipe.close()
    await _ended(ends.codes[0])
    assert ends.orphaned == [None]


@pytest.mark.parametrize(
    "junk",
    [b"\0\0\0\x01\xc1", b"\0\0\0\x03\x92\x63\x01", b"\0\0\0\x04\x92\x01\xa1x"],
    ids=["no msgpack", "kind", "type"],
)
async def test_nonsense_on_the_pipe_is_its_end(start: Start, ends: Ends, probe: type, junk: bytes) -> None:
    pipe = await start(probe)
    pipe.send_bytes(junk)
    await _ended(ends.codes[0])
    (error,) = ends.orphaned
    assert isinstance(error, BridgeError)
    assert error.reason == "BAD_FRAME"
    async with asyncio.timeout(5):
        await pipe.lost.wait()


async def test_frames_may_come_in_pieces(start: Start, probe: type) -> None:
    pipe = await start(probe)
    pipe._calls[1] = asyncio.Queue()
    request = pack_call("add", {"a": 1})
    for byte in frames.encode(frames.Call(1, request, {}, None, "", False)):
        pipe.send_bytes(bytes([byte]))
    assert await pipe.end(1) == 2
