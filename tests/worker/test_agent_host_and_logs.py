"""What a worker sends beside the results of its calls: questions to the host, and log records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.call_path import CALL_PATH
from bridge.host import CallScope, NoHost
from bridge.hosts.memory import InMemoryHost
from bridge.status import to_status
from bridge.tool_messages import pack_chunk
from bridge.variables import Write
from bridge.worker import frames
from bridge.worker.logs import MAX_RECORDS, MAX_TEXT
from tests.support import probes
from tests.support.worker_pipe import refusal
from tests.worker.conftest import Ends, StartAgent, ended

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


async def test_variables_work_through_the_pipe(start: StartAgent, host: InMemoryHost, session_id: str) -> None:
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
    start: StartAgent, host: InMemoryHost, session_id: str
) -> None:
    await host.set_variables(CallScope(session_id), [Write(name="declared", value=7)])
    pipe = await start(Variables, host=host)
    assert await pipe.call("declares", session_id=session_id) == 7
    alone = await start(Variables, host=NoHost())
    error = await refusal(alone.call("declares", session_id=session_id))
    assert error.reason == "NO_HOST"
    assert await alone.call("does_without", session_id=session_id) == "done"
    assert (await refusal(pipe.call("everything"))).reason == "NO_SESSION"


async def test_a_watch_sees_what_happens_and_frees_its_place(
    start: StartAgent, host: InMemoryHost, session_id: str
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("watches", count=20, session_id=session_id) == [*range(20)]
    await pipe.call("declares", session_id=session_id)  # what went before it has come
    assert not host._watching


async def test_tools_of_the_host_work_through_the_pipe(start: StartAgent, host: InMemoryHost) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("calls", value=21) == 42
    assert await pipe.call("calls", value=1) == 2
    assert pipe.asked.empty()  # what was answered is not taken back
    assert await pipe.call("streams", n=100) == [*range(100)]
    assert await pipe.call("takes_one") == 0


async def test_answers_of_a_stream_are_taken_by_credit(start: StartAgent) -> None:
    pipe = await start(Variables)
    number = pipe.begin("streams", n=5)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        for sequence in range(frames.CREDIT // 2):
            pipe.send(frames.Answer(ask.id, pack_chunk(Chunk(sequence), sequence, final=False)))
        assert await pipe.asked.get() == frames.AskCredit(ask.id, frames.CREDIT // 2)
        pipe.send(frames.AnswerEnd(ask.id, to_status(BridgeError(Code.ABORTED, "enough", reason="ENOUGH"))))
    error = await refusal(pipe.end(number))
    assert (error.code, error.reason, error.message) == (Code.ABORTED, "ENOUGH", "enough")


async def test_a_host_that_does_not_answer_in_time_is_given_up(start: StartAgent) -> None:
    pipe = await start(Variables)
    number = pipe.begin("calls", value=1, remaining=0.05)
    assert (await refusal(pipe.end(number))).code is Code.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert 0 < ask.remaining <= 0.05
        assert await pipe.asked.get() == frames.AskCancel(ask.id)


async def test_questions_carry_the_path_of_calls(start: StartAgent) -> None:
    pipe = await start(Variables)
    number = pipe.begin("calls", value=1, headers={CALL_PATH: "outer", "traceparent": "00-" + "a" * 32})
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
    assert ask.headers[CALL_PATH] == "outer,calls"
    assert ask.headers["traceparent"] == "00-" + "a" * 32
    pipe.send(frames.AnswerEnd(ask.id, b""))
    assert (await refusal(pipe.end(number))).reason == "BAD_RESPONSE"


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


async def test_records_come_before_the_answer_of_their_call(start: StartAgent) -> None:
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


async def test_records_of_threads_carry_their_call_and_the_traceback(start: StartAgent) -> None:
    pipe = await start(Loud)
    number = pipe.begin("log_blocking")
    await pipe.end(number)
    (record,) = [log for log in pipe.logs if log.call == number]
    assert record.message.startswith("it failed\nTraceback")
    assert record.message.endswith("ValueError: inside ?")


async def test_a_flood_of_records_is_bounded_and_says_so(start: StartAgent) -> None:
    pipe = await start(Loud)
    await pipe.call("flood", count=2 * MAX_RECORDS)
    await pipe.call("log")
    messages = [log.message for log in pipe.logs]
    assert messages[:2] == ["x" * MAX_TEXT, "record 0"]
    dropped = f"{MAX_RECORDS + 1} log records were dropped: they came faster than they could be sent"
    assert dropped in messages
    assert len(messages) == MAX_RECORDS + 2


async def test_records_wait_for_a_server_that_does_not_read(
    start: StartAgent, ends: Ends, journal: probes.Journal
) -> None:
    pipe = await start(Loud)
    loop, reading, writing = asyncio.get_running_loop(), pipe._connection, ends.agents[0]._connection
    number = pipe.begin("flood_widely")
    loop.remove_reader(reading._sock)
    await journal.wait("flooded")
    assert writing._waiting < 32 * MAX_TEXT
    loop.add_reader(reading._sock, reading._read)
    await pipe.end(number)
    await pipe.call("log")
    async with asyncio.timeout(5):
        while len(pipe.logs) <= MAX_RECORDS // 2:
            await pipe.call("log")
    assert all(log.message == "x" * MAX_TEXT for log in pipe.logs[: MAX_RECORDS // 2])


async def test_a_record_that_cannot_be_shown_does_no_harm(start: StartAgent, ends: Ends) -> None:
    pipe = await start(Loud)
    misfit = logging.LogRecord("x", logging.ERROR, "", 0, "does not fit: %d", ("x",), None)
    ends.agents[0]._log.handle(misfit)
    number = pipe.begin("log")
    await pipe.end(number)
    assert pipe.logs[0].message == "(a message that cannot be shown: 'does not fit: %d')"


async def test_a_record_without_a_pipe_does_no_harm(start: StartAgent, ends: Ends) -> None:
    pipe = await start(Loud)
    agent = ends.agents[0]
    pipe.send(frames.Shutdown())
    await ended(ends.codes[0])
    record = logging.LogRecord("x", logging.ERROR, "", 0, "late", None, None)
    await asyncio.to_thread(agent._log.handle, record)
    agent._log.handle(record)
