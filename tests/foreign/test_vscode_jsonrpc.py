"""The client library of VS Code, which is an npm package, drives our servers: a reader of the wire that we have not
written."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from bridge.testing import serving
from tests.jsonrpc.processes import ROOT, environment
from tests.support.probes import Inline

HERE = Path(__file__).parent / "vscode-jsonrpc"
PROBES = f"{ROOT / 'tests' / 'support' / 'probes.py'}:Inline"
SCENARIOS = [
    "direct calls by name and by position",
    "values",
    "errors have numbers and reasons",
    "notifications are not answered",
    "slow then fast, and a cancel",
    "many at once",
    "a stream and its progress",
    "a client that is a host",
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in a folder with what it needs; fetched by npm."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs node and npm for the package vscode-jsonrpc")
    folder = tmp_path_factory.mktemp("foreign") / "vscode-jsonrpc"
    shutil.copytree(HERE, folder)
    command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        pytest.skip("needs the network, or npm's cache, for the package vscode-jsonrpc")
    return folder / "drive.js"


async def drive(driver: Path, *arguments: str) -> list[str]:
    """The scenarios that have passed."""
    process = await asyncio.create_subprocess_exec(
        "node", str(driver), *arguments, stdout=PIPE, stderr=PIPE, env=environment()
    )
    try:
        async with asyncio.timeout(60):
            said, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (said + errors).decode()
    return said.decode().splitlines()


@pytest.mark.timeout(240)
async def test_it_drives_bridge_stdio(driver: Path) -> None:
    said = await drive(driver, "stdio", sys.executable, "-m", "bridge", "stdio", PROBES)
    assert said == [*SCENARIOS, "the server ends with its stdin"]


@pytest.mark.timeout(240)
async def test_it_drives_a_unix_socket(driver: Path, tmp_path: Path) -> None:
    path = tmp_path / "own" / "rpc.sock"
    async with serving(Inline, listen=(), jsonrpc=f"unix:{path}"):
        assert await drive(driver, "unix", str(path)) == SCENARIOS
