"""The SDK is nobody's burden who does not speak MCP."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.running import LIMIT, environment

WITHOUT = ("bridge.cli.app", "bridge.cli.serve", "bridge.server", "bridge.grpc_server", "bridge.jsonrpc.stdio")


@pytest.mark.parametrize("module", [*WITHOUT, "bridge_client", "bridge.worker.agent"])
def test_nothing_else_imports_the_sdk(module: str) -> None:
    program = f"import {module}, sys; print([name for name in sys.modules if name.startswith(('mcp', 'pydantic'))])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert done.stdout == "[]\n"


def test_without_the_sdk_the_command_says_how_to_get_it() -> None:
    # A finder that does not find it stands for an environment that does not have it.
    hidden = (
        "import sys, importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'mcp' else find(name, *rest); "
        "from bridge.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden, "mcp", "anything:Adapter"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'tool-bridge[mcp]'" in done.stderr
