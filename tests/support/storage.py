"""Fixtures: one behaviour, every store; a plugin of the tests, because tests in several folders need them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bridge.stores.base import Store
from bridge.stores.memory import MemoryStore
from tests.support.redis_server import RedisServer

__all__ = ["DURABLE", "KINDS", "SHARED", "MakeStorage", "Storage", "make_storage", "shared_redis", "storage", "store"]

KINDS = ("memory", "sqlite", "redis")

DURABLE = pytest.mark.parametrize("make_storage", ["sqlite", "redis"], indirect=True)
"""For stores that keep what they have when they are closed."""
SHARED = pytest.mark.parametrize("make_storage", ["redis"], indirect=True)
"""For stores that several hosts may use at once."""


class Storage:
    """One empty place to keep things, and the stores that are open on it."""

    def __init__(self, kind: str, make: Callable[[], Store], place: str = "") -> None:
        self.kind = kind
        self.place = place
        """Where it is: the path of the file, or the prefix of the keys."""
        self._make = make
        self._stores: list[Store] = []

    async def open(self) -> Store:
        """A further store on this place."""
        store = self._make()
        await store.open()
        self._stores.append(store)
        return store

    async def reopen(self) -> Store:
        """Closes every store on this place and opens one."""
        await self.aclose()
        return await self.open()

    async def aclose(self) -> None:
        """Closes every store on this place."""
        while self._stores:
            await self._stores.pop().aclose()


MakeStorage = Callable[[], Storage]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that need none of their own; it writes nothing to the disk, which would take time."""
    with RedisServer(tmp_path_factory.mktemp("redis"), options=("--appendonly", "no")) as server:
        yield server


_prefixes = itertools.count()


@pytest.fixture(params=KINDS)
def make_storage(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStorage:
    """Makes empty places of each kind: ``storage = make_storage()``."""
    kind: str = request.param
    if kind == "memory":
        return lambda: Storage(kind, MemoryStore)
    if kind == "sqlite":
        return lambda: _sqlite(tmp_path / f"store-{next(_prefixes)}.db")
    url = request.getfixturevalue("shared_redis").url
    return lambda: _redis(url, f"test-{next(_prefixes)}")


def _sqlite(path: Path) -> Storage:
    from bridge.stores.sqlite import SqliteStore

    return Storage("sqlite", lambda: SqliteStore(path), str(path))


def _redis(url: str, prefix: str) -> Storage:
    from bridge.stores.redis import RedisStore

    return Storage("redis", lambda: RedisStore(url, prefix=prefix), prefix)


@pytest.fixture
async def storage(make_storage: MakeStorage) -> AsyncIterator[Storage]:
    """One empty place of each kind."""
    made = make_storage()
    yield made
    await made.aclose()


@pytest.fixture
async def store(storage: Storage) -> Store:
    """An open store of each kind, empty."""
    return await storage.open()
