"""What the tools of plugins ask their host, frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.call import Chunk
from bridge.call_path import CALL_PATH
from bridge.errors import BridgeError, Code
from bridge.hosts.memory import InMemoryHost
from bridge.hosts.messages import fill_variable
from bridge.runtime import Adapter, SessionContext, tool
from bridge.status import to_status
from bridge.tool_messages import pack_chunk
from bridge.v1.host_pb2 import GetVariablesResponse, SetVariableResponse
from bridge.variables import Variable
from bridge.worker import frames
from tests.runtime.conftest import StartWorker
from tests.support.worker_pipe import refusal

# -- questions -----------------------------------------------------------------------------------------------------


class Asking(Adapter):
    @tool
    async def calls(self, ctx: SessionContext, value: int) -> Any:
        return await ctx.call("double", value=value)

    @tool
    def calls_blocking(self, ctx: SessionContext, value: int) -> Any:
        return ctx.sync.call("double", value=value)

    @tool
    async def streams(self, ctx: SessionContext, n: int) -> list[Any]:
        return [value async for value in ctx.stream("count", n=n)]

    @tool
    def streams_blocking(self, ctx: SessionContext, n: int) -> list[Any]:
        return [*ctx.sync.stream("count", n=n)]

    @tool
    async def takes_one(self, ctx: SessionContext) -> Any:
        values = ctx.stream("count", n=1_000_000)
        first = await anext(values)
        await values.aclose()
        return first

    @tool
    def takes_one_blocking(self, ctx: SessionContext) -> Any:
        for value in ctx.sync.stream("count", n=1_000_000):
            return value
        return None

    @tool
    async def reads(self, ctx: SessionContext) -> Any:
        return await ctx.get("x")

    @tool
    def reads_blocking(self, ctx: SessionContext) -> Any:
        return ctx.sync.get("x")

    @tool
    async def writes_two(self, ctx: SessionContext) -> list[Any]:
        return await asyncio.gather(ctx.set("x", 1), ctx.set("y", 2))

    @tool
    async def reads_around_a_write(self, ctx: SessionContext) -> list[Any]:
        early = asyncio.create_task(ctx.get("x"))
        await asyncio.sleep(0)
        version = await ctx.set("x", 2)
        return [await early, version, await ctx.get("x")]

    @tool
    async def reads_during_a_write(self, ctx: SessionContext) -> list[Any]:
        before = await ctx.get("x")
        writing = asyncio.create_task(ctx.set("x", 2))
        await asyncio.sleep(0)
        return [before, await ctx.get("x"), await writing]

    @tool
    def after_cancel(self, ctx: SessionContext) -> Iterator[int]:
        yield 0
        ctx.cancelled.wait_blocking(30)
        ctx.sync.get("x")


BOTH = pytest.mark.parametrize("blocking", ["", "_blocking"])


@BOTH
async def test_tools_of_the_host_work_through_the_pipe(start: StartWorker, host: InMemoryHost, blocking: str) -> None:
    pipe = await start(Asking, host=host)
    assert await pipe.call("calls" + blocking, value=21) == 42
    assert pipe.asked.empty()  # what was answered is not taken back
    assert await pipe.call("streams" + blocking, n=100) == [*range(100)]
    assert await pipe.call("takes_one" + blocking) == 0


@BOTH
async def test_answers_of_a_stream_are_taken_by_credit(start: StartWorker, blocking: str) -> None:
    pipe = await start(Asking)
    number = pipe.begin("streams" + blocking, n=8)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert ask.streaming
        for sequence in range(frames.CREDIT):
            pipe.send(frames.Answer(ask.id, pack_chunk(Chunk(sequence), sequence, final=False)))
        given = 0
        while given < frames.CREDIT:
            given += (await pipe.asked.get()).answers
        pipe.send(frames.Answer(ask.id, pack_chunk(Chunk(), frames.CREDIT, final=True)))
        pipe.send(frames.AnswerEnd(ask.id, b""))
    assert await pipe.end(number) == [*range(frames.CREDIT)]
    assert pipe.asked.empty()


@BOTH
async def test_who_leaves_a_stream_takes_the_question_back(start: StartWorker, blocking: str) -> None:
    pipe = await start(Asking)
    number = pipe.begin("takes_one" + blocking)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        pipe.send(frames.Answer(ask.id, pack_chunk(Chunk(0), 0, final=False)))
        assert await pipe.asked.get() == frames.AskCancel(ask.id)
    assert await pipe.end(number) == 0


def _found(number: int, **values: int) -> frames.Answer:
    """The answer to a question for variables."""
    response = GetVariablesResponse()
    for name, value in values.items():
        fill_variable(response.variables[name], Variable(name=name, type="integer", value=value, version=1))
    return frames.Answer(number, response.SerializeToString())


def _written(number: int, version: int) -> frames.Answer:
    """The answer to a write."""
    return frames.Answer(number, SetVariableResponse(version=version).SerializeToString())


async def test_a_write_waits_for_the_one_before_it(start: StartWorker) -> None:
    pipe = await start(Asking)
    number = pipe.begin("writes_two", session_id="0" * 32)
    async with asyncio.timeout(5):
        first = await pipe.asked.get()
        pipe.send(frames.Ping(1))
        await pipe.pongs.get()
        assert pipe.asked.empty()
        pipe.send(_written(first.id, 1))
        pipe.send(_written((await pipe.asked.get()).id, 2))
    assert await pipe.end(number) == [1, 2]


async def test_what_was_read_before_a_write_is_not_remembered_after_it_however_late_it_comes(
    start: StartWorker,
) -> None:
    pipe = await start(Asking)
    number = pipe.begin("reads_around_a_write", session_id="0" * 32)
    async with asyncio.timeout(5):
        read, write = await pipe.asked.get(), await pipe.asked.get()
        pipe.send(_written(write.id, 2))
        pipe.send(frames.Ping(1))
        await pipe.pongs.get()
        pipe.send(_found(read.id, x=1))
        again = await pipe.asked.get()
        assert again.path.endswith("GetVariables")
        pipe.send(_found(again.id, x=2))
    assert await pipe.end(number) == [1, 2, 2]


async def test_a_read_that_is_asked_for_during_a_write_sees_it(start: StartWorker) -> None:
    pipe = await start(Asking)
    number = pipe.begin("reads_during_a_write", session_id="0" * 32)
    async with asyncio.timeout(5):
        pipe.send(_found((await pipe.asked.get()).id, x=1))
        write = await pipe.asked.get()
        assert write.path.endswith("SetVariable")
        pipe.send(frames.Ping(1))
        await pipe.pongs.get()
        assert pipe.asked.empty()
        pipe.send(_written(write.id, 7))
        pipe.send(_found((await pipe.asked.get()).id, x=2))
    assert await pipe.end(number) == [1, 2, 7]


@BOTH
async def test_a_question_takes_trace_path_and_time_along_and_nothing_else(start: StartWorker, blocking: str) -> None:
    pipe = await start(Asking)
    headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", CALL_PATH: "outer", "authorization": "no"}
    number = pipe.begin("calls" + blocking, value=1, headers=headers, remaining=60.0)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
    assert ask.call == number
    assert ask.path == "/bridge.v1.HostService/ExecuteHostTool"
    assert ask.headers == {"traceparent": headers["traceparent"], CALL_PATH: f"outer,calls{blocking}"}
    assert 50 < ask.remaining <= 60
    pipe.send(frames.AnswerEnd(ask.id, to_status(BridgeError(Code.ABORTED, "no", reason="NO"))))
    assert (await refusal(pipe.end(number))).reason == "NO"


@BOTH
async def test_a_host_that_does_not_answer_is_waited_for_until_the_deadline(start: StartWorker, blocking: str) -> None:
    pipe = await start(Asking)
    number = pipe.begin("reads" + blocking, session_id="0" * 32, remaining=0.05)
    assert (await refusal(pipe.end(number))).code is Code.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert await pipe.asked.get() == frames.AskCancel(ask.id)
    number = pipe.begin("reads" + blocking, session_id="0" * 32, remaining=0.0)
    assert (await refusal(pipe.end(number))).code is Code.DEADLINE_EXCEEDED


async def test_a_cancelled_plain_tool_cannot_ask_any_more(start: StartWorker) -> None:
    pipe = await start(Asking)
    number = pipe.begin("after_cancel", session_id="0" * 32, streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    pipe.send(frames.Cancel(number))
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    assert pipe.asked.empty()


async def test_tools_that_call_each_other_in_a_circle_are_stopped(start: StartWorker) -> None:
    pipe = await start(Asking)
    path = ",".join(["a", "calls"] * 8)
    error = await refusal(pipe.call("calls", value=1, headers={CALL_PATH: path}))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "CALL_CYCLE")
    path = ",".join(f"t{number}" for number in range(16))
    assert (await refusal(pipe.call("calls", value=1, headers={CALL_PATH: path}))).reason == "CALL_DEPTH"
    error = await refusal(pipe.call("calls", value=1, headers={CALL_PATH: "\n"}))
    assert error.reason == "CALL_PATH_MALFORMED"


async def test_a_damaged_answer_is_told(start: StartWorker) -> None:
    pipe = await start(Asking)
    for answer in (frames.Answer(1, b"\xff"), frames.AnswerEnd(2, b"")):
        number = pipe.begin("reads", session_id="0" * 32)
        async with asyncio.timeout(5):
            await pipe.asked.get()
        pipe.send(answer)
        assert (await refusal(pipe.end(number))).reason == "BAD_RESPONSE"
