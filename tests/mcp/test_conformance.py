"""The protocol's own conformance harness, which is an npm package, against a server over HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT
from functools import cache
from pathlib import Path

import pytest

from tests.mcp.conftest import serving

HERE = Path(__file__).parent
PACKAGES = ("@modelcontextprotocol/conformance@0.1.16", "node@22")
"""It needs Node.js 22, which is a package, too."""


@cache
def harness() -> list[str] | None:
    """The command that runs it, fetched if need be; ``None`` if that cannot be done here."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    packages = [f"--package={package}" for package in PACKAGES]
    command = [npm, "exec", "--yes", "--prefer-offline", *packages, "--", "conformance"]
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None
    return command if done.returncode == 0 else None


@pytest.mark.timeout(300)
async def test_all_scenarios_about_tools_pass() -> None:
    command = await asyncio.to_thread(harness)
    if command is None:
        pytest.skip("needs npm, and the network or its cache, for @modelcontextprotocol/conformance")
    expected = HERE / "conformance_expected.yml"
    async with asyncio.timeout(120), serving(HERE / "conformance_tools.py", log_level="error") as (_, url):
        run = [*command, "server", "--url", url, "--expected-failures", str(expected)]
        process = await asyncio.create_subprocess_exec(*run, stdout=PIPE, stderr=STDOUT, env=dict(os.environ))
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    for scenario in ("tools-list", "tools-call-mixed-content", "tools-call-with-progress", "dns-rebinding-protection"):
        assert f"✓ {scenario}" in said.decode()
