"""Other Go hosts than the one that has started a plugin of ours attach to it."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import pytest

from bridge.goplugin import ReattachConfig
from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import is_running
from tests.goplugin.raw_plugin import raw_plugin, sockets_in
from tests.goplugin.ways import SECONDS, Run
from tests.support.waiting import until


@pytest.mark.parametrize("network", ["unix", "tcp"])
async def test_gp28_a_plugin_in_test_mode_is_found_by_its_json_and_outlives_its_hosts(
    run_go_host: RunGoHost, network: str
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        raw_plugin("-test", "-set", f"network={network}", env={"BASIC_PLUGIN": "no cookie"}) as plugin,
    ):
        config = ReattachConfig.from_json(plugin.line)
        assert (config.test, config.pid, config.network) == (True, plugin.pid, network)
        for number in range(2):
            async with run_go_host([], "-reattach", plugin.line.strip()) as host:
                await host.ping()
                assert (await host.count("k", 3)).value == 3 * (number + 1)
                assert await host.helper(4) == 8
                assert not (await host.kill()).forced
                assert is_running(plugin.pid)
        plugin.process.send_signal(signal.SIGINT)
        code, _, _ = await plugin.rest()
        assert code == 0
        assert sockets_in(plugin.folder) == []


async def test_gp28_output_in_test_mode_stays_where_it_is(run_go_host: RunGoHost) -> None:
    async with asyncio.timeout(SECONDS), raw_plugin("-test", "-noise", "before\n") as plugin:
        assert plugin.line == "before\n"
        assert plugin.process.stdout is not None
        line = (await plugin.process.stdout.readline()).decode()
        async with run_go_host([], "-reattach", line.strip()) as host:
            await host.print(b"during\n", b"error\n")
        plugin.process.terminate()
        assert await plugin.rest() == (0, "during\n", "error\n")


async def test_gp29_a_second_host_attaches_and_can_kill(run_plain: Run, run_go_host: RunGoHost) -> None:
    async with run_plain() as first:
        await first.put("k", b"v")
        config = msgspec.json.encode(await first.reattach_config()).decode()
        async with run_go_host([], "-reattach", config) as second:
            assert await second.get("k") == b"v"
            assert (await second.kill()).forced is False
        while not await first.do("exited"):
            pass
        assert sockets_in(first.folder) == []


@pytest.mark.parametrize("network", ["unix", "tcp"])
async def test_gp29_a_plugin_outlives_its_host_as_long_as_another_is_attached(
    run_plain: Run, run_go_host: RunGoHost, network: str
) -> None:
    async with run_plain("-set", f"network={network}", "-set", "linger=0.5") as first:
        started = await first.start()
        await first.put("k", b"v")
        config = msgspec.json.encode(await first.reattach_config()).decode()
        async with run_go_host([], "-reattach", config) as second:
            await second.ping()
            await first.die()
            await asyncio.sleep(1.5)  # longer than it lingers
            assert await second.get("k") == b"v"
            await second.die()
            await until(lambda: not is_running(started.pid))
            assert sockets_in(first.folder) == []
