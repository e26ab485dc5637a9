"""A thousand calls that go wrong leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge import BridgeError
from bridge_client import BridgeClient
from tests.support import probes

KINDS = ("fail", "wrong", "unknown", "deadline", "abandon", "session", "stream", "midway")


async def go_wrong(client: BridgeClient, kind: str) -> None:
    """One call that fails in one way."""
    with suppress(BridgeError, TimeoutError):
        match kind:
            case "fail":
                await client.call("fail", kind=random.choice(probes.FAILURES))
            case "wrong":
                await client.call("add", a="x", c=1)
            case "unknown":
                await client.call("nobody")
            case "deadline":
                await client.call("hang", timeout=0.02)
            case "abandon":
                async with asyncio.timeout(0.02):
                    await client.call("hang")
            case "session":
                async with client.session() as session:
                    await session.set("x", 1)
                    await session.call("read", name="y")
            case "stream":
                stream = client.stream("endless")
                async for _ in stream:
                    break
                await stream.aclose()
            case "midway":
                async for _ in client.stream("fail_midway", n=2):
                    pass


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def settled(server: Any) -> dict[str, int]:
    """Counts of what could leak, once nothing is running any more."""
    assert await server.dispatcher._wait_idle(20)
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "fds": open_files(),
        "sessions": len(server.host._store._sessions),
    }


async def test_a_thousand_failures_leak_nothing(start: Any, probe: type, caplog: Any) -> None:
    caplog.set_level("CRITICAL", logger="bridge.tool")
    server = await start(probe, threads=8)
    async with BridgeClient(server.addresses[0], retry=None, breaker=None) as client:

        async def round_of(calls: int) -> None:
            for begin in range(0, calls, 8):
                await asyncio.gather(*(go_wrong(client, KINDS[n % len(KINDS)]) for n in range(begin, begin + 8)))

        # Threads and buffers that stay are made.
        await asyncio.gather(*(go_wrong(client, "deadline") for _ in range(16)))
        await round_of(64)
        before = await settled(server)
        await round_of(1000)
        after = await settled(server)
        assert await client.call("add", a=1) == 2
    loud = [record.getMessage() for record in caplog.records if record.name in ("asyncio", "bridge.engine", "bridge")]
    assert not loud
    assert not [record for record in caplog.records if record.name.startswith("grpc")]
    assert after["sessions"] == before["sessions"] == 0
    assert after["tasks"] <= before["tasks"] + 8
    assert after["threads"] <= before["threads"] + 8  # as many as there may be, if not all were needed before
    assert after["fds"] <= before["fds"] + 2
