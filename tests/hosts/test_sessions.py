"""Sessions: who has them and how long."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from bridge.errors import BridgeError, Code, NoSessionError
from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.variables import Write
from tests.support.declare import declare


async def _refusal(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as refusal:
        await awaitable
    return refusal.value


async def test_opened_session_is_described(host: Any, clock: Any, of: Any) -> None:
    opened = await host.open_session(of("alice"), metadata={"job": "é"}, ttl=60.0)
    assert re.fullmatch("[0-9a-f]{32}", opened.session_id)
    assert opened.metadata == {"job": "é"}
    assert (opened.created_at, opened.ttl, opened.expires_at) == (clock.now, 60.0, clock.now + 60)
    scope = of("alice", opened.session_id)
    await host.set_variables(scope, [Write(name="x", value=1)])
    assert (await host.get_session(scope)).variable_count == 1


async def test_ids_differ(host: Any, of: Any) -> None:
    assert len({(await host.open_session(of("alice"))).session_id for _ in range(20)}) == 20


async def test_ttl_is_renewed_by_use_and_heartbeat(host: Any, clock: Any, of: Any) -> None:
    scope = of("alice", (await host.open_session(of("alice"), ttl=10.0)).session_id)
    uses = (
        host.heartbeat,
        host.get_session,
        host.list_variables,
        lambda scope: host.get_variables(scope, ["x"]),
        lambda scope: host.set_variables(scope, [Write(name="x", value=1)]),
    )
    for use in uses:
        clock.advance(9.0)
        await use(scope)
    assert await host.heartbeat(scope) == clock.now + 10
    clock.advance(10.0)
    assert (await _refusal(host.heartbeat(scope))).reason == "SESSION_NOT_FOUND"


async def test_closed_session_is_gone(host: Any, scope: CallScope) -> None:
    await host.close_session(scope)
    refusals = [
        await _refusal(host.close_session(scope)),
        await _refusal(host.heartbeat(scope)),
        await _refusal(host.get_variables(scope, ["x"])),
        await _refusal(host.set_variables(scope, [Write(name="x", value=1)])),
        await _refusal(host.set_variables(scope, [Write(name="x", value=1), Write(name="y", value=1)], atomic=False)),
        await _refusal(host.register_variable(scope, declare("x", "integer", 1))),
        await _refusal(host.list_variables(scope)),
        await _refusal(host.delete_variable(scope, "x")),
    ]
    assert {(error.code, error.reason) for error in refusals} == {(Code.NOT_FOUND, "SESSION_NOT_FOUND")}


@pytest.mark.parametrize("session_id", ["xyz", "A" * 32, "0" * 33, "0" * 32, "../etc", "0" * 31 + "\n", "é" * 32])
async def test_unknown_and_malformed_ids_look_the_same(host: Any, of: Any, session_id: str) -> None:
    error = await _refusal(host.get_session(of("alice", session_id)))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")
    assert session_id not in error.message


async def test_session_of_another_owner_looks_unknown(host: Any, scope: CallScope, of: Any) -> None:
    unknown = await _refusal(host.heartbeat(of("alice", "0" * 32)))
    for principal in ("", "bob", "alice2", "Alice"):
        error = await _refusal(host.close_session(of(principal, scope.session_id)))
        assert (error.code, error.reason, error.message) == (unknown.code, unknown.reason, unknown.message)
    await host.heartbeat(scope)


async def test_call_without_a_session_says_so(host: Any, of: Any) -> None:
    with pytest.raises(NoSessionError):
        await host.get_variables(of("alice"), ["x"])
    with pytest.raises(NoSessionError):
        await host.set_variables(of("alice"), [Write(name="x", value=1)], atomic=False)


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, 1e12, 86400.5, "60", True])
async def test_impossible_ttl_is_refused(host: Any, of: Any, ttl: Any) -> None:
    error = await _refusal(host.open_session(of("alice"), ttl=ttl))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations[0].field == "ttl"


async def test_too_many_sessions_are_refused_until_one_is_gone(make_host: Any, clock: Any, of: Any) -> None:
    host = await make_host(max_sessions=2)
    first = await host.open_session(of("alice"))
    await host.open_session(of("alice"), ttl=5.0)
    error = await _refusal(host.open_session(of("alice")))
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert error.details.metadata == {"limit": "max_sessions", "maximum": "2"}
    clock.advance(6.0)  # the second is over, though nobody has swept it away
    await host.open_session(of("alice"))
    await host.close_session(of("alice", first.session_id))
    await host.open_session(of("alice"))


@pytest.mark.parametrize(
    ("metadata", "limit"),
    [
        ({f"k{i}": "" for i in range(65)}, "max_metadata_entries"),
        ({"k": "é" * 4096}, "max_metadata_bytes"),
    ],
)
async def test_too_much_metadata_is_refused(host: Any, of: Any, metadata: dict[str, str], limit: str) -> None:
    error = await _refusal(host.open_session(of("alice"), metadata=metadata))
    assert (error.code, error.details.metadata["limit"]) == (Code.RESOURCE_EXHAUSTED, limit)


@pytest.mark.parametrize("metadata", [{"k": 1}, {1: "v"}, {"k": "\ud800"}])
async def test_metadata_must_be_text(host: Any, of: Any, metadata: Any) -> None:
    error = await _refusal(host.open_session(of("alice"), metadata=metadata))
    assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "metadata")


async def test_owner_lists_own_sessions_newest_first(host: Any, of: Any, clock: Any) -> None:
    opened = []
    for principal in ("alice", "bob", "alice", "alice"):
        clock.advance(1.0)
        session = await host.open_session(of(principal), metadata={"by": principal})
        if principal == "alice":
            opened.insert(0, session.session_id)
    assert [session.session_id for session in await host.list_sessions(of("alice"))] == opened
    assert [session.session_id for session in await host.list_sessions(of("alice"), 2)] == opened[:2]
    assert {session.metadata["by"] for session in await host.list_sessions(of("bob"))} == {"bob"}
    assert await host.list_sessions(of("mallory")) == []


async def test_list_has_no_session_that_is_closed_or_over(host: Any, of: Any, clock: Any) -> None:
    short = await host.open_session(of("alice"), ttl=5.0)
    closed = await host.open_session(of("alice"))
    kept = await host.open_session(of("alice"))
    await host.close_session(of("alice", closed.session_id))
    clock.advance(6.0)
    assert [session.session_id for session in await host.list_sessions(of("alice"))] == [kept.session_id]
    assert short.session_id != kept.session_id


async def test_looking_at_the_list_keeps_no_session_alive(host: Any, of: Any, clock: Any) -> None:
    session = await host.open_session(of("alice"), ttl=5.0)
    clock.advance(4.0)
    (listed,) = await host.list_sessions(of("alice"))
    assert listed.expires_at == session.expires_at


async def test_nameless_callers_list_nothing_on_a_host_that_others_can_reach(of: Any) -> None:
    host = InMemoryHost(lists_anonymous=False)
    await host.open_session(CallScope())
    error = await _refusal(host.list_sessions(CallScope()))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "SESSIONS_PRIVATE")


async def test_strict_host_refuses_a_session_nobody_opened(host: Any, of: Any) -> None:
    error = await _refusal(host.set_variables(of("alice", "ab" * 16), [Write(name="x", value=1)]))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_auto_open_host_opens_a_session_for_whoever_uses_it_first(make_host: Any, of: Any, clock: Any) -> None:
    host = await make_host(auto_open=True)
    session_id = "ab" * 16
    assert await host.set_variables(of("alice", session_id), [Write(name="x", value=1)]) == {"x": 1}
    assert (await host.get_variables(of("alice", session_id), ["x"]))["x"].value == 1
    error = await _refusal(host.get_variables(of("bob", session_id), ["x"]))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")
    clock.advance(100_000.0)  # over, though nobody has swept it away
    assert await host.get_variables(of("bob", session_id), ["x"]) == {}
    for shape in ("AB" * 16, "ab" * 15, "../" * 10, "x" * 32):
        assert (await _refusal(host.get_variables(of("alice", shape), ["x"]))).reason == "SESSION_NOT_FOUND"


async def test_auto_open_host_opens_no_session_to_close_it(make_host: Any, of: Any) -> None:
    host = await make_host(auto_open=True)
    assert (await _refusal(host.close_session(of("alice", "ab" * 16)))).reason == "SESSION_NOT_FOUND"
