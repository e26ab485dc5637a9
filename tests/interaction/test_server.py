"""A server tells the truth about itself, stops without losing calls, and shares no address."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bridge import BridgeError, Code
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support import probes

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_is_per_service_and_unknown_services_are_not_found(start: Any) -> None:
    server = await start(probes.Inline)
    async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "bridge.v1.BridgeService", "bridge.v1.HostService"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_whoever_watches_health_hears_of_the_drain_before_the_end(journal: probes.Journal) -> None:
    async with asyncio.timeout(10):
        async with serving(probes.Inline) as server:
            channel = grpc.aio.insecure_channel(server.addresses[0])
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
        assert (await watch.read()).status == NOT_SERVING
        await channel.close()


async def test_reflection_lists_the_services_on_loopback_and_can_be_off(start: Any) -> None:
    for setting, expected in (("auto", {"bridge.v1.BridgeService", "bridge.v1.HostService"}), ("off", None)):
        server = await start(probes.Inline, reflection=setting)
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5
            )
            if expected is None:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            else:
                answer = await call.read()
                names = {service.name for service in answer.list_services_response.service}
                assert expected < names


async def test_a_drain_finishes_running_calls_and_refuses_new_ones(journal: probes.Journal, probe_here: type) -> None:
    async with asyncio.timeout(10):
        async with serving(probe_here, grace=5.0) as server:
            client = BridgeClient(server.addresses[0], retry=None)
            call = asyncio.create_task(client.call("stubborn"))
            await journal.wait("started")
            stopping = asyncio.create_task(server.dispatcher.drain(5.0))
            await asyncio.sleep(0)
            with pytest.raises(BridgeError) as caught:
                await client.call("add", a=1)
            assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "DRAINING")
            assert caught.value.retry_after is not None
            journal.release.set()
            assert await call is None
            assert await stopping
        assert server.clean
        await client.aclose()


async def test_a_call_that_outlives_the_grace_period_is_told(journal: probes.Journal, probe: type) -> None:
    async with asyncio.timeout(10):
        async with serving(probe, grace=0.1) as server:
            client = BridgeClient(server.addresses[0], retry=None)
            call = asyncio.create_task(client.call("hang"))
            await journal.wait("started")
        with pytest.raises(BridgeError, match="server stopped") as caught:
            await call
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "SHUTDOWN")
        assert server.clean
        assert journal.count("cleanup") == 1
        await client.aclose()


async def test_a_stuck_thread_does_not_keep_the_server_from_stopping(journal: probes.Journal) -> None:
    async with asyncio.timeout(10):
        async with serving(probes.Threaded, grace=0.1) as server:
            client = BridgeClient(server.addresses[0], retry=None)
            call = asyncio.create_task(client.call("stubborn"))
            await journal.wait("started")
        with pytest.raises(BridgeError):
            await call
        assert not server.clean
        await client.aclose()
    journal.release.set()
    await journal.wait("ended")


async def test_an_address_in_use_is_refused(start: Any, listen: str) -> None:
    first = await start(probes.Inline, listen=(listen,))
    with pytest.raises(BridgeError) as caught:
        await start(probes.Inline, listen=(first.addresses[0],))
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, "ADDRESS_IN_USE")
    async with BridgeClient(first.addresses[0]) as client:
        assert await client.call("add", a=1) == 2


async def test_a_socket_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "own" / "bridge.sock"
    async with serving(probes.Inline, listen=(f"unix:{path}",)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_several_addresses_serve_the_same_tools(start: Any, tmp_path: Path) -> None:
    server = await start(probes.Inline, listen=("127.0.0.1:0", f"unix:{tmp_path / 'own' / 'b.sock'}"))
    for address in server.addresses:
        async with BridgeClient(address) as client:
            assert await client.call("add", a=1) == 2


async def test_the_ready_file_tells_where_and_who(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    async with serving(probes.Inline, listen=("127.0.0.1:0",), ready_file=ready) as server:
        content = json.loads(ready.read_text())
    assert content["addresses"] == server.addresses
    assert content["pid"] == os.getpid()


async def test_a_public_address_needs_tls_and_authentication(start: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        await start(probes.Inline, listen=("0.0.0.0:0",))
    assert caught.value.reason == "INSECURE_ADDRESS"
    server = await start(probes.Inline, listen=("0.0.0.0:0",), insecure=True)
    async with BridgeClient(server.addresses[0].replace("0.0.0.0", "127.0.0.1")) as client:
        assert await client.call("add", a=1) == 2


async def test_the_server_says_what_it_is_and_allows(connect: Connect) -> None:
    client = await connect(probes.Inline, max_message_bytes=2**20)
    info = await client.server_info()
    assert info.protocols == ("bridge.v1",)
    assert "host" in info.features
    assert info.limits.max_message_bytes == 2**20
    assert info.adapters == ("tests.support.probes:Inline",)


async def test_a_client_survives_the_restart_of_its_server(tmp_path: Path) -> None:
    listen = (f"unix:{tmp_path / 'own' / 'bridge.sock'}",)
    async with asyncio.timeout(20), BridgeClient(listen[0]) as client:
        for _ in range(2):
            async with serving(probes.Inline, listen=listen):
                await client.wait_ready()
                assert await client.call("add", a=1, timeout=10) == 2
