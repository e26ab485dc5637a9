"""Servers that a client starts if none runs: once, whoever else asks, and with clear words if they do not come up."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
from bridge_client.backoff import Backoff
from bridge_client.jsonrpc import Client
from tests.clients.jsonrpc.processes import end, is_alive
from tests.jsonrpc.ends import Answers
from tests.jsonrpc.processes import PROGRAM, ROOT, environment
from tests.support.waiting import until


@pytest.fixture
async def starts(tmp_path: Path) -> AsyncIterator[Path]:
    """A file with the number of each process that was started; they are ended."""
    starts = tmp_path / "starts"
    yield starts
    for pid in numbers(starts):
        await end(pid)


def numbers(starts: Path) -> list[int]:
    return [int(line) for line in starts.read_text().split()] if starts.exists() else []


def counted(starts: Path, *command: str) -> list[str]:
    """A command that writes down who runs it."""
    return ["/bin/sh", "-c", 'echo $$ >> "$0"; exec "$@"', str(starts), *command]


@pytest.fixture
def command(starts: Path, path: Path) -> list[str]:
    return counted(starts, *PROGRAM, "unix", str(path))


def outputs(pid: int) -> list[Path]:
    return [Path(f"/proc/{pid}/fd/{fd}").readlink() for fd in (1, 2)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def failure(address: str, command: list[str], start_timeout: float = 30.0) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await Client.connect_or_start(address, command, start_timeout=start_timeout)
    return caught.value


async def test_U09_ten_clients_at_once_start_one_server(address: str, starts: Path, command: list[str]) -> None:
    async with asyncio.timeout(30):
        made = (Client.connect_or_start(address, command, env=environment()) for _ in range(10))
        clients = await asyncio.gather(*made)
        pids = {await client.request("pid") for client in clients}
        assert pids == set(numbers(starts))
        assert len(numbers(starts)) == 1
        for client in clients:
            await client.aclose()
        assert is_alive(pids.pop()), "it outlives its clients"


async def test_U09_clients_of_several_processes_start_one_server(
    address: str, starts: Path, command: list[str]
) -> None:
    code = (
        "import asyncio, sys\nfrom bridge_client.jsonrpc import Client\n"
        "async def main():\n"
        "    async with await Client.connect_or_start(sys.argv[1], sys.argv[2:]) as client:\n"
        "        print(await client.request('pid'))\n"
        "asyncio.run(main())"
    )
    env = environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]))
    async with asyncio.timeout(50):
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, address, *command, stdout=asyncio.subprocess.PIPE, env=env
            )
            for _ in range(3)
        ]
        said = [(await process.communicate())[0] for process in processes]
        assert {int(text) for text in said} == set(numbers(starts))
        assert len(numbers(starts)) == 1


async def test_a_server_that_runs_is_used(path: Path, address: str, starts: Path, command: list[str]) -> None:
    async with asyncio.timeout(10), listen_unix(path, lambda: Connection(ContentLength(), Answers())):
        async with await Client.connect_or_start(address, command) as client:
            assert await client.request("echo", [1]) == [1]
        assert numbers(starts) == []


async def test_a_server_that_has_ended_is_started_again_when_it_is_needed(
    address: str, starts: Path, command: list[str]
) -> None:
    async with asyncio.timeout(20):
        env, quick = environment(), Backoff(initial=0.01)
        async with await Client.connect_or_start(address, command, env=env, reconnect=quick) as client:
            first = await client.request("pid")
            os.kill(first, signal.SIGKILL)
            await until(lambda: not client.is_connected)
            second = await client.request("pid")
        assert numbers(starts) == [first, second]
        assert not Path(f"/proc/{first}").exists(), "it was reaped"  # noqa: ASYNC240 - nothing waits there


async def test_the_server_is_on_its_own_and_prints_into_a_file_of_its_user(
    path: Path, address: str, starts: Path, command: list[str]
) -> None:
    async with asyncio.timeout(10), await Client.connect_or_start(address, command, env=environment()) as client:
        pid = await client.request("pid")
        assert os.getsid(pid) == pid
        await client.request("chat")
        assert await client.request("read") == ["", ""], "its stdin is empty"
        log = Path(f"{path}.log")
        assert outputs(pid) == [log, log]
        assert (mode(log), mode(path.parent)) == (0o600, 0o700)


async def test_a_server_that_ends_at_once_is_told_of_with_its_last_words(
    path: Path, address: str, starts: Path
) -> None:
    async with asyncio.timeout(10):
        error = await failure(address, counted(starts, "/bin/sh", "-c", "seq 100; echo boom >&2; exit 3"))
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "SERVER_NOT_STARTED")
        assert "ended with exit code 3 before it listened; its last output:\n87\n" in error.message
        assert f"\n100\nboom\n(its log is {path}.log)" in error.message
        error = await failure(address, counted(starts, "/bin/sh", "-c", "exit 4"))
        assert "ended with exit code 4 before it listened; it printed nothing" in error.message, "not of the first"


async def test_a_server_that_does_not_listen_in_time_is_killed(address: str, starts: Path) -> None:
    async with asyncio.timeout(10):
        error = await failure(address, counted(starts, "/bin/sleep", "600"), start_timeout=0.2)
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "SERVER_NOT_STARTED")
        assert "did not listen within 0.2 s" in error.message
        (pid,) = numbers(starts)
        await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_start_that_is_given_up_leaves_no_server_and_no_lock(
    address: str, starts: Path, command: list[str]
) -> None:
    async with asyncio.timeout(10):
        starting = asyncio.ensure_future(Client.connect_or_start(address, counted(starts, "/bin/sleep", "600")))
        await until(lambda: numbers(starts))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: not is_alive(numbers(starts)[0]))
        async with await Client.connect_or_start(address, command, env=environment()) as client:
            assert await client.request("pid") == numbers(starts)[1]


async def test_who_waits_for_anothers_start_is_told_when_that_takes_too_long(address: str, starts: Path) -> None:
    async with asyncio.timeout(10):
        slow = counted(starts, "/bin/sleep", "600")
        starting = asyncio.ensure_future(Client.connect_or_start(address, slow))
        await until(lambda: numbers(starts))
        error = await failure(address, slow, start_timeout=0.05)
        assert "another process was about to start the server" in error.message
        starting.cancel()
        await asyncio.wait((starting,))
        assert len(numbers(starts)) == 1


async def test_what_cannot_be_run_is_said(address: str) -> None:
    error = await failure(address, ["/nowhere/to/be/found"])
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "COMMAND")
    assert (await failure(address, [])).code is Code.INVALID_ARGUMENT


async def test_a_folder_that_others_can_write_to_is_refused(path: Path, address: str, starts: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    error = await failure(address, counted(starts, "/bin/true"))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "SOCKET_PERMISSIONS")
    assert numbers(starts) == []


def test_the_log_does_not_grow_for_ever(path: Path, address: str, starts: Path) -> None:
    path.parent.mkdir(mode=0o700)
    log = Path(f"{path}.log")
    log.write_bytes(b"x" * 2_000_000)
    asyncio.run(failure(address, counted(starts, "/bin/echo", "fresh")))
    assert log.read_bytes() == b"fresh\n"


async def test_the_command_of_this_package_is_started(address: str, tmp_path: Path) -> None:
    probes = f"{ROOT / 'tests' / 'support' / 'probes.py'}:Inline"
    command = [sys.executable, "-m", "bridge", "serve", probes, "--jsonrpc", address, "--idle-timeout", "600"]
    async with asyncio.timeout(30), await Client.connect_or_start(address, command, env=environment()) as client:
        assert await client.call("add", a=1, b=2) == 3
        pid = (await client.request("system.stats"))["pid"]
    await end(pid)
