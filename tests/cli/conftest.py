"""One server for all tests of a module, and commands that call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.cli import main
from tests.cli.running import ADAPTER, Done, running

Command = Callable[..., Done]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with the sample tools."""
    folder = tmp_path_factory.mktemp("server")
    with running("serve", f"{ADAPTER}:Sample", "--listen", "127.0.0.1:0", cwd=folder) as process:
        yield process.address()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, from its arguments to its exit code, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("BRIDGE_TARGET", "BRIDGE_SESSION", "BRIDGE_CLIENT_CONFIG", "BRIDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def call(run: Command, server: str) -> Command:
    """The same, with the module's server as the target."""
    return lambda *arguments: run(*arguments, "--target", server)
