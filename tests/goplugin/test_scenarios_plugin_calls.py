"""A Go host calls a plugin of ours: values, statuses, the broker both ways, streams, large messages, what is served."""

from __future__ import annotations

import pytest

from tests.goplugin.go_host import GoHost, HostError
from tests.goplugin.ways import Run

LARGE = 64 * 1024 * 1024
SERVED = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "plugin.GRPCBroker",
    "plugin.GRPCController",
    "plugin.GRPCStdio",
    "proto.Counter",
    "proto.KV",
    "toolbridge.goplugintest.Probe",
    "toolbridge.goplugintest.Streamer",
]


async def _warnings(host: GoHost) -> list[object]:
    return [entry for entry in await host.logs() if entry["@level"] in ("warn", "error")]


async def test_gp01_gp02_values_are_kept_and_nothing_is_warned_of(run_ours: Run) -> None:
    async with run_ours() as host:
        await host.ping()
        await host.put("k", b"\x00v")
        assert await host.get("k") == b"\x00v"
        with pytest.raises(HostError, match="no value") as raised:
            await host.get("other")
        assert raised.value.code == "NotFound"
        assert (await host.kill()).exit_code == 0
        assert await _warnings(host) == []


async def test_gp05_gp06_gp07_gp08_plugin_and_host_call_each_other_through_the_broker(run_ours: Run) -> None:
    async with run_ours() as host:
        values = [(await host.count("k", 3)).value for _ in range(3)]
        assert values == [3, 6, 9]
        assert (await host.count("k", 1, times=20)).sums == 20
        assert [await host.helper(number) for number in range(5)] == [0, 2, 4, 6, 8]


async def test_gp01_gp05_servicers_may_block_in_threads(run_ours: Run) -> None:
    async with run_ours("-blocking") as host:
        await host.put("k", b"v")
        assert await host.get("k") == b"v"
        with pytest.raises(HostError, match="no value") as raised:
            await host.get("other")
        assert raised.value.code == "NotFound"
        counted = await host.count("k", 3, times=10)
        assert (counted.value, counted.sums) == (30, 10)
        assert (await host.kill()).exit_code == 0


async def test_gp14_health_knows_plugin_and_the_server_and_nothing_else(run_ours: Run) -> None:
    async with run_ours() as host:
        await host.ping()
        assert [await host.do("health", service=name) for name in ("plugin", "")] == ["SERVING", "SERVING"]
        assert await host.do("health_list") == {"plugin": "SERVING", "": "SERVING"}
        with pytest.raises(HostError) as raised:
            await host.do("health", service="unknown")
        assert raised.value.code == "NotFound"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_gp15_reflection_lists_what_a_plugin_in_go_does(run_plain: Run, version: str) -> None:
    async with run_plain() as host:
        assert sorted(await host.do("services", version=version)) == SERVED
        methods = await host.do("methods", service="grpc.health.v1.Health", version=version)
        assert sorted(methods) == ["Check", "List", "Watch"]
        assert await host.do("methods", service="plugin.GRPCBroker", version=version) == ["StartStream"]


async def test_reflection_can_be_turned_off(run_plain: Run) -> None:
    async with run_plain("-set", "reflection=false") as host:
        await host.ping()
        with pytest.raises(HostError) as raised:
            await host.do("services")
        assert raised.value.code == "Unimplemented"


async def test_gp25_streams_of_all_shapes_come_whole_and_in_order(run_ours: Run) -> None:
    async with run_ours(host=["-max-message", "1000"]) as host:
        assert await host.stream(1000, 10) == 1000
        assert await host.do("collect", times=1000, size=10) == {"chunks": 1000, "bytes": 10_000}
        assert await host.do("chat", times=100, size=10) == 100
        with pytest.raises(HostError, match=r"received message larger than max \(\d+ vs\. 1000\)") as raised:
            await host.stream(1, 2000)
        assert raised.value.code == "ResourceExhausted"


async def test_gp26_messages_of_5_and_64_megabytes_go_there_and_back(run_ours: Run) -> None:
    async with run_ours() as host:
        assert await host.big(5_000_000) == 5_000_000
        assert await host.big(LARGE) == LARGE


async def test_gp26_a_larger_message_than_is_allowed_is_refused_with_both_numbers(run_ours: Run) -> None:
    async with run_ours("-set", "max_message_bytes=4194304") as host:
        with pytest.raises(HostError, match=r"\b50000\d\d vs\. 4194304\b") as raised:
            await host.put("k", bytes(5_000_000))
        assert raised.value.code == "ResourceExhausted"
        await host.put("k", bytes(4_000_000))
