"""A worker process that is a fork of the process that was launched: it has the adapter from that, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.snakepit.beam import FakeBeam
from tests.snakepit.pool_worker import PythonError

ADAPTER = """
import atexit, gc, os, signal, sys, threading
from pathlib import Path
from bridge import Adapter, tool

HERE = Path(__file__).parent

def note(what):
    with open(HERE / what, "a") as file:
        file.write(f"{os.getpid()}\\n")

note("imported")
atexit.register(note, "left")
# MORE

class Noting(Adapter):
    @tool
    async def own_pid(self) -> int:
        return os.getpid()

    @tool
    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @tool
    def state(self) -> dict[str, object]:
        status = Path("/proc/self/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return {
            "pid": os.getpid(),
            "gc": gc.isenabled(),
            "hangup": bool(caught >> (1 - 1) & 1),
            "session": os.getsid(0),
            "command": Path("/proc/self/cmdline").read_bytes().strip(b"\\0").decode(),
            "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)),
            "stdin": sys.stdin.read(),
        }
"""
THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
NATIVE_THREAD = """
import ctypes
libc = ctypes.CDLL(None)
libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
"""


def adapter(folder: Path, more: str = "") -> str:
    """Writes one that notes where it was imported, and what is left as a program ends."""
    file = folder / "noting.py"
    file.write_text(ADAPTER.replace("# MORE", more))
    return f"{file}:Noting"


def noted(folder: Path, what: str) -> list[int]:
    """The processes that have noted something."""
    file = folder / what
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_adapter_is_imported_once_for_the_server_and_its_worker_process(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, adapter(tmp_path)) as beam:
        worker = await beam.start_worker()
        assert (await worker.execute("state"))["pid"] != worker.pid
        assert noted(tmp_path, "imported") == [worker.pid]


@pytest.mark.parametrize("more", [THREAD, NATIVE_THREAD], ids=["python", "native"])
async def test_adapter_that_starts_threads_is_imported_for_worker_processes_again(tmp_path: Path, more: str) -> None:
    async with FakeBeam(tmp_path, adapter(tmp_path, more)) as beam:
        worker = await beam.start_worker()
        assert (await worker.execute("state"))["pid"] != worker.pid
        assert len(noted(tmp_path, "imported")) == 2


async def test_what_the_adapter_has_left_for_the_exit_is_done_by_the_server_only(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, adapter(tmp_path)) as beam:
        worker = await beam.start_worker()
        await worker.execute("state")
        assert await worker.stop() == 0
    assert noted(tmp_path, "left") == [worker.pid]
    assert worker.output == ""


async def test_worker_process_is_as_if_it_had_been_started_by_itself(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, adapter(tmp_path)) as beam:
        worker = await beam.start_worker()
        state: dict[str, Any] = await worker.execute("state")
        assert state["gc"]
        assert not state["hangup"]  # the launched process has a handler of its own for that
        assert state["session"] not in (worker.pid, state["pid"])  # the zygote's
        assert state["command"] == "bridge-worker"
        assert "/dev/null" in state["files"]
        assert len([name for name in state["files"] if name.startswith("pipe:")]) == 2
        assert state["stdin"] == ""


async def test_second_worker_process_comes_from_the_fork_as_well(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, adapter(tmp_path)) as beam:
        worker = await beam.start_worker()
        first = (await worker.execute("state"))["pid"]
        with pytest.raises(PythonError, match="SIGKILL"):
            await worker.execute("die")
        second = (await worker.execute("state"))["pid"]
        assert second not in (first, worker.pid)
        assert noted(tmp_path, "imported") == [worker.pid]
