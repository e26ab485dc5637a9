"""``bridge demo``: real processes, and none of them left over, whatever happens."""

import io
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bridge import BridgeError, Code, demo
from bridge.demo_processes import run_process
from bridge.demo_steps import STEPS, Mismatch, Skipped, Stage, unary_tool

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from rich.console import Console
from bridge.demo import run_demo
sys.exit(run_demo(Console(file=sys.stdout)))
"""
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")]),
    "PYTHONUNBUFFERED": "1",
}


def run_demo() -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    code = demo.run_demo(console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_demo_does_every_step_and_ends_with_zero() -> None:
    code, output = run_demo()
    assert code == 0, output
    assert [title for title, _ in STEPS if title not in output] == []
    assert "skipped" not in output
    assert f"{len(STEPS)} of {len(STEPS)} steps did what they must (" in output


def test_failed_step_is_named_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(stage: Stage) -> None:
        raise Mismatch("the sky is green, and must be blue")

    monkeypatch.setattr(demo, "STEPS", (("A broken step", broken), ("A unary tool", unary_tool)))
    code, output = run_demo()
    assert code == 1
    assert "the sky is green, and must be blue" in output
    assert "'that': 13" in output
    assert output.rstrip().endswith(": 1. A broken step")


def test_step_that_cannot_run_here_is_shown_as_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(stage: Stage) -> None:
        raise Skipped("NumPy is not installed")

    monkeypatch.setattr(demo, "STEPS", (("An optional step", missing),))
    code, output = run_demo()
    assert code == 0, output
    assert "skipped: NumPy is not installed" in output
    assert "0 of 1 steps did what they must, 1 skipped" in output


async def test_process_that_cannot_start_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="no_such_module") as caught:
        async with run_process("server", ["serve", "no_such_module:Adapter", "--listen", "127.0.0.1:0"], tmp_path):
            pytest.fail("it is not ready")
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "PROCESS_FAILED")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and the kernel ends the children")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_process_outlives_a_demo_that_is_stopped(number: signal.Signals, code: int, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert any("A streaming tool" in line for line in demo.stdout), "the demo ended early"
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        assert len(children) == 2
        handles = [os.pidfd_open(int(child)) for child in children]
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(timeout=20) == code
    for handle in handles:
        assert select.select([handle], [], [], 20)[0], "a child is still there"
        os.close(handle)
