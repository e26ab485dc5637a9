"""What goes over the pipes of ``bridge mcp``, byte by byte, and how the process ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import environment
from tests.mcp.conftest import arguments, is_alive
from tests.support.waiting import until

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Child:
    """A server, and its pipes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    def send(self, message: Any) -> None:
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.stdin.write(text + b"\n")

    def call(self, id: Any, tool: str, **given: Any) -> None:
        self.send(request(id, "tools/call", name=tool, arguments=given))

    async def next(self) -> Any:
        return json.loads(await self.stdout.readline())


def request(id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": META}}


@asynccontextmanager
async def started(*extra: str, **env: str) -> AsyncIterator[Child]:
    """A server as a child process; nothing is left of it afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments(*extra),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(**env),
        limit=2**20,
    )
    try:
        async with asyncio.timeout(30):
            yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_J05_J12_a_line_that_is_no_message_is_answered_and_the_next_one_works() -> None:
    async with started() as child:
        for line, code in ((b"{nope", -32700), (b"\xff\xfe", -32700), (b"[]", -32600), (b'{"id": 1}', -32600)):
            child.send(line)
            answer = await child.next()
            assert (answer["id"], answer["error"]["code"]) == (None, code)
        child.call(1, "add", a=1)
        assert (await child.next())["result"]["structuredContent"] == {"result": 3}


async def test_F06_a_line_that_is_too_long_ends_the_connection() -> None:
    async with started("--max-message-bytes", "10000") as child:
        child.send(b'"' + b"x" * 20_000 + b'"')
        assert (await child.next())["error"]["code"] == -32700
        assert await child.stdout.read() == b""
        assert await child.process.wait() == 0


async def test_J02_ids_come_back_as_they_were() -> None:
    async with started() as child:
        for id in ("a", "", 0, -1, 2**53):
            child.call(id, "add", a=1)
            answer = await child.next()
            assert (type(answer["id"]), answer["id"]) == (type(id), id)


async def test_S01_what_tools_print_goes_to_stderr() -> None:
    async with started(PYTHONIOENCODING="latin-1") as child:
        child.call(1, "prints")
        assert (await child.next())["result"]["content"][0]["text"] == "ok"
        child.stdin.close()
        assert await child.stdout.read() == b""
        noise = await child.stderr.read()
        for text in (b"printed while being imported", b"printed", b"written", b"echoed"):
            assert text in noise


async def test_S03_requests_before_the_end_of_stdin_are_answered() -> None:
    async with started() as child:
        child.call(1, "add", a=1)
        child.stdin.close()
        assert (await child.next())["result"]["structuredContent"] == {"result": 3}
        assert await child.process.wait() == 0


async def test_S03_a_stuck_tool_does_not_outlive_the_client(tmp_path: Path) -> None:
    file = tmp_path / "process"
    async with started() as child:
        child.call(1, "sleeps", file=str(file))
        await until(lambda: file.exists() and file.read_text())
        child.stdin.close()
        assert await child.process.wait() == 0
        assert not is_alive(int(file.read_text()))


async def test_S04_a_client_that_does_not_listen_any_more_ends_the_server() -> None:
    async with started() as child:
        child.call(1, "add", a=1)
        await child.next()
        child.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined] # there is no public way
        child.call(2, "add", a=1)
        assert await child.process.wait() == 0
        assert b"Traceback" not in await child.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_C12_an_idle_server_ends_by_a_signal(number: int) -> None:
    async with started() as child:
        child.call(1, "add", a=1)
        await child.next()
        child.process.send_signal(number)
        assert await child.process.wait() == 0
        assert await child.stdout.read() == b""


async def test_C11_running_calls_are_answered_after_a_signal_and_others_refused(tmp_path: Path) -> None:
    async with started() as child:
        # A result that is written to a file: there is something to wait for after the tool has ended.
        given = {"file": str(tmp_path / "heard"), "size": 20_000}
        call = request(1, "tools/call", name="steps", arguments=given)
        call["params"]["_meta"] = {**META, "progressToken": "p"}
        child.send(call)
        assert (await child.next())["params"]["progress"] == 0.0
        child.process.send_signal(signal.SIGTERM)
        assert b"stopping" in await child.stderr.readuntil(b"stopping")
        child.call(2, "add", a=1)
        refused = await child.next()
        assert refused["result"]["isError"] is True
        assert refused["result"]["_meta"]["tool-bridge/error"]["reason"] == "DRAINING"
        for step in range(3):
            (tmp_path / f"heard{step}").touch()
        while "result" not in (answer := await child.next()):
            pass
        assert answer["result"]["content"][0]["size"] == 20_000
        assert await child.process.wait() == 0
