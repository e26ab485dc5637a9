"""What a session context sends to its host, in which order, and what it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge import BridgeError, Code, SessionContext
from bridge.host import CallScope
from bridge.session import SyncSessionContext
from bridge.variables import Write
from tests.support.recording_host import RecordingHost, context_of, turns

BROKEN = BridgeError(Code.UNAVAILABLE, "the host is gone", reason="HOST_UNAVAILABLE")


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


async def others(host: RecordingHost, ctx: SessionContext, name: str, value: Any) -> None:
    """Somebody else writes."""
    await host.host.set_variables(CallScope(ctx.session_id), [Write(name=name, value=value)])


# -- what is remembered ------------------------------------------------------------------------------------------


async def test_that_there_is_no_variable_is_remembered_too(host: RecordingHost) -> None:
    ctx = await context_of(host)
    assert await ctx.get("x", None) is None
    await others(host, ctx, "x", 1)
    assert await ctx.get("x", None) is None
    assert "x" not in ctx
    with pytest.raises(BridgeError) as caught:
        ctx["x"]
    assert caught.value.reason == "VARIABLE_NOT_FOUND"
    assert len(host.asked) == 1
    assert await ctx.get("x", fresh=True) == 1
    assert (ctx["x"], "x" in ctx) == (1, True)


async def test_a_variable_that_is_gone_is_forgotten_by_a_fresh_read(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1})
    assert await ctx.get("x") == 1
    await host.host.delete_variable(CallScope(ctx.session_id), "x")
    assert await ctx.get("x") == 1
    assert await ctx.get("x", None, fresh=True) is None
    assert await ctx.get("x", None) is None


WRITES: dict[str, Callable[[SessionContext], Awaitable[Any]]] = {
    "set": lambda ctx: ctx.set("x", 2),
    "set_many": lambda ctx: ctx.set_many({"y": 1, "x": 2}),
    "register": lambda ctx: ctx.register("x", "integer", 2),
    "delete": lambda ctx: ctx.delete("x"),
    "update": lambda ctx: ctx.update("x", lambda value: value + 1),
    "rollback": lambda ctx: ctx.rollback("x", 1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_every_kind_of_write_forgets_what_was_read(
    host: RecordingHost, write: Callable[[SessionContext], Awaitable[Any]]
) -> None:
    ctx = await context_of(host, {"x": 1, "z": 0})
    await ctx.get_many(["x", "z"])
    await write(ctx)
    assert "z" in ctx
    with pytest.raises(RuntimeError, match=r"await ctx\.get"):
        ctx["x"]


async def test_a_write_that_fails_forgets_what_was_read_as_well(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1})
    await ctx.get("x")
    host.failures["set"] = BROKEN
    with pytest.raises(BridgeError):
        await ctx.set("x", 2)
    await others(host, ctx, "x", 3)
    assert await ctx.get("x") == 3, "nobody knows what became of the write"


async def test_a_read_under_way_during_a_write_is_not_remembered(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": "old"})
    held = host.hold("get")
    reading = asyncio.create_task(ctx.get("x"))
    await turns()
    await ctx.set("x", "new")
    held.set()
    assert await reading == "old", "it was asked for before"
    assert await ctx.get("x") == "new"


async def test_a_late_answer_does_not_replace_a_newer_one(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": "old"})
    held = host.hold("get")
    late = asyncio.create_task(ctx.get("x"))
    await turns()
    await others(host, ctx, "x", "new")
    assert await ctx.get("x", fresh=True) == "new"
    held.set()
    assert await late == "old"
    assert ctx["x"] == "new"


# -- writes in order ---------------------------------------------------------------------------------------------


async def test_writes_go_out_one_after_the_other_in_the_order_they_were_asked_for(host: RecordingHost) -> None:
    ctx = await context_of(host, {"a": 0})
    held = host.hold("set")
    writing = asyncio.gather(
        ctx.set("a", 1),
        ctx.update("b", lambda value: value + 1, 0),
        ctx.set_many({"c": 1, "a": 2}),
        ctx.rollback("a", 1),
        ctx.register("d", "integer", 1),
        ctx.delete("b"),
        ctx.set("a", 3),
    )
    await turns(20)
    assert host.asked == [("set", ("a",))], "the others wait for the first"
    held.set()
    await writing
    assert [asked for asked in host.asked if asked[0] != "get"] == [
        ("set", ("a",)),
        ("set", ("b",)),
        ("set", ("c", "a")),
        ("rollback", "a"),
        ("register", "d"),
        ("delete", "b"),
        ("set", ("a",)),
    ]
    assert await ctx.get("a") == 3


async def test_writes_of_threads_keep_their_order_too(host: RecordingHost) -> None:
    ctx = await context_of(host)

    def write(number: int) -> None:
        for count in range(10):
            ctx.sync.set(f"v{number}", count)

    async with asyncio.timeout(10):
        await asyncio.gather(*(asyncio.to_thread(write, number) for number in range(4)))
    assert host.asked == host.answered, "none was sent before the one before was answered"
    assert await ctx.get_many([f"v{number}" for number in range(4)]) == {f"v{number}": 9 for number in range(4)}


def delay(host: RecordingHost, method: str) -> asyncio.Event:
    """Keeps requests of a method from the real host until the event is set."""
    go = asyncio.Event()

    async def before(asked: str) -> None:
        if asked == method:
            await go.wait()

    host.before = before
    return go


READS: dict[str, Callable[[SessionContext], Awaitable[Any]]] = {
    "get": lambda ctx: ctx.get("x"),
    "get_variable": lambda ctx: ctx.get_variable("x"),
    "list": lambda ctx: ctx.list("x"),
    "history": lambda ctx: ctx.history("x", 1),
    "watch": lambda ctx: anext(ctx.watch("x", initial=True)),
}


@pytest.mark.parametrize("read", READS)
async def test_what_was_asked_for_before_a_read_is_seen_by_it(host: RecordingHost, read: str) -> None:
    ctx = await context_of(host, {"x": "old"})
    await ctx.get("x")
    go = delay(host, "set")
    writing = asyncio.create_task(ctx.set("x", "new"))
    await turns()
    reading = asyncio.ensure_future(READS[read](ctx))
    await turns(10)
    assert not reading.done()
    go.set()
    async with asyncio.timeout(5):
        assert "'new'" in repr(await reading)
    await writing


async def test_a_value_that_is_being_replaced_is_not_taken_from_memory(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": "old"})
    await ctx.get("x")
    go = delay(host, "set")
    writing = asyncio.create_task(ctx.set("x", "new"))
    await turns()
    with pytest.raises(RuntimeError, match=r"await ctx\.get"):
        ctx["x"]
    go.set()
    await writing


async def test_a_read_sent_in_the_middle_of_a_write_is_not_remembered(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": "old"})
    go = delay(host, "set")
    reading, writing = asyncio.create_task(ctx.get("x")), asyncio.create_task(ctx.set("x", "new"))
    assert await reading == "old", "it was asked for before"
    go.set()
    await writing
    assert await ctx.get("x") == "new"


async def test_a_read_of_another_name_does_not_wait_for_a_write(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1, "y": 1})
    held = host.hold("set")
    writing = asyncio.create_task(ctx.set("x", 2))
    await turns()
    async with asyncio.timeout(5):
        assert await ctx.get("y") == 1
        reading = asyncio.create_task(ctx.get("x"))
        await turns(10)
        assert not reading.done()
        held.set()
        assert (await reading, await writing) == (2, 2)


@pytest.mark.parametrize("victim", [0, 1, 2])
async def test_a_cancelled_write_lets_the_next_one_go(host: RecordingHost, victim: int) -> None:
    ctx = await context_of(host)
    host.hold("set")
    writing = [asyncio.create_task(ctx.set("x", number)) for number in range(4)]
    await turns()
    writing.pop(victim).cancel()
    await turns()
    if victim:
        writing.pop(0).cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*writing, return_exceptions=True)
        assert await ctx.get("x") == 3
        await ctx.set("x", 4)
        assert await ctx.get("x") == 4


async def test_a_cancelled_write_is_not_waited_for(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1})
    host.hold("set")
    writing = asyncio.create_task(ctx.set("y", 1))
    cancelled = asyncio.create_task(ctx.set("x", 2))
    await turns()
    cancelled.cancel()
    await turns()
    async with asyncio.timeout(5):
        assert await ctx.get("x") == 1
    writing.cancel()


async def test_guards_for_names_that_are_not_written_are_refused(host: RecordingHost) -> None:
    ctx = await context_of(host)
    with pytest.raises(BridgeError) as caught:
        await ctx.set_many({"a": 1}, expected_versions={"b": 1})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert host.asked == []


# -- like a mapping ----------------------------------------------------------------------------------------------


async def test_a_thread_uses_the_context_like_a_mapping(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1, "z": 1})

    def use(ctx: SessionContext | SyncSessionContext) -> list[Any]:
        seen = [ctx["x"], "x" in ctx, "y" in ctx]
        ctx["y"] = [1]
        seen += [ctx["y"], "y" in ctx]
        del ctx["y"]
        seen.append("y" in ctx)
        with pytest.raises(BridgeError) as caught:
            ctx["y"]
        assert caught.value.reason == "VARIABLE_NOT_FOUND"
        with pytest.raises(TypeError):
            iter(ctx)  # type: ignore[call-overload]
        return seen

    for mapping in (ctx, ctx.sync):
        assert await asyncio.to_thread(use, mapping) == [1, True, False, [1], True, False]


async def test_the_event_loop_is_not_blocked_and_the_error_says_what_to_write_instead(host: RecordingHost) -> None:
    ctx = await context_of(host, {"x": 1})
    with pytest.raises(RuntimeError, match=r"await ctx.get\('x'\).*@tool\(reads=\['x'\]\)"):
        ctx["x"]
    with pytest.raises(RuntimeError, match=r"await ctx.set\('x', ...\)"):
        ctx["x"] = 1
    with pytest.raises(RuntimeError, match=r"await ctx.delete\('x'\)"):
        del ctx["x"]
    with pytest.raises(RuntimeError, match=r"await ctx.get\('x', None\)"):
        "x" in ctx  # noqa: B015
    with pytest.raises(RuntimeError, match="await ctx"):
        ctx.sync.get("x")
    assert host.asked == []
    await ctx.get("x")
    assert (ctx["x"], ctx.sync["x"], ctx.sync.get("x")) == (1, 1, 1)
