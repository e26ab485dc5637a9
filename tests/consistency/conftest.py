"""Hosts to be used by several clients at once: each store, in the process and behind a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge import engines
from bridge.engines.base import ServerOptions
from bridge.frontends.host_service import host_methods
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.stores.base import Change, Decide, Log, Quota, Snapshot, Store
from bridge.stores.memory import MemoryStore
from tests.support.redis_server import RedisServer

AnyHost = SessionHost | GrpcHost
Deploy = Callable[..., Awaitable[list[AnyHost]]]


class InterleavedStore(MemoryStore):
    """Lets others run before and after each access, as a store that is elsewhere does."""

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        await asyncio.sleep(0)
        snapshot = await super().read(session_id, names, now)
        await asyncio.sleep(0)
        return snapshot

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, **options: Any
    ) -> Sequence[Change]:
        await asyncio.sleep(0)
        changes = await super().transact(session_id, names, decide, quota, now, **options)
        await asyncio.sleep(0)
        return changes

    async def read_log(self, session_id: str, after: Mapping[str, int], now: float, **options: Any) -> Log | None:
        await asyncio.sleep(0)
        log = await super().read_log(session_id, after, now, **options)
        await asyncio.sleep(0)
        return log


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests that do not kill it; they meet in it, but never in a session."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def served(host: SessionHost) -> AsyncIterator[GrpcHost]:
    """Serves a host on a real socket; the other end of it."""
    limits = ServerOptions(max_message_bytes=16 * 1024 * 1024, max_metadata_bytes=16 * 1024, max_concurrent_streams=100)
    server = engines.serve(limits)
    address = server.listen("127.0.0.1:0")
    await server.start(host_methods(host))
    remote = GrpcHost(engines.connect(address))
    try:
        yield remote
    finally:
        await remote.aclose()
        await server.aclose(0.0)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> list[Store]:
    """A store of each kind, one for every host that is to share what is in it. Not open yet."""
    if request.param == "memory":
        return [InterleavedStore()]
    if request.param == "sqlite":
        from bridge.stores.sqlite import SqliteStore

        return [SqliteStore(tmp_path / "store.db")]
    from bridge.stores.redis import RedisStore

    server: RedisServer = request.getfixturevalue("redis_server")
    return [RedisStore(server.url), RedisStore(server.url)]


@pytest.fixture(params=["direct", "grpc"])
async def deploy(request: pytest.FixtureRequest, stores: list[Store]) -> AsyncIterator[Deploy]:
    """Hosts that share what they keep: ``hosts = await deploy(history_entries=5)``, the arguments are limits."""
    async with AsyncExitStack() as stack:

        async def deploy(**limits: Any) -> list[AnyHost]:
            hosts: list[AnyHost] = []
            for store in stores:
                await store.open()
                host = SessionHost(store, limits=HostLimits(**limits))
                stack.push_async_callback(host.aclose)
                hosts.append(host if request.param == "direct" else await stack.enter_async_context(served(host)))
            return hosts

        yield deploy
