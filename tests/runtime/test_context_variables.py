"""Variables of a session, as the tools of plugins have them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, NoHost
from bridge.hosts.memory import InMemoryHost
from bridge.runtime import Adapter, Constraints, SessionContext, tool
from bridge.status import to_status
from bridge.variables import Write
from bridge.worker import frames
from tests.runtime.conftest import StartWorker
from tests.support.worker_pipe import refusal

# -- variables -----------------------------------------------------------------------------------------------------


class Variables(Adapter):
    @tool
    async def everything(self, ctx: SessionContext) -> list[Any]:
        first = await ctx.set("n", 1, metadata={"unit": "m"})
        added = await ctx.update("n", lambda n: n + 1)
        many = await ctx.set_many({"a": [1], "b": b"raw"})
        await ctx.delete("b")
        found = await ctx.get_many(["a", "b"])
        declared = await ctx.register("r", "integer", 3, Constraints(min=0, max=5))
        refused = await ctx.set_many({"r": 9, "s": 1}, atomic=False)
        one = await ctx.get_variable("r")
        names = [variable.name for variable in await ctx.list("?")]
        reasons = {name: getattr(result, "reason", result) for name, result in refused.items()}
        return [first, added, dict(many), found, declared.version, reasons, one.constraints.max, one.changed_by, names]

    @tool
    def everything_blocking(self, ctx: SessionContext) -> list[Any]:
        v = ctx.sync
        first = v.set("n", 1, metadata={"unit": "m"})
        added = v.update("n", lambda n: n + 1)
        many = v.set_many({"a": [1], "b": b"raw"})
        v.delete("b")
        found = v.get_many(["a", "b"])
        declared = v.register("r", "integer", 3, Constraints(min=0, max=5))
        refused = v.set_many({"r": 9, "s": 1}, atomic=False)
        one = v.get_variable("r")
        names = [variable.name for variable in v.list("?")]
        reasons = {name: getattr(result, "reason", result) for name, result in refused.items()}
        return [first, added, dict(many), found, declared.version, reasons, one.constraints.max, one.changed_by, names]

    @tool
    def mapping(self, ctx: SessionContext) -> list[Any]:
        ctx["m"] = {"deep": [None, 2.5]}
        before = ctx["m"]
        del ctx["m"]
        return [before, "m" in ctx, ctx.sync.get("m", "gone")]

    @tool(reads=["declared"])
    async def declares(self, ctx: SessionContext) -> Any:
        return ctx["declared"]

    @tool(reads=["declared"])
    def declares_blocking(self, ctx: SessionContext) -> Any:
        return ctx["declared"]

    @tool(reads=["declared"])
    def does_without(self) -> str:
        return "done"

    @tool
    async def blocks(self, ctx: SessionContext) -> None:
        ctx.sync.get("x")

    @tool
    async def asks_by_index(self, ctx: SessionContext) -> None:
        ctx["x"]

    @tool
    async def at_once(self, ctx: SessionContext) -> list[Any]:
        return await asyncio.gather(*(ctx.set("n", number) for number in range(20)), ctx.get("n"))

    @tool
    def in_threads(self, ctx: SessionContext, threads: int) -> int:
        def add() -> None:
            for _ in range(10):
                ctx.sync.update("total", lambda n: n + 1, default=0)

        running = [threading.Thread(target=add) for _ in range(threads)]
        for thread in running:
            thread.start()
        add()
        for thread in running:
            thread.join()
        total: int = ctx.sync.get("total")
        return total

    @tool
    async def from_a_thread(self, ctx: SessionContext) -> Any:
        await asyncio.to_thread(ctx.sync.set, "t", 5)
        return await ctx.get("t")

    @tool
    def its_own_loop(self, ctx: SessionContext) -> Any:
        async def ask() -> Any:
            await ctx.set("own", 3)
            return await ctx.get("own")

        return asyncio.run(ask())

    @tool
    async def writes_inside(self, ctx: SessionContext) -> None:
        async def function(value: Any) -> Any:
            await ctx.set("n", 2)
            return value

        await ctx.update("n", function, default=0)

    @tool
    def writes_inside_blocking(self, ctx: SessionContext) -> None:
        ctx.sync.update("n", lambda value: ctx.sync.set("n", 2), default=0)

    @tool
    async def updates(self, ctx: SessionContext) -> int:
        async def more(value: int) -> int:
            await asyncio.sleep(0)
            return value + 1

        total: int = await ctx.update("n", more, default=0)
        return total

    @tool
    async def watches(self, ctx: SessionContext) -> None:
        ctx.watch("x")

    @tool
    def rolls_back(self, ctx: SessionContext) -> None:
        ctx.sync.rollback("x", 1)


@pytest.mark.parametrize("name", ["everything", "everything_blocking"])
async def test_variables_work_through_the_pipe(
    start: StartWorker, host: InMemoryHost, session_id: str, name: str
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call(name, session_id=session_id) == [
        1,
        2,
        {"a": 1, "b": 1},
        {"a": [1]},
        1,
        {"r": "CONSTRAINT_VIOLATED", "s": 1},
        5,
        f"tool:{name}",
        ["a", "n", "r", "s"],
    ]


async def test_the_context_is_a_mapping_for_plain_tools(
    start: StartWorker, host: InMemoryHost, session_id: str
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("mapping", session_id=session_id) == [{"deep": [None, 2.5]}, False, "gone"]


@pytest.mark.parametrize("name", ["declares", "declares_blocking"])
async def test_declared_reads_are_there_and_a_call_without_host_goes_on_without(
    start: StartWorker, host: InMemoryHost, session_id: str, name: str
) -> None:
    await host.set_variables(CallScope(session_id), [Write(name="declared", value=7)])
    pipe = await start(Variables, host=host)
    assert await pipe.call(name, session_id=session_id) == 7
    alone = await start(Variables, host=NoHost())
    assert await alone.call("does_without", session_id=session_id) == "done"
    assert (await refusal(alone.call("mapping", session_id=session_id))).reason == "NO_HOST"
    assert (await refusal(pipe.call("mapping"))).reason == "NO_SESSION"
    assert (await refusal(pipe.call("everything"))).reason == "NO_SESSION"


async def test_a_host_that_cannot_be_reached_is_no_reason_to_try_the_tool_again_and_one_if_it_did_not_begin(
    start: StartWorker,
) -> None:
    pipe = await start(Variables)
    for name, code, retry in (("declares", Code.UNAVAILABLE, 1.0), ("everything", Code.UNAVAILABLE, None)):
        number = pipe.begin(name, session_id="0" * 32)
        async with asyncio.timeout(5):
            ask = await pipe.asked.get()
        gone = BridgeError(Code.UNAVAILABLE, "no host there", reason="NOT_CONNECTED")
        pipe.send(frames.AnswerEnd(ask.id, to_status(gone)))
        error = await refusal(pipe.end(number))
        assert (error.code, error.reason, error.retry_after) == (code, "HOST_UNAVAILABLE", retry)


async def test_nothing_blocks_the_event_loop(start: StartWorker, host: InMemoryHost, session_id: str) -> None:
    pipe = await start(Variables, host=host)
    for name in ("blocks", "asks_by_index"):
        error = await refusal(pipe.call(name, session_id=session_id))
        assert (error.reason, "this blocks" in error.message) == ("RuntimeError", True)


async def test_writes_of_one_call_go_out_in_order_and_a_read_sees_them(
    start: StartWorker, host: InMemoryHost, session_id: str
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("at_once", session_id=session_id) == [*range(1, 21), 19]


@pytest.mark.parametrize("threads", [0, 1, 3])
async def test_threads_of_a_tool_share_its_context(
    start: StartWorker, host: InMemoryHost, session_id: str, threads: int
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("in_threads", session_id=session_id, threads=threads) == 10 * (threads + 1)


async def test_a_thread_of_an_async_tool_may_block_and_a_plain_tool_may_have_a_loop(
    start: StartWorker, host: InMemoryHost, session_id: str
) -> None:
    pipe = await start(Variables, host=host)
    assert await pipe.call("from_a_thread", session_id=session_id) == 5
    assert await pipe.call("its_own_loop", session_id=session_id) == 3


async def test_an_update_does_not_wait_for_itself(start: StartWorker, host: InMemoryHost, session_id: str) -> None:
    pipe = await start(Variables, host=host)
    for name in ("writes_inside", "writes_inside_blocking"):
        error = await refusal(pipe.call(name, session_id=session_id))
        assert (error.reason, "wait for itself" in error.message) == ("RuntimeError", True)
    assert await pipe.call("updates", session_id=session_id) == 1


async def test_updates_of_many_calls_lose_nothing(start: StartWorker, host: InMemoryHost, session_id: str) -> None:
    pipes = [await start(Variables, host=host) for _ in range(2)]
    calls = [pipe.call("in_threads", session_id=session_id, threads=1) for pipe in pipes]
    assert max(await asyncio.gather(*calls)) == 40


async def test_what_plugins_do_not_have_says_so(start: StartWorker, host: InMemoryHost, session_id: str) -> None:
    pipe = await start(Variables, host=host)
    for name in ("watches", "rolls_back"):
        error = await refusal(pipe.call(name, session_id=session_id))
        assert (error.code, error.reason) == (Code.UNIMPLEMENTED, "NOT_IN_PLUGINS")
