"""For tests of adapters: a real server and a real client, in one process, on a Unix socket of their own.

from bridge.testing import connect, connect_sync

async def test_it():
    async with connect(MyAdapter) as client:
        assert await client.call("shout", text="hi") == "HI"

def test_it_without_asyncio():
    with connect_sync(MyAdapter) as client:
        assert client.call("shout", text="hi") == "HI"
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bridge.config import ServerConfig
from bridge.manifest import Manifest
from bridge.server import Server, run_server
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as SyncBridgeClient

__all__ = ["connect", "connect_sync", "serving"]


@asynccontextmanager
async def serving(*adapters: type | Manifest, role: Any = "bridge", **settings: Any) -> AsyncIterator[Server]:
    """Runs a server of these adapters on a private socket; its address is ``server.addresses[0]``.

    Args:
        adapters: adapter classes, and manifests of plugins.
        role: ``"bridge"``, or ``"host"`` for a host with these tools.
        settings: fields of ``ServerConfig`` that differ from the defaults.
    """
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        settings.setdefault("listen", (f"unix:{Path(folder) / 'bridge.sock'}",))
        settings.setdefault("log_level", "error")
        settings.setdefault("grace", 2.0)
        plugins = [source for source in adapters if isinstance(source, Manifest)]
        classes = [source for source in adapters if isinstance(source, type)]
        async with run_server(ServerConfig(**settings), classes, role, plugins=plugins) as server:
            yield server


@asynccontextmanager
async def connect(*adapters: type | Manifest, **settings: Any) -> AsyncIterator[BridgeClient]:
    """A client of a server of these adapters; both are gone when the block ends."""
    async with serving(*adapters, **settings) as server, BridgeClient(server.addresses[0]) as client:
        yield client


@contextmanager
def connect_sync(*adapters: type | Manifest, **settings: Any) -> Iterator[SyncBridgeClient]:
    """``connect`` for tests without asyncio: the server runs in a thread of its own."""
    started: asyncio.Future[Any] | None = None
    ready = threading.Event()
    outcome: list[Any] = []

    async def serve() -> None:
        nonlocal started
        loop = asyncio.get_running_loop()
        started = loop.create_future()
        try:
            async with serving(*adapters, **settings) as server:
                outcome.append((loop, server.addresses[0]))
                ready.set()
                await started
        except BaseException as error:
            outcome.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=_run_quietly, args=(serve,), name="bridge-testing", daemon=True)
    thread.start()
    ready.wait()
    if isinstance(outcome[0], BaseException):
        thread.join()
        raise outcome[0]
    loop, address = outcome[0]
    try:
        with SyncBridgeClient(address) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(started.set_result, None)  # type: ignore[union-attr]
        thread.join()


def _run_quietly(serve: Any) -> None:
    try:
        asyncio.run(serve())
    except BaseException:  # noqa: BLE001, S110 - handed to the caller's thread, which raises it
        pass
