"""Reads asked for together become one request, and nobody is hurt by the company."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.errors import ErrorDetails
from bridge.variable_exchange import MAX_NAMES
from bridge_client import BridgeClient
from tests.support.recording_host import RecordingHost, context_of, turns

BROKEN = BridgeError(Code.UNAVAILABLE, "the host is gone", reason="HOST_UNAVAILABLE")


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


async def test_reads_asked_for_together_are_one_request(host: RecordingHost) -> None:
    ctx = await context_of(host, {"a": 1, "b": 2, "c": 3})
    read = await asyncio.gather(ctx.get("a"), ctx.get("b"), ctx.get("d", None), ctx.get_many(["c", "a"]), ctx.get("a"))
    assert read == [1, 2, None, {"c": 3, "a": 1}, 1]
    assert host.asked == [("get", ("a", "b", "d", "c"))]


async def test_a_read_after_another_is_a_request_of_its_own_and_a_repeated_one_is_none(host: RecordingHost) -> None:
    ctx = await context_of(host, {"a": 1, "b": 2})
    assert [await ctx.get("a"), await ctx.get("b"), await ctx.get("a"), await ctx.get("a", 7)] == [1, 2, 1, 1]
    assert host.asked == [("get", ("a",)), ("get", ("b",))]


async def test_reads_of_several_threads_are_one_request(host: RecordingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = await context_of(host, {f"v{number}": number for number in range(4)})
    gate, handed_over = threading.Event(), threading.Semaphore(0)
    real = asyncio.run_coroutine_threadsafe

    def hand_over(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        future = real(coroutine, loop)
        handed_over.release()
        return future

    def wait_for_all() -> None:
        for _ in range(4):
            assert handed_over.acquire(timeout=5)
        gate.set()

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", hand_over)
    reading = [asyncio.create_task(asyncio.to_thread(ctx.sync.get, f"v{number}")) for number in range(4)]
    await asyncio.sleep(0)
    threading.Thread(target=wait_for_all).start()
    assert gate.wait(5)  # stops the event loop until all of them have asked
    assert await asyncio.gather(*reading) == list(range(4))
    assert len(host.of("get")) == 1


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["who asked first", "one in the middle", "the last"])
@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "while it is under way"])
async def test_cancelling_one_reader_does_not_hurt_the_others(host: RecordingHost, victim: int, sent: bool) -> None:
    names = ["a", "b", "c"]
    ctx = await context_of(host, dict.fromkeys(names, 1))
    held = host.hold("get")
    async with asyncio.timeout(5):
        readers = [asyncio.create_task(ctx.get(name)) for name in names]
        await turns(5 if sent else 1)
        readers.pop(victim).cancel()
        await turns()
        held.set()
        assert await asyncio.gather(*readers) == [1, 1]
        assert await ctx.get(names[victim]) == 1


async def test_an_error_of_a_shared_read_reaches_every_reader(host: RecordingHost) -> None:
    ctx = await context_of(host)
    host.failures["get"] = BROKEN
    errors = await asyncio.gather(ctx.get("a", 1), ctx.get("b", 2), ctx.get_many(["c"]), return_exceptions=True)
    assert errors == [BROKEN] * 3
    assert len(host.asked) == 1
    del host.failures["get"]
    assert await ctx.get("a", 1) == 1, "a failure is not remembered"


async def test_a_bug_of_the_host_reaches_every_reader(host: RecordingHost) -> None:
    ctx = await context_of(host)
    host.failures["get"] = ZeroDivisionError()
    errors = await asyncio.gather(ctx.get("a"), ctx.get("b"), return_exceptions=True)
    assert [type(error) for error in errors] == [ZeroDivisionError] * 2


async def test_a_wrong_name_spoils_nobody_elses_read(host: RecordingHost) -> None:
    ctx = await context_of(host, {"a": 1})
    results = await asyncio.gather(ctx.get("no\nname"), ctx.get("a"), return_exceptions=True)
    assert isinstance(results[0], BridgeError)
    assert (results[0].reason, results[1]) == ("NAME_REFUSED", 1)


async def test_a_host_that_is_busy_is_not_asked_again_by_every_reader(host: RecordingHost) -> None:
    ctx = await context_of(host)
    details = ErrorDetails(retry_after=1.0)
    host.failures["get"] = BridgeError(Code.RESOURCE_EXHAUSTED, "busy", reason="SERVER_BUSY", details=details)
    await asyncio.gather(ctx.get("a"), ctx.get("b"), return_exceptions=True)
    assert len(host.asked) == 1


async def test_reads_that_are_too_large_for_one_message_together_are_answered_all_the_same(start: Any) -> None:
    server = await start()
    async with (
        asyncio.timeout(20),
        BridgeClient(server.addresses[0], max_message_bytes=100_000) as client,
        client.session() as session,
    ):
        values = {name: name.encode() * 60_000 for name in "abc"}
        for name, value in values.items():
            await session.set(name, value)
        assert dict(zip("abc", await asyncio.gather(*map(session.get, "abc")), strict=True)) == values
        with pytest.raises(BridgeError) as caught:
            await session.get_many("abc")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED


async def test_readers_put_no_more_names_into_one_request_than_a_host_takes(host: RecordingHost) -> None:
    ctx = await context_of(host, {"v1": 1})
    half = [f"v{number}" for number in range(MAX_NAMES // 2 + 1)]
    other = [f"w{number}" for number in range(MAX_NAMES // 2)]
    read = await asyncio.gather(ctx.get_many(half), ctx.get_many(other), ctx.get("v1"), ctx.get("x", None))
    assert read == [{"v1": 1}, {}, 1, None]
    assert [len(names) for names in host.of("get")] == [len(half), len(other) + 2]
    with pytest.raises(BridgeError) as caught:
        await ctx.get_many((f"v{number}" for number in range(MAX_NAMES + 1)), fresh=True)
    assert caught.value.reason == "LIMIT_EXCEEDED"
