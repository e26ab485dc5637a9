"""How calls end before their tools do: cancelled, too late, with their worker, or with the proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.call import Progress
from bridge.errors import BridgeError, Code
from bridge.worker.memory import is_running
from tests.proxy.ways import Awaited, Files, Start, WriteManifest, killed
from tests.support.waiting import until

GRACE = {"grace": 0.2}


# -- cancelled, or too late ------------------------------------------------------------------------------------------


async def test_w06_cancel_reaches_only_its_call(start_anyhow: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start_anyhow(plugin(limits={"workers": 2}))
    first = way.but(call_id="a").begin("waits", begun=files["a"], release=files["go"])
    second = way.but(call_id="b").begin("waits", begun=files["b"], release=files["go"])
    await files.come("a")
    await files.come("b")
    assert way.proxy.cancel("a")
    with pytest.raises(BridgeError) as caught:
        await first
    assert (caught.value.code, caught.value.reason) == (Code.CANCELLED, "CANCELLED")
    assert files.has("a.cancelled"), "the tool has ended by itself"
    assert not files.has("b.cancelled")
    files.make("go")
    assert await second == "released"
    assert (await way.stats()).restarts == 0, "a worker that obeys is kept"


async def test_w07_a_late_cancel_is_harmless(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    named = way.but(call_id="a")
    for number in range(20):
        call = named.begin("echo", value=number)
        await asyncio.sleep(0)
        while not call.done():
            way.proxy.cancel("a")
            await asyncio.sleep(0)
        assert not way.proxy.cancel("a"), "it has ended"
        assert await way.call("echo", value=number) == number, "and the next one is another one"
        outcome = call.exception()
        assert outcome is None or (isinstance(outcome, BridgeError) and outcome.code is Code.CANCELLED)


async def test_a_stream_can_be_cancelled_by_its_name(start_anyhow: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start_anyhow(plugin())
    values: list[int] = []
    stream = asyncio.create_task(way.but(call_id="s").take(values, "counts", until=10**9, closed=files["closed"]))
    async with asyncio.timeout(10):
        await until(lambda: values)
    assert way.proxy.cancel("s")
    with pytest.raises(BridgeError) as caught:
        await stream
    assert caught.value.code is Code.CANCELLED
    assert files.has("closed")


async def test_two_calls_that_run_cannot_have_one_name(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin())
    call = way.but(call_id="a").begin("waits", begun=files["begun"], release=files["go"])
    await files.come("begun")
    with pytest.raises(BridgeError) as caught:
        await way.but(call_id="a").call("echo")
    assert caught.value.reason == "CALL_ID_IN_USE"
    files.make("go")
    assert await call == "released"


async def test_a_call_ends_at_its_deadline(start_anyhow: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start_anyhow(plugin())
    with pytest.raises(BridgeError) as caught:
        await way.but(timeout=0.05).call("waits", begun=files["begun"], release=files["never"])
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert (await way.stats()).restarts == 0
    this = asyncio.current_task()
    assert this is not None
    assert this.cancelling() == 0, "its caller goes on"
    assert await way.call("echo", value=1) == 1


async def test_the_manifest_can_say_how_long_a_call_may_take(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(limits={"call_timeout": 0.05}))
    with pytest.raises(BridgeError) as caught:
        await way.call("waits", begun=files["begun"], release=files["never"])
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_a_tool_that_does_not_hear_is_killed_after_the_grace(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin(limits=GRACE))
    before = await way.call("pid")
    with pytest.raises(BridgeError) as caught:
        await way.but(timeout=0.05).call("hangs")
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert not is_running(before), "it is gone when its caller is told"
    assert await way.call("pid") != before


async def test_a_caller_that_is_cancelled_cancels_its_tool(
    start_in: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start_in(Awaited, plugin())
    call = way.begin("waits", begun=files["begun"], release=files["never"])
    await files.come("begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert files.has("begun.cancelled")
    assert await way.call("echo", value=1) == 1


async def test_w05_a_worker_in_native_code_is_unresponsive_and_not_dead(
    start: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start(plugin(limits=GRACE))
    call = way.but(timeout=0.5).begin("holds_the_interpreter", begun=files["begun"], seconds=60)
    await files.come("begun")
    stats = await way.stats()
    assert stats.state == "busy"
    assert stats.unresponsive == stats.pids != ()
    assert not await way.ask("ping", 0.05)
    assert way.proxy.is_alive
    with pytest.raises(BridgeError) as caught:
        await call
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert await way.call("echo", value=1) == 1


async def test_w05_a_busy_worker_answers(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin())
    call = way.begin("waits", begun=files["begun"], release=files["go"])
    await files.come("begun")
    assert await way.ask("ping", 5.0)
    files.make("go")
    assert await call == "released"


# -- with their worker -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "fact", "value"),
    [("kill", "signal", "SIGKILL"), ("segfault", "signal", "SIGSEGV"), ("exit", "exit_code", "3")],
)
async def test_w08_a_death_is_told_with_its_cause_and_the_next_call_works(
    start: Start, plugin: WriteManifest, how: str, fact: str, value: str
) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError, match="last words") as caught:
        await way.call("dies", how=how)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_DIED")
    assert caught.value.details.metadata[fact] == value
    assert await way.call("echo", value=1) == 1
    assert (await way.stats()).restarts == 1


async def test_w08_calls_of_other_workers_go_on(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(limits={"workers": 2}))
    survivor = way.begin("waits", begun=files["survivor"], release=files["go"])
    await files.come("survivor")
    with pytest.raises(BridgeError):
        await way.call("dies", how="kill")
    files.make("go")
    assert await survivor == "released"


async def test_a_worker_that_dies_between_calls_costs_none(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    pid = await way.call("pid")
    await killed(pid)
    assert not way.proxy.is_alive
    assert await way.call("pid") != pid


async def test_only_a_call_that_may_be_repeated_is(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError):
        await way.call("dies_once", path=files["unasked"])
    assert await way.but(retries=1).call("dies_once", path=files["asked"]) == "alive"
    with pytest.raises(BridgeError) as caught:
        await way.but(retries=1).call("dies_once_for_good", path=files["not idempotent"])
    assert caught.value.reason == "WORKER_DIED"


async def test_w09_workers_that_die_again_and_again_are_given_up_on(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    reasons = []
    for _ in range(7):
        with pytest.raises(BridgeError) as caught:
            await way.call("dies", how="exit")
        reasons.append(caught.value.reason)
    assert reasons == ["WORKER_DIED"] * 5 + ["WORKER_QUARANTINED"] * 2
    assert caught.value.retry_after
    assert "exit code 3" in caught.value.message, "it says how they have died"
    assert (await way.stats()).state == "down"


# -- with the proxy --------------------------------------------------------------------------------------------------


async def test_w22_a_call_that_runs_may_end_when_the_proxy_is_closed(
    start: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start(plugin(), workers=2, drain=10.0)
    call = way.begin("waits", begun=files["begun"], release=files["go"])
    await files.come("begun")
    closing = asyncio.create_task(way.close())
    with pytest.raises(BridgeError) as caught:
        async with asyncio.timeout(10):
            while True:  # the closing begins in another thread
                await way.call("label")
    assert caught.value.reason == "CLOSED", "no other call begins"
    files.make("go")
    assert await call == "released"
    await closing


async def test_w22_a_call_that_goes_on_is_cancelled(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(), drain=0.05)
    call = way.begin("waits", begun=files["begun"], release=files["never"])
    await files.come("begun")
    await way.close()
    assert files.has("begun.cancelled")
    with pytest.raises(BridgeError) as caught:
        await call
    assert caught.value.reason == "CLOSED"


async def test_w22_a_call_that_does_not_hear_is_killed(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(limits=GRACE), drain=0.05)
    pid = await way.call("pid")
    call = way.begin("hangs", begun=files["begun"])
    await files.come("begun")
    await way.close()
    assert not is_running(pid)
    with pytest.raises(BridgeError) as caught:
        await call
    assert caught.value.reason == "CLOSED"


# -- on the way ------------------------------------------------------------------------------------------------------


async def test_progress_can_be_looked_up_and_is_told(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin())
    notes: list[Progress] = []
    call = way.but(call_id="p", on_progress=notes.append).begin("reports", begun=files["begun"], release=files["go"])
    await files.come("begun")
    async with asyncio.timeout(10):
        await until(lambda: way.proxy.progress("p") is not None)
    assert way.proxy.progress("p") == Progress(0.25, "first")
    files.make("go")
    assert await call == "reported"
    assert notes == [Progress(0.25, "first"), Progress(0.75, "second")]
    assert way.proxy.progress("p") is None, "it has ended"


async def test_w12_a_plugin_that_prints_ten_megabytes_is_not_held_up(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    async with asyncio.timeout(20):
        assert await way.call("prints", size=10_000_000) == "printed"
    assert len(way.proxy.logs(10**6)) < 1000
    assert way.proxy.logs(2) == ["x" * 999] * 2


async def test_a_stream_that_has_yielded_is_not_made_again(start_anyhow: Start, plugin: WriteManifest) -> None:
    way = await start_anyhow(plugin())
    values: list[Any] = []
    with pytest.raises(BridgeError) as caught:
        await way.but(retries=2).take(values, "yields_and_dies")
    assert caught.value.reason == "WORKER_DIED"
    assert values == [1]
