"""Workers on a Ray cluster that get stuck, die, find no room or no cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.ray.local import LocalCluster
from bridge.testing import serving
from bridge.worker.memory import tree
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support.hazards import Chatty, Mortal, Stuck, worker_of
from tests.support.ray_tools import Far, Greedy, Impossible, Odd, OnRay
from tests.support.waiting import until
from tests.worker.pids import parent_of, watched

pytestmark = pytest.mark.ray

PROMPT: dict[str, Any] = {"client": {"retry": None, "breaker": None}}
"""A client that tells what it was told."""
GONE_WITHIN = 10.0
"""Seconds until nothing is left of a killed server: Ray is not in a hurry."""


# Stuck


@pytest.mark.parametrize("name", ["waits", "polls"])
async def test_a_tool_that_obeys_its_deadline_keeps_its_worker(
    connect: Connect, on_ray: Any, events: Any, name: str
) -> None:
    client = await connect(Stuck, **on_ray, ray_workers=1, **PROMPT)
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError) as caught:
            await client.call(name, timeout=0.3)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert await client.call("pid") == await worker_of(events)


@pytest.mark.parametrize("name", ["sleeps", "blocks_the_loop", "holds_the_gil"])
async def test_a_tool_that_does_not_is_killed_and_the_next_call_works(
    connect: Connect, on_ray: Any, events: Any, name: str
) -> None:
    client = await connect(Stuck, **on_ray, ray_workers=1, **PROMPT)
    async with asyncio.timeout(20):
        call = asyncio.create_task(client.call(name, timeout=0.5))
        pid = await worker_of(events)
        with watched([pid]) as worker:
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(worker.left, 5) == []
        assert await client.call("pid") != pid


async def test_a_client_that_gives_up_kills_a_stuck_tool_and_what_it_has_started(
    connect: Connect, on_ray: Any, events: Any
) -> None:
    client = await connect(Stuck, **on_ray, ray_workers=1, **PROMPT)
    async with asyncio.timeout(20):
        call = asyncio.create_task(client.call("has_children"))
        pid = await worker_of(events)
        child = next(int(name.removeprefix("child ")) for name in events.counts if name.startswith("child "))
        with watched([pid, child]) as processes:
            call.cancel()
            assert await asyncio.to_thread(processes.left, 10) == []


# Dead


@pytest.mark.parametrize("how", ["kill", "segfault", "exit"])
async def test_a_death_is_told_and_costs_one_call(connect: Connect, on_ray: Any, how: str) -> None:
    client = await connect(Mortal, **on_ray, ray_workers=1, **PROMPT)
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError, match=r"its worker process has died|Segmentation fault") as caught:
            await client.call("dies", how=how)
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_DIED")
        assert caught.value.retry_after is None
        assert "while it ran tool 'dies'" in caught.value.message
        assert await client.call("pid") > 0


async def test_a_death_ends_a_stream(connect: Connect, on_ray: Any) -> None:
    client = await connect(Mortal, **on_ray, **PROMPT)
    got = []
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError) as caught:
            async for value in client.stream("dies_midway", how="kill", n=3):
                got.append(value)
    assert caught.value.reason == "WORKER_DIED"
    assert got == [*range(len(got))]  # what was not fetched yet has died with the process


async def test_the_loss_of_the_relay_ends_the_process_on_the_cluster(
    connect: Connect, on_ray: Any, events: Any
) -> None:
    client = await connect(Stuck, **on_ray, ray_workers=1, **PROMPT)
    async with asyncio.timeout(20):
        call = asyncio.create_task(client.call("polls"))
        pid = await worker_of(events)
        (relay,) = (pid for pid in tree(os.getpid()) if command(pid) == command(parent_of(pid)))
        with watched([pid]) as worker:
            os.kill(relay, signal.SIGKILL)
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.reason == "WORKER_DIED"
            assert await asyncio.to_thread(worker.left, 10) == []
        assert await client.call("pid") != pid


def command(pid: int) -> bytes:
    """With what a process was started; that of a fork is its parent's."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# No room


async def test_more_calls_than_workers_and_queue_are_shed(connect: Connect, on_ray: Any, events: Any) -> None:
    client = await connect(Chatty, **on_ray, ray_workers=1, queue_size=1, **PROMPT)
    async with asyncio.timeout(20):
        running = asyncio.create_task(client.call("slow"))
        await events.wait("started")
        waiting = [asyncio.create_task(client.call("pid")) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        error = done.pop().exception()
        assert isinstance(error, BridgeError)
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert "--ray-workers" in error.message
        running.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(answer, int) for answer in answers) == 1


async def test_a_call_for_which_the_cluster_has_no_room_is_told_so_and_one_with_a_deadline_at_its_deadline(
    connect: Connect, on_ray: Any, events: Any
) -> None:
    client = await connect(Greedy, **on_ray | {"ray_start_timeout": 5.0}, ray_workers=2, **PROMPT)
    async with asyncio.timeout(30):
        holder = asyncio.create_task(client.call("holds"))
        await events.wait("started")
        with pytest.raises(BridgeError) as caught:
            await client.call("pid", timeout=0.5)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        with pytest.raises(BridgeError, match="has room for a worker with num_cpus=") as caught:
            await client.call("pid")
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "WORKER_NOT_PLACED")
        assert caught.value.retry_after is not None
        assert not holder.done()
        holder.cancel()
        assert await client.call("pid") > 0


async def test_a_cluster_that_is_full_when_the_server_starts_is_waited_for(
    start: Any, on_ray: Any, events: Any
) -> None:
    first = await start(Greedy, **on_ray)
    async with asyncio.timeout(40), AsyncExitStack() as stack:
        second = await start(Greedy, **on_ray | {"ray_start_timeout": 3.0})
        client = await stack.enter_async_context(BridgeClient(second.addresses[0], retry=None, breaker=None))
        other = await stack.enter_async_context(BridgeClient(first.addresses[0]))
        with pytest.raises(BridgeError) as caught:
            await client.call("pid")
        assert caught.value.reason == "WORKER_NOT_PLACED"
        assert await other.call("pid") > 0


async def test_needs_that_no_node_has_stop_the_start(start: Any, on_ray: Any) -> None:
    with pytest.raises(
        BridgeError, match=r"no node .* has num_cpus=0, num_gpus=1000 \(1 nodes, .*num_gpus=0"
    ) as caught:
        async with asyncio.timeout(20):
            await start(Impossible, **on_ray | {"ray_start_timeout": 1.0})
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "WORKER_NOT_PLACED")


async def test_needs_that_ray_does_not_understand_stop_the_start(start: Any, on_ray: Any) -> None:
    with pytest.raises(BridgeError, match=r"num_gpus=1\.5") as caught:
        async with asyncio.timeout(20):
            await start(Odd, **on_ray)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "BAD_RESOURCES")


async def test_a_node_without_tool_bridge_stops_the_start(start: Any, on_ray: Any, tmp_path: Path) -> None:
    broken = tmp_path / "work" / "bridge"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('there is no bridge here')")
    on_ray["ray_runtime_env"].write_text(json.dumps({"working_dir": str(broken.parent)}))
    with pytest.raises(BridgeError, match="there is no bridge here") as caught:
        async with asyncio.timeout(30):
            await start(OnRay, **on_ray)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_START_FAILED")


async def test_a_worker_without_calls_gives_its_place_back(connect: Connect, on_ray: Any) -> None:
    client = await connect(Greedy, **on_ray, ray_idle=0.5, **PROMPT)
    async with asyncio.timeout(20):
        pid = await client.call("pid")
        with watched([pid]) as worker:
            assert await asyncio.to_thread(worker.left, 10) == []
        assert await client.call("pid") != pid


# No cluster


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no-such-host.invalid:6379"])
async def test_a_cluster_that_does_not_answer_stops_the_start_at_once(start: Any, on_ray: Any, address: str) -> None:
    since = time.monotonic()
    with pytest.raises(BridgeError, match="--ray-address") as caught:
        async with asyncio.timeout(30):
            await start(OnRay, **on_ray | {"ray_address": address})
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "RAY_UNREACHABLE")
    assert time.monotonic() - since < 15


async def test_the_address_of_a_cluster_that_has_died_stops_the_start_at_once(
    start: Any, on_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(BridgeError, match="--ray-address") as caught:
        async with asyncio.timeout(30):
            await start(OnRay, **on_ray | {"ray_address": "auto"})
    assert caught.value.reason == "RAY_UNREACHABLE"


# The cluster of a server


@pytest.fixture
def short_folder(with_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For temporary files: Ray's sockets lie deep in it, and the name of a socket must not be long."""
    with tempfile.TemporaryDirectory(prefix="r-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


async def test_a_cluster_of_the_servers_own_ends_with_it(short_folder: Path) -> None:
    before = {*tree(os.getpid())}
    async with asyncio.timeout(50):
        async with serving(OnRay, isolation="ray", ray_address="local") as server:
            async with BridgeClient(server.addresses[0]) as client:
                assert await client.call("add", a=1) == 2
            started = {*tree(os.getpid())} - before
            assert len(started) > 5
            with watched(started) as processes:
                await server.reload()
        assert await asyncio.to_thread(processes.left, GONE_WITHIN) == []
    assert list(short_folder.glob("*")) == []  # noqa: ASYNC240 - a look


async def test_a_killed_server_leaves_no_process_and_no_file(short_folder: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    address = f"unix:{short_folder / 'own' / 's'}"
    command = [sys.executable, "-m", "bridge", "serve", "tests.support.ray_tools:OnRay", "--isolation", "ray"]
    command += ["--ray-address", "local", "--listen", address, "--ready-file", str(ready)]
    server = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(50):
            await until(ready.exists)
            async with BridgeClient(json.loads(ready.read_text())["addresses"][0]) as client:
                assert await client.call("add", a=1) == 2
            with watched([*tree(server.pid)]) as processes:
                server.kill()
                assert await asyncio.to_thread(processes.left, GONE_WITHIN) == []
            await until(lambda: not [*short_folder.glob("bridge-ray-*")])
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


async def test_a_lost_node_costs_its_calls_and_no_others(
    connect: Connect, on_ray: Any, ray_cluster: LocalCluster, events: Any
) -> None:
    with node(ray_cluster, far=1) as far:
        client = await connect(Far, **on_ray, **PROMPT)
        async with asyncio.timeout(50):
            call = asyncio.create_task(client.call("holds"))
            await events.wait("started")
            assert await client.call("near") == "near"
            far.kill()
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.reason == "WORKER_DIED"
            assert await client.call("near") == "near"


@contextmanager
def node(cluster: LocalCluster, **resources: float) -> Iterator[subprocess.Popen[bytes]]:
    """Another node of a cluster, on this machine."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "0"]
    command += ["--address", cluster.address, "--resources", json.dumps(resources), "--disable-usage-stats"]
    process = subprocess.Popen(command, env=cluster.environ, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
