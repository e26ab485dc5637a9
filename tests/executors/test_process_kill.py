"""What is stuck is killed, what dies says how, and neither costs more than its own call."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.frontends.grpc import BRIDGE
from bridge.worker import restarts
from bridge.worker.restarts import Restarts
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support import probes
from tests.support.hazards import Mortal, Stuck, worker_of
from tests.worker.pids import watched

PROMPT: dict[str, Any] = {"client": {"retry": None, "breaker": None}}

OBEDIENT = ("waits", "polls")
STUBBORN = ("sleeps", "blocks_the_loop", "holds_the_gil", "ignores_sigterm")


@pytest.mark.parametrize("name", OBEDIENT)
async def test_a_tool_that_obeys_its_deadline_keeps_its_worker(
    connect: Connect, events: probes.Journal, name: str
) -> None:
    client = await connect(Stuck, workers=1, **PROMPT)
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as caught:
            await client.call(name, timeout=0.3)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert await client.call("pid") == await worker_of(events)


@pytest.mark.parametrize("name", STUBBORN)
async def test_a_tool_that_does_not_is_killed_and_no_other_call_notices(
    connect: Connect, events: probes.Journal, name: str
) -> None:
    client = await connect(Stuck, workers=2, worker_grace=0.2, **PROMPT)
    async with asyncio.timeout(20):
        ticks = client.stream("ticks")
        others = await anext(aiter(ticks))
        call = asyncio.create_task(client.call(name, timeout=0.5))
        pid = await worker_of(events)
        with watched([pid]) as worker:
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(worker.left, 5) == []
        assert await anext(aiter(ticks)) == others
        assert await client.call("pid") not in (pid, others)
        await ticks.aclose()


async def test_a_client_that_gives_up_kills_a_stuck_tool(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Stuck, workers=1, worker_grace=0.1, **PROMPT)
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("holds_the_gil"))
        pid = await worker_of(events)
        with watched([pid]) as worker:
            call.cancel()
            assert await asyncio.to_thread(worker.left, 5) == []
        assert await client.call("pid") != pid


async def test_what_a_tool_has_started_is_killed_with_it(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Stuck, workers=1, worker_grace=0.1, **PROMPT)
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("has_children", timeout=0.5))
        pid = await worker_of(events)
        child = next(int(name.removeprefix("child ")) for name in events.counts if name.startswith("child "))
        with watched([pid, child]) as processes:
            with pytest.raises(BridgeError):
                await call
            assert await asyncio.to_thread(processes.left, 5) == []


async def test_w07_a_late_cancel_never_hits_the_next_call(connect: Connect) -> None:
    client = await connect(probes.Processed, workers=1, **PROMPT)
    async with asyncio.timeout(30):
        for number in range(200):
            with suppress(BridgeError, TimeoutError):
                async with asyncio.timeout(random.uniform(0, 0.002)):
                    await client.call("add", a=-1)
            assert await client.call("add", a=number) == number + 1


# Deaths


@pytest.mark.parametrize(
    ("how", "said", "metadata"),
    [
        ("kill", "signal SIGKILL", {"signal": "SIGKILL"}),
        ("segfault", "signal SIGSEGV", {"signal": "SIGSEGV"}),
        ("exit", "exit code 3", {"exit_code": "3"}),
    ],
)
async def test_w08_a_dead_worker_costs_its_call_and_says_how_it_died(
    connect: Connect, events: probes.Journal, how: str, said: str, metadata: dict[str, str]
) -> None:
    client = await connect(Mortal, workers=1)
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError, match=said) as caught:
            await client.call("dies", how=how)
        error = caught.value
        assert (error.code, error.reason, error.retry_after) == (Code.UNAVAILABLE, "WORKER_DIED", None)
        assert error.details.metadata.items() >= metadata.items()
        assert "last words" in error.message
        assert ("in die" in error.message) == (how == "segfault")
        assert await client.call("pid") > 0
    assert events.count("started") == 1


async def test_what_a_dead_worker_printed_is_hidden_where_errors_are(connect: Connect) -> None:
    client = await connect(Mortal, workers=1, redact_errors=True, **PROMPT)
    with pytest.raises(BridgeError, match="SIGKILL") as caught:
        await client.call("dies", how="kill", timeout=10)
    assert "last words" not in caught.value.message


async def test_w08_a_worker_that_dies_mid_stream_ends_it_after_what_came(connect: Connect) -> None:
    client = await connect(Mortal, workers=1, **PROMPT)
    seen = []
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as caught:
            async for value in client.stream("dies_midway", how="exit", n=3):
                seen.append(value)
        assert (seen, caught.value.reason) == ([0, 1, 2], "WORKER_DIED")
        assert await client.call("pid") > 0


async def test_a_call_is_repeated_after_a_death_only_if_its_tool_is_idempotent(
    connect: Connect, events: probes.Journal, tmp_path: Path
) -> None:
    client = await connect(Mortal, workers=1)
    async with asyncio.timeout(10):
        assert await client.call("dies_once", marker=str(tmp_path / "marker")) == "alive"
    assert events.count("started") == 2


async def test_sys_exit_is_an_error_of_the_tool_and_no_death(connect: Connect) -> None:
    client = await connect(Mortal, workers=1, **PROMPT)
    async with asyncio.timeout(10):
        before = await client.call("pid")
        with pytest.raises(BridgeError, match=r"sys\.exit"):
            await client.call("leaves")
        assert await client.call("pid") == before


async def test_a_worker_that_talks_nonsense_is_killed(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Mortal, workers=1, **PROMPT)
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("talks_nonsense"))
        pid = await worker_of(events)
        with pytest.raises(BridgeError) as caught:
            await call
        assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_FRAME")
        assert await client.call("pid") != pid


async def test_the_death_of_all_workers_parent_is_survived(start: Any, events: probes.Journal) -> None:
    server = await start(Stuck, workers=2)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], retry=None, breaker=None) as client:
        call = asyncio.create_task(client.call("sleeps"))
        pid = await worker_of(events)
        executor: Any = server.dispatcher._executors["workers"]
        zygote = executor._current._lineage.root
        with watched([pid, zygote]) as processes:
            os.kill(zygote, signal.SIGKILL)
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.reason == "WORKER_DIED"
            assert await asyncio.to_thread(processes.left, 5) == []
        assert await client.call("pid") != pid


async def test_w09_a_crash_loop_is_quarantined_and_left_again(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_QUARANTINE", 0.5)
    monkeypatch.setattr(restarts, "FIRST_DELAY", 0.01)
    server = await start(Mortal, workers=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], retry=None, breaker=None) as client:
        for _ in range(restarts.LOOP):
            with pytest.raises(BridgeError) as caught:
                await client.call("dies", how="exit")
            assert caught.value.reason == "WORKER_DIED"
        with pytest.raises(BridgeError) as caught:
            await client.call("pid")
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_QUARANTINED")
        assert caught.value.retry_after is not None
        assert not is_serving(server)
        while not is_serving(server):  # a worker is tried without anybody calling
            await server.health._changed.wait()
        assert await client.call("pid") > 0


def is_serving(server: Any) -> bool:
    return server.health._status[BRIDGE.service] == server.health._status[""]


# The policy by itself


def test_one_death_is_forgiven_and_the_next_ones_cost_time() -> None:
    policy = Restarts()
    assert policy.died(0.0) == 0.0
    assert policy.delay(0.0) == 0.0
    assert policy.died(1.0) == 0.0
    assert policy.delay(1.0) == pytest.approx(restarts.FIRST_DELAY)
    assert policy.died(2.0) == 0.0
    assert policy.delay(2.0) == pytest.approx(2 * restarts.FIRST_DELAY)
    policy.well()
    assert policy.delay(2.0) == 0.0


def test_deaths_far_apart_are_no_loop_unless_they_come_before_the_first_call() -> None:
    slow, never = Restarts(), Restarts()
    assert [slow.died(restarts.WINDOW * n) for n in range(10)] == [0.0] * 10
    pauses = [never.died(restarts.WINDOW * n, at_start=True) for n in range(6)]
    assert pauses == [0.0] * 4 + [restarts.FIRST_QUARANTINE, 2 * restarts.FIRST_QUARANTINE]


def test_quarantines_grow_until_a_call_ends_well() -> None:
    policy = Restarts()
    pauses = [policy.died(float(n)) for n in range(30)][restarts.LOOP - 1 :]
    assert pauses[:3] == [restarts.FIRST_QUARANTINE * factor for factor in (1, 2, 4)]
    assert pauses[-1] == restarts.MAX_QUARANTINE
    policy.well()
    assert policy.died(31.0) == 0.0
