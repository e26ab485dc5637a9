"""When plugins end, in processes of their own: with their host, and for no other reason."""

# ruff: noqa: ASYNC240 - these look at files, and nothing else is to run meanwhile

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.goplugin.serving.lifetime import FORCED_EXIT, EndRules, Lifetime
from bridge.goplugin.serving.open_connections import has_connections
from bridge.goplugin.serving.shutdown_file import wait_for_file
from bridge.parent_watch import ParentWatch
from tests.goplugin.stdio_processes import Stream, begun, behind_host, behind_shell, connected, do, gone, started
from tests.support.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "child.sock"


async def test_SIGINT_is_ignored_but_not_by_what_it_starts(path: Path) -> None:
    async with asyncio.timeout(8), started(path) as child, connected(child) as channel:
        for _ in range(3):
            child.process.send_signal(signal.SIGINT)
        ignored = int(await do(channel, "signals_of_child"), 16)
        assert not ignored & 1 << (signal.SIGINT - 1)
        await do(channel, "end")
        assert await child.ends() == 0
        assert child.why == "asked"


async def test_SIGTERM_ends_it_in_order(path: Path) -> None:
    async with asyncio.timeout(8), started(path) as child, connected(child) as channel:
        stream = await Stream.begin(channel)
        child.process.send_signal(signal.SIGTERM)
        assert await child.ends() == 0
        assert child.why == "sigterm"
        assert not path.exists()
        await asyncio.wait([stream.task])
        assert stream.in_order
        await stream.close()


@contextmanager
def sighup_means(meaning: Any) -> Iterator[None]:
    """What it does in this process. A child ignores it if we do."""
    before = signal.signal(signal.SIGHUP, meaning)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_the_end_of_its_terminal_ends_it_in_order(path: Path) -> None:
    with sighup_means(signal.SIG_DFL):
        async with asyncio.timeout(8), started(path) as child, connected(child) as channel:
            await do(channel, "print", "hello")
            child.process.send_signal(signal.SIGHUP)
            assert await child.ends() == 0
            assert child.why == "sighup"
            assert not path.exists()


@pytest.mark.parametrize("meaning", [signal.SIG_IGN, lambda number, frame: None], ids=["none", "another"])
async def test_SIGHUP_keeps_the_meaning_that_it_has(meaning: Any) -> None:
    with sighup_means(meaning):
        async with asyncio.timeout(8), alive():
            assert signal.getsignal(signal.SIGHUP) is meaning


async def test_SIGTERM_ends_it_by_force_where_it_is_stuck(path: Path) -> None:
    async with asyncio.timeout(8), started(path, limit=0.2) as child, connected(child) as channel:
        call = asyncio.create_task(do(channel, "get_stuck"))
        await until(lambda: stuck(child.pid))
        child.process.send_signal(signal.SIGTERM)
        assert await child.ends() == FORCED_EXIT
        assert b"[ERROR] bridge: the plugin did not end in time" in child.err
        assert not path.exists()
        await asyncio.wait([call])
        assert call.exception() is not None


def stuck(pid: int) -> bool:
    """Whether the main thread of a process waits for a lock, and not for events."""
    return "futex" in Path(f"/proc/{pid}/wchan").read_text()


async def test_it_ends_with_a_host_that_is_killed(path: Path) -> None:
    async with asyncio.timeout(8), behind_host(path) as (host, pidfd):
        await host.kill()
        await gone(pidfd)
        assert host.why == "host_gone"
        assert not path.exists()


async def test_it_ends_with_the_parent_where_nobody_has_ever_connected(path: Path) -> None:
    async with asyncio.timeout(8), behind_shell(path, linger=0.05) as (shell, pidfd):
        shell.process.kill()
        await gone(pidfd)
        assert shell.why == "host_gone"


async def test_it_ends_with_a_parent_that_was_killed_while_it_was_imported(path: Path) -> None:
    shell = ("sh", "-c", 'exec 3<&0; "$@" <&3 & echo "pid $!" >&2; wait', "sh")
    async with asyncio.timeout(8), begun(path, shell, wait=True, linger=0.05) as child:
        await child.says(b"waiting\n")
        pidfd = os.pidfd_open(int(child.err.split()[1]))
        try:
            await child.kill()
            assert child.process.stdin is not None
            child.process.stdin.write(b"go on\n")
            await gone(pidfd)
        finally:
            os.close(pidfd)
        assert child.why == "host_gone"


async def test_it_ends_when_nobody_reads_its_stderr_though_its_parent_lives(path: Path) -> None:
    async with asyncio.timeout(8), behind_shell(path, linger=0.05) as (shell, pidfd):
        shell.close_stderr()
        await gone(pidfd)
        assert shell.why == "host_gone"


async def test_another_host_that_is_connected_keeps_it(path: Path) -> None:
    async with (
        asyncio.timeout(8),
        behind_shell(path, linger=0.05, counted=False) as (shell, pidfd),
        connected(shell) as channel,
    ):
        stream = await Stream.begin(channel)
        await shell.kill()
        for _ in range(3):  # longer than it lingers
            await do(channel, "later", "pause", 0.05)
        assert not Path(f"{path}.why").exists()
        await stream.close()
        await gone(pidfd)
        assert shell.why == "host_gone"


async def test_a_connection_without_streams_keeps_it(path: Path) -> None:
    async with asyncio.timeout(8), behind_shell(path, linger=0.05) as (shell, pidfd):
        async with connected(shell) as channel:
            await do(channel, "print", "hello")
            await shell.kill()
            for _ in range(3):
                await do(channel, "later", "pause", 0.05)
        await gone(pidfd)
        assert shell.why == "host_gone"


async def test_a_host_that_is_disconnected_for_long_ends_it(path: Path) -> None:
    async with asyncio.timeout(8), started(path, disconnect_timeout=0.1) as child:
        async with connected(child) as channel:
            stream = await Stream.begin(channel)
            await do(channel, "later", "pause", 0.2)
            await stream.close()
        assert await child.ends() == 0
        assert child.why == "disconnected"


async def test_it_stays_if_it_is_to_outlive_its_host(path: Path) -> None:
    rules = {"exit_with_host": False, "linger": 0.01, "disconnect_timeout": 0.01}
    async with asyncio.timeout(8), behind_shell(path, **rules) as (shell, pidfd):
        async with connected(shell) as channel:
            await (await Stream.begin(channel)).close()
        await shell.kill()
        async with connected(shell) as channel:
            await do(channel, "later", "pause", 0.1)
            await do(channel, "end")
        await gone(pidfd)
        assert shell.why == "asked"


async def test_a_blocked_event_loop_does_not_outlive_the_host(path: Path) -> None:
    async with asyncio.timeout(8), behind_shell(path, linger=0.05, stuck=0.1) as (shell, pidfd):
        async with connected(shell) as channel:
            call = asyncio.create_task(do(channel, "get_stuck"))
            await until(lambda: stuck(shell.pid))
            shell.process.kill()
            await gone(pidfd)
            await asyncio.wait([call])
            assert call.exception() is not None
        await shell.says(b"[ERROR] bridge: the plugin has lost its host")
        assert not path.exists()


async def test_a_file_ends_it_and_is_removed(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "end"
    async with asyncio.timeout(8), started(path, shutdown_file=str(file)) as child:
        file.touch()
        assert await child.ends() == 0
        assert child.why == "shutdown_file"
        assert not file.exists()


async def test_in_test_mode_the_end_of_the_host_means_nothing(path: Path) -> None:
    async with asyncio.timeout(8), behind_shell(path, test=True, linger=0.01) as (shell, pidfd):
        await shell.kill()
        async with connected(shell) as channel:
            await do(channel, "later", "pause", 0.1)
            await do(channel, "end")
        await gone(pidfd)
        assert shell.why == "asked"


async def test_in_test_mode_signals_do_what_they_always_do(path: Path) -> None:
    async with asyncio.timeout(8), started(path, test=True) as child:
        child.process.send_signal(signal.SIGINT)
        await child.says(b"KeyboardInterrupt")
        assert await child.ends() != 0


@asynccontextmanager
async def alive(**rules: Any) -> AsyncIterator[Lifetime]:
    """A life in this process."""
    life = Lifetime(EndRules(**rules))
    life.start()
    try:
        yield life
    finally:
        life.close()


async def goes_on(life: Lifetime) -> bool:
    """Whether it does for some time."""
    try:
        await asyncio.wait_for(life.wait(), 0.1)
    except TimeoutError:
        return True
    return False


async def test_a_host_that_comes_while_it_lingers_keeps_it() -> None:
    async with asyncio.timeout(8), alive(linger=0.02) as life:
        life._lose_host()
        with life.connected(), life.connected():
            assert await goes_on(life)
        assert await life.wait() == "host_gone"


async def test_without_a_timeout_a_disconnected_host_may_stay_away() -> None:
    async with asyncio.timeout(8), alive(disconnect_timeout=0) as life:
        with life.connected():
            pass
        assert await goes_on(life)


async def test_only_the_first_reason_counts_and_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with asyncio.timeout(8), alive() as life:
        life.request("first")
        life.request("second")
        assert await life.wait() == await life.wait() == "first"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_the_file_may_be_anything_and_its_folder_come_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(5):
        folder = tmp_path / "late"
        waiting = asyncio.create_task(wait_for_file(folder / "file", interval=0.001))
        await asyncio.sleep(0)
        folder.mkdir()
        (folder / "file").symlink_to("nowhere")
        await waiting
        assert not list(folder.iterdir())
        await wait_for_file(folder)  # a folder cannot be removed like that
        assert "cannot be removed" in caplog.text
        assert folder.exists()


def test_open_connections_are_found(tmp_path: Path) -> None:
    path = str(tmp_path / "a socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        assert not has_connections("unix", path)
        client.connect(path)
        assert has_connections("unix", path)
        accepted, _ = listener.accept()
        assert has_connections("unix", path)
        assert not has_connections("unix", path[:-1])
        accepted.close()
        assert not has_connections("unix", path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        address = f"{host}:{port}"
        assert not has_connections("tcp", address)
        with socket.create_connection((host, port)):
            accepted, _ = listener.accept()
            assert has_connections("tcp", address)
            accepted.close()


def descriptors() -> set[str]:
    return {fd.name for fd in Path("/proc/self/fd").iterdir()}


def test_looking_for_connections_opens_and_closes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    read_end, write_end = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        before = descriptors()
        for _ in range(3):
            assert not has_connections("unix", path)
        assert descriptors() == before
        client.connect(path)
        accepted, _ = listener.accept()
        with accepted:
            assert has_connections("unix", path)
            client.send(b"x")
            assert accepted.recv(1) == b"x"
    os.close(write_end)
    assert os.read(read_end, 1) == b""  # nobody has a copy of the other end
    os.close(read_end)


async def test_a_watch_that_is_closed_leaves_nothing() -> None:
    def ended() -> None:
        raise AssertionError("its parent lives")

    read_end, write_end = os.pipe()
    watch = ParentWatch(write_end, reads=True, limit=0.0, end=ended)
    watch.tell(ended)
    watch.close()
    watch.close()
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(read_end, closed.set)
    async with asyncio.timeout(5):
        await closed.wait()  # nobody has the other end
    asyncio.get_running_loop().remove_reader(read_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    assert not watch.is_gone
