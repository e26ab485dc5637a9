"""``update``: a change that depends on the value, safe against whoever writes besides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge import variable_update as variable_update_module
from bridge.host import CallScope
from bridge.variable_update import MAX_ATTEMPTS
from bridge.variables import Write
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as BlockingClient
from tests.support.recording_host import RecordingHost, context_of


def increase(value: int) -> int:
    return value + 1


class Counters(Adapter):
    @tool
    async def count_async(self, times: int, ctx: SessionContext) -> None:
        for _ in range(times):
            await ctx.update("n", increase, default=0)

    @tool
    def count_sync(self, times: int, ctx: SessionContext) -> None:
        for _ in range(times):
            ctx.sync.update("n", increase, default=0)

    @tool
    async def count_together(self, times: int, ctx: SessionContext) -> None:
        await asyncio.gather(*(ctx.update("n", increase, 0) for _ in range(times)))


@pytest.fixture(params=["embedded host", "separate host"])
async def clients(request: pytest.FixtureRequest, start: Any) -> AsyncIterator[list[BridgeClient]]:
    """Three clients of two servers with one host."""
    host = await start(Counters) if request.param == "embedded host" else await start(role="host")
    server = host if request.param == "embedded host" else await start(Counters, host=host.addresses[0])
    other = await start(Counters, host=host.addresses[0])
    address = host.addresses[0]
    async with (
        BridgeClient(server.addresses[0], host=address) as one,
        BridgeClient(other.addresses[0], host=address) as two,
        BridgeClient(server.addresses[0], host=address) as three,
    ):
        yield [one, two, three]


async def test_no_update_of_several_clients_and_tools_is_lost(clients: list[BridgeClient]) -> None:
    one, two, three = clients
    async with asyncio.timeout(30), one.session() as session, three.session(session_id=session.session_id) as attached:

        async def count(times: int) -> None:
            for _ in range(times):
                await attached.update("n", increase, default=0)

        await asyncio.gather(
            session.call("count_async", times=10),
            two.call("count_sync", times=10, session=session.session_id),
            two.call("count_together", times=10, session=session.session_id),
            count(10),
            asyncio.gather(*(session.update("n", increase, default=0) for _ in range(10))),
        )
        assert await session.get("n") == 50
        assert (await session.get_variable("n")).version == 50


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> RecordingHost:
    monkeypatch.setattr(variable_update_module, "_LONGEST_PAUSE", 0.0)
    return RecordingHost()


def interfere(host: RecordingHost, ctx: SessionContext, times: int) -> None:
    """Lets somebody else write just before each of the first writes."""
    left = times

    async def before(method: str) -> None:
        nonlocal left
        if method == "set" and left:
            left -= 1
            await host.host.set_variables(CallScope(ctx.session_id), [Write(name="n", value=100 * (times - left))])

    host.before = before


async def test_the_function_gets_the_value_that_its_result_replaces(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 1})
    interfere(host, ctx, 2)
    given = []

    def double(value: int) -> int:
        given.append(value)
        return 2 * value

    assert await ctx.update("n", double) == 400
    assert given == [1, 100, 200]
    assert await ctx.get("n") == 400


async def test_the_function_may_be_async(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 1, "by": 5})

    async def add(value: int) -> int:
        by: int = await ctx.get("by")
        return value + by

    async with asyncio.timeout(5):
        assert await ctx.update("n", add) == 6


async def test_a_missing_variable_is_not_found_unless_there_is_a_default(host: RecordingHost) -> None:
    ctx = await context_of(host)
    with pytest.raises(BridgeError) as caught:
        await ctx.update("n", increase)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")
    interfere(host, ctx, 1)
    assert await ctx.update("n", increase, default=0) == 101, "somebody made it in between"
    assert await ctx.update("list", lambda items: [*items, 1], default=[]) == [1]
    assert await ctx.update("flag", lambda flag: not flag, default=False) is True
    assert await ctx.update("nothing", lambda value: value, default=None) is None


async def test_what_was_remembered_is_not_what_is_updated(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 1})
    assert await ctx.get("n") == 1
    await host.host.set_variables(CallScope(ctx.session_id), [Write(name="n", value=10)])
    assert await ctx.update("n", increase) == 11
    assert len(host.of("set")) == 1


async def test_an_update_that_always_comes_too_late_gives_up_and_says_so(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0})
    interfere(host, ctx, 10_000)
    with pytest.raises(BridgeError, match="fewer writers") as caught:
        await ctx.update("n", increase)
    assert (caught.value.code, caught.value.reason) == (Code.ABORTED, "CONTENTION")
    assert len(host.of("set")) == MAX_ATTEMPTS
    host.before = None
    assert await ctx.set("n", 1) > MAX_ATTEMPTS, "the next write has its turn"


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED])
async def test_other_errors_are_not_retried(host: RecordingHost, code: Code) -> None:
    ctx = await context_of(host, {"n": 0})
    host.failures["set"] = BridgeError(code, "no")
    with pytest.raises(BridgeError) as caught:
        await ctx.update("n", increase)
    assert caught.value.code is code
    assert len(host.of("set")) == 1


async def test_an_error_of_the_function_changes_nothing(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": [1]})

    def spoil(value: list[int]) -> list[int]:
        value.append(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ctx.update("n", spoil)
    assert await ctx.get("n") == [1], "the function's changes in place are seen by nobody"
    async with asyncio.timeout(5):
        await ctx.set("n", [3])


async def test_other_writes_keep_their_place_around_an_update(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0})
    interfere(host, ctx, 0)
    async with asyncio.timeout(5):
        results = await asyncio.gather(ctx.set("n", 10), ctx.update("n", increase), ctx.set("n", 5), ctx.get("n"))
    assert [*results] == [2, 11, 4, 5]


@pytest.mark.parametrize("blocking", [False, True])
async def test_writing_in_the_function_is_refused_instead_of_waiting_for_itself(
    host: RecordingHost, blocking: bool
) -> None:
    ctx = await context_of(host, {"n": 0})

    async def nested(value: int) -> int:
        await asyncio.create_task(ctx.set("other", value))
        return value

    def nested_blocking(value: int) -> int:
        ctx.sync.set("other", value)
        return value

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match=r"the function given to update\(\)"):
            if blocking:
                await asyncio.to_thread(ctx.sync.update, "n", nested_blocking)
            else:
                await ctx.update("n", nested)
        assert await ctx.set("other", 1) == 1


async def test_reading_the_variable_itself_in_the_function_is_refused(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0})

    async def nested(value: int) -> Any:
        return await ctx.get("n")

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await ctx.update("n", nested)


async def test_reading_another_variable_in_the_function_does_not_wait_for_its_writers(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0, "step": 2})
    begun, asked = asyncio.Event(), asyncio.Event()

    async def add(value: int) -> int:
        begun.set()
        await asked.wait()
        return value + int(await ctx.get("step", fresh=True))

    async with asyncio.timeout(5):
        updating = asyncio.create_task(ctx.update("n", add))
        await begun.wait()
        writing = asyncio.create_task(ctx.set("step", 5))
        await asyncio.sleep(0)  # it has asked, and comes after the update
        asked.set()
        assert [await updating, await writing] == [2, 2]
        assert await ctx.get("step") == 5


async def test_a_task_begun_in_the_function_may_write_when_the_update_is_over(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0})
    over = asyncio.Event()
    tasks = []

    async def later() -> int:
        await over.wait()
        return await ctx.set("other", 1)

    def begin(value: int) -> int:
        tasks.append(asyncio.get_running_loop().create_task(later()))
        return value + 1

    async with asyncio.timeout(5):
        await ctx.update("n", begin)
        over.set()
        assert await tasks[0] == 1


async def test_a_cancelled_update_gives_up_its_turn(host: RecordingHost) -> None:
    ctx = await context_of(host, {"n": 0})

    called = asyncio.Event()

    async def forever(value: int) -> int:
        called.set()
        await asyncio.Event().wait()
        return value

    updating = asyncio.create_task(ctx.update("n", forever))
    waiting = asyncio.create_task(ctx.update("n", increase))
    async with asyncio.timeout(5):
        await called.wait()
        updating.cancel()
        assert await waiting == 1


async def test_the_deadline_ends_an_update_that_is_always_too_late(start: Any) -> None:
    server = await start()
    real = server.host.set_variable

    async def set_late(scope: CallScope, write: Write) -> int:
        await real(scope, Write(name=write.name, value=0))
        return int(await real(scope, write))

    async with (
        asyncio.timeout(20),
        BridgeClient(server.addresses[0], timeout=0.2) as client,
        client.session() as session,
    ):
        await session.set("n", 0)
        server.host.set_variable = set_late
        with pytest.raises(BridgeError) as caught:
            await session.update("n", increase)
        assert caught.value.code is Code.DEADLINE_EXCEEDED


def count_blocking(address: str, session_id: str, times: int) -> None:
    with BlockingClient(address) as client, client.session(session_id=session_id) as session:
        for _ in range(times):
            session.update("n", increase, default=0)


async def test_blocking_clients_update_as_well(clients: list[BridgeClient]) -> None:
    async with asyncio.timeout(30), clients[0].session() as session:
        address = clients[0]._host_target
        assert address is not None
        counting = [asyncio.to_thread(count_blocking, address, session.session_id, 10) for _ in range(3)]
        await asyncio.gather(*counting)
        assert await session.get("n") == 30
