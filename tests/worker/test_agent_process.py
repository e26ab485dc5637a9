"""How a worker process ends: when it is told to, when its server is gone, and by itself."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bridge.codec import decode
from bridge.worker import frames
from bridge.worker.agent import TERMINATED
from tests.support.worker_pipe import Pipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, socket, sys
os.setpgid(0, 0)
from bridge.registry import Registry
from bridge.worker.agent import run
from tests.support import worker_tools
run(socket.socket(fileno=int(sys.argv[1])), Registry([getattr(worker_tools, sys.argv[2])]))
"""

Spawn = Callable[..., Awaitable[tuple[Process, Pipe]]]


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    """Starts a worker with an adapter of ``worker_tools``; gives the process and the server's end of its pipe."""
    started: list[tuple[Process, Pipe]] = []

    async def spawn(adapter: str = "Processes") -> tuple[Process, Pipe]:
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(theirs.fileno()), adapter,
            cwd=ROOT, pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        theirs.close()
        pipe = await Pipe.open(ours)
        started.append((process, pipe))
        return process, pipe

    yield spawn
    for process, pipe in started:
        pipe.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _end(process: Process) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; not before all who hold these are gone."""
    async with asyncio.timeout(10):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_tools_run_in_the_process_and_it_ends_in_order(spawn: Spawn) -> None:
    process, pipe = await spawn()
    assert await pipe.call("pid") == await pipe.call("pid_async") == process.pid
    await pipe.call("speak")
    pipe.send(frames.Shutdown())
    assert await _end(process) == (0, "to stdout\nclosed\n", "to stderr\n")


async def test_the_end_of_the_server_is_the_end_of_all_it_started(spawn: Spawn) -> None:
    process, pipe = await spawn()
    await pipe.call("spawn")
    pipe.begin("stuck")
    pipe.close()
    code, out, _ = await _end(process)
    assert code == -signal.SIGKILL
    assert "closed" not in out  # nothing is waited for


async def test_nonsense_ends_it_and_is_told(spawn: Spawn) -> None:
    process, pipe = await spawn()
    pipe.send_bytes(b"\0\0\0\x01\xc1")
    code, _, err = await _end(process)
    assert code == -signal.SIGKILL
    assert "the other side of a worker's pipe sent" in err


async def test_sigterm_ends_it_in_order(spawn: Spawn) -> None:
    process, _ = await spawn()
    process.terminate()
    assert await _end(process) == (TERMINATED, "closed\n", "")


async def test_sigterm_ends_it_though_a_tool_does_not_end(spawn: Spawn) -> None:
    process, pipe = await spawn()
    number = pipe.begin("stuck", streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    process.terminate()
    code, out, _ = await _end(process)
    assert (code, out) == (TERMINATED, "closed\n")


async def test_threads_that_tools_leave_behind_do_not_keep_it(spawn: Spawn) -> None:
    process, pipe = await spawn()
    await pipe.call("leave_thread")
    pipe.send(frames.Shutdown())
    assert (await _end(process))[0] == 0


async def test_a_loop_that_crashes_ends_it_with_a_traceback(spawn: Spawn) -> None:
    process, pipe = await spawn()
    pipe.begin("crash")
    code, _, err = await _end(process)
    assert code == 1
    assert "Traceback" in err
    assert "the loop is gone" in err


async def test_plain_tools_run_in_the_main_thread_and_can_block_there(spawn: Spawn) -> None:
    _, pipe = await spawn()
    assert await pipe.call("runs_in") == ["MainThread", "MainThread"]
    (chunk,) = [chunk async for chunk in pipe.chunks(pipe.begin("streams_from", streaming=True))]
    assert decode(chunk.value) == "MainThread"
    assert await pipe.call("asks_a_loop_of_its_own") == "answer"


async def test_plain_tools_have_a_thread_if_a_lifespan_leaves_something_on_the_loop(spawn: Spawn) -> None:
    _, pipe = await spawn("Restless")
    (thread,) = {*await pipe.call("runs_in")}
    assert thread.startswith("bridge-tool-")
    assert await pipe.call("pid") == await pipe.call("pid_async")


async def test_a_ping_is_answered_while_a_plain_tool_runs(spawn: Spawn) -> None:
    _, pipe = await spawn()
    number = pipe.begin("stuck", streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    async with asyncio.timeout(5):
        for ping in (1, 2):
            pipe.send(frames.Ping(ping))
            assert await pipe.pongs.get() == ping


async def test_two_plain_tools_at_once_do_not_wait_for_each_other(spawn: Spawn) -> None:
    _, pipe = await spawn()
    number = pipe.begin("stuck", streaming=True)
    assert isinstance(await pipe.next(number), frames.Chunk)
    assert await pipe.call("pid") > 0
