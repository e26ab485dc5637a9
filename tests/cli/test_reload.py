"""``bridge serve``: new code on SIGHUP, and by itself with ``--reload``."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from bridge_client.sync import BridgeClient
from tests.cli.running import LIMIT, bridge, command, environment, running

CODE = """
from bridge import Adapter, tool

class Greeter(Adapter):
    @tool{options}
    def greet(self) -> str:
        return {greeting!r}
"""


def write(folder: Path, greeting: str, options: str = '(isolation="process")') -> Path:
    path = folder / "greeter_file.py"
    path.write_text(CODE.format(greeting=greeting, options=options))
    return path


def test_sighup_exchanges_the_code_of_workers(tmp_path: Path) -> None:
    file = write(tmp_path, "hello")
    with running("serve", file, "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        with BridgeClient(server.address()) as client:
            assert client.call("greet") == "hello"
            write(tmp_path, "good evening")
            server.send(signal.SIGHUP)
            assert "tools: 1" in server.err.until("reloaded")
            assert client.call("greet") == "good evening"
            file.write_text("this is not Python")
            server.send(signal.SIGHUP)
            assert "the tools are as before" in server.err.until("not reloaded")
            assert client.call("greet") == "good evening"
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.OK


def test_sighup_says_when_there_is_nothing_to_exchange(tmp_path: Path) -> None:
    file = write(tmp_path, "hello", options="")
    with running("serve", file, "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        server.address()
        server.send(signal.SIGHUP)
        assert "no tool runs in a worker process" in server.err.until("not reloaded")


def test_with_reload_a_changed_file_is_enough(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles", reason="the extra `reload` is not installed")
    file = write(tmp_path, "hello", options="")
    with (
        running("serve", file, "--reload", "--listen", "127.0.0.1:0", cwd=tmp_path) as server,
        BridgeClient(server.address()) as client,
    ):
        assert client.call("greet") == "hello"
        write(tmp_path, "good evening", options="")
        server.err.until("reloaded")
        assert client.call("greet") == "good evening"


def test_reload_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "watchfiles.py").write_text("raise ImportError('not installed')")
    file = write(tmp_path, "hello")
    search = os.pathsep.join((str(hidden), environment()["PYTHONPATH"]))
    done = bridge("serve", file, "--reload", cwd=tmp_path, PYTHONPATH=search)
    assert done.code == ExitCode.USAGE
    assert "pip install 'tool-bridge[reload]'" in done.err


def test_a_terminal_that_goes_away_stops_the_server(tmp_path: Path) -> None:
    file = write(tmp_path, "hello")
    ours, theirs = pty.openpty()
    program = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from bridge.__main__ import main; main()"
    process = subprocess.Popen(
        [command()[0], "-c", program, "serve", str(file), "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"bridge: serving on ")
        os.close(ours)
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == ExitCode.OK
        assert errors.decode().splitlines()[-1] == "bridge: stopping"
    finally:
        process.kill()
        process.wait(LIMIT)
