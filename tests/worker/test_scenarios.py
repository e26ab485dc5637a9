"""The scenarios of a worker that need a whole server, for adapters in forks of it and for plugins.

Their numbers are those of ``tests/SCENARIOS.md``, where all tests stand that show them.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from bridge import BridgeError, Code, engines
from bridge.manifest import Limits, Manifest
from bridge.server import Server
from bridge.testing import connect, serving
from bridge_client import BridgeClient
from tests.cli.running import environment
from tests.kill.processes import family
from tests.support.waiting import until
from tests.worker.pids import watched
from tests.worker.scenario_tools import Scenarios

if sys.platform != "linux":
    pytest.skip("worker processes need Linux", allow_module_level=True)

FILE = Path(__file__).with_name("scenario_tools.py")
KINDS = ("adapter", "plugin")
Kind = Callable[..., tuple[type | Manifest, dict[str, Any]]]
PROMPT: dict[str, Any] = {"retry": None, "breaker": None}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """``source, settings = kind(workers=2)``: what to serve, and the settings of the server."""

    def kind(workers: int = 1, grace: float = 0.1, **limits: Any) -> tuple[type | Manifest, dict[str, Any]]:
        if request.param == "adapter":
            return Scenarios, {"isolation": "process", "workers": workers, "worker_grace": grace, **limits}
        own = Limits(workers=workers, grace=grace, **limits)
        return Manifest(name="scenarios", adapter=f"{FILE}:Scenarios", folder=str(FILE.parent), limits=own), {}

    return kind


def prompt(server: Server) -> BridgeClient:
    """A client that tells what it was told."""
    return BridgeClient(server.addresses[0], **PROMPT)


async def come(path: Path) -> None:
    """Waits for a file."""
    async with asyncio.timeout(20):
        await until(path.exists)


# W05


@pytest.mark.parametrize("tool", ["sleeps", "holds_the_interpreter"])
async def test_w05_the_server_says_how_it_is_while_a_worker_is_busy_or_stuck(
    kind: Kind, tool: str, tmp_path: Path
) -> None:
    source, settings = kind()
    async with asyncio.timeout(40), serving(source, **settings) as server:
        channel = engines.connect(server.addresses[0])
        async with prompt(server) as client:
            call = asyncio.create_task(client.call(tool, begun=str(tmp_path / "begun")))
            await come(tmp_path / "begun")
            for _ in range(20):
                answer = await channel.unary("/grpc.health.v1.Health/Check", b"")
                assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
            assert not call.done()
            call.cancel()
            assert await client.call("echo", value=1) == 1
        await channel.aclose()


# W08


@pytest.mark.parametrize(
    ("how", "fact"),
    [
        ("kill", {"signal": "SIGKILL"}),
        ("segfault", {"signal": "SIGSEGV"}),
        ("exit", {"exit_code": "3"}),
    ],
)
async def test_w08_a_death_costs_its_call_and_no_other(
    kind: Kind, how: str, fact: dict[str, str], tmp_path: Path
) -> None:
    source, settings = kind(workers=2)
    go = tmp_path / "go"
    async with asyncio.timeout(40), serving(source, **settings) as server, prompt(server) as client:
        other = asyncio.create_task(client.call("waits", begun=str(tmp_path / "a"), release=str(tmp_path / "later")))
        dying = asyncio.create_task(client.call("dies", how=how, begun=str(tmp_path / "b"), release=str(go)))
        await come(tmp_path / "a")
        await come(tmp_path / "b")
        waiting = asyncio.create_task(client.call("echo", value="waited"))
        go.touch()
        with pytest.raises(BridgeError) as caught:
            await dying
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_DIED")
        assert caught.value.details.metadata.items() >= fact.items()
        assert await waiting == "waited"
        (tmp_path / "later").touch()
        assert await other == "released"


async def test_w08_memory_that_is_not_there_is_an_error_of_the_tool_or_its_death(tmp_path: Path) -> None:
    """RLIMIT_AS stands in for the OOM killer, whose SIGKILL is that of the test above."""
    limits = Limits(workers=1, memory=512 << 20)
    plugin = Manifest(name="scenarios", adapter=f"{FILE}:Scenarios", folder=str(FILE.parent), limits=limits)
    go = tmp_path / "go"
    go.touch()
    async with asyncio.timeout(40), serving(plugin) as server, prompt(server) as client:
        before = await client.call("pid")
        with pytest.raises(BridgeError, match="MemoryError"):
            await client.call("takes_memory", size=1 << 30)
        assert await client.call("pid") == before
        with pytest.raises(BridgeError) as caught:
            await client.call("dies", how="abort", begun=str(tmp_path / "begun"), release=str(go))
        assert (caught.value.reason, caught.value.details.metadata["signal"]) == ("WORKER_DIED", "SIGABRT")
        assert await client.call("takes_memory", size=1 << 20) == 1 << 20


# W10

LAUNCHER = """
import signal, subprocess, sys
server = subprocess.Popen([sys.executable, "-m", "bridge", "serve", *sys.argv[1:]], stderr=subprocess.PIPE)
signal.pause()
"""


@contextmanager
def launched(kind: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A program that has started a server and reads its stderr, but does not; and the server's ready file."""
    ready, served = folder / "ready.json", ["tests.worker.scenario_tools:Scenarios", "--isolation", "process"]
    if kind == "plugin":
        manifest = folder / "scenarios.toml"
        manifest.write_text(f'name = "scenarios"\nadapter = "{FILE}:Scenarios"\n')
        for path in (folder, manifest):
            path.chmod(0o700)
        served = [str(manifest)]
    arguments = [*served, "--listen", f"unix:{folder / 'bridge.sock'}", "--workers", "1", "--ready-file", str(ready)]
    env = environment(PYTHONUNBUFFERED="1")
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, *arguments], env=env, cwd=folder) as launcher:
        try:
            yield launcher, ready
        finally:
            launcher.kill()
            if ready.exists():
                server = json.loads(ready.read_text())["pid"]
                with watched([server]) as processes:
                    if processes.left(0):
                        os.kill(server, signal.SIGKILL)


@pytest.mark.parametrize("kind", KINDS)
async def test_w10_a_server_without_its_parent_works_and_takes_all_processes_along_when_it_is_killed(
    kind: str, tmp_path: Path
) -> None:
    """Unbuffered, with the end of stderr gone, while a grandchild prints: who wants to say something first stays."""
    with launched(kind, tmp_path) as (launcher, ready):
        await come(ready)
        server = json.loads(ready.read_text())["pid"]
        async with asyncio.timeout(30), BridgeClient(f"unix:{tmp_path / 'bridge.sock'}", **PROMPT) as client:
            launcher.kill()
            await asyncio.to_thread(launcher.wait, 10)
            await client.call("prints", lines=100)
            pids = [await client.call(tool) for tool in ("pid", "zygote", "starts_a_chatterer")]
            call = asyncio.create_task(client.call("holds_the_interpreter", begun=str(tmp_path / "begun")))
            await come(tmp_path / "begun")
            with watched([server, *pids]) as processes:
                assert processes.left(0) == sorted([server, *pids])
                os.kill(server, signal.SIGKILL)
                assert await asyncio.to_thread(processes.left) == []
            with pytest.raises(BridgeError) as caught:
                await call
            assert caught.value.code is Code.UNAVAILABLE


# W14

NESTED: dict[str, Any] = {
    "rows": [{"n": n, "x": n / 7, "name": f"row {n}", "data": bytes([n % 256])} for n in range(5000)],
    "array": np.arange(200_000, dtype="f8").reshape(2, -1),
    "deep": [[[[[[[[[[["down here"]]]]]]]]]]],
    "none": None,
    "big": 2**62,
}  # fmt: skip


async def test_w14_nested_values_come_back_as_the_documentation_says(kind: Kind) -> None:
    source, settings = kind()
    async with asyncio.timeout(40), connect(source, **settings) as client:
        back = await client.call("echo", value=NESTED)
        array = back.pop("array")
        assert back == {key: value for key, value in NESTED.items() if key != "array"}
        assert array.dtype == np.float64
        assert np.array_equal(array, NESTED["array"])


MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, timezone(timedelta(hours=2)))
VALUES: dict[str, tuple[Any, Any]] = {
    "path": (Path("/tmp/ü"), "/tmp/ü"),
    "datetime": (MOMENT, MOMENT.astimezone(UTC)),
    "timedelta": (timedelta(days=-1, microseconds=1), timedelta(days=-1, microseconds=1)),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "tuple": ((1, "a"), [1, "a"]),
    "numpy integer": (np.int32(7), 7),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy boolean": (np.bool_(True), True),
    "infinity": (-math.inf, -math.inf),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "beyond 64 bits": (2**100, 2**100),
    "decimal": (Decimal("1.10"), Decimal("1.10")),
}


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside"])
async def test_w14_values_of_all_types_come_back_as_the_documentation_says(kind: Kind, inside: bool) -> None:
    source, settings = kind()
    async with asyncio.timeout(40), connect(source, **settings) as client:
        for name, (value, expected) in VALUES.items():
            back = await client.call("echo", value={"in": [value]} if inside else value)
            back = back["in"][0] if inside else back
            assert (back, type(back)) == (expected, type(expected)), name
        back = await client.call("echo", value=[math.nan] if inside else math.nan)
        assert math.isnan(back[0] if inside else back)


# W20


def sockets(pid: int) -> set[str]:
    """The numbers of the sockets that a process has."""
    links = [fd.readlink().name for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_socket()]
    return {link.removeprefix("socket:[").removesuffix("]") for link in links}


def listening() -> set[str]:
    """The numbers of all sockets that others can reach: those of the internet, and those that listen under a name."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        if (path := Path(f"/proc/net/{table}")).exists():
            found |= {line.split()[9] for line in path.read_text().splitlines()[1:]}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, number, *name = line.split(maxsplit=7)
        if name or int(flags, 16) & 0x10000:  # __SO_ACCEPTCON: it listens
            found.add(number)
    return found


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix"])
async def test_w20_workers_have_no_address(kind: Kind, listen: str, tmp_path: Path) -> None:
    source, settings = kind()
    if listen == "unix":
        listen = f"unix:{tmp_path / 'bridge.sock'}"
    async with asyncio.timeout(40), connect(source, listen=(listen,), **settings) as client:
        pids = [await client.call("pid"), await client.call("zygote")]
        reachable = listening()
        assert sockets(os.getpid()) & reachable, "those of the server are seen"
        for pid in pids:
            assert sockets(pid)
            assert not sockets(pid) & reachable


# W21


async def test_w21_two_servers_of_one_plugin_have_nothing_in_common(kind: Kind, tmp_path: Path) -> None:
    source, settings = kind()
    async with asyncio.timeout(40), connect(source, **settings) as client:
        async with connect(source, **settings) as other:
            call = asyncio.create_task(client.call("waits", begun=str(tmp_path / "a"), release=str(tmp_path / "go")))
            await come(tmp_path / "a")
            theirs = {await other.call(tool) for tool in ("pid", "zygote")}
        (tmp_path / "go").touch()
        assert await call == "released"
        ours = {await client.call(tool) for tool in ("pid", "zygote")}
        assert len(ours | theirs) == 4


# W22


async def test_w22_a_server_that_stops_waits_for_the_call_then_cancels_it_then_kills_it(
    kind: Kind, tmp_path: Path
) -> None:
    ends, hears, does_not_hear = (tmp_path / name for name in ("ends", "hears", "does not hear"))
    cancelled = tmp_path / "hears.cancelled"
    go = tmp_path / "go"
    before = family([os.getpid()]).keys()
    async with asyncio.timeout(40):
        source, settings = kind(workers=3)
        async with AsyncExitStack() as clients:
            async with serving(source, grace=1.0, **settings) as server:
                client = await clients.enter_async_context(prompt(server))
                waits = [("waits", {"begun": str(ends), "release": str(go)})]
                waits += [("waits", {"begun": str(hears), "release": str(tmp_path / "never")})]
                waits += [("sleeps", {"begun": str(does_not_hear)})]
                calls = [asyncio.create_task(client.call(tool, arguments)) for tool, arguments in waits]
                for path in (ends, hears, does_not_hear):
                    await come(path)
                pids = family([os.getpid()]).keys() - before
                asyncio.get_running_loop().call_soon(go.touch)
            assert await calls[0] == "released"
            for call in calls[1:]:
                with pytest.raises(BridgeError) as caught:
                    await call
                assert caught.value.code is Code.UNAVAILABLE
    assert await asyncio.to_thread(cancelled.exists)
    with watched(pids) as processes:
        assert processes.left(0) == []
