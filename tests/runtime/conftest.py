"""Fixtures: workers of the runtime, in a thread of the test."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Any

import pytest

from bridge import runtime
from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.host import CallScope, Host
from bridge.hosts.memory import InMemoryHost
from bridge.runtime.adapters import AdapterPlugin
from bridge.runtime.objects import ObjectPlugin
from bridge.runtime.plugins import Plugin
from bridge.runtime.worker import Worker
from bridge.v1.bridge_pb2 import ToolSpec
from tests.support import probes
from tests.support.worker_pipe import Pipe

StartWorker = Callable[..., Awaitable["Runtime"]]


class Runtime(Pipe):
    """The server's end of the pipe of a worker that runs in a thread."""

    thread: WorkerThread

    @property
    def worker(self) -> Worker:
        """The other end."""
        return self.thread.worker

    async def ended(self) -> int:
        """The exit code of a worker that ends."""
        async with asyncio.timeout(5):
            return await asyncio.shield(self.thread.code)


class WorkerThread:
    """Runs a worker, as the main thread of a process does."""

    worker: Worker

    def __init__(self, plugin: Plugin, sock: socket.socket, config: Mapping[str, Any] | None) -> None:
        self.lost: list[BaseException | None] = []
        """How the pipe has ended."""
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._arguments = plugin, sock, config, asyncio.get_running_loop()
        threading.Thread(target=self._serve, name="runtime-worker", daemon=True).start()

    def _serve(self) -> None:
        plugin, sock, config, loop = self._arguments
        self.worker = Worker(plugin, sock, self.lost.append)
        code = self.worker.serve(config)
        self.worker.pipe.close()
        loop.call_soon_threadsafe(self.code.set_result, code)


def twin(module: ModuleType) -> ModuleType:
    """A module as it is where ``bridge`` is the runtime."""
    file = module.__file__
    assert file is not None
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_of_plugins", file)
    assert spec is not None
    assert spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    full = sys.modules["bridge"]
    sys.modules["bridge"] = runtime
    sys.modules[spec.name] = twin
    try:
        spec.loader.exec_module(twin)
    finally:
        sys.modules["bridge"] = full
    return twin


PROBES = twin(probes)
"""The probes as adapters of the runtime."""


@pytest.fixture(params=[probes.Inline, probes.Threaded], ids=["async", "plain"])
def probe(request: pytest.FixtureRequest, journal: probes.Journal) -> type:
    """Async and plain tools of one behaviour; ``start`` takes their twins."""
    PROBES.journal = journal
    adapter: type = request.param
    return adapter


@pytest.fixture
async def start(journal: probes.Journal) -> AsyncIterator[StartWorker]:
    """``pipe = await start(cls, host=..., config=...)``: the other end of the pipe of a worker in a thread."""
    level = logging.getLogger().level
    async with AsyncExitStack() as stack:

        async def start(cls: type, *, host: Host | None = None, config: Mapping[str, Any] | None = None) -> Runtime:
            cls = getattr(PROBES, cls.__name__) if cls.__module__ == probes.__name__ else cls
            plugin = AdapterPlugin(cls, "x:X") if issubclass(cls, runtime.Adapter) else ObjectPlugin(cls, "x:X")
            ours, theirs = socket.socketpair()
            thread = WorkerThread(plugin, theirs, config)
            stack.push_async_callback(asyncio.wait, (thread.code,), timeout=5)
            pipe = await Runtime.open(ours, host)
            assert isinstance(pipe, Runtime)
            pipe.thread = thread
            stack.callback(pipe.close)
            return pipe

        yield start
        journal.release.set()
        if PROBES.journal is not journal:
            PROBES.journal.release.set()
    logging.getLogger().setLevel(level)


class HostTools:
    """Runs two tools for a host."""

    async def run(self, call: ToolCall) -> Any:
        if call.tool == "double":
            return 2 * call.arguments["value"]
        for number in range(call.arguments["n"]):
            await call.emit(Chunk(number))
        return NO_VALUE


@pytest.fixture
async def host() -> AsyncIterator[InMemoryHost]:
    """A host with two tools."""
    host = InMemoryHost(tools=HostTools())
    yield host
    await host.aclose()


@pytest.fixture
async def session_id(host: InMemoryHost) -> str:
    """An open session."""
    return (await host.open_session(CallScope())).session_id


def spec_facts(message: ToolSpec) -> dict[str, Any]:
    """What a message says; schemas as they are meant, and types without their module."""
    return {
        "name": message.name,
        "description": message.description,
        "parameters": [
            (
                one.name,
                re.sub(r"[\w.]*described\w*\.", "", one.type),
                one.description,
                one.required,
                one.default_value.SerializeToString(),
                _meant(one.schema),
            )
            for one in message.parameters
        ],
        "metadata": dict(message.metadata),
        "streaming": message.supports_streaming,
        "input": _meant(message.input_schema),
        "output": _meant(message.output_schema),
        "idempotent": message.idempotent,
        "read_only": message.read_only,
        "timeout": message.timeout.ToNanoseconds(),
        "collects": message.collects,
    }


def _meant(schema: str) -> Any:
    def unordered(fields: dict[str, Any]) -> dict[str, Any]:
        return {key: sorted(value) if key == "required" else value for key, value in fields.items()}

    return json.loads(schema, object_hook=unordered) if schema else None
