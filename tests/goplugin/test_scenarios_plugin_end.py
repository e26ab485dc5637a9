"""A plugin of ours ends when it should, leaves nothing behind, and does not end when it should not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import GoHost, is_running
from tests.goplugin.raw_plugin import raw_plugin, sockets_in
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, SECONDS, Run, Way
from tests.support.waiting import until

GRACE = 2.0
"""Seconds in which a plugin whose host is gone has to be gone, too."""
BUSY = 2
"""So many times as long it may take where other tests run at the same time."""


async def _is_gone(host: GoHost, pid: int) -> None:
    """Returns when a plugin is, with all it has made."""
    await until(lambda: not is_running(pid))
    assert sockets_in(host.folder) == []


async def _stuck(host: GoHost) -> None:
    """Has the plugin's event loop blocked."""
    host.begin("hang")
    await until((host.folder / "stuck").exists)


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


async def test_gp19_a_killed_plugin_ends_by_itself_at_once_and_leaves_nothing(run_ours: Run) -> None:
    async with run_ours() as host:
        await host.count("k", 3, times=3)
        await host.helper(1)
        assert sockets_in(host.folder) != []
        ending = await host.kill()
        assert (ending.exit_code, ending.signal, ending.forced, ending.exited) == (0, None, False, True)
        assert sockets_in(host.folder) == []


async def test_gp20_a_call_in_flight_does_not_keep_the_plugin(run_ours: Run) -> None:
    async with run_ours() as host:
        hanging = host.begin("hang")
        while (await host.info()).hanging == 0:
            pass
        ending = await host.kill()
        assert (ending.exit_code, ending.forced) == (0, False)
        error = (await hanging).error
        assert error is not None
        assert error.code in ("Unavailable", "Canceled")
        assert sockets_in(host.folder) == []


async def test_gp20_a_plugin_that_is_stuck_ends_by_force_before_the_host_kills_it(run_plain: Run) -> None:
    async with run_plain("-stuck") as host:
        started = await host.start()
        await _stuck(host)
        os.kill(started.pid, signal.SIGTERM)
        await _is_gone(host, started.pid)


async def test_gp21_sigint_is_for_the_host(run_plain: Run) -> None:
    async with run_plain() as host:
        started = await host.start()
        for _ in range(3):
            os.kill(started.pid, signal.SIGINT)
            await host.ping()
        await host.put("k", b"v")
        assert (await host.kill()).exit_code == 0


async def test_gp22_sigterm_ends_the_plugin_in_order(run_ours: Run) -> None:
    async with run_ours() as host:
        started = await host.start()
        await host.ping()
        os.kill(started.pid, signal.SIGTERM)
        await _is_gone(host, started.pid)
        assert (await host.kill()).exit_code == 0


async def test_gp22_sigterm_ends_a_plugin_that_nobody_is_connected_to() -> None:
    async with asyncio.timeout(SECONDS), raw_plugin() as plugin:
        plugin.process.terminate()
        assert await plugin.rest() == (0, "", "")
        assert list(plugin.folder.iterdir()) == []


@pytest.mark.parametrize("when", ["started", "connected", "busy"])
async def test_gp23_a_plugin_ends_with_its_host(run_ours: Run, when: str) -> None:
    async with run_ours() as host:
        started = await host.start()
        if when != "started":
            await host.count("k", 3)
            await host.helper(1)
        if when == "busy":
            host.begin("hang")
            while (await host.info()).hanging == 0:
                pass
        await host.die()
        async with asyncio.timeout(GRACE * BUSY):
            await _is_gone(host, started.pid)


async def test_gp23_a_plugin_whose_event_loop_is_blocked_ends_with_its_host(run_ours: Run) -> None:
    async with run_ours("-stuck") as host:
        started = await host.start()
        await _stuck(host)
        await host.die()
        async with asyncio.timeout(GRACE * BUSY):
            await _is_gone(host, started.pid)


@pytest.mark.parametrize("connected", [False, True], ids=["started", "connected"])
async def test_gp23_a_plugin_behind_a_shell_ends_with_its_host(
    run_go_host: RunGoHost, way: Way, static_tls: list[str], connected: bool
) -> None:
    of_host, of_plugin = way.flags(static_tls)
    command = ["sh", "-c", '"$@"; exit $?', "sh", *OUR_PLUGIN, *of_plugin]
    async with asyncio.timeout(SECONDS), run_go_host(command, *of_host, cwd=CHECKOUT) as host:
        shell = (await host.start()).pid
        pid = _only_child(shell)
        if connected:
            await host.ping()
        await host.die()
        async with asyncio.timeout(GRACE * BUSY):
            await _is_gone(host, pid)


async def test_gp23_a_plugin_that_is_to_outlive_its_host_does(run_ours: Run) -> None:
    async with run_ours("-set", "exit_with_host=false") as host:
        started = await host.start()
        await host.ping()
        await host.die()
        await asyncio.sleep(GRACE)
        assert is_running(started.pid)
        assert sockets_in(host.folder) != []
        os.kill(started.pid, signal.SIGTERM)
        await _is_gone(host, started.pid)


@pytest.mark.parametrize("by", ["argument", "variable"])
async def test_a_file_that_appears_ends_the_plugin_and_is_removed(run_plain: Run, tmp_path: Path, by: str) -> None:
    file = tmp_path / "stop"
    as_argument, as_variable = ["-set", f"shutdown_file={file}"], ["-env", f"PLUGIN_SHUTDOWN_FILE={file}"]
    async with run_plain(*(as_argument if by == "argument" else []), host=as_variable) as host:
        started = await host.start()
        await host.ping()
        file.touch()
        await _is_gone(host, started.pid)
        assert not file.exists()
        assert (await host.kill()).exit_code == 0
