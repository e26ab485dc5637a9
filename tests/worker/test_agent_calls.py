"""What a worker makes of the calls its server sends: results, errors, streams, cancels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.call import NO_VALUE, ToolCall
from bridge.call_path import CALL_PATH, enclosing, path_below
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.host import NoHost
from bridge.hosts.memory import InMemoryHost
from bridge.invocation import ErrorPolicy, Invocation
from bridge.registry import Registry
from bridge.session import SessionContext as Context
from bridge.status import read_status, to_status
from bridge.worker import frames
from tests.support import probes
from tests.support.worker_pipe import refusal
from tests.worker.conftest import StartAgent

# -- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "text", b"", bytes(300_000), [1, {"a": None}], 2.5])
async def test_a_value_goes_in_and_comes_out(start: StartAgent, probe: type, value: Any) -> None:
    pipe = await start(probe)
    assert await pipe.call("echo", value=value) == value


async def test_a_tool_sees_its_call(start: StartAgent, probe: type) -> None:
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


async def test_calls_run_beside_each_other(start: StartAgent, probe: type, journal: probes.Journal) -> None:
    pipe = await start(probe)
    hanging = pipe.begin("hang")
    await journal.wait("started")
    assert await pipe.call("add", a=1) == 2
    pipe.send(frames.Cancel(hanging))
    assert (await refusal(pipe.end(hanging))).code is Code.CANCELLED


async def test_what_cannot_be_run_is_refused_and_the_worker_goes_on(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    assert (await refusal(pipe.call("nothing"))).reason == "TOOL_NOT_FOUND"
    assert (await refusal(pipe.call("add", a="x"))).code is Code.INVALID_ARGUMENT
    assert (await refusal(pipe.call("count", n=1))).reason == "STREAMING_TOOL"
    number = pipe.begin("add", a=1)
    assert await pipe.end(number) == 2
    pipe._calls[100] = asyncio.Queue()
    pipe.send(frames.Call(100, b"\xff", {}, None, "", False))
    assert (await refusal(pipe.end(100))).reason == "MALFORMED_REQUEST"
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
    error = await refusal(executor.run(Invocation(entry, call, context, policy)))
    await executor.aclose()
    return read_status(to_status(error))


def _facts(error: BridgeError) -> tuple[Any, ...]:
    metadata = {key: value for key, value in error.details.metadata.items() if key != "error_id"}
    return (error.code, error.reason, metadata, error.retry_after, error.violations)


@pytest.mark.parametrize("kind", [*probes.FAILURES, "tool"])
async def test_a_failure_looks_as_it_does_without_a_pipe(start: StartAgent, probe: type, kind: str) -> None:
    pipe = await start(probe)
    there = await refusal(pipe.call("fail", kind=kind))
    here = await _run_here(probe, "fail", ErrorPolicy(), kind=kind)
    assert _facts(there) == _facts(here)
    assert there.message == here.message
    assert await pipe.call("add", a=1) == 2


async def test_the_servers_policy_about_errors_is_obeyed(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    pipe.send(frames.Settings(redact=True))
    redacted = await refusal(pipe.call("fail", kind="value"))
    assert "a plain mistake" not in redacted.message
    assert redacted.details.metadata["error_id"] in redacted.message
    pipe.send(frames.Settings(debug=True))
    shown = await refusal(pipe.call("fail", kind="value"))
    assert "a plain mistake" in shown.message
    assert "Traceback" in (shown.details.debug or "")


async def test_a_value_that_cannot_be_carried_is_the_tools_mistake(start: StartAgent) -> None:
    pipe = await start(Odd)
    for name in ("gives", "gives_blocking"):
        error = await refusal(pipe.call(name))
        assert (error.code, error.reason) == (Code.UNKNOWN, "UNSUPPORTED_RESULT")
    number = pipe.begin("yields", streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    assert (await refusal(pipe.end(number))).reason == "UNSUPPORTED_RESULT"


async def test_an_error_that_is_none_is_a_bug(start: StartAgent) -> None:
    pipe = await start(Odd)
    assert (await refusal(pipe.call("raises_nonsense"))).code is Code.INTERNAL


async def test_what_is_too_large_is_refused_before_it_is_sent(start: StartAgent, probe: type) -> None:
    pipe = await start(probe, host=InMemoryHost())
    pipe.send(frames.Settings(max_message_bytes=1000))
    assert (await refusal(pipe.call("echo", value=bytes(1001)))).reason == "MESSAGE_TOO_LARGE"
    number = pipe.begin("sizes", pattern=[10, 1001], streaming=True)
    with pytest.raises(BridgeError) as caught:
        async for _ in pipe.chunks(number):
            pass
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    asked = pipe.call("write", name="x", value=bytes(1001), session_id="0" * 32)
    assert (await refusal(asked)).reason == "MESSAGE_TOO_LARGE"


# -- streams -------------------------------------------------------------------------------------------------------


async def test_a_stream_comes_in_order_and_ends(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    chunks = [chunk async for chunk in pipe.chunks(pipe.begin("sizes", pattern=[*range(50)], streaming=True))]
    assert [len(chunk.data) for chunk in chunks if chunk.HasField("data")] == [*range(50)]
    assert [chunk.sequence for chunk in chunks] == [*range(len(chunks))]
    assert not any(chunk.is_final for chunk in chunks)


async def test_a_value_of_a_plain_tool_ends_the_stream_it_is_asked_as(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    assert await pipe.call("add", a=1, streaming=True) == 2
    assert await pipe.call("count", n=0, streaming=True) is NO_VALUE


async def test_an_error_comes_after_what_was_yielded_before_it(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    number = pipe.begin("fail_midway", n=2, streaming=True)
    for _ in range(2):
        assert isinstance(await pipe.next(number), frames.Chunk)
    assert (await refusal(pipe.end(number))).message == "ValueError: midway"


async def test_a_generator_stops_when_nobody_takes_what_it_yields(
    start: StartAgent, probe: type, journal: probes.Journal
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
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    assert journal.count("closed") == 1


async def test_notes_of_progress_need_no_credit(start: StartAgent, journal: probes.Journal) -> None:
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
    start: StartAgent, probe: type, journal: probes.Journal
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


async def test_what_a_cancelled_tool_returns_all_the_same_is_its_result(
    start: StartAgent, journal: probes.Journal
) -> None:
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
    start: StartAgent, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    number = pipe.begin("hang")
    pipe.send(frames.Cancel(number))
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    assert journal.count("started") == 0
    assert await pipe.call("add", a=1) == 2


async def test_a_late_cancel_does_not_hit_the_next_call(
    start: StartAgent, probe: type, journal: probes.Journal
) -> None:
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


async def test_a_cancel_takes_questions_to_the_host_back(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    number = pipe.begin("read", name="x", session_id="0" * 32)
    async with asyncio.timeout(5):
        ask = await pipe.asked.get()
        assert (ask.call, ask.path) == (number, "/bridge.v1.HostService/GetVariables")
        pipe.send(frames.Cancel(number))
        assert await pipe.asked.get() == frames.AskCancel(ask.id)
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    pipe.send(frames.Answer(ask.id, b"late"))
    pipe.send(frames.AnswerEnd(ask.id, b""))
    assert await pipe.call("add", a=1) == 2


async def test_code_of_a_call_knows_what_it_runs_for_and_what_it_left_behind_does_not(start: StartAgent) -> None:
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
