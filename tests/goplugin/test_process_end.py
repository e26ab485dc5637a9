"""How a plugin's process ends, and that nothing of it is left, whoever ends first."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from bridge.goplugin.process.process import PluginProcess
from bridge.goplugin.process.process_identity import ProcessIdentity
from tests.goplugin.process_programs import SAY, Lines, ended, is_known, open_files, shell
from tests.support.waiting import until

WITH_CHILD = f"sleep 60 & echo $! >&2; {SAY}"
"""A wrapper that starts something, tells its process id on stderr, and is a plugin."""

HOST = """
import asyncio, os, sys
from tests.goplugin.process_programs import Lines, shell

async def main():
    lines = Lines()
    process = await shell(sys.argv[1], on_stderr=lines, exit_with_host=sys.argv[2] == "1")
    child = await lines.identity()
    if sys.argv[3] == "fork" and os.fork() == 0:
        os.close(1)
        signal.pause()
    print(process.pid, child.pid, flush=True)
    await process.exited()

import signal
asyncio.run(main())
"""


@pytest.fixture(params=["pidfd", "looking"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel with pidfds, and one without."""

    def without(pid: int, flags: int = 0) -> NoReturn:
        raise OSError(errno.ENOSYS, "Function not implemented")

    if request.param == "looking":
        monkeypatch.setattr(os, "pidfd_open", without)
    return str(request.param)


async def test_plugin_that_ends_in_time_is_not_killed(kernel: str) -> None:
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; exit 7")
        assert await process.wait_or_kill(15.0)
    assert process.exit is not None
    assert process.exit.code == 7
    assert "ended with exit code 7" in process.describe_exit()


async def test_plugin_that_does_not_end_in_time_is_killed_with_its_children(kernel: str) -> None:
    lines = Lines()
    async with asyncio.timeout(20):
        process = await shell(f"trap '' TERM INT; {WITH_CHILD}; echo last words >&2; wait", on_stderr=lines)
        child = await lines.identity()
        assert not await process.wait_or_kill(0.05)
    assert (await process.exited()).signal == signal.SIGKILL
    assert "ended with signal SIGKILL" in process.describe_exit()
    assert process.describe_exit().endswith("last words")
    await ended(child)


@pytest.mark.parametrize("exit_with_host", [True, False])
async def test_children_of_a_plugin_that_has_ended_by_itself_are_killed(kernel: str, exit_with_host: bool) -> None:
    lines = Lines()
    async with asyncio.timeout(20):
        text = f"{WITH_CHILD}; exit 0"  # the child keeps the pipes open
        process = await shell(text, on_stderr=lines, exit_with_host=exit_with_host)
        assert (await process.exited()).code == 0
        child = int(lines.all[0][0])
        await until(lambda: not _runs(child))


async def test_daemon_that_has_left_the_group_does_not_hold_up_the_end() -> None:
    before = open_files()
    lines = Lines()
    async with asyncio.timeout(20):
        process = await shell(f"setsid sh -c 'echo $$ >&2; exec sleep 60' & {SAY}; wait", on_stderr=lines)
        daemon = await lines.identity()
        assert not await process.wait_or_kill(0)
        assert open_files() == before
        assert daemon.is_running()
        os.kill(daemon.pid, signal.SIGKILL)


async def test_kill_and_close_may_come_twice_and_after_the_end() -> None:
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; exec sleep 60")
        process.kill()
        process.kill()
        await process.aclose()
        process.kill()
        await process.aclose()
        assert not is_known(process.pid)


async def test_cancelled_close_still_ends_the_process() -> None:
    before = open_files()
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; exec sleep 60")
        closing = asyncio.ensure_future(process.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert process.exit is not None
    assert open_files() == before


async def test_cancelled_waiting_for_the_end_is_nothing_to_others() -> None:
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; exec sleep 60")
        one, other = asyncio.ensure_future(process.exited()), asyncio.ensure_future(process.exited())
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        process.kill()
        assert (await other).signal == signal.SIGKILL


async def test_a_hundred_starts_and_kills_leave_nothing() -> None:
    before = open_files()
    children: list[ProcessIdentity] = []
    async with asyncio.timeout(50):
        for turn in range(100):
            lines = Lines()
            process = await shell(f"{WITH_CHILD}; wait", on_stderr=lines)
            children.append(await lines.identity())
            if turn % 2:
                process.kill()
                await process.exited()
            else:
                assert not await process.wait_or_kill(0)
            assert not is_known(process.pid)
    await ended(*children)
    assert open_files() == before
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("also", ["", "fork"], ids=["alone", "with a fork that lives on"])
async def test_killed_host_takes_its_plugin_and_the_children_of_that_with_it(also: str) -> None:
    with _host(f"trap '' IO; {WITH_CHILD}; wait", "1", also) as host:
        try:
            plugin, child = _told(host)
        finally:
            host.kill()
        await ended(plugin, child)
        os.killpg(host.pid, signal.SIGKILL)


async def test_plugin_outlives_its_host_if_it_is_to() -> None:
    with _host(f"{WITH_CHILD}; wait", "0", "") as host:
        try:
            plugin, child = _told(host)
        finally:
            host.kill()
        host.wait()
        assert plugin.is_running()
        assert child.is_running()
        os.killpg(plugin.pid, signal.SIGKILL)
        await ended(plugin, child)


async def test_host_that_ends_as_it_should_leaves_no_plugin_either() -> None:
    with _host(f"{WITH_CHILD}; wait", "1", "") as host:
        plugin, child = _told(host)
        host.send_signal(signal.SIGINT)
        await ended(plugin, child)


def test_plugin_outlives_the_thread_that_started_it() -> None:
    async def start() -> PluginProcess:
        return await shell(f"{SAY}; exec sleep 60")

    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as one:
        process = one.submit(loop.run_until_complete, start()).result()
    try:
        assert _runs(process.pid)
    finally:
        loop.run_until_complete(process.aclose())
        loop.close()


def _runs(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_running()
    except ProcessLookupError:
        return False


def _host(*arguments: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", HOST, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )


def _told(host: subprocess.Popen[bytes]) -> tuple[ProcessIdentity, ProcessIdentity]:
    assert host.stdout is not None
    plugin, child = host.stdout.readline().split()
    return ProcessIdentity.of(int(plugin)), ProcessIdentity.of(int(child))
