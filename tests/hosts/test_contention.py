"""Several writers at once, and what happens when a session or its time goes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.stores.base import Change, Contention
from bridge.stores.memory import MemoryStore
from bridge.variables import Write


class ContestedStore(MemoryStore):
    """Somebody else is always faster."""

    async def transact(self, *args: Any, **options: Any) -> Sequence[Change]:
        raise Contention


class VanishingStore(MemoryStore):
    """Loses the session just before something is committed."""

    async def transact(self, session_id: str, *args: Any, **options: Any) -> Sequence[Change]:
        await self.delete_session(session_id)
        return await super().transact(session_id, *args, **options)


async def _open(host: SessionHost) -> CallScope:
    return CallScope((await host.open_session(CallScope())).session_id)


async def test_concurrent_writes_each_get_a_version_of_their_own() -> None:
    host = SessionHost(MemoryStore())
    scope = await _open(host)
    results = await asyncio.gather(*(host.set_variables(scope, [Write(name="x", value=n)]) for n in range(20)))
    assert sorted(int(str(result["x"])) for result in results) == list(range(1, 21))


async def test_of_concurrent_compare_and_sets_one_wins() -> None:
    host = SessionHost(MemoryStore())
    scope = await _open(host)
    writes = (host.set_variables(scope, [Write(name="x", value=n, expected_version=0)]) for n in range(8))
    results = await asyncio.gather(*writes, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BridgeError)]
    assert len(refused) == 7
    assert {error.reason for error in refused} == {"VERSION_MISMATCH"}


async def test_increments_by_compare_and_set_lose_nothing() -> None:
    host = SessionHost(MemoryStore())
    scope = await _open(host)
    await host.set_variables(scope, [Write(name="x", value=0)])

    async def increment() -> None:
        while True:
            current = (await host.get_variables(scope, ["x"]))["x"]
            write = Write(name="x", value=current.value + 1, expected_version=current.version)
            try:
                await host.set_variables(scope, [write])
                return
            except BridgeError as error:
                if error.reason != "VERSION_MISMATCH":
                    raise

    async with asyncio.timeout(5):
        await asyncio.gather(*(increment() for _ in range(10)))
    assert (await host.get_variables(scope, ["x"]))["x"].value == 10


async def test_endless_contention_ends_in_an_error() -> None:
    host = SessionHost(ContestedStore())
    scope = await _open(host)
    with pytest.raises(BridgeError) as refusal:
        await host.set_variables(scope, [Write(name="x", value=1)])
    assert refusal.value.reason == "CONTENTION"


async def test_session_that_ends_before_the_commit_is_not_found() -> None:
    host = SessionHost(VanishingStore())
    scope = await _open(host)
    with pytest.raises(BridgeError) as refusal:
        await host.set_variables(scope, [Write(name="x", value=1)])
    assert refusal.value.reason == "SESSION_NOT_FOUND"


async def test_trusted_principal_may_act_in_sessions_of_others() -> None:
    host = SessionHost(MemoryStore(), trusted_principals=["bridge-1"])
    session = await host.open_session(CallScope(principal="alice"))
    await host.heartbeat(CallScope(session.session_id, principal="bridge-1"))
    with pytest.raises(BridgeError):
        await host.heartbeat(CallScope(session.session_id, principal="bridge-2"))


async def test_sweep_frees_what_is_over() -> None:
    now = 0.0
    host = SessionHost(MemoryStore(), clock=lambda: now)
    scope = await _open(host)
    await host.set_variables(scope, [Write(name="x", value=1, ttl=5.0), Write(name="y", value=1)], atomic=True)
    now = 6.0
    assert await host.sweep() == 1
    now = 10_000.0
    assert await host.sweep() == 1
    assert await host.sweep() == 0


@pytest.mark.timeout(10)  # a host that hangs in memory lets nothing else run
async def test_clock_that_goes_back_does_not_hang_a_write() -> None:
    times = iter([0.0, 5_000.0])  # the session is opened, and over when it is written to
    host = SessionHost(MemoryStore(), clock=lambda: next(times, 0.0))
    scope = await _open(host)
    assert await host.set_variables(scope, [Write(name="x", value=1)]) == {"x": 1}
