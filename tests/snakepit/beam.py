"""A pool of Snakepit's, in Python: it launches workers and talks to them as ``nshkrdotcom/snakepit`` v0.13.0 does.

async with FakeBeam(tmp_path, adapter="my_adapter:Mine") as beam:
    worker = await beam.start_worker()
    assert await worker.execute("echo", {"value": 1}) == 1
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import bridge.snakepit_worker
from tests.snakepit.elixir_listener import ElixirListener
from tests.snakepit.pool_worker import PoolWorker, StartFailed

__all__ = ["SCRIPT", "FakeBeam", "PoolWorker", "StartFailed"]

SCRIPT = Path(bridge.snakepit_worker.__file__).with_name("grpc_server.py")
_CHILD_SETUP = Path(__file__).with_name("child_setup.py")
_NUMBERS = itertools.count(1)

READY_TIMEOUT = 30.0
"""Seconds that a worker has from its launch to its ready file."""


class FakeBeam:
    """A BEAM with one pool.

    Args:
        folder: for ready files.
        adapter: what workers serve.
        args: flags for them besides.
        env: variables for them besides; ``None`` takes one away.
        listens: whether the listener for workers runs; else they get an address where nobody is.
        heartbeat: settings of the heartbeats in both directions that differ from the pool's defaults.
        beats: whether the pool sends its own; it kills a worker that does not answer one.
    """

    def __init__(
        self,
        folder: Path,
        adapter: str,
        args: Iterable[str] = (),
        env: Mapping[str, str | None] | None = None,
        *,
        listens: bool = True,
        heartbeat: Mapping[str, Any] | None = None,
        beats: bool = True,
    ) -> None:
        self.folder = folder
        self.listener = ElixirListener()
        self.workers: list[PoolWorker] = []
        self._adapter, self._args, self._env = adapter, list(args), dict(env or {})
        self._listens, self._beats = listens, beats
        self.heartbeat = {
            "enabled": True,
            "interval_ms": 2000,
            "timeout_ms": 10000,
            "max_missed_heartbeats": 3,
            "initial_delay_ms": 0,
            "dependent": True,
            **(heartbeat or {}),
        }
        self.run_id = secrets.token_hex(4)[:7]

    async def __aenter__(self) -> Self:
        if self._listens:
            await self.listener.start()
        else:
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.1", 0))
                self.listener.address = f"127.0.0.1:{nobody.getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            await worker.stop()
        if self._listens:
            await self.listener.stop()

    async def start_worker(self) -> PoolWorker:
        """Launches a worker and does all that comes before its first call. Raises ``StartFailed``."""
        worker = await self.launch()
        await worker.wait_ready(READY_TIMEOUT)
        await worker.connect(self.heartbeat, beats=self._beats)
        return worker

    async def launch(self) -> PoolWorker:
        """Only launches one."""
        ready_file = self.folder / f"snakepit_ready_default_worker_1_{next(_NUMBERS)}"
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(  # noqa: ASYNC220 - in a moment
            [sys.executable, "-S", str(_CHILD_SETUP), str(theirs.fileno()), *self.command()],
            cwd=SCRIPT.parent,
            env=self._environment(ready_file),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        worker = PoolWorker(process, ours, ready_file)
        self.workers.append(worker)
        await worker.begun()
        return worker

    def command(self) -> list[str]:
        """The command line, in the order that the pool has it."""
        arguments = ["--adapter", self._adapter, *self._args]
        given = " ".join(arguments)
        if "--port" not in given:
            arguments += ["--port", "0"]
        if "--elixir-address" not in given:
            arguments += ["--elixir-address", self.listener.address]
        arguments += ["--snakepit-run-id", self.run_id, "--snakepit-instance-name", "test_tests_nonode_nohost"]
        return [sys.executable, str(SCRIPT), *arguments]

    def _environment(self, ready_file: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "OTEL_"))}
        wanted = {
            **kept,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "SNAKEPIT_PYTHON": sys.executable,
            "SNAKEPIT_PROCESS_GROUP": "1",
            "PYTHONNOUSERSITE": "1",
            "SNAKEPIT_HEARTBEAT_CONFIG": json.dumps(self.heartbeat),
            "SNAKEPIT_READY_FILE": str(ready_file),
            "SNAKEPIT_LOG_LEVEL": "error",
            "GRPC_POLL_STRATEGY": "poll",
            "GRPC_VERBOSITY": "ERROR",
            "PYTHONUNBUFFERED": "1",
            **self._env,
        }
        return {name: value for name, value in wanted.items() if value is not None}
