"""A host of ours calls plugins of all kinds: values, statuses, the broker both ways, large messages, environments."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from bridge.goplugin import PluginClient
from tests.goplugin.host_side import (
    PLUGINS,
    BlockingAddHelper,
    add,
    code_of,
    count,
    get,
    put,
    quiet,
    serve_helper,
    settings_of,
    started,
    sync_client_of,
)
from tests.goplugin.proto import counter_pb2, counter_pb2_grpc, kv_pb2, probe_pb2
from tests.goplugin.pyvider_install import Pyvider
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, Way

LARGE = 64 * 1024 * 1024
BARE = (sys.executable, "-m", "tests.goplugin.bare_plugin")


class Run(Protocol):
    """Runs a plugin in one of the ways."""

    def __call__(self, command: Sequence[str | Path], **settings: Any) -> AbstractAsyncContextManager[PluginClient]: ...


@pytest.fixture
def run(way: Way, static_tls: list[str]) -> Run:
    """In each way."""
    settings, flags = settings_of(way, static_tls)
    return lambda command, **more: started([*command, *flags], cwd=CHECKOUT, **settings, **more)


async def test_gp34_gp35_gp37_a_plugin_in_go_keeps_values_and_ends_when_it_is_asked_to(
    run: Run, go_plugin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with run([go_plugin]) as client:
            await client.ping()
            await put(client, "k", b"\x00v")
            assert await get(client, "k") == b"\x00v"
            with pytest.raises(grpc.aio.AioRpcError, match="no value") as raised:
                await get(client, "other")
            assert code_of(raised.value) == "NOT_FOUND"
            assert await client.explained(raised.value) is raised.value
            assert client.protocol_version == 1
            assert await client.kill()
            assert not client.is_running
    assert quiet(caplog) == []
    assert "ended with exit code 0" in caplog.text


async def test_gp36_host_and_plugin_call_each_other_through_the_broker(run: Run, go_plugin: Path) -> None:
    async with run([go_plugin]) as client:
        assert [await count(client, 3) for _ in range(3)] == [3, 6, 9]
        offered = await (await client.dispense("probe")).OfferHelper(probe_pb2.OfferHelperRequest())
        async with client.broker.dial(offered.service_id) as channel:
            assert await add(channel) == 3


def test_gp36_so_they_do_where_the_host_blocks(way: Way, static_tls: list[str], go_plugin: Path) -> None:
    settings, flags = settings_of(way, static_tls)
    with sync_client_of([go_plugin, *flags], **settings) as client:
        client.ping()
        kv, counter = client.dispense("kv"), client.dispense("counter")
        kv.Put(kv_pb2.PutRequest(key="k", value=b"v"))
        assert kv.Get(kv_pb2.GetRequest(key="k")).value == b"v"
        for _ in range(3):
            service_id = client.broker.next_id()
            with client.broker.accept_and_serve(service_id, lambda s: serve_helper(BlockingAddHelper(), s)):
                counter.Put(counter_pb2.CounterPutRequest(add_server=service_id, key="n", value=3))
        assert counter.Get(counter_pb2.CounterGetRequest(key="n")).value == 9
        offered = client.dispense("probe").OfferHelper(probe_pb2.OfferHelperRequest())
        with client.broker.dial(offered.service_id) as channel:
            stub = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.Sum(counter_pb2.SumRequest(a=1, b=2))
        assert answer.r == 3
        assert client.kill()
        assert not client.is_running


async def test_gp44_what_is_too_large_for_a_plugin_in_go_is_refused_in_its_own_words(run: Run, go_plugin: Path) -> None:
    async with run([go_plugin]) as client:
        with pytest.raises(grpc.aio.AioRpcError, match=r"larger than max \(50000\d\d vs\. 4194304\)") as raised:
            await put(client, "k", bytes(5_000_000))
        assert code_of(raised.value) == "RESOURCE_EXHAUSTED"


async def test_gp44_a_host_takes_large_messages(run: Run, go_plugin: Path) -> None:
    async with run([go_plugin, "-max-message", str(2 * LARGE)]) as client:
        await put(client, "k", b"x" * LARGE)
        assert len(await get(client, "k")) == LARGE


async def test_gp44_a_host_takes_no_more_than_it_is_told_to(go_plugin: Path) -> None:
    async with started([go_plugin], max_message_bytes=1000) as client:
        streamer = await client.dispense("streamer")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            _ = [chunk async for chunk in streamer.Count(probe_pb2.CountRequest(chunks=1, chunk_bytes=2000))]
        assert code_of(raised.value) == "RESOURCE_EXHAUSTED"


async def _chunks(number: int) -> AsyncIterator[probe_pb2.Chunk]:
    for _ in range(number):
        yield probe_pb2.Chunk(data=b"0123456789")


async def test_gp45_a_plugin_of_ours_is_used_in_each_way(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async with run(OUR_PLUGIN) as client:
        await client.ping()
        await put(client, "k", b"v")
        assert await get(client, "k") == b"v"
        assert await count(client, 3) == 3
        streamer = await client.dispense("streamer")
        summary = await streamer.Collect(_chunks(100))
        assert (summary.chunks, summary.bytes) == (100, 1000)
        assert [chunk.data async for chunk in streamer.Chat(_chunks(3))] == [b"0123456789"] * 3
        assert await client.kill()
    assert quiet(caplog) == []


@pytest.mark.parametrize("auto_mtls", [False, True])
async def test_gp45_a_plugin_of_pyvider_is_used(pyvider: Pyvider, auto_mtls: bool) -> None:
    environment = pyvider.environment()
    async with started(pyvider.plugin(), env=environment, skip_host_env=True, auto_mtls=auto_mtls) as client:
        await client.ping()
        await put(client, "k", b"v")
        assert await get(client, "k") == b"v"
        assert await client.kill()


async def test_gp45_a_plugin_of_nothing_but_grpc_is_used_and_killed(caplog: pytest.LogCaptureFixture) -> None:
    async with started(BARE, cwd=CHECKOUT, grace=0.3) as client:
        await client.ping()
        await put(client, "k", b"v")
        assert await get(client, "k") == b"v"
        place = Path(client.reattach_config.address)
        assert place.is_socket()  # noqa: ASYNC240
        assert not await client.kill()  # it cannot be asked to end
    assert not place.parent.exists()
    [warning] = quiet(caplog)
    assert "failed to exit gracefully" in warning


async def test_a_plugin_that_says_it_is_ill_does_not_answer_a_ping() -> None:
    async with started([*BARE, "ill"], cwd=CHECKOUT, grace=0.0) as client:
        with pytest.raises(Exception, match="NOT_SERVING"):
            await client.ping()


async def test_gp46_a_plugin_gets_the_hosts_environment_unless_it_is_kept(go_plugin: Path) -> None:
    async with started([go_plugin], env={"OWN": "1"}) as client:
        environment = (await (await client.dispense("probe")).Info(probe_pb2.InfoRequest())).environment
        assert (environment["OWN"], environment["BASIC_PLUGIN"]) == ("1", "hello")
        assert "PATH" in environment
    async with started([go_plugin], env={"OWN": "1"}, skip_host_env=True) as client:
        environment = (await (await client.dispense("probe")).Info(probe_pb2.InfoRequest())).environment
        assert set(environment) == {
            "OWN", "BASIC_PLUGIN", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS",
        }  # fmt: skip


async def test_host_and_plugin_agree_on_the_highest_version_that_both_have(go_plugin: Path) -> None:
    versions = {number: {f"kv{number}": PLUGINS["probe"]} for number in (1, 2, 3)}
    async with started([go_plugin, "-versions", "2,3,250"], plugins=None, versioned_plugins=versions) as client:
        assert client.protocol_version == 3
        assert (await (await client.dispense("kv3")).Info(probe_pb2.InfoRequest())).app_version == 3
        with pytest.raises(Exception, match=r"unknown plugin type: 'kv2' is not among those of this version \(kv3\)"):
            await client.dispense("kv2")
