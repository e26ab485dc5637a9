"""A proxy in a program of threads: many of them, interrupted ones, forgotten ones, and nothing that is left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import BridgeError
from bridge.worker import WorkerProxy
from bridge.worker.memory import is_running
from tests.proxy.ways import Files, WriteManifest


def wait(condition: Callable[[], bool]) -> None:
    """Waits in a thread for what nobody tells."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


def test_many_threads_share_a_proxy(plugin: WriteManifest) -> None:
    with WorkerProxy(plugin(), workers=2) as proxy, ThreadPoolExecutor(12) as threads:

        def call(number: int) -> bool:
            if number % 3:
                return bool(proxy.execute("echo", value=number) == number)
            return list(proxy.stream("counts", until=number % 20)) == list(range(number % 20))

        assert all(threads.map(call, range(300), timeout=30))


def test_blocking_calls_and_awaited_ones_go_together(plugin: WriteManifest) -> None:
    async def await_some(proxy: WorkerProxy) -> list[int]:
        return list(await asyncio.gather(*(proxy.execute_async("echo", value=number) for number in range(40))))

    with WorkerProxy(plugin(), workers=2) as proxy, ThreadPoolExecutor(4) as threads:
        awaited = [threads.submit(asyncio.run, await_some(proxy)) for _ in range(2)]
        blocked = [threads.submit(proxy.execute, "echo", value=number) for number in range(40)]
        assert [call.result(20) for call in blocked] == list(range(40))
        assert [calls.result(20) for calls in awaited] == [list(range(40))] * 2


async def test_where_an_event_loop_runs_a_call_blocks_and_works(plugin: WriteManifest) -> None:
    with WorkerProxy(plugin()) as proxy:
        assert proxy.execute("echo", value=1) == 1
        assert list(proxy.stream("counts", until=3)) == [0, 1, 2]


def test_a_blocking_call_in_a_note_of_progress_is_refused(plugin: WriteManifest, files: Files) -> None:
    files.make("go")
    with WorkerProxy(plugin()) as proxy:
        caller = proxy.with_options(on_progress=lambda note: proxy.execute("echo"))
        with pytest.raises(BridgeError) as caught:
            caller.execute("reports", begun=files["begun"], release=files["go"])
        assert caught.value.reason == "WOULD_BLOCK"
        assert proxy.execute("echo", value=1) == 1


def test_ctrl_c_cancels_the_call_and_leaves_the_proxy_usable(plugin: WriteManifest, files: Files) -> None:
    def interrupt() -> None:
        wait(lambda: files.has("begun"))
        os.kill(os.getpid(), signal.SIGINT)

    with WorkerProxy(plugin()) as proxy:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            proxy.execute("waits", begun=files["begun"], release=files["never"])
        interrupting.join(5)
        assert files.has("begun.cancelled")
        assert proxy.execute("echo", value=1) == 1


def children() -> set[int]:
    """Processes that any thread of this one has started, and that are not reaped."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def test_a_proxy_that_is_forgotten_is_told_of_and_ends(plugin: WriteManifest) -> None:
    before = children()
    proxy = WorkerProxy(plugin()).start()
    pid = proxy.execute("pid")
    references = [proxy]
    del proxy
    with pytest.warns(ResourceWarning, match="was not closed"):
        references.clear()
    wait(lambda: not is_running(pid) and children() <= before)


async def test_a_proxy_of_an_event_loop_that_is_forgotten_ends(plugin: WriteManifest) -> None:
    before = children()
    proxy = await WorkerProxy(plugin()).start_async()
    pid = await proxy.execute_async("pid")
    references = [proxy]
    del proxy
    with pytest.warns(ResourceWarning, match="was not closed"):
        references.clear()
    async with asyncio.timeout(10):
        while is_running(pid) or not children() <= before or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


# -- nothing is left -------------------------------------------------------------------------------------------------


class Belongings:
    """What this process has, and may leak."""

    def __init__(self) -> None:
        gc.collect()
        self.descriptors = {fd.name: str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()}
        self.threads = sorted(thread.name for thread in threading.enumerate())
        self.children = sorted(children())
        self.shared = sorted(Path("/dev/shm").iterdir())

    def are_left(self) -> bool:
        """Whether there is no more and no less than at first."""
        return vars(Belongings()) == vars(self)


def test_w11_two_hundred_workers_leave_nothing(plugin: WriteManifest, tmp_path: Path) -> None:
    with WorkerProxy(plugin()) as proxy:
        proxy.execute("echo")  # what is made once
    before, files = Belongings(), sorted(tmp_path.rglob("*"))
    with WorkerProxy(plugin(isolation="call")) as proxy:
        pids = {proxy.execute("pid") for _ in range(200)}
        assert len(pids) == 200
    wait(before.are_left)
    assert not [pid for pid in pids if is_running(pid)]
    assert sorted(tmp_path.rglob("*")) == files


def test_w11_proxies_that_come_and_go_leave_nothing(plugin: WriteManifest) -> None:
    manifest = plugin()
    with WorkerProxy(manifest) as proxy:
        proxy.execute("echo")
    before = Belongings()
    for number in range(25):
        with WorkerProxy(manifest) as proxy:
            assert proxy.execute("echo", value=number) == number
    wait(before.are_left)


RunProgram = Callable[[str], tuple[subprocess.Popen[str], list[int]]]

PROGRAM = """
import json, sys, threading
from bridge.worker import WorkerProxy
manifest, how = json.loads(sys.argv[1]), sys.argv[2]
proxy = WorkerProxy(manifest).start()
child = proxy.execute("starts_a_child")
print(json.dumps([proxy.execute("pid"), child]), flush=True)
if how == "wait":
    proxy.execute("hangs")
"""


@pytest.fixture
def run_program(plugin: WriteManifest) -> RunProgram:
    """Runs a program that uses a plugin, to its end or until it is killed; the plugin's processes."""

    def run(how: str) -> tuple[subprocess.Popen[str], list[int]]:
        program = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(plugin()), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert program.stdout is not None
        return program, json.loads(program.stdout.readline())

    return run


def test_w10_a_program_that_is_killed_takes_its_plugins_along(run_program: RunProgram) -> None:
    program, pids = run_program("wait")
    with program:
        assert all(map(is_running, pids))
        program.kill()
        wait(lambda: not any(map(is_running, pids)))


def test_w10_a_program_that_ends_without_closing_takes_its_plugins_along(run_program: RunProgram) -> None:
    program, pids = run_program("end")
    with program:
        assert program.wait(10) == 0
        wait(lambda: not any(map(is_running, pids)))
