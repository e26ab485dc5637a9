"""How a worker ends: when the pool says so, and when there is no pool any more."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from bridge.snakepit import messages
from bridge.worker.memory import tree
from tests.snakepit.beam import FakeBeam
from tests.snakepit.launch_adapter import END_SIGN, HANGS_AT_END, NAME
from tests.snakepit.pool_worker import STOP_TIMEOUT, PoolWorker, PythonError
from tests.support.waiting import until
from tests.worker.pids import watched

BEAM = Path(__file__).with_name("beam_process.py")
QUIET = {"enabled": False}


# -- the pool stops it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_an_idle_worker_with_0(tmp_path: Path, number: int) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()
        await worker.execute("plain_pid")
        with watched(tree(worker.pid)) as processes:
            worker.signal(number)
            assert await worker.exit_status() == 0
            assert processes.left() == []
    assert worker.output == ""


@pytest.mark.parametrize(("tool", "grace"), [("wait", "0.2"), ("wait_plainly", "0.2"), ("hold_gil_plainly", "")])
async def test_sigterm_during_a_call_ends_the_worker_with_0_before_the_pool_kills(
    tmp_path: Path, tool: str, grace: str
) -> None:
    async with FakeBeam(tmp_path, NAME, env={"BRIDGE_GRACE": grace}) as beam:
        worker = await beam.start_worker()
        calling = await worker.begin(tool, tmp_path / "sign")
        with watched(tree(worker.pid)) as processes:
            worker.signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_TIMEOUT):
                assert await worker.exit_status() == 0
            assert processes.left() == []
        with pytest.raises((grpc.aio.AioRpcError, PythonError)):
            await calling


async def test_sigterm_lets_a_call_end(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()

        def stops() -> str:
            worker.signal(signal.SIGTERM)
            return "done"

        beam.listener.tools["stops"] = stops
        assert await worker.execute("ask", {"name": "stops", "parameters": {}}) == "done"
        assert await worker.exit_status() == 0


async def test_sigterm_before_it_is_ready_ends_it_with_143(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        beam.listener.refuses.add("Ping")
        worker = await beam.launch()
        async with asyncio.timeout(10):
            await until(lambda: beam.listener.of("Ping"))
        worker.signal(signal.SIGTERM)
        assert await worker.exit_status() == 143


async def test_worker_goes_on_when_the_pool_does_not_say_anything(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat={"interval_ms": 10}) as beam:
        worker = await beam.start_worker()
        async with asyncio.timeout(10):
            await until(lambda: len(beam.listener.of("Heartbeat")) >= 5)
        assert await worker.execute("echo", {"value": 1}) == 1


# -- the BEAM is gone --------------------------------------------------------------------------------------------


@contextmanager
def beam_process(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A BEAM in a process of its own, and the ids of all processes of its worker."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, str(BEAM), NAME, str(folder), *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                pytest.fail(process.communicate(timeout=10)[1].decode())
            yield process, json.loads(line)
        finally:
            process.kill()


@pytest.mark.parametrize("tool", ["", "wait", "wait_plainly", "hold_gil_plainly"])
def test_nothing_is_left_when_the_beam_is_killed(tmp_path: Path, tool: str) -> None:
    with beam_process(tmp_path, tool) as (beam, pids), watched(pids) as processes:
        assert processes.left(0) == pids
        beam.kill()
        assert processes.left() == []


def test_worker_process_that_holds_its_interpreter_is_gone_when_the_beam_is_killed(tmp_path: Path) -> None:
    """What an asynchronous tool has started while it held the worker's own interpreter may be left, nothing else."""
    with beam_process(tmp_path, "hold_gil") as (beam, pids), watched(pids) as processes:
        worker, *_ = pids
        beam.kill()
        left = processes.left()
        assert worker not in left
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert len(left) <= 2


async def test_end_of_the_process_that_has_started_it_ends_a_worker_and_what_it_has_started(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat=QUIET) as beam:
        worker = await beam.start_worker()
        await worker.execute("start_children")
        with watched(tree(worker.pid)) as processes:
            worker.kill_parent()
            assert processes.left() == []


async def test_closed_stdin_ends_a_worker_and_what_it_has_started(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat=QUIET) as beam:
        worker = await beam.start_worker()
        await worker.execute("start_children")
        await worker.execute("start_children_plainly")
        with watched(tree(worker.pid)) as processes:
            worker.close_stdin()
            assert await worker.exit_status() == -signal.SIGKILL
            assert processes.left() == []


async def test_closed_stdin_ends_a_worker_that_is_starting(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME) as beam:
        beam.listener.refuses.add("Ping")
        worker = await beam.launch()
        async with asyncio.timeout(10):
            await until(lambda: beam.listener.of("Ping"))
        worker.close_stdin()
        assert await worker.exit_status() == -signal.SIGKILL


async def test_adapter_ends_in_order_when_the_beam_is_gone(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    async with FakeBeam(tmp_path, NAME, env={END_SIGN: str(sign)}) as beam:
        worker = await beam.start_worker()
        worker.close_stdin()
        assert await worker.exit_status() == -signal.SIGKILL
        assert sign.exists()


async def test_call_may_end_when_the_beam_is_gone(tmp_path: Path) -> None:
    """As far as half a second is enough."""
    async with FakeBeam(tmp_path, NAME) as beam:
        worker = await beam.start_worker()

        def closes() -> str:
            worker.close_stdin()
            return "done"

        beam.listener.tools["closes"] = closes
        assert await worker.execute("ask", {"name": "closes", "parameters": {}}) == "done"
        assert await worker.exit_status() == -signal.SIGKILL


# -- heartbeats --------------------------------------------------------------------------------------------------


FAST = {"interval_ms": 20, "timeout_ms": 500, "max_missed_heartbeats": 2}


async def test_worker_sends_heartbeats_for_its_session(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat=FAST) as beam:
        worker = await beam.start_worker()
        async with asyncio.timeout(10):
            await until(lambda: len(beam.listener.of("Heartbeat")) >= 2)
        beat = beam.listener.of("Heartbeat")[0]
        assert beat.message.session_id == worker.session_id
        assert beat.message.client_time.seconds > time.time() - 60
        assert "x-snakepit-correlation-id" in beat.headers
        assert beat.time_left is not None
        assert beat.time_left < 1  # that of FAST, 0.5 s, which gRPC rounds up on the wire, and not a longer one


async def test_missed_heartbeats_end_the_worker_in_order(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat=FAST, beats=False) as beam:
        worker = await beam.start_worker()
        await worker.execute("plain_pid")
        with watched(tree(worker.pid)) as processes:
            beam.listener.refuses.add("Heartbeat")
            assert await worker.exit_status() == 0
            assert processes.left() == []
        await worker.stop()
        assert "has not answered 2 heartbeats: stopping" in worker.output


async def test_missed_heartbeats_end_a_worker_whose_adapter_does_not_end(tmp_path: Path) -> None:
    env = {HANGS_AT_END: "1", "BRIDGE_GRACE": "0.1"}
    async with FakeBeam(tmp_path, NAME, env=env, heartbeat=FAST, beats=False) as beam:
        worker = await beam.start_worker()
        with watched(tree(worker.pid)) as processes:
            beam.listener.refuses.add("Heartbeat")
            assert await worker.exit_status() == 0
            assert processes.left() == []
        await worker.stop()
        assert "not stopped in time; ended by force" in worker.output


async def test_independent_worker_goes_on_without_heartbeats(tmp_path: Path) -> None:
    async with FakeBeam(tmp_path, NAME, heartbeat={**FAST, "dependent": False}) as beam:
        worker = await beam.start_worker()
        beam.listener.refuses.add("Heartbeat")
        async with asyncio.timeout(10):
            await until(lambda: "going on" in worker.output)
        assert await worker.execute("echo", {"value": 1}) == 1
        assert await worker.stop() == 0


async def test_heartbeats_of_the_pool_are_answered_while_a_tool_holds_its_interpreter(tmp_path: Path) -> None:
    # One that is late or negative kills the worker.
    heartbeat = {"interval_ms": 20, "timeout_ms": 5000}
    async with FakeBeam(tmp_path, NAME, heartbeat=heartbeat) as beam:
        worker = await beam.start_worker()
        calling = await worker.begin("hold_gil_plainly", tmp_path / "sign")
        for _ in range(5):
            assert await _heartbeat(worker)
        assert not calling.done()
        assert worker.killed_by == ""
        calling.cancel()


async def _heartbeat(worker: PoolWorker) -> bool:
    request = messages.HeartbeatRequest(session_id="any")
    answer = await worker.call("Heartbeat", request, messages.HeartbeatResponse, 5.0)
    return bool(answer.session_valid)
