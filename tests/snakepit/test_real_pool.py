"""Snakepit's own pool on Elixir runs our worker. CONTRIBUTING.md says what the two variables are to name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = os.environ.get("TOOL_BRIDGE_TEST_SNAKEPIT", "")
MIX = os.environ.get("TOOL_BRIDGE_TEST_ELIXIR", "")

needs_snakepit = pytest.mark.skipif(not SUITE, reason="TOOL_BRIDGE_TEST_SNAKEPIT names no `mix test` of Snakepit")
needs_elixir = pytest.mark.skipif(not MIX, reason="TOOL_BRIDGE_TEST_ELIXIR names no `mix` for clients/elixir")


def run(command: str, *arguments: str, timeout: float) -> str:
    """What a command prints; it runs in a shell, with this checkout's worker for whoever asks for a Python."""
    environ = {
        "TOOL_BRIDGE_PYTHON": sys.executable,
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SNAKEPIT_PYTHON": str(ROOT / "clients/elixir/python-with-bridge"),
    }
    line = ["/bin/sh", "-c", f'{command} "$@"', "sh", *arguments]
    with subprocess.Popen(
        line, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, output[-20_000:]
    return output


@needs_snakepit
@pytest.mark.timeout(660)
def test_snakepits_own_integration_tests_pass_with_our_worker() -> None:
    output = run(SUITE, "--only", "python_integration", timeout=600)
    assert "bridge: health check passed" in output, "it was not our worker that ran"
    summary = re.search(r"(\d+) tests, 0 failures, (\d+) excluded(?:, (\d+) skipped)?", output)
    assert summary is not None, output[-2000:]
    total, excluded, skipped = (int(text or 0) for text in summary.groups())
    assert total - excluded - skipped >= 20, summary[0]


@needs_elixir
@pytest.mark.timeout(360)
def test_elixir_module_does_what_its_tests_say() -> None:
    assert " 0 failures" in run(MIX, "test", timeout=300)


@needs_elixir
@pytest.mark.timeout(180)
def test_example_of_the_guide_runs() -> None:
    assert "all is well" in run(MIX, "run", "--no-start", "examples/pool.exs", timeout=120)


@needs_elixir
def test_elixir_code_is_formatted() -> None:
    run(MIX, "format", "--check-formatted", timeout=50)
