"""Serving a Unix socket as a process. Scenarios U02-U04, U07, U08 and C12."""

# ruff: noqa: ASYNC221, ASYNC240 - these look at files and wait for programs, and nothing else is to run meanwhile

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jsonrpc.child import UNFINISHED
from tests.jsonrpc.ends import Wire
from tests.jsonrpc.processes import PROGRAM, client, environment, started

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def path() -> Iterator[Path]:
    """Of a socket, short: it may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="bridge-", dir="/tmp") as folder:
        yield Path(folder, "rpc.sock")


async def ping(wire: Wire) -> bool:
    wire.say({"id": 0, "method": "echo", "params": [1]})
    return bool(await wire.hear() == {"jsonrpc": "2.0", "id": 0, "result": [1]})


async def test_U02_the_socket_of_a_killed_server_is_taken_over(path: Path) -> None:
    async with asyncio.timeout(30):
        async with started("unix", str(path)) as first:
            first.process.kill()
            await first.process.wait()
        assert path.is_socket()
        async with started("unix", str(path)) as second, client(path) as wire:
            assert await ping(wire)
            assert path.with_name("rpc.sock.pid").read_text() == f"{second.process.pid}\n"


async def test_U03_a_second_server_says_who_is_running(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as first, client(path) as wire:
        assert await ping(wire)
        second = subprocess.run(
            [*PROGRAM, "unix", str(path)], env=environment(), capture_output=True, text=True, timeout=30
        )
        assert second.returncode == 1
        assert "ADDRESS_IN_USE" in second.stderr
        assert f"process {first.process.pid}" in second.stderr
        async with client(path) as other:
            assert await ping(wire)
            assert await ping(other)


async def test_U04_of_many_servers_that_start_at_once_one_wins(path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    async with asyncio.timeout(55):
        children = [
            await asyncio.create_subprocess_exec(*PROGRAM, "unix", str(path), env=environment(), stderr=pipe)
            for _ in range(20)
        ]
        try:
            first_lines = await asyncio.gather(*(child.stderr.readline() for child in children if child.stderr))
            assert sorted(b"ready" in line for line in first_lines) == [False] * 19 + [True]
            assert sum(b"ADDRESS_IN_USE" in line for line in first_lines) == 19
            async with client(path) as wire:
                assert await ping(wire)
        finally:
            for child in children:
                if child.returncode is None:
                    child.kill()
                await child.communicate()


FOREIGNER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    try:
        server.sendall(b'Content-Length: 41\\r\\n\\r\\n{"jsonrpc":"2.0","id":1,"method":"echo"} ')
        print(server.recv(1000))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
"""


@needs_root
async def test_U07_another_user_is_cut_off_even_where_the_files_let_it_in(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as server, client(path) as wire:
        path.parent.chmod(0o755)
        path.chmod(0o666)
        heard = subprocess.run(
            [sys.executable, "-S", "-c", FOREIGNER, str(path)], capture_output=True, text=True, timeout=30
        )
        assert heard.stdout == "b''\n", heard.stderr
        assert await ping(wire)
        server.process.terminate()
        await server.ends()
        assert any("user 65534 is refused" in line for line in server.said)
        assert server.said.count("bridge: begun echo") == 1


async def test_U08_a_server_that_nobody_uses_ends(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path), "0.05") as server:
        assert await server.ends() == 0
        assert not path.exists()


async def test_U08_a_server_with_a_long_call_does_not_end(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path), "1") as server:
        async with client(path) as wire:
            wire.say({"id": 1, "method": "sleep", "params": [1.2]})
            assert (await wire.hear())["result"] == "slept"
        assert await server.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_C12_an_idle_server_ends_at_a_signal(path: Path, number: int) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as server, client(path) as wire:
        assert await ping(wire)
        server.process.send_signal(number)
        assert await wire.hear() is None
        assert await server.ends() == 0
        assert not path.exists()


async def test_C12_a_busy_server_finishes_what_runs(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as server, client(path) as wire:
        wire.say({"id": 1, "method": "sleep", "params": [0.2]})
        await server.says("bridge: begun sleep")
        server.process.terminate()
        assert (await wire.hear())["result"] == "slept"
        assert await wire.hear() is None
        assert await server.ends() == 0


async def test_C12_what_does_not_end_in_time_is_cancelled(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as server, client(path) as wire:
        wire.say({"id": 1, "method": "sleep", "params": [600]})
        await server.says("bridge: begun sleep")
        server.process.terminate()
        assert await server.ends() == UNFINISHED
        assert "bridge: cancelled sleep" in server.said
        assert not path.exists()


async def test_C12_the_second_interrupt_ends_it_at_once(path: Path) -> None:
    async with asyncio.timeout(30), started("unix", str(path)) as server, client(path) as wire:
        wire.say({"id": 1, "method": "block"})
        await server.says("bridge: begun block")
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGINT)
        while server.process.returncode is None:  # two that come together may count as one
            await asyncio.sleep(0.05)
            if server.process.returncode is None:
                server.process.send_signal(signal.SIGINT)
        assert server.process.returncode == 128 + signal.SIGINT
