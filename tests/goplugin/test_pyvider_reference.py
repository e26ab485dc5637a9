"""pyvider-rpcplugin with itself and with Go: what it can do, and what nobody can expect of it.

When one of the tests about what it cannot do fails, the matrix can expect more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import GoHost, HostError, go_host, is_running
from tests.goplugin.pyvider_install import IMPATIENT, Pyvider

SECONDS = 45
SIZE = 8 * 1024 * 1024
"""More than gRPC takes by itself."""


async def use(host: GoHost) -> None:
    """Makes calls."""
    await host.put("k", b"\x00v")
    assert await host.get("k") == b"\x00v"
    assert await host.stream(100, 10) == 100
    with pytest.raises(HostError) as raised:
        await host.get("other")
    assert raised.value.code == "NotFound"


@pytest.mark.parametrize("flags", [[], ["-automtls"]], ids=["plain", "AutoMTLS"])
async def test_gos_host_uses_its_plugin(run_go_host: RunGoHost, pyvider: Pyvider, flags: list[str]) -> None:
    async with (
        asyncio.timeout(SECONDS),
        run_go_host(pyvider.plugin(), *flags, env=pyvider.environment()) as host,
    ):
        await host.ping()
        await use(host)
        assert await host.big(SIZE) == SIZE
        assert (await host.info()).language == "python"
        ending = await host.kill()
        assert (ending.exit_code, ending.forced) == (0, False)


async def test_its_plugin_has_no_multiplexing(run_go_host: RunGoHost, pyvider: Pyvider) -> None:
    async with asyncio.timeout(SECONDS), run_go_host(pyvider.plugin(), "-mux", env=pyvider.environment()) as host:
        with pytest.raises(HostError, match="multiplexing but plugin does not support"):
            await host.start()


async def test_its_plugin_prints_to_nobody(run_go_host: RunGoHost, pyvider: Pyvider) -> None:
    async with asyncio.timeout(SECONDS), run_go_host(pyvider.plugin(), env=pyvider.environment()) as host:
        await host.print(b"out", b"err")
        await host.kill()
        stdio = await host.stdio()
        assert (stdio.stdout, stdio.stderr) == (b"", b"")


@pytest.mark.parametrize("encrypted", ["true", "false"])
async def test_its_host_uses_its_plugin(pyvider: Pyvider, encrypted: str) -> None:
    environment = pyvider.environment(PLUGIN_AUTO_MTLS=encrypted)
    async with asyncio.timeout(SECONDS), go_host(pyvider.host(pyvider.plugin()), env=environment) as host:
        await use(host)
        with pytest.raises(HostError, match="larger than max") as raised:
            await host.big(SIZE)
        assert raised.value.code == "ResourceExhausted"
        ending = await host.kill()
        assert (ending.exit_code, ending.forced) == (0, False)


async def test_its_host_uses_gos_plugin_in_plain(pyvider: Pyvider, go_plugin: Path) -> None:
    environment = pyvider.environment(PLUGIN_AUTO_MTLS="false")
    async with asyncio.timeout(SECONDS), go_host(pyvider.host([go_plugin]), env=environment) as host:
        await use(host)
        assert (await host.kill()).exit_code == 0


async def test_its_host_cannot_use_gos_plugin_with_automtls(pyvider: Pyvider, go_plugin: Path) -> None:
    environment = pyvider.environment(**IMPATIENT)
    async with asyncio.timeout(SECONDS), go_host(pyvider.host([go_plugin]), env=environment) as host:
        with pytest.raises(HostError, match="TransportError"):
            await host.start()


async def test_its_plugin_outlives_its_host(pyvider: Pyvider) -> None:
    async with asyncio.timeout(SECONDS), go_host(pyvider.host(pyvider.plugin()), env=pyvider.environment()) as host:
        started = await host.start()
        await host.put("k", b"v")
        await host.die()
        assert is_running(started.pid)
