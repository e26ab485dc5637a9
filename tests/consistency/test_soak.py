"""Sessions that come and go leave nothing behind, neither in the process nor in the storage."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.variables import Update, UpdateKind, Write
from tests.support.storage import MakeStorage, Storage

SESSIONS = {"memory": 10_000, "sqlite": 2_000, "redis": 2_000}
"""Sessions that are open at once; what they leave in a file or a Redis does not depend on how many they are."""
WATCHED_EACH = 50
TTL = 100.0


class Clock:
    """Seconds since the epoch, as told."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def reason_of_the_end(updates: AsyncGenerator[Update, None]) -> str:
    """Why a watch ended."""
    try:
        async for _ in updates:
            pass
    except BridgeError as error:
        return error.reason
    return ""


async def live_and_die(host: SessionHost, clock: Clock, count: int) -> None:
    """Opens sessions, uses them, and lets their time pass."""
    watches: list[asyncio.Task[str]] = []
    for number in range(count):
        scope = CallScope((await host.open_session(CallScope(), ttl=TTL)).session_id)
        if number % WATCHED_EACH == 0:
            updates = host.watch_variables(scope, ["a", "b"])
            assert (await anext(updates)).kind is UpdateKind.STARTED
            watches.append(asyncio.create_task(reason_of_the_end(updates)))
        await host.set_variables(scope, [Write(name="a", value=number), Write(name="b", value="brief", ttl=10.0)])
        await host.set_variables(scope, [Write(name="a", value=number + 1)])
        if number % 10 == 0:
            await host.delete_variable(scope, "a")
    for seconds in (10.0, TTL):  # the end of one variable in each session, then of the sessions
        clock.now += seconds
        assert sum([await host.sweep() for _ in range(12)]) == count
    assert set(await asyncio.gather(*watches)) == {"SESSION_EXPIRED"}
    assert len(watches) == count // WATCHED_EACH


def allocated() -> int:
    """Objects of this process, or nearly: blocks of memory, each of which holds one or some."""
    gc.collect()
    return sys.getallocatedblocks()


def rest_in_sqlite(storage: Storage) -> int:
    """Rows in all tables that could hold something of a session."""
    with closing(sqlite3.connect(storage.place)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    assert rows
    return sum(rows.values())


def rest_in_redis(storage: Storage, url: str) -> int:
    """Keys of the store."""
    from redis import Redis

    with closing(Redis.from_url(url)) as client:
        keys: Any = client.keys(f"*{storage.place}*")
        return len(keys)


@pytest.fixture
def rest(request: pytest.FixtureRequest) -> Callable[[Storage], int]:
    """Counts what is left in a storage."""

    def rest(storage: Storage) -> int:
        if storage.kind == "sqlite":
            return rest_in_sqlite(storage)
        return rest_in_redis(storage, request.getfixturevalue("shared_redis").url) if storage.kind == "redis" else 0

    return rest


async def test_sessions_that_came_and_went_leave_nothing_behind(
    make_storage: MakeStorage, rest: Callable[[Storage], int]
) -> None:
    storage, clock = make_storage(), Clock()
    host = SessionHost(await storage.open(), clock=clock)
    count = SESSIONS[storage.kind]
    empty = rest(storage)
    await live_and_die(host, clock, count // 10)  # what is made once, at the first use, is there now
    before = allocated()
    await live_and_die(host, clock, count)
    left = allocated() - before
    assert await host.list_sessions(CallScope()) == []
    assert rest(storage) == empty
    assert left < count / 5  # one object kept of each session would be more
    await host.aclose()
