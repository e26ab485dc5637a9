"""Programs in Go that tests talk to, built from `tests/goplugin` into a folder outside of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).parent.parent / "goplugin"


def build(program: str, folder: Path) -> Path:
    """The executable of a program, a folder of the module. Skips the test where Go, or what it fetches, is missing."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go")
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    try:
        subprocess.run(
            [go, "mod", "download"], cwd=MODULE, env=environment, capture_output=True, timeout=60, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        pytest.skip("needs the network, or Go's cache, for the modules of tests/goplugin")
    executable = folder / program
    command = [go, "build", "-o", str(executable), f"./{program}"]
    done = subprocess.run(
        command, cwd=MODULE, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return executable
