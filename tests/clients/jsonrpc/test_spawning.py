"""Servers that are children of the client: they talk over stdin and stdout, and end with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge_client.backoff import Backoff
from bridge_client.jsonrpc import Client
from tests.clients.jsonrpc.processes import end, is_alive
from tests.jsonrpc.processes import PROGRAM, environment
from tests.support.waiting import until

STDIO = [*PROGRAM, "stdio", "content-length"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize("framing", ["content-length", "newline"])
async def test_a_child_answers_and_is_gone_with_the_client(framing: str) -> None:
    async with asyncio.timeout(10):
        command = [*PROGRAM, "stdio", framing]
        async with await Client.spawn(command, framing=framing, env=environment()) as client:
            assert await client.request("echo", [1, "ü"]) == [1, "ü"]
            pid = await client.request("pid")
            assert os.getpgid(pid) == pid, "signals of a terminal are not for it"
        assert not is_alive(pid)


async def test_S06_what_it_writes_to_stderr_is_read_and_bounded() -> None:
    async with asyncio.timeout(20), await Client.spawn(STDIO, env=environment()) as client:
        assert await client.request("log", [1_000_000]) == "logged"
        await until(lambda: len(client.server_output) == 16 * 1024)


async def test_a_child_that_ends_is_told_of_with_its_last_words() -> None:
    async with asyncio.timeout(10), await Client.spawn(shell("echo boom >&2; exit 3")) as client:
        with pytest.raises(BridgeError) as caught:
            await client.request("echo")
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "CONNECTION_LOST")
        assert "ended with exit code 3" in caught.value.message
        assert "boom" in caught.value.message


async def test_a_child_that_is_killed_in_a_call_is_told_of() -> None:
    async with asyncio.timeout(10), await Client.spawn(STDIO, env=environment()) as client:
        pid = await client.request("pid")
        sleeping = asyncio.ensure_future(client.request("sleep", [600]))
        await client.request("echo")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BridgeError) as caught:
            await sleeping
        assert "was ended by SIGKILL" in caught.value.message
        with pytest.raises(BridgeError) as caught:
            await client.request("echo")
        assert caught.value.reason == "CONNECTION_LOST", "it is not started again unless that was asked for"


async def test_a_child_is_started_again_if_wanted() -> None:
    async with asyncio.timeout(10), await Client.spawn(STDIO, env=environment(), reconnect=Backoff()) as client:
        first = await client.request("pid")
        os.kill(first, signal.SIGKILL)
        await until(lambda: not client.is_connected)
        assert await client.request("pid") != first


async def test_a_child_that_ignores_the_end_of_its_stdin_is_terminated_with_all_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {pids}; while :; do wait; done"
    async with asyncio.timeout(10):
        client = await Client.spawn(shell(script), grace=0.05)
        await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        await client.aclose()
        shell_pid, sleep_pid = map(int, pids.read_text().split())
        try:
            assert not is_alive(shell_pid)
            await until(lambda: not is_alive(sleep_pid))
        finally:
            await end(shell_pid)
            await end(sleep_pid)


async def test_a_child_that_ignores_the_end_of_its_stdin_may_clean_up(tmp_path: Path) -> None:
    script = "trap 'echo cleaned up >&2; exit' TERM; echo ready >&2; while :; do sleep 0.01; done"
    async with asyncio.timeout(10):
        client = await Client.spawn(shell(script), grace=0.05)
        await until(lambda: client.server_output)
        await client.aclose()
        assert client.server_output.endswith("cleaned up\n")


async def test_a_child_has_its_own_folder_and_environment(tmp_path: Path) -> None:
    script = 'echo "$PWD $OF_ITS_OWN" >&2; cat >/dev/null'
    async with asyncio.timeout(10):
        async with await Client.spawn(shell(script), cwd=tmp_path, env={"OF_ITS_OWN": "yes"}) as client:
            await until(lambda: client.server_output == f"{tmp_path} yes\n")


@pytest.mark.parametrize("command", [["/nowhere/to/be/found"], [str(Path(__file__))]])
async def test_what_cannot_be_run_is_said(command: list[str]) -> None:
    with pytest.raises(BridgeError) as caught:
        await Client.spawn(command)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "COMMAND")


@pytest.mark.parametrize("command", [[], "bridge stdio", ["bridge", 1]])
async def test_what_is_no_command_is_refused(command: list[str]) -> None:
    with pytest.raises(BridgeError) as caught:
        await Client.spawn(command)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "COMMAND")


async def test_no_descriptor_and_no_process_is_left() -> None:
    async with asyncio.timeout(20):
        async with await Client.spawn(STDIO, env=environment()) as client:
            await client.request("echo")
        before = descriptors()
        for _ in range(3):
            async with await Client.spawn([sys.executable, "-c", ""]) as client:
                pass
            with pytest.raises(BridgeError):
                await Client.spawn(["/nowhere"])
        assert descriptors() == before
