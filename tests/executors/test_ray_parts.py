"""What of the way to a Ray cluster needs no Ray."""

from __future__ import annotations

import asyncio
import io
import random
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, tool
from bridge.call import ToolCall
from bridge.config import ServerConfig
from bridge.executors.process import ProcessExecutor
from bridge.executors.ray import read_runtime_env
from bridge.host import NoHost
from bridge.ray.actor import RemoteWorker
from bridge.ray.local import LocalCluster
from bridge.ray.pipe import FramePipe, answers_due
from bridge.ray.plan import Needs, Plan
from bridge.ray.prints import tidied
from bridge.ray.relay import _not_placed
from bridge.registry import Registry
from bridge.testing import serving
from bridge.worker import frames
from bridge.worker.pool import PoolLimits
from bridge.worker.recipe import adapters_recipe
from tests.support.ray_tools import OnRay
from tests.worker.pids import watched


def call(number: int, size: int = 0) -> bytes:
    return frames.encode(frames.Call(number, bytes(size), {}, None, "", False))


# Frames


async def test_frames_are_read_whole_however_they_come() -> None:
    ours, theirs = socket.socketpair()
    pipe = FramePipe(ours)
    sent = b"".join(call(number, random.choice((0, 1, 300, 70_000))) for number in range(50))
    sending = asyncio.create_task(asyncio.to_thread(_send_in_pieces, theirs, sent))
    received = b""
    async with asyncio.timeout(10):
        while data := await pipe.read():
            assert list(frames.FrameReader(frames.FromServer, 2**20).feed(data))
            answers_due(data)  # would fail for what is cut
            received += data
        await sending
    assert received == sent
    pipe.close()


def _send_in_pieces(sock: socket.socket, data: bytes) -> None:
    with sock:
        while data:
            size = random.choice((1, 2, 5, 1000, 100_000))
            sock.sendall(data[:size])
            data = data[size:]


async def test_a_frame_that_is_cut_off_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    pipe = FramePipe(ours)
    async with asyncio.timeout(5):
        with theirs:
            theirs.sendall(call(1, 100)[:-1])
        assert await pipe.read() == b""
    pipe.close()


@pytest.fixture
async def worker() -> AsyncIterator[RemoteWorker]:
    """What would be an actor."""
    worker = RemoteWorker()
    yield worker
    worker._agents.close()
    worker._pipe.close()


async def test_messages_that_overtake_each_other_are_put_in_order(worker: RemoteWorker) -> None:
    async with asyncio.timeout(5):
        await asyncio.gather(*(worker.hear(turn, bytes([turn])) for turn in (3, 1, 2, 0)))
    assert worker._agents.recv(10) == bytes(range(4))


async def test_the_last_words_of_an_agent_are_taken_though_it_hears_no_more(worker: RemoteWorker) -> None:
    worker._agents.sendall(call(7))
    worker._agents.close()
    async with asyncio.timeout(5):
        assert await worker.talk(0, call(1)) == call(7)
        assert await worker.talk(1, b"") == b""


def test_what_is_due_is_what_was_asked_and_not_answered() -> None:
    asked = call(1) + frames.encode(frames.Cancel(1)) + frames.encode(frames.Ping(1))
    assert answers_due(asked) == 2
    said = frames.encode(frames.Log(1, 20, "a", "b")) + frames.encode(frames.Chunk(1, b""))
    assert answers_due(said) == 0
    assert answers_due(said + frames.encode(frames.Pong(1)) + frames.encode(frames.Error(1, b""))) == -2
    assert answers_due(frames.encode(frames.Ready(1)) + frames.encode(frames.Result(1, b""))) == -2
    assert answers_due(frames.encode(frames.Failed(b""))) == -1
    assert answers_due(b"") == 0


# Needs


def test_needs_are_the_options_of_an_actor() -> None:
    assert Needs.of({}).options() == {"num_cpus": 1.0}
    needs = Needs.of({"memory": 2**30, "num_gpus": 0.5, "TPU": 2, "num_cpus": 0})
    assert needs.options() == {"num_cpus": 0, "num_gpus": 0.5, "memory": 2**30, "resources": {"TPU": 2}}
    assert needs == Needs.of({"num_cpus": 0, "TPU": 2, "num_gpus": 0.5, "memory": 2**30})
    assert str(needs) == "TPU=2, memory=1073741824, num_cpus=0, num_gpus=0.5"


@pytest.mark.parametrize(
    ("nodes", "code", "message"),
    [
        ([{"CPU": 4.0}], Code.FAILED_PRECONDITION, "no node of the Ray cluster has num_cpus=2, num_gpus=1 (1 nodes"),
        ([{"CPU": 1.0, "GPU": 8.0}, {"CPU": 64.0}], Code.FAILED_PRECONDITION, "has: num_cpus=64, num_gpus=8)"),
        ([], Code.FAILED_PRECONDITION, "(0 nodes, the most that one has: num_cpus=0, num_gpus=0)"),
        ([{"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}], Code.RESOURCE_EXHAUSTED, "has room for a worker"),
    ],
)
def test_it_is_said_whether_waiting_would_help(nodes: list[Any], code: Code, message: str) -> None:
    error = _not_placed(Plan(adapters=(), needs=Needs.of({"num_cpus": 2, "num_gpus": 1}), timeout=5), nodes)
    assert (error.code, error.reason) == (code, frames.NOT_PLACED)
    assert message in error.message
    assert (error.retry_after is not None) is (code is Code.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"num_gpus": -1}, "'num_gpus': -1"),
        ({"num_gpus": True}, "'num_gpus': True"),
        ({"num_gpus": "1"}, "'num_gpus': '1'"),
        ({"memory": float("inf")}, "'memory': inf"),
        ({1: 1}, "1: 1"),
        ({"GPU": 1}, "called 'num_gpus' here"),
    ],
)
def test_needs_that_make_no_sense_are_refused_when_the_adapter_is_loaded(resources: Any, problem: str) -> None:
    class Wrong(Adapter):
        @tool(isolation="ray", resources=resources)
        def run(self) -> None:
            return None

    with pytest.raises(BridgeError) as caught:
        Registry([Wrong])
    assert caught.value.reason == "BAD_SIGNATURE"
    assert problem in caught.value.message


def test_needs_are_for_tools_that_can_run_on_a_cluster() -> None:
    class Wrong(Adapter):
        @tool(isolation="process", resources={"num_gpus": 1})
        def run(self) -> None:
            return None

    class Right(Adapter):
        @tool(resources={"num_gpus": 1})
        def run(self) -> None:
            return None

    with pytest.raises(BridgeError, match="resources are for isolation='ray'"):
        Registry([Wrong])
    assert Registry([Right])["run"].tool.isolation == "thread"
    assert Registry([Right], "ray")["run"].tool.isolation == "ray"


# Settings


@pytest.mark.parametrize("address", ["auto", "local", "head:6379", "[::1]:6379", "ray://head.example:10001"])
def test_addresses_of_clusters(address: str) -> None:
    assert ServerConfig(ray_address=address).ray_address == address


@pytest.mark.parametrize("address", ["", "head", "unix:/tmp/x", "http://head:1", "ray://", "ray://unix:/x", "head:x"])
def test_what_is_no_address_of_a_cluster(address: str) -> None:
    with pytest.raises(BridgeError) as caught:
        ServerConfig(ray_address=address)
    assert caught.value.violations[0].field == "ray_address"


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', None])
def test_a_runtime_environment_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "environment.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BridgeError, match=r"environment\.json") as caught:
        read_runtime_env(file)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "RAY_RUNTIME_ENV")


async def test_without_ray_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BridgeError, match=r"pip install 'tool-bridge\[ray\]'") as caught:
        async with serving(OnRay, isolation="ray"):
            pass
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "MISSING_EXTRA")


async def test_an_adapter_that_no_node_can_import_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Adapter):
        @tool(isolation="ray")
        def add(self, a: int) -> int:
            return a

    monkeypatch.setattr("bridge.executors.ray.check_installed", lambda: None)
    with pytest.raises(BridgeError, match="define it at the top of a module") as caught:
        async with serving(Local):
            pass
    assert caught.value.reason == "NOT_IMPORTABLE"


def test_a_cluster_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="did not start"):
        LocalCluster(10)
    assert list(tmp_path.iterdir()) == []


# Prints


def test_what_ray_adds_to_a_line_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with tidied():
        print("(RemoteWorker pid=12) as (RemoteWorker pid=12) it is")
        print("(RemoteWorker pid=12, ip=10.0.0.1) from afar")
        print("(raylet, ip=10.0.0.1) A worker died or was killed while executing a task by an unexpected system error.")
        print("(raylet) something of interest")
        print("(not Ray) at all")
    assert out.getvalue().split("\n") == [
        "as (RemoteWorker pid=12) it is",
        "from afar",
        "",
        "(raylet) something of interest",
        "(not Ray) at all",
        "",
    ]


# Pools


async def test_a_worker_that_was_used_since_is_kept() -> None:
    specs = ["tests.support.hazards:Chatty"]
    executor = ProcessExecutor(adapters_recipe(specs, "process"), ["process"], PoolLimits(workers=1, idle=3600))
    async with asyncio.timeout(20):
        await executor.start()
        pool = executor._pools["process"]
        (worker,) = pool._workers
        await pool.run(ToolCall("pid", {}, NoHost()))
        pool._retire(worker, 0)
        assert worker.usable
        pool._retire(worker, 1)
        assert not worker.usable
        await executor.aclose()


async def test_a_worker_ends_when_it_was_not_used_for_a_while() -> None:
    specs = ["tests.support.hazards:Chatty"]
    executor = ProcessExecutor(adapters_recipe(specs, "process"), ["process"], PoolLimits(workers=1, idle=0.1))
    async with asyncio.timeout(20):
        await executor.start()
        (worker,) = executor._pools["process"]._workers
        with watched([worker.pid]) as process:
            await asyncio.wait([worker.exited])
            assert process.left(5) == []
        assert not executor._pools["process"]._idle
        await executor.aclose()
