"""Nothing of a plugin of ours grows: not with connections of the broker, and not with plugins that come and go."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import GoHost
from tests.goplugin.raw_plugin import descriptors, sockets_in
from tests.goplugin.ways import WAYS, Run, Way, runs_in
from tests.support.waiting import until

CYCLES = 100


def _held(host: GoHost, pid: int) -> tuple[int, int, int]:
    """What a plugin has: descriptors, threads without those of gRPC's pool, which grows and shrinks as it likes, and
    sockets in the file system."""
    names = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
    return descriptors(pid), len([name for name in names if "event_engine" not in name]), len(sockets_in(host.folder))


async def test_gp09_200_connections_of_the_broker_leave_nothing(run_ours: Run) -> None:
    async with run_ours() as host:
        pid = (await host.start()).pid
        await host.count("k", 1, times=10)
        before = _held(host, pid)
        assert (await host.count("k", 1, times=200)).sums == 200

        def is_back() -> bool:
            return all(now <= then for now, then in zip(_held(host, pid), before, strict=True))

        await until(is_back)
        assert (await host.kill()).exit_code == 0


@pytest.mark.timeout(180)
async def test_gp32_100_plugins_that_come_and_go_leave_nothing(run_go_host: RunGoHost, static_tls: list[str]) -> None:
    places = asyncio.Semaphore(2)

    async def cycle(way: Way) -> None:
        async with places, runs_in(way, run_go_host, static_tls)() as host:
            await host.start()
            await host.count("k", 1)
            ending = await host.kill()
            assert (ending.exit_code, ending.forced) == (0, False)
            assert _processes(host.process.pid) == [host.process.pid]
            assert list(host.folder.iterdir()) == []

    async with asyncio.TaskGroup() as cycles:
        for number in range(CYCLES):
            cycles.create_task(cycle(WAYS[number % len(WAYS)]))


def _processes(group: int) -> list[int]:
    """Of a process group; those that have ended count until they are reaped."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
    return found
