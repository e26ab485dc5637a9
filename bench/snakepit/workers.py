"""The workers of the bench: launched as a pool does it, timed until their ready file is there, and weighed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cores import Cores, on
from bench.cpu import TreeClock
from bench.servers import environment
from bench.venvs import ROOT, python_of

__all__ = ["SUBJECTS", "Memory", "Subject", "Worker", "launch", "start_beam", "stock_checkout"]

CHECKOUT = "BENCH_SNAKEPIT"
"""Variable with the path of a checkout of Snakepit."""
_NEEDS = ["grpcio==1.85.1", "protobuf==7.36.2", "psutil", "orjson", "numpy"]
_NEEDS += ["opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"]
_SCRIPT = ROOT / "bridge" / "snakepit_worker" / "grpc_server.py"
_OURS, _THEIRS = "bench.snakepit.adapters", "bench.snakepit.stock_adapters"
_READY_WITHIN = 30.0
_POLL = {"GRPC_POLL_STRATEGY": "poll"}
"""What a pool sets for its workers."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured."""

    label: str
    adapter: str
    stock: bool = False
    """Served by Snakepit's own server."""
    args: Sequence[str] = ()


SUBJECTS = (
    Subject("Snakepit's server, async adapter", f"{_THEIRS}.LightAsync", stock=True),
    Subject("Snakepit's server, sync adapter", f"{_THEIRS}.LightSync", stock=True),
    Subject("ours, async tool (inline)", f"{_OURS}:Async"),
    Subject("ours, plain tool (worker process)", f"{_OURS}:Plain"),
    Subject("ours, plain tool, --isolation thread", f"{_OURS}:Plain", args=("--isolation", "thread")),
    Subject("ours, stock async adapter (worker process)", f"{_THEIRS}.LightAsync"),
    Subject("ours, stock sync adapter (worker process)", f"{_THEIRS}.LightSync"),
)
"""The first one is the reference."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the processes of a worker take, MB, the launched one first."""

    rss: list[float]
    pss: list[float]
    """Pages that several processes have count in parts."""


@dataclass(slots=True)
class Worker:
    """A launched worker."""

    subject: Subject
    process: subprocess.Popen[bytes]
    address: str
    ready_after: float
    """Seconds from the launch to the ready file."""
    clock: TreeClock
    folder: Path

    def memory(self) -> Memory:
        """As it is now."""
        sizes = [_memory(pid) for pid in self.clock.pids()]
        return Memory([rss for rss, _ in sizes], [pss for _, pss in sizes])

    def stop(self) -> None:
        """Ends it as a pool does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def stock_checkout() -> Path | None:
    """The checkout of Snakepit, if one is named. Raises ``SystemExit`` if it is none."""
    named = os.environ.get(CHECKOUT)
    if not named:
        return None
    checkout = Path(named).absolute()
    if not (checkout / "priv" / "python" / "grpc_server.py").is_file():
        raise SystemExit(f"bench: {CHECKOUT}={named} is no checkout of Snakepit: it has no priv/python/grpc_server.py")
    return checkout


def start_beam(cores: Cores) -> tuple[subprocess.Popen[bytes], str]:
    """Starts what workers call back to, beside the load; returns it and its address."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    port_file = folder / "port"
    with on(cores.load):
        command = [sys.executable, "-m", "bench.snakepit.beam", str(port_file)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment())
    _wait_for(port_file, process)
    port = port_file.read_text()
    shutil.rmtree(folder)
    return process, f"127.0.0.1:{port}"


def launch(subject: Subject, beam: str, cores: Cores) -> Worker:
    """Launches a worker and waits until it is ready. Raises ``RuntimeError`` with its last words if it ends instead."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    ready, output = folder / "ready", folder / "output"
    command = [*_command(subject), "--adapter", subject.adapter, "--port", "0", "--elixir-address", beam]
    command += ["--snakepit-run-id", "bench", *subject.args]
    changed = {"SNAKEPIT_PROCESS_GROUP": "1", "SNAKEPIT_READY_FILE": str(ready), "SNAKEPIT_LOG_LEVEL": "error"}
    env = {**environment(), **changed, **_POLL, "GRPC_VERBOSITY": "ERROR"}
    with output.open("wb") as out, on(cores.servers):
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        took = _wait_for(ready, process) - began
    except RuntimeError as error:
        raise RuntimeError(f"{subject.label} did not start: {error}\n{output.read_text()[-2000:]}") from None
    address = f"127.0.0.1:{ready.read_text().strip()}"
    return Worker(subject, process, address, took, TreeClock(process.pid), folder)


def _command(subject: Subject) -> list[str]:
    if not subject.stock:
        return [sys.executable, str(_SCRIPT)]
    checkout = stock_checkout()
    if checkout is None:
        raise RuntimeError(f"{CHECKOUT} names no checkout of Snakepit")
    return [str(python_of("snakepit", _NEEDS)), str(checkout / "priv" / "python" / "grpc_server.py")]


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> float:
    began = time.perf_counter()
    while not file.exists():
        if process.poll() is not None or time.perf_counter() - began > _READY_WITHIN:
            process.kill()
            raise RuntimeError(f"it ended with {process.wait()}, or took too long")
        time.sleep(0.001)
    return time.perf_counter()


def _memory(pid: int) -> tuple[float, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return sizes["Rss:"] / 1024, sizes["Pss:"] / 1024
