"""``bridge serve`` and ``bridge host`` as processes: start, signals, end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from bridge_client import BridgeError
from bridge_client.sync import BridgeClient
from tests.cli.running import ADAPTER, LIMIT, bridge, command, environment, running

SAMPLE, SLOW = f"{ADAPTER}:Sample", f"{ADAPTER}:Slow"
ANY_PORT = ("--listen", "127.0.0.1:0")


def test_ready_line_is_all_that_stdout_gets(tmp_path: Path) -> None:
    with running("serve", SAMPLE, *ANY_PORT, cwd=tmp_path) as server:
        with BridgeClient(server.address()) as client:
            assert client.call("shout") == "done"
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.OK
        assert server.out.rest() == []
        errors = server.err.rest()
        assert "to stdout, by a tool" in errors
        assert errors[-1] == "bridge: stopping"


def test_every_address_has_a_line_and_the_ready_file(tmp_path: Path) -> None:
    socket, ready = tmp_path / "own" / "bridge.sock", tmp_path / "ready.json"
    listen = (*ANY_PORT, "--listen", f"unix:{socket}")
    with running("serve", SAMPLE, *listen, f"--ready-file={ready}", cwd=tmp_path) as server:
        addresses = [server.address(), server.address()]
        assert json.loads(ready.read_text())["addresses"] == addresses
        assert addresses[1] == f"unix:{socket}"
        server.send(signal.SIGINT)
        assert server.wait() == ExitCode.OK


def test_closed_stdout_is_harmless(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    reader, writer = os.pipe()
    os.close(reader)
    arguments = command("serve", SAMPLE, *ANY_PORT, "--ready-file", str(ready))
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    try:
        end = time.monotonic() + LIMIT
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            os.sched_yield()
        with BridgeClient(json.loads(ready.read_text())["addresses"][0]) as client:
            assert client.call("shout") == "done"
        process.terminate()
        assert process.wait(LIMIT) == ExitCode.OK
    finally:
        process.kill()
        process.communicate()


def test_adapter_in_the_current_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "own_tools.py").write_text(ADAPTER.read_text())
    with running("serve", "own_tools:Sample", *ANY_PORT, cwd=tmp_path) as server:
        assert server.address()


def test_host_serves_sessions_and_its_own_tools(tmp_path: Path) -> None:
    with running("host", SAMPLE, *ANY_PORT, cwd=tmp_path) as server:
        address = server.address()
        healthy = bridge("health", "bridge.v1.HostService", "--target", address, cwd=tmp_path)
        assert (healthy.code, healthy.out) == (0, "SERVING\n")


def test_first_sigterm_lets_a_running_call_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with running("serve", SLOW, *ANY_PORT, cwd=tmp_path) as server, BridgeClient(server.address()) as client:
        values = iter(client.stream("hold", fifo=str(fifo)))
        assert next(values) == "started"
        server.send(signal.SIGTERM)
        line = server.err.until("stopping")
        assert "1 call is running" in line
        assert "once more stops at once" in line
        fifo.write_text("the end")
        assert list(values) == ["the end"]
        assert server.wait() == ExitCode.OK


@pytest.mark.parametrize(
    ("tool", "arguments"), [("hold", {"fifo": "fifo"}), ("stubborn", {})], ids=["thread", "ignores cancel"]
)
def test_work_left_after_the_grace_period_is_exit_code_5(tmp_path: Path, tool: str, arguments: dict[str, str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (
        running("serve", SLOW, *ANY_PORT, "--grace", "0.1", cwd=tmp_path) as server,
        BridgeClient(server.address()) as client,
    ):
        values = iter(client.stream(tool, arguments))
        assert next(values) == "started"
        server.send(signal.SIGTERM)
        with pytest.raises(BridgeError) as caught:
            next(values)
        assert caught.value.reason == "SHUTDOWN"
        assert server.wait() == ExitCode.UNFINISHED
        assert server.err.until("cut off")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "fifo")
    with running("serve", SLOW, *ANY_PORT, cwd=tmp_path) as server, BridgeClient(server.address()) as client:
        values = iter(client.stream("hold", fifo="fifo"))
        assert next(values) == "started"
        server.send(number)
        assert server.err.until("1 call is running")
        server.send(number)
        assert server.wait() == 128 + number
        assert server.err.rest()[-1] == "bridge: stopped at once"


def test_second_signal_ends_a_server_whose_loop_is_blocked(tmp_path: Path) -> None:
    with running("serve", SLOW, *ANY_PORT, cwd=tmp_path) as server, BridgeClient(server.address()) as client:
        values = iter(client.stream("block"))
        assert next(values) == "started"
        # Signals of one kind that were not taken yet are one signal, so two may not be enough.
        while server.process.poll() is None:
            server.send(signal.SIGTERM)
            os.sched_yield()
        assert server.wait() == ExitCode.TERMINATED


def test_server_whose_loop_is_blocked_ends_by_itself_in_the_end(tmp_path: Path) -> None:
    margin = "import bridge.foreground; bridge.foreground.STOP_MARGIN = 0.1"
    arguments = ("serve", SLOW, *ANY_PORT, "--grace", "0.1")
    with running(*arguments, cwd=tmp_path, before=margin) as server, BridgeClient(server.address()) as client:
        values = iter(client.stream("block"))
        assert next(values) == "started"
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.UNFINISHED
        assert server.err.rest()[-1] == "bridge: not stopped in time; ended by force"


def test_task_that_ignores_being_cancelled_does_not_keep_the_process(tmp_path: Path) -> None:
    with running("serve", SLOW, *ANY_PORT, cwd=tmp_path) as server:
        with BridgeClient(server.address()) as client:
            assert client.call("leave_task") == "left"
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.OK


NEVER_READY = """
import asyncio, sys
from contextlib import asynccontextmanager
from bridge import Adapter, tool

class Loading(Adapter):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls):
        print("loading", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
        yield

    @tool
    async def nothing(self) -> None: ...
"""


def test_signal_before_ready_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "loading.py").write_text(NEVER_READY)
    with running("serve", "loading", *ANY_PORT, cwd=tmp_path) as server:
        assert server.err.until("loading")
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.TERMINATED
        assert server.out.rest() == []
        assert server.err.rest() == ["bridge: stopped before it was ready"]


BAD = """
from contextlib import asynccontextmanager
from bridge import Adapter, tool

class Positional(Adapter):
    @tool
    async def wrong(self, *values: int) -> None: ...

class Plain: ...

class NoModel(Adapter):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls):
        raise ValueError("the model is not there")
        yield

    @tool
    async def nothing(self) -> None: ...
"""

WRONG: list[tuple[list[str], ExitCode, str]] = [
    ([], ExitCode.USAGE, "no adapter to serve"),
    (["nowhere.at.all:Tools"], ExitCode.ADAPTER, "no module 'nowhere'"),
    (["missing.py"], ExitCode.ADAPTER, "no file 'missing.py'"),
    (["bad:Absent"], ExitCode.ADAPTER, "has no class 'Absent'"),
    (["bad:Plain"], ExitCode.ADAPTER, "derive it from bridge.Adapter"),
    (["bad:Positional"], ExitCode.ADAPTER, "Positional.wrong cannot be a tool"),
    (["bad:NoModel", *ANY_PORT], ExitCode.ADAPTER, "ValueError: the model is not there"),
    (["broken:Tools"], ExitCode.ADAPTER, "ZeroDivisionError"),
    ([SAMPLE, SAMPLE], ExitCode.ADAPTER, "both have a tool called"),
    ([SAMPLE, "--listen", "127.0.0.1"], ExitCode.USAGE, "has no port"),
    ([SAMPLE, "--listen", "0.0.0.0:0"], ExitCode.ADDRESS, "--insecure"),
    ([SAMPLE, "--threads", "many"], ExitCode.USAGE, "set by --threads: allowed: a whole number"),
    ([SAMPLE, "--thread", "1"], ExitCode.USAGE, "No such option"),
    ([SAMPLE, "--config", "absent.toml"], ExitCode.USAGE, "cannot read absent.toml"),
    ([SAMPLE, "--config", "wrong.toml"], ExitCode.USAGE, "did you mean threads?"),
    ([SAMPLE, "--tls-cert", "cert.pem"], ExitCode.USAGE, "tls_key"),
    ([SAMPLE, "--tokens", "absent"], ExitCode.USAGE, "cannot read the token file"),
    ([SAMPLE, "--store", "sqlite::memory:", *ANY_PORT], ExitCode.USAGE, "a store is memory, sqlite:PATH"),
    ([SAMPLE, "--store", "redis://h/first", *ANY_PORT], ExitCode.USAGE, "not an address of a Redis server"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_wrong_start_says_what_is_wrong_and_has_its_exit_code(
    tmp_path: Path, arguments: list[str], code: ExitCode, text: str
) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "wrong.toml").write_text("[server]\nthread = 3\n")
    done = bridge("serve", *arguments, cwd=tmp_path)
    assert done.code == code
    assert done.out == ""
    assert text in done.err
    assert done.err.startswith("bridge: error: ")
    assert "Traceback" not in done.err


def test_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    with running("serve", SAMPLE, *ANY_PORT, cwd=tmp_path) as server:
        address = server.address()
        done = bridge("serve", SAMPLE, "--listen", address, cwd=tmp_path)
        assert done.code == ExitCode.ADDRESS
        assert f"{address} is in use" in done.err


@pytest.mark.parametrize("arguments", [["--debug", "serve"], ["serve", "--debug"]], ids=["global", "of the command"])
def test_traceback_is_shown_with_debug_only(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    done = bridge(*arguments, "broken:Tools", cwd=tmp_path)
    assert done.code == ExitCode.ADAPTER
    assert "Traceback" in done.err
    assert "1 / 0" in done.err


def test_start_imports_nothing_for_people(tmp_path: Path) -> None:
    """What takes a server longer to be ready without a use: typer, rich, pydantic, the client."""
    code = """
import os, sys
from bridge.cli import serve, main
def left(*arguments): print(*(name for name in ("typer", "rich", "pydantic", "bridge_client") if name in sys.modules))
serve.serve = left
sys.exit(main(["serve", "some:Adapter", "--threads", "3"]))
"""
    arguments = [sys.executable, "-c", code]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
