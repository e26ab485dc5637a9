"""Nobody outlives the server, and nobody the zygote."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.worker.nursery import Exit, Nursery
from tests.worker.conftest import StartNursery, StartWorker, WriteAdapter
from tests.worker.pids import watched

OWNER = Path(__file__).parent / "owner.py"


@contextmanager
def owner(form: str, unbuffered: str = "") -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A server in a process of its own, with its zygote, a worker and a child of that."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(OWNER), form], stdin=pipe, stdout=pipe, stderr=pipe, env=environ) as it:
        try:
            assert it.stdout is not None
            line = it.stdout.readline()
            if not line:
                pytest.fail(it.communicate(timeout=10)[1].decode())
            yield it, json.loads(line)
        finally:
            it.kill()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["idle", "stuck", "chatter", "session", "thread", "forked"])
def test_w10_killed_server_leaves_no_process(form: str, unbuffered: str) -> None:
    with owner(form, unbuffered) as (server, pids), watched(pids) as processes:
        assert processes.left(0) == sorted(pids)
        server.kill()
        assert processes.left() == []


def test_w10_server_that_ends_at_once_leaves_no_process() -> None:
    with owner("exits", "1") as (server, pids), watched(pids) as processes:
        assert server.stdin is not None
        server.stdin.write(b"x")
        server.stdin.flush()
        assert processes.left() == []
        assert server.wait(10) == 3


@pytest.mark.parametrize("form", ["idle", "stuck"])
def test_w10_killed_zygote_leaves_no_process_though_the_server_can_do_nothing(form: str) -> None:
    """As when both are killed in the same instant."""
    with owner(form) as (server, pids), watched(pids) as processes:
        server.send_signal(signal.SIGSTOP)
        os.kill(pids[0], signal.SIGKILL)
        left = processes.left()
        server.send_signal(signal.SIGCONT)
        assert left == []


async def test_killed_zygote_takes_its_workers_along(start_nursery: StartNursery, start_worker: StartWorker) -> None:
    nursery = await start_nursery()
    newborn, talk = await start_worker(nursery)
    child = await talk.ask("spawn")
    await talk.ask("hold_gil_soon")
    talk.tell("hold")
    assert nursery.pid is not None
    with watched([newborn.pid, child]) as processes:
        os.kill(nursery.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await asyncio.shield(nursery.died) == Exit(signal=signal.SIGKILL)
            assert await asyncio.shield(newborn.exited) == Exit(signal=signal.SIGKILL)
        assert processes.left() == []


async def test_killed_zygote_takes_along_what_imports_have_started(
    start_nursery: StartNursery, write_adapter: WriteAdapter
) -> None:
    text = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'])\n"
        "print(child.pid, flush=True)\n"
        "from bridge import Adapter, tool\n"
        "class A(Adapter):\n"
        "    @tool\n"
        "    def t(self) -> None: pass\n"
    )
    nursery = await start_nursery(write_adapter("starts_child", text))
    assert nursery.pid is not None
    with watched([int(nursery.output[0])]) as processes:
        os.kill(nursery.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            await asyncio.shield(nursery.died)
        assert processes.left() == []


async def test_fork_fails_when_the_zygote_is_killed_meanwhile(start_nursery: StartNursery) -> None:
    nursery = await start_nursery()
    assert nursery.pid is not None
    os.kill(nursery.pid, signal.SIGSTOP)
    waiting = asyncio.ensure_future(nursery.fork())
    await asyncio.sleep(0)
    os.kill(nursery.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        with pytest.raises(Exception, match="has ended with signal SIGKILL"):
            await waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_for_the_server_do_not_end_the_zygote(
    start_nursery: StartNursery, start_worker: StartWorker, number: int
) -> None:
    """A service manager or a terminal sends them to every process; the server decides what they mean."""
    nursery: Nursery = await start_nursery()
    assert nursery.pid is not None
    os.kill(nursery.pid, number)
    newborn, talk = await start_worker(nursery)
    assert (await talk.ask("facts"))["parent"] == nursery.pid
    assert not newborn.exited.done()
