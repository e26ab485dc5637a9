"""A Redis that comes back with less than it had acknowledged, as one without ``appendonly yes`` may."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.variables import Write
from tests.support.redis_server import RedisServer
from tests.support.redis_stores import OpenStore


async def test_watch_of_what_redis_lost_ends_instead_of_missing_changes(tmp_path: Path, open_store: OpenStore) -> None:
    with RedisServer(tmp_path / "redis", options=("--appendonly", "no")) as server:
        host = SessionHost(await open_store(server.url))
        scope = CallScope((await host.open_session(CallScope())).session_id)
        await host.set_variables(scope, [Write(name="x", value="kept")])
        server.ask("SAVE")
        updates = host.watch_variables(scope, ["x"], resume_after={"x": 0})
        async with asyncio.timeout(20), aclosing(updates):
            for _ in range(2):  # it has begun; the value that is kept
                await anext(updates)
            await host.set_variables(scope, [Write(name="x", value="lost")])
            await anext(updates)
            await asyncio.to_thread(server.restart, crash=True)
            with pytest.raises(BridgeError) as caught:
                await anext(updates)  # another version 2 may come any time
    assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "WATCH_AHEAD")
    assert caught.value.details.metadata == {"name": "x", "resume_after": "1"}
