"""Serving the stdin and stdout of a process. Scenarios S01-S04, S06, S07 and C12."""

# ruff: noqa: ASYNC221 - these look at files and wait for programs, and nothing else is to run meanwhile

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.jsonrpc.child import UNFINISHED
from tests.jsonrpc.ends import FRAMINGS, Wire, encode
from tests.jsonrpc.processes import PROGRAM, environment, over_stdio

pytestmark = pytest.mark.parametrize("framing", FRAMINGS)


def framed(framing: str, *messages: dict[str, Any]) -> bytes:
    return b"".join(part for message in messages for part in FRAMINGS[framing]().encode(encode(message)))


def run(framing: str, stdin: IO[bytes] | int, stdout: IO[bytes] | int = subprocess.PIPE) -> bytes | None:
    """Runs a child to its end; what it wrote to a pipe."""
    done = subprocess.run(
        [*PROGRAM, "stdio", framing], env=environment(), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_S01_what_tools_print_goes_to_stderr(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "chat"}, {"id": 2, "method": "echo", "params": ["ü"]})
        heard = {answer["id"]: answer["result"] for answer in (await wire.hear(), await wire.hear())}
        assert heard == {1: None, 2: ["ü"]}
        wire.writer.close()
        assert await wire.hear() is None
        assert await child.ends() == 0
        lines = ["printed: ü\N{SNOWMAN}", "written", "put by C", "echoed by a child", "printed by a child"]
        assert [line for line in child.said if line in lines] == lines


async def test_S02_tools_and_their_children_read_nothing(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, _):
        wire.say({"id": 1, "method": "read"}, {"id": 2, "method": "echo"})
        assert await wire.hear() == {"jsonrpc": "2.0", "id": 1, "result": ["", ""]}
        assert (await wire.hear())["id"] == 2


async def test_S03_it_ends_with_stdin(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "echo"})
        assert (await wire.hear())["id"] == 1
        wire.writer.close()
        assert await child.ends() == 0
        assert "bridge: clean" in child.said


async def test_S03_what_runs_for_long_is_cancelled_when_stdin_ends(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "sleep", "params": [600]})
        await child.says("bridge: begun sleep")
        wire.writer.close()
        assert await child.ends() == 0
        assert "bridge: cancelled sleep" in child.said


async def test_S03_a_stuck_tool_does_not_keep_it(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "stick"})
        await child.says("bridge: begun stick")
        wire.writer.close()
        assert await child.ends() == UNFINISHED


async def test_S04_it_ends_when_nobody_reads_its_answers(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "sleep", "params": [600]})
        await child.says("bridge: begun sleep")
        wire.reader._transport.close()  # type: ignore[attr-defined]  # the end that reads, alone
        assert await child.ends() == 0
        assert not any("Traceback" in line for line in child.said)


async def test_S06_a_stderr_that_nobody_reads_stops_nothing(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "log", "params": [1_000_000]}, {"id": 2, "method": "echo"})
        assert (await wire.hear())["result"] == "logged"
        assert (await wire.hear())["id"] == 2
        assert child.process.stderr is not None
        for _ in range(1000):  # now it is read
            child.said.append((await child.process.stderr.readline()).decode())
        wire.say({"id": 3, "method": "log", "params": [100]})
        assert (await wire.hear())["result"] == "logged"
        wire.writer.close()
        assert await child.ends() == 0
        assert any("bytes are missing here" in line for line in child.said)


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONUNBUFFERED": "1"},
        {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["unbuffered", "latin-1", "C"],
)
async def test_S07_the_wire_is_utf8_whatever_the_locale(framing: str, env: dict[str, str]) -> None:
    async with asyncio.timeout(30), over_stdio(framing, **env) as (wire, child):
        wire.say({"id": 1, "method": "echo", "params": ["ü\N{SNOWMAN}"]}, {"id": 2, "method": "chat"})
        assert (await wire.hear())["result"] == ["ü\N{SNOWMAN}"]
        assert (await wire.hear())["id"] == 2
        wire.writer.close()
        assert await child.ends() == 0
        assert "printed: ü\N{SNOWMAN}" in child.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_C12_it_ends_at_a_signal(framing: str, number: int) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, child):
        wire.say({"id": 1, "method": "echo"})
        assert (await wire.hear())["id"] == 1
        child.process.send_signal(number)
        assert await wire.hear() is None
        assert await child.ends() == 0


async def test_F10_large_messages_pass_both_ways(framing: str) -> None:
    async with asyncio.timeout(30), over_stdio(framing) as (wire, _):
        text = "ü" * 5_000_000
        wire.say({"id": 1, "method": "echo", "params": [text]})
        assert (await wire.hear())["result"] == [text]


async def test_files_are_read_and_written(framing: str, tmp_path: Path) -> None:
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(framed(framing, *({"id": n, "method": "sleep", "params": [0.01]} for n in range(3))))
    with asked.open("rb") as stdin, answered.open("wb") as stdout:
        run(framing, stdin, stdout)
    heard = list(FRAMINGS[framing]().feed(answered.read_bytes()))
    assert len(heard) == 3
    assert run(framing, subprocess.DEVNULL) == b""


@asynccontextmanager
async def over_sockets(framing: str, *, same: bool) -> AsyncIterator[tuple[Wire, asyncio.subprocess.Process]]:
    """As Node.js starts a child, or, with the same socket for both, as sshd does."""
    here, there = socket.socketpair()
    also_here, also_there = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("stdio", framing),
        env=environment(),
        stdin=there.fileno(),
        stdout=(there if same else also_there).fileno(),
        stderr=asyncio.subprocess.DEVNULL,
    )
    there.close()
    also_there.close()
    reader, writer = await asyncio.open_connection(sock=here)
    answers, other_writer = await asyncio.open_connection(sock=also_here)
    try:
        yield Wire(reader if same else answers, writer, FRAMINGS[framing]()), process
    finally:
        writer.close()
        other_writer.close()
        await process.wait()


@pytest.mark.parametrize("same", [False, True], ids=["two sockets", "one socket"])
async def test_sockets_serve_as_stdin_and_stdout(framing: str, same: bool) -> None:
    async with asyncio.timeout(30), over_sockets(framing, same=same) as (wire, process):
        for n in range(3):
            wire.say({"id": n, "method": "echo", "params": ["x" * 300_000]})
            assert (await wire.hear())["id"] == n
        wire.say({"id": 9, "method": "echo"})
        wire.writer.write_eof()
        assert (await wire.hear())["id"] == 9
        assert await process.wait() == 0


async def test_a_terminal_stays_as_it_is(framing: str) -> None:
    main, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "stdio", framing, env=environment(), stdin=terminal, stdout=asyncio.subprocess.PIPE, stderr=terminal
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            asked = encode({"id": 1, "method": "echo"}) + b"\n"  # a terminal passes on whole lines
            os.write(main, asked if framing == "newline" else b"Content-Length: %d\n\n" % len(asked) + asked)
            assert b'"id":1' in await process.stdout.read(65536)
            assert os.get_blocking(terminal)
    finally:
        process.kill()
        await process.communicate()
        os.close(main)
        os.close(terminal)


async def test_without_stdin_it_says_what_to_do(framing: str) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, "stdio", framing]
    done = subprocess.run(shell, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "NO_STDIO" in done.stderr


async def test_without_stderr_it_works(framing: str) -> None:
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM, "stdio", framing]
    asked = framed(framing, {"id": 1, "method": "chat"})
    done = subprocess.run(shell, env=environment(), input=asked, stdout=subprocess.PIPE, timeout=30)
    assert [b'"result":null' in text for text in FRAMINGS[framing]().feed(done.stdout)] == [True]
