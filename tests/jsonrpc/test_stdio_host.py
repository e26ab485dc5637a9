"""The end of the program on the other side of stdin and stdout, however it comes. Scenario S05."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.worker.memory import is_running
from tests.jsonrpc.ends import encode
from tests.jsonrpc.processes import PROGRAM, environment
from tests.support.waiting import until

HOST = """
import os, subprocess, sys
pipe = subprocess.PIPE
with subprocess.Popen([sys.executable, sys.argv[1], "stdio", "newline"], stdin=pipe, stdout=pipe, stderr=pipe) as child:
    while b"ready" not in child.stderr.readline():
        pass
    child.stdin.write(sys.argv[2].encode() + b"\\n")
    child.stdin.flush()
    while b"begun" not in child.stderr.readline():
        pass
    if sys.argv[3] == "leaks":
        # The ends of the pipes of this process live on in another one, as in a worker that it has forked.
        if os.fork() == 0:
            sys.stdin.buffer.read()
            os._exit(0)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@asynccontextmanager
async def hosted(
    method: str, leaks: str = "closes", **env: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A host that has a child which is busy, and the child's number."""
    pipe = asyncio.subprocess.PIPE
    request = encode({"id": 1, "method": method, "params": [600] if method == "sleep" else []})
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOST, PROGRAM[1], request.decode(), leaks),
        env=environment(**env),
        stdin=pipe,
        stdout=pipe,
    )
    try:
        assert host.stdout is not None
        yield host, int(await host.stdout.readline())
    finally:
        if host.returncode is None:
            host.kill()
        assert host.stdin is not None
        host.stdin.close()  # ends what it has forked
        await host.communicate()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("method", ["echo", "sleep", "stick", "block"])
async def test_S05_no_child_outlives_a_killed_host(method: str, unbuffered: str) -> None:
    async with asyncio.timeout(30), hosted(method, PYTHONUNBUFFERED=unbuffered) as (host, pid):
        assert is_running(pid)
        host.kill()
        await until(lambda: not is_running(pid))


@pytest.mark.parametrize("method", ["echo", "sleep", "block"])
async def test_S05_nor_if_the_pipes_of_the_host_live_on(method: str) -> None:
    async with asyncio.timeout(30), hosted(method, "leaks") as (host, pid):
        assert is_running(pid)
        host.kill()
        await until(lambda: not is_running(pid))


async def test_S05_an_import_that_takes_long_does_not_keep_it() -> None:
    program = (
        "import os, sys, time\n"
        "from bridge.jsonrpc.stdio import Stdio\n"
        "stdio = Stdio.take()\n"
        "stdio.host.limit = 0.1\n"
        "os.write(stdio.stdout, b'taken')\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(  # noqa: ASYNC220 - its pipes are what this is about
        [sys.executable, "-c", program], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(5) == b"taken"
        process.stdin.close()
        async with asyncio.timeout(10):
            await until(lambda: not is_running(process.pid))


def test_what_it_needs_loads_no_grpc() -> None:
    program = "import bridge.jsonrpc.stdio, bridge.jsonrpc.unix_server, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=30
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "bridge" in loaded
    assert not loaded & {"grpc", "google", "opentelemetry", "typer"}
