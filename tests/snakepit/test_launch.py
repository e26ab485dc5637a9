"""A worker as a pool launches it: from the command line to its first call."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from bridge.snakepit import messages
from tests.snakepit.beam import SCRIPT, FakeBeam, StartFailed
from tests.snakepit.launch_adapter import NAME
from tests.snakepit.pool_worker import LIMIT, PythonError


async def test_worker_is_launched_and_called_as_a_pool_does_it(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        assert worker.leads_group
        assert await worker.execute("echo", {"value": [1, "x", None]}) == [1, "x", None]
        assert await worker.ping("health_check_#PID<0.1.0>") == "Pong from Python: health_check_#PID<0.1.0>"
        assert await worker.stop() == 0
    assert worker.output == ""


async def test_command_line_is_found_by_the_search_for_orphans(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        command = command_line(worker.pid)
        assert "python" in command
        assert "grpc_server.py" in command
        assert f"--snakepit-run-id {beam.run_id}" in command
        pid = await worker.execute("plain_pid")
        # A pool counts its workers by the name of the script.
        assert pid != worker.pid
        assert "grpc_server.py" not in command_line(pid)


def command_line(pid: int) -> str:
    """As `ps` shows it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def test_worker_asks_the_beam_before_it_is_ready(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        await beam.start_worker()
        first = beam.listener.received[0]
        assert (first.method, first.message.message) == ("Ping", "connection_test")
        assert first.time_left is not None
        assert first.time_left < 2  # gRPC rounds up on the wire


async def test_both_addresses_of_localhost_are_served_on_one_port(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        request = messages.PingRequest(message="x").SerializeToString()
        for host in ("127.0.0.1", "[::1]"):
            async with grpc.aio.insecure_channel(f"{host}:{worker.port}") as channel:
                data = await channel.unary_unary("/snakepit.bridge.BridgeService/Ping")(request, timeout=LIMIT)
                assert messages.PingResponse.FromString(data).message == "Pong from Python: x"


async def test_plain_tool_runs_in_a_worker_process_and_an_asynchronous_one_does_not(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("own_pid") == worker.pid
        assert await worker.execute("plain_pid") != worker.pid


async def test_isolation_can_be_chosen(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, ["--isolation", "thread"]) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("plain_pid") == worker.pid


async def test_tool_calls_a_tool_of_elixir(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        beam.listener.tools["upper"] = lambda text: text.upper()
        worker = await beam.start_worker()
        assert await worker.execute("ask", {"name": "upper", "parameters": {"text": "x"}}) == "X"


async def test_calls_ask_the_beam_for_nothing(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat={"enabled": False}) as beam:
        worker = await beam.start_worker()
        await worker.execute("echo", {"value": 1})
        await worker.execute("plain_pid")
        assert [each.method for each in beam.listener.received] == ["Ping"]


async def test_tool_without_a_beam_is_told_so(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, ["--elixir-address="]) as beam:
        worker = await beam.start_worker()
        with pytest.raises(PythonError, match="without --elixir-address"):
            await worker.execute("ask", {"name": "upper", "parameters": {}})


async def test_address_of_the_beam_may_come_by_the_environment(tmp_path: Path) -> None:
    async with (
        FakeBeam(tmp_path, NAME) as other,
        FakeBeam(tmp_path, NAME, ["--elixir-address="], {"SNAKEPIT_GRPC_ADDRESS": other.listener.address}) as beam,
    ):
        await beam.start_worker()
        assert other.listener.of("Ping")


async def test_libraries_get_one_thread_unless_the_pool_says_more(tmp_path: Path) -> None:
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    env = {**dict.fromkeys(names), "OMP_NUM_THREADS": "4"}
    async with FakeBeam(tmp_path, NAME, env=env) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("variables", {"names": names}) == dict(zip(names, "411", strict=True))


async def test_tool_reads_nothing_from_the_pipe_of_the_beam(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("read_stdin", timeout=LIMIT) == ""


async def test_unknown_flags_are_ignored_with_one_line(tmp_path: Path) -> None:
    arguments = ["--of-tomorrow", "secret", "--or-the-day-after=secret"]
    async with FakeBeam(tmp_path, NAME, arguments, {"SNAKEPIT_LOG_LEVEL": "warning"}) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("echo", {"value": 1}) == 1
        await worker.stop()
        lines = [line for line in worker.output.splitlines() if "ignored" in line]
        assert len(lines) == 1
        assert lines[0].endswith("--of-tomorrow, --or-the-day-after")
        assert "secret" not in worker.output


@pytest.mark.parametrize("tool", ["complain", "complain_plainly"])
async def test_log_names_the_call_by_its_correlation_id(tmp_path: Path, tool: str) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        await worker.execute(tool, {"text": "woe"}, metadata={"correlation_id": "sp-1"})
        await worker.stop()
        (line,) = worker.output.splitlines()
        assert "woe" in line
        assert re.search("correlation_id=sp-[0-9a-f]", line)


async def test_log_level_none_means_silence(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, env={"SNAKEPIT_LOG_LEVEL": "none"}) as beam:
        worker = await beam.start_worker()
        await worker.execute("complain", {"text": "woe"})
        await worker.stop()
        assert worker.output == ""


async def test_settings_of_servers_come_by_the_environment(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, env={"BRIDGE_MAX_MESSAGE_BYTES": "1024"}) as beam:
        worker = await beam.start_worker()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.execute("echo", {"value": "x" * 2000})
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_group_is_left_alone_if_the_pool_does_not_want_one(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, env={"SNAKEPIT_PROCESS_GROUP": None}) as beam:
        worker = await beam.start_worker()
        assert not worker.leads_group


def test_worker_that_leads_a_group_already_starts_all_the_same(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env |= {"SNAKEPIT_PROCESS_GROUP": "1", "SNAKEPIT_READY_FILE": str(ready)}
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--adapter", NAME], env=env, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert wait_until(ready.exists, process)
        assert ready.read_text().isdigit()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


async def test_telemetry_stream_outlives_the_start(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        await worker.execute("echo", {"value": 1})
        assert not worker.telemetry_ended.done()


# -- bad input ---------------------------------------------------------------------------------------------------


async def failure(folder: Path, *arguments: str, **env: str) -> StartFailed:
    """How a worker ends that cannot start."""
    adapter, *flags = arguments or (NAME,)
    async with FakeBeam(folder, adapter, flags, env, listens=False) as beam:
        with pytest.raises(StartFailed) as caught:
            await beam.start_worker()
    return caught.value


async def test_beam_that_does_not_listen_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    failed = await failure(tmp_path, NAME, "--connect-tries", "3")
    assert failed.status == 1
    assert "the BEAM did not answer" in failed.output
    assert "asked 3 times" in failed.output
    assert "--elixir-address" in failed.output


async def test_ready_file_that_cannot_be_written_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, env={"SNAKEPIT_READY_FILE": "/nowhere/at/all"}) as beam:
        with pytest.raises(StartFailed) as caught:
            await beam.start_worker()
    assert caught.value.status == 1
    assert "cannot write /nowhere/at/all: No such file or directory" in caught.value.output


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [("no_such.module.Adapter", "no module 'no_such"), ("tests.snakepit.launch_adapter:None_", "has no class")],
)
async def test_adapter_that_cannot_be_imported_ends_the_start_with_a_reason(
    tmp_path: Path, adapter: str, problem: str
) -> None:
    failed = await failure(tmp_path, adapter)
    assert failed.status == 1
    (line,) = failed.output.splitlines()
    assert problem in line


async def test_port_in_use_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        port = beam.listener.address.rpartition(":")[2]
        failed = await failure(tmp_path, NAME, "--elixir-address=", "--port", port)
    assert failed.status == 1
    assert f"127.0.0.1:{port} is in use" in failed.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--port", "x"), "a number from 0 to 65535"),
        (("--isolation", "nowhere"), "one of auto, inline, thread, process"),
        (("--adapter",), "expected one argument"),
    ],
)
async def test_wrong_value_of_a_flag_ends_the_start_with_a_reason(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    failed = await failure(tmp_path, NAME, "--elixir-address=", *arguments)
    assert failed.status == 2
    assert problem in failed.output


# -- without a pool ----------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Waits for something that a process does."""
    end = time.monotonic() + LIMIT
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the script to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "PYTHONPATH"))}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        env={**kept, **env},
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_health_check_says_that_an_adapter_can_be_served() -> None:
    done = run("--health-check", "--adapter", NAME)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"bridge: health check passed: {NAME} can be served\n"


def test_health_check_says_that_an_adapter_cannot_be_served() -> None:
    done = run("--health-check", "--adapter", "no_such.Adapter")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bridge: health check failed: there is no module 'no_such'")
    assert len(done.stderr.splitlines()) == 1


def test_health_check_needs_no_adapter() -> None:
    assert run("--health-check").returncode == 0


def test_script_runs_where_the_package_is_not_installed_and_hides_no_module(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("there = True\n")  # the name of a module that lies beside the script
    (tmp_path / "mine.py").write_text(
        "from main import there\n"
        "from bridge import Adapter, tool\n"
        "class Mine(Adapter):\n"
        "    @tool\n"
        "    def t(self) -> None: ...\n"
    )
    # All that the package needs, and not the package.
    root = SCRIPT.parents[2]
    packages = [entry for entry in sys.path if entry and Path(entry) != root]
    program = (
        "import runpy, sys\n"
        f"sys.path[:] = {[str(SCRIPT.parent), str(tmp_path), *packages]!r}\n"
        f"sys.argv = [{str(SCRIPT)!r}, '--health-check', '--adapter', 'mine:Mine']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_help_teaches() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("--adapter", "--isolation", "Exit codes", "docs/elixir.md"):
        assert word in done.stdout


def test_script_is_executable() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith("#!/usr/bin/env python3\n")


async def test_variables_that_are_no_settings_are_ignored_with_one_line(tmp_path: Path) -> None:
    environment = {"SNAKEPIT_LOG_LEVEL": "warning", "BRIDGE_OF_SIGHS": "venice"}
    async with FakeBeam(tmp_path, NAME, env=environment) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("echo", {"value": 1}) == 1
        await worker.stop()
        lines = [line for line in worker.output.splitlines() if "ignored" in line]
        assert len(lines) == 1
        assert lines[0].endswith("BRIDGE_OF_SIGHS")
        assert "venice" not in worker.output


@pytest.mark.parametrize(("said", "kept"), [("poll", None), ("epoll1", "epoll1")])
async def test_what_a_pool_says_of_grpc_for_forks_is_not_obeyed_here(
    tmp_path: Path, said: str, kept: str | None
) -> None:
    async with FakeBeam(tmp_path, NAME, env={"GRPC_POLL_STRATEGY": said}) as beam:
        worker = await beam.start_worker()
        assert await worker.execute("variables", {"names": ["GRPC_POLL_STRATEGY"]}) == {"GRPC_POLL_STRATEGY": kept}
        await worker.stop()
