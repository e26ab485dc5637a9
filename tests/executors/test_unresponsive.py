"""A worker that cannot hear what it is told is reported, left alone until its call's deadline, and killed then."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.server import Server
from bridge.worker import pulse
from bridge.worker.process import Worker
from bridge_client import BridgeClient
from tests.support import probes
from tests.support.hazards import Stuck, worker_of
from tests.support.waiting import until
from tests.worker.pids import watched

PROMPT: dict[str, Any] = {"retry": None, "breaker": None}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are asked quickly."""
    monkeypatch.setattr(pulse, "INTERVAL", 0.1)


def worker(server: Server, pid: int) -> Worker:
    """The worker of a process."""
    executor: Any = server.dispatcher._executors["workers"]
    workers: set[Worker] = executor._current._pools["process"]._workers
    return next(worker for worker in workers if worker.pid == pid)


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "responsive" in record.getMessage()]


@pytest.mark.parametrize("name", ["holds_the_gil", "blocks_the_loop"])
async def test_w05_a_worker_that_does_not_hear_is_reported_and_killed_at_the_deadline_without_grace(
    start: Any, events: probes.Journal, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server = await start(Stuck, workers=2, worker_grace=60.0)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        call = asyncio.create_task(client.call(name, timeout=1.5))
        pid = await worker_of(events)
        stuck = worker(server, pid)
        with watched([pid]) as process:
            await until(lambda: stuck.is_unresponsive)
            assert not await stuck.ping(0.05)
            assert await client.call("pid") != pid  # the server and its other workers go on
            assert process.left(0) == [pid]
            assert not call.done()
            ping = asyncio.create_task(stuck.ping(60.0))
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(process.left, 5) == []
            assert not await ping
    (warning,) = warnings(caplog)
    assert warning.levelname == "WARNING"
    assert f"worker {pid} is unresponsive" in warning.getMessage()
    assert (warning.tool, warning.pid) == (name, pid)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["waits", "polls", "sleeps", "computes"])
async def test_w05_a_worker_that_only_takes_long_is_not(
    start: Any, events: probes.Journal, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server = await start(Stuck, workers=1, worker_grace=0.1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        call = asyncio.create_task(client.call(name))
        busy = worker(server, await worker_of(events))
        seen: set[object] = set()

        def asked() -> int:
            if busy._pulse._last is not None and busy._pulse._last.done():
                seen.add(busy._pulse._last)
            return len(seen)

        await until(lambda: asked() >= 3)
        assert not busy.is_unresponsive
        assert await busy.ping(5.0)
        call.cancel()
        await until(lambda: server.dispatcher.running == 0)
    assert warnings(caplog) == []


async def test_a_worker_that_hears_again_is_responsive_again(
    start: Any, events: probes.Journal, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(Stuck, workers=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0], **PROMPT) as client:
        call = asyncio.create_task(client.call("stands_still_for_a_while"))
        busy = worker(server, await worker_of(events))
        await until(lambda: busy.is_unresponsive)
        await until(lambda: not busy.is_unresponsive)
        assert not call.done()
        call.cancel()
        assert await client.call("pid") == busy.pid
        await until(lambda: busy._pulse._timer is None)  # who is idle is not asked
    assert ["again" in record.getMessage() for record in warnings(caplog)] == [False, True]
