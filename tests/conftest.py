"""Fixtures: one behaviour, every way in and every executor that claims it."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.manifest import Environ, Manifest
from bridge.server import Server
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.support import probes

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start what runs in the background so, and the processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.interpreters", "tests.support.storage"]

Connect = Callable[..., Awaitable[BridgeClient]]


@pytest.fixture
def journal() -> Iterator[probes.Journal]:
    """What the probes write down, empty."""
    yield probes.new_journal()
    probes.journal.close()


PLUGIN = Manifest(
    name="probe",
    adapter=f"{probes.__file__}:Threaded",
    python=sys.executable,
    env=Environ(allow=[probes.OWNER]),
    folder=str(Path(probes.__file__).parent),
)
"""The probe adapter where nothing is installed but the standard library."""


@pytest.fixture(
    params=[probes.Inline, probes.Threaded, probes.Processed, PLUGIN], ids=["inline", "thread", "process", "plugin"]
)
def probe(request: pytest.FixtureRequest, journal: probes.Journal) -> type | Manifest:
    """The probe adapter of each executor."""
    adapter: type | Manifest = request.param
    if hasattr(adapter, "isolation"):
        journal.listen()
    return adapter


@pytest.fixture(params=[probes.Inline, probes.Threaded], ids=["inline", "thread"])
def probe_here(request: pytest.FixtureRequest, journal: probes.Journal) -> type:
    """The probe adapter of each executor that runs tools in the server's process."""
    adapter: type = request.param
    return adapter


@pytest.fixture(params=["tcp", "unix"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of each transport of the gRPC frontend."""
    return "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path / 'own' / 'bridge.sock'}"


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Starts servers that stop at the end of the test: ``await start(Adapter, ..., role="host", setting=value)``."""
    async with AsyncExitStack() as stack:

        async def start(*adapters: type, **settings: Any) -> Server:
            settings.setdefault("isolation", getattr(adapters[0], "isolation", "") if adapters else "")
            return await stack.enter_async_context(serving(*adapters, **settings))

        yield start
        probes.journal.release.set()


@pytest.fixture
async def connect(start: Callable[..., Awaitable[Server]]) -> AsyncIterator[Connect]:
    """Starts a server and gives a client of it: ``client = await connect(Adapter, setting=value)``."""
    async with AsyncExitStack() as stack:

        async def connect(*adapters: type, client: dict[str, Any] | None = None, **settings: Any) -> BridgeClient:
            server = await start(*adapters, **settings)
            return await stack.enter_async_context(BridgeClient(server.addresses[0], **(client or {})))

        yield connect


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Halves of surrogate pairs, which some tests log, cannot go from a worker of xdist to its controller."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
