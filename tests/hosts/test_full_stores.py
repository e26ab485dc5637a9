"""A store without any room: what is over goes all the same."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.stores.memory import MemoryStore
from bridge.variables import Write


async def _full(clock: Any) -> tuple[SessionHost, CallScope]:
    """A host whose store has room for exactly what is in it: a variable that lives 5 seconds."""
    write = Write(name="x", value=b"1" * 20, ttl=5.0)
    probe = SessionHost(MemoryStore(), clock=clock)
    scope = CallScope((await probe.open_session(CallScope())).session_id)
    await probe.set_variables(scope, [write])
    size = (await probe.read_stored(scope, ["x"]))["x"].size
    host = SessionHost(MemoryStore(max_bytes=size), clock=clock)
    scope = CallScope((await host.open_session(CallScope())).session_id)
    await host.set_variables(scope, [write])
    return host, scope


async def test_variables_end_in_a_full_store(clock: Any) -> None:
    host, scope = await _full(clock)
    clock.advance(6.0)
    assert await host.sweep() == 1
    assert await host.sweep() == 0
    assert [update.kind.name for update in await host.get_history(scope, "x")] == ["EXPIRED"]


async def test_write_finds_the_room_of_what_is_over(clock: Any) -> None:
    host, _ = await _full(clock)
    other = CallScope((await host.open_session(CallScope())).session_id)
    write = Write(name="y", value=b"2" * 10)
    with pytest.raises(BridgeError) as refusal:
        await host.set_variables(other, [write])
    assert refusal.value.details.metadata["limit"] == "max_store_bytes"
    clock.advance(6.0)
    assert await host.set_variables(other, [write]) == {"y": 1}
