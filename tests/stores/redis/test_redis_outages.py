"""A Redis that goes away: said at once, never papered over, and over when it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bridge.errors import BridgeError, Code
from bridge.stores.base import Signal
from bridge.testing import serving
from tests.support.records import (
    NOW,
    Listener,
    commit,
    create,
    newest,
    read_log,
    value,
)
from tests.support.redis_server import RedisServer
from tests.support.redis_stores import OpenStore, listen, recovered, refusal


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
async def test_store_survives_a_restart_of_redis(server: RedisServer, open_store: OpenStore, crash: bool) -> None:
    store, other = await open_store(server.url), await open_store(server.url)
    await create(store)
    await commit(store, value("a", b"1"))
    listener = Listener()
    async with asyncio.timeout(20), store.subscribe("s", listener):
        await asyncio.to_thread(server.restart, crash=crash)
        await listener.told(Signal.CHANGED)  # whatever it missed, it reads now
        await recovered(store)
        await recovered(other)
        assert await newest(store) == {"a": 1}
        listener.signals.clear()
        await commit(other, value("a", b"2"))
        await listener.told(Signal.CHANGED)
    assert [one.payload for one in (await read_log(store, {"a": 0})).records] == [b"1", b"2"]


async def test_listener_comes_back_after_several_restarts(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    listener = Listener()
    async with asyncio.timeout(30), store.subscribe("s", listener):
        for _ in range(3):
            await asyncio.to_thread(server.restart, crash=True)
            await listener.told(Signal.CHANGED)
            await recovered(store)


async def test_server_that_is_away_is_unavailable_and_comes_back(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    await asyncio.to_thread(server.kill)
    await refusal(newest(store))  # may have been under way
    for operation in (newest(store), commit(store, value("a", b"1")), store.due(NOW, 10), listen(store)):
        error = await refusal(operation)
        assert (error.code, error.reason, error.retry_after) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE", 1.0)
        assert server.url in error.message
    await asyncio.to_thread(server.start)
    await recovered(store)
    await commit(store, value("a", b"1"))
    assert await newest(store) == {"a": 1}


async def test_write_whose_answer_is_lost_is_not_made_twice(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url, timeout=1.0)
    await create(store)
    await commit(store, value("a", b"first"))
    server.freeze()
    try:
        error = await refusal(commit(store, value("a", b"lost")))
    finally:
        server.thaw()
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.retry_after is None  # nobody may believe that it was not done
    await recovered(store)
    await commit(store, value("a", b"last"))
    payloads = [one.payload for one in (await read_log(store, {"a": 0})).records]
    assert payloads in ([b"first", b"last"], [b"first", b"lost", b"last"])


async def test_every_caller_is_told_when_the_server_goes_away(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    server.freeze()
    tasks = [asyncio.create_task(commit(store, value(f"v{number}", b"1"))) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(server.kill)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, BridgeError) and one.code is Code.UNAVAILABLE for one in results)


async def test_nobody_there_is_unavailable_when_opened(tmp_path: Path, open_store: OpenStore) -> None:
    error = await refusal(open_store(f"unix://{tmp_path / 'nobody.sock'}"))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_scripts_that_redis_forgot_are_given_again(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    server.ask("SCRIPT", "FLUSH")
    async with asyncio.timeout(5):
        await asyncio.gather(*(commit(store, value("a", b"1")) for _ in range(10)))
    assert await newest(store) == {"a": 10}


async def test_health_and_log_of_a_host_tell_when_redis_goes_away_and_comes_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bridge.server.SWEEP_INTERVAL", 0.05)

    def said() -> list[str]:
        return [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "bridge.server"]

    async with (
        asyncio.timeout(20),
        serving(role="host", store=server.url) as host,
        grpc.aio.insecure_channel(host.addresses[0]) as channel,
    ):
        health = HealthStub(channel).Watch(HealthCheckRequest(service="bridge.v1.HostService"))
        assert (await health.read()).status == HealthCheckResponse.SERVING
        await asyncio.to_thread(server.kill)
        assert (await health.read()).status == HealthCheckResponse.NOT_SERVING
        assert said() == ["sessions cannot be kept"]
        await asyncio.to_thread(server.start)
        assert (await health.read()).status == HealthCheckResponse.SERVING
        assert said() == ["sessions cannot be kept", "sessions are kept again"]
