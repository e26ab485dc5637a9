"""A zygote that cannot start says why, and is gone."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.worker.nursery import Nursery
from tests.worker.conftest import StartNursery, StartWorker, WriteAdapter, recipe
from tests.worker.gate import Gate
from tests.worker.pids import children, open_files, watched

ADAPTER = "from bridge import Adapter, tool\nclass A(Adapter):\n    @tool\n    def t(self) -> None: pass\n"

BROKEN = {
    "raises": ("def deep():\n    1 / 0\ndeep()", "IMPORT_FAILED", "ZeroDivisionError"),
    "exits": ("import sys\nsys.exit('enough')", "IMPORT_FAILED", "SystemExit: enough"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
    "segfault": ("import ctypes\nprint('so far')\nctypes.string_at(0)", "", "signal SIGSEGV"),
    "dies": ("import os\nos.write(2, b'last words')\nos._exit(3)", "", "exit code 3"),
    "no_class": (ADAPTER.replace("A(", "B("), "CLASS_NOT_FOUND", "has no class 'A'; it has B"),
}


async def refused(nursery: Nursery) -> BridgeError:
    """The error of a start that leaves nothing behind."""
    before = open_files(), children(os.getpid())
    with pytest.raises(BridgeError) as caught:
        async with asyncio.timeout(10):
            await nursery.start()
    # Fewer is fine: what earlier tests held may go meanwhile.
    assert open_files() <= before[0]
    assert {*children(os.getpid())} <= {*before[1]}
    return caught.value


@pytest.mark.parametrize("kind", BROKEN)
async def test_w02_start_error_tells_what_the_import_did(kind: str, write_adapter: WriteAdapter) -> None:
    text, cause, words = BROKEN[kind]
    error = await refused(Nursery(recipe(write_adapter(f"broken_{kind}", text))))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_START_FAILED")
    assert error.details.metadata.get("cause", "") == cause
    assert words in error.message
    if cause == "IMPORT_FAILED":
        assert f"broken_{kind}.py" in (error.details.debug or "")


async def test_w02_start_error_has_the_last_output(write_adapter: WriteAdapter) -> None:
    crashed = await refused(Nursery(recipe(write_adapter("crashing", BROKEN["segfault"][0]))))
    assert "in string_at" in crashed.message
    dead = await refused(Nursery(recipe(write_adapter("dying", BROKEN["dies"][0]))))
    assert dead.message.endswith("; its last output:\nlast words")


async def test_w02_module_that_is_not_there_is_told_as_by_the_server() -> None:
    error = await refused(Nursery(recipe("no_such_module_here:A")))
    assert error.details.metadata["cause"] == "MODULE_NOT_FOUND"
    assert "there is no module 'no_such_module_here'" in error.message


@pytest.mark.parametrize("leaves_group", [False, True])
async def test_w04_import_past_its_time_is_killed_with_what_it_has_started(
    leaves_group: bool, write_adapter: WriteAdapter
) -> None:
    text = (
        "import ctypes, subprocess, sys\n"
        "program = [sys.executable, '-S', '-c', 'import signal; signal.pause()']\n"
        f"child = subprocess.Popen(program, start_new_session={leaves_group})\n"
        "print('child', child.pid, flush=True)\n"
        "ctypes.PyDLL(None).pause()\n"
    )
    nursery = Nursery(recipe(write_adapter(f"endless_{leaves_group}", text), start_timeout=1.5))
    error = await refused(nursery)
    assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, "WORKER_START_TIMEOUT")
    child = int(error.message.split("its last output:\nchild ")[1])
    with watched([child]) as processes:
        assert processes.left() == []


async def test_w03_import_may_take_its_time(write_adapter: WriteAdapter, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    nursery = Nursery(recipe(write_adapter("slow", gate.text + ADAPTER)))
    with gate.shut():
        starting = await gate.reached(nursery)
        assert not starting.done()
    async with asyncio.timeout(10):
        await starting
    await nursery.aclose()


async def test_start_that_is_cancelled_before_the_process_runs_leaves_nothing() -> None:
    before = open_files(), children(os.getpid())
    for turns in range(4):
        starting = asyncio.create_task(Nursery(recipe()).start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert open_files() <= before[0]
    assert {*children(os.getpid())} <= {*before[1]}


async def test_cancelled_start_leaves_nothing(write_adapter: WriteAdapter) -> None:
    spec = write_adapter("waits", "import signal\nsignal.pause()\n")
    before = open_files(), children(os.getpid())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await Nursery(recipe(spec)).start()
    # Fewer is fine: what earlier tests held may go meanwhile.
    assert open_files() <= before[0]
    assert {*children(os.getpid())} <= {*before[1]}


async def test_w12_import_that_prints_10_mb_does_not_hang(
    write_adapter: WriteAdapter, start_nursery: StartNursery, start_worker: StartWorker
) -> None:
    text = f"import sys\nfor _ in range(500): sys.stderr.write('x' * 20000 + chr(10))\nprint('done')\n{ADAPTER}"
    nursery = await start_nursery(write_adapter("talkative", text))
    _, talk = await start_worker(nursery)
    assert talk.prepared == ["talkative:A"]
    assert nursery.output[-1] == "done"


async def test_threads_of_an_import_are_warned_of(
    write_adapter: WriteAdapter, start_nursery: StartNursery, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='pump', daemon=True).start()\n"
        f"{ADAPTER}"
    )
    await start_nursery(write_adapter("threaded", text))
    assert "(pump): start them in lifespan" in caplog.text


async def test_what_imports_have_opened_is_closed_once_and_by_the_zygote(
    write_adapter: WriteAdapter, start_nursery: StartNursery, start_worker: StartWorker, tmp_path: Path
) -> None:
    log = tmp_path / "closed"
    text = (
        f"import atexit, os\natexit.register(lambda: open({str(log)!r}, 'a').write(f'{{os.getpid()}}\\n'))\n{ADAPTER}"
    )
    nursery = await start_nursery(write_adapter("registers", text))
    newborn, talk = await start_worker(nursery)
    talk.tell("exit", 0)
    async with asyncio.timeout(5):
        await asyncio.shield(newborn.exited)
    await nursery.aclose()
    assert log.read_text() == f"{nursery.pid}\n"


async def test_other_systems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    error = await refused(Nursery(recipe()))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "ISOLATION_UNSUPPORTED")
