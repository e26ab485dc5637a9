"""What a thread has started does not end with that thread."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.worker.nursery import Nursery
from bridge.worker.spawner import spawn
from tests.worker.conftest import WriteAdapter, recipe
from tests.worker.gate import Gate

ROOT = Path(__file__).parents[2]


def test_w10_thread_that_has_started_a_zygote_may_end(write_adapter: WriteAdapter, tmp_path: Path) -> None:
    """It ends in the middle of an import, when the kernel would kill what the thread itself has started."""
    gate = Gate(tmp_path / "gate")
    adapter = "from bridge import Adapter, tool\nclass A(Adapter):\n    @tool\n    def t(self) -> None: pass\n"
    nursery = Nursery(recipe(write_adapter("passes_later", gate.text + adapter)))

    async def go_on(starting: asyncio.Task[None]) -> None:
        async with asyncio.timeout(10):
            try:
                await starting
                newborn = await nursery.fork()
                newborn.sock.close()
                os.close(newborn.output)
            finally:
                await nursery.aclose()

    with asyncio.Runner() as runner, ThreadPoolExecutor() as threads:
        loop = runner.get_loop()
        with gate.shut():
            starting = threads.submit(loop.run_until_complete, gate.reached(nursery)).result(20)
            threads.shutdown()
        loop.run_until_complete(go_on(starting))


async def test_what_cannot_be_started_is_told() -> None:
    def fail() -> None:
        raise FileNotFoundError("it is not there")

    with pytest.raises(FileNotFoundError, match="it is not there"):
        await asyncio.wrap_future(spawn(fail))
    assert await asyncio.wrap_future(spawn(lambda: threading.current_thread().name)) == "bridge-spawner"


def test_one_thread_starts_them_all_and_a_fork_has_its_own() -> None:
    program = (
        "import os, threading\n"
        "from bridge.worker.spawner import spawn\n"
        "assert threading.active_count() == 1\n"
        "first, second = (spawn(threading.get_native_id).result(5) for _ in range(2))\n"
        "assert first == second != threading.get_native_id()\n"
        "if not os.fork():\n"
        "    os._exit(spawn(lambda: 7).result(5))\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "7\n", done.stderr


def test_it_does_not_keep_the_process() -> None:
    program = "from bridge.worker.spawner import spawn\nprint(spawn(lambda: 1).result(5))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
