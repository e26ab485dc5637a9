"""More calls than there are places: most are refused, none of those that are served is lost, and the server is well."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from bridge import BridgeError, Code, engines, refusals
from bridge.refusals import Refusals
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.support.waiting import until
from tests.worker.scenario_tools import Scenarios

SETTINGS: dict[str, Any] = {"workers": 1, "threads": 1, "queue_size": 2}
PLACES = 3
"""To work and to wait."""


class Busy:
    """A server whose only place is taken by a call that waits for the test, and whose queue is full."""

    def __init__(self, folder: Path, isolation: str, **settings: Any) -> None:
        self._begun, self._go = folder / "begun", folder / "go"
        self._settings = {**SETTINGS, "isolation": isolation, **settings}
        self._stack = AsyncExitStack()
        self.server: Any = None
        self.client: BridgeClient
        self.served: list[asyncio.Task[Any]] = []

    def call(self) -> asyncio.Task[Any]:
        """A call that is answered after the test has said so, or refused."""
        return asyncio.create_task(self.client.call("waits", begun=str(self._begun), release=str(self._go)))

    async def __aenter__(self) -> Self:
        self.server = await self._stack.enter_async_context(serving(Scenarios, **self._settings))
        client = BridgeClient(self.server.addresses[0], retry=None, breaker=None)
        self.client = await self._stack.enter_async_context(client)
        self.served = [self.call() for _ in range(PLACES)]
        await until(self._begun.exists)
        await until(lambda: self.server.dispatcher.running == PLACES)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._go.touch()
        await asyncio.gather(*self.served, return_exceptions=True)
        await self._stack.aclose()

    async def answers(self) -> list[Any]:
        """What has become of the calls that were not refused."""
        self._go.touch()
        return await asyncio.gather(*self.served)


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_ten_times_the_calls_are_refused_while_those_before_go_on_and_health_answers(
    isolation: str, tmp_path: Path
) -> None:
    async with asyncio.timeout(40), Busy(tmp_path, isolation) as busy:
        channel = engines.connect(busy.server.addresses[0])
        more = [busy.call() for _ in range(10 * PLACES)]
        answer = await channel.unary("/grpc.health.v1.Health/Check", b"")
        assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
        for refusal in await asyncio.gather(*more, return_exceptions=True):
            assert isinstance(refusal, BridgeError)
            assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
            assert refusal.retry_after
        assert not any(call.done() for call in busy.served)
        assert await busy.answers() == ["released"] * PLACES
        assert await busy.client.call("echo", value=1) == 1
        await until(lambda: busy.server.dispatcher.running == 0)
        assert busy.server.dispatcher._bytes == 0
        await channel.aclose()


async def test_a_refusal_that_waits_takes_no_place_and_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "AT_ONCE", 0.0)
    monkeypatch.setattr(refusals, "RATE", 0.01)
    monkeypatch.setattr(refusals, "LONGEST", 600.0)
    async with asyncio.timeout(40), Busy(tmp_path, "process") as busy:
        with pytest.raises(BridgeError) as caught:
            await busy.call()
        assert caught.value.reason == "SERVER_BUSY", "one is always at once"
        waiting = [busy.call() for _ in range(5)]
        await until(lambda: busy.server.dispatcher._refusals._level > 5.5)
        assert busy.server.dispatcher.running == PLACES
        assert await busy.answers() == ["released"] * PLACES
        assert await busy.client.call("echo", value=1) == 1
        assert not any(call.done() for call in waiting)
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)


# How long one waits


def test_refusals_are_given_at_once_as_long_as_they_are_few() -> None:
    few = Refusals()
    assert {few.wait(1.0) for _ in range(int(refusals.AT_ONCE) + 1)} == {0.0}
    assert few.wait(1.0) > 0
    steady = Refusals()
    assert {steady.wait(number / refusals.RATE) for number in range(5000)} == {0.0}


def test_a_storm_of_them_is_answered_at_a_steady_rate_and_each_after_a_fraction_of_a_second() -> None:
    storm = Refusals()
    for _ in range(10_000):
        assert storm.wait(1.0) <= refusals.LONGEST
    assert storm.wait(1.0) == refusals.LONGEST
    # Callers that ask again when they were answered: as many as are refused in the longest wait.
    due = [0.0] * int(refusals.LONGEST * refusals.RATE)
    answered = 0
    while min(due) < 60.0:
        now = min(due)
        due[due.index(now)] = now + max(storm.wait(now), 0.001)
        answered += now > 10.0
    assert answered / 50.0 == pytest.approx(refusals.RATE, rel=0.05)


def test_a_storm_is_forgotten_when_it_is_over() -> None:
    storm = Refusals()
    for _ in range(10_000):
        storm.wait(1.0)
    assert storm.wait(1.0 + refusals.LONGEST + refusals.AT_ONCE / refusals.RATE) == 0.0
