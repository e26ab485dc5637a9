"""Watches: every committed change, once and in order; and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.stores.memory import MemoryStore
from bridge.variables import Update, UpdateKind, Write
from tests.support.declare import declare

pytestmark = pytest.mark.timeout(20)


@asynccontextmanager
async def watching(host: Any, scope: CallScope, *names: str, **options: Any) -> AsyncIterator[Callable[[], Any]]:
    """A watch that has started; calling what this gives waits for the next update."""
    updates: AsyncGenerator[Update, None] = host.watch_variables(scope, names, **options)
    async with asyncio.timeout(10), aclosing(updates):
        assert (await anext(updates)).kind is UpdateKind.STARTED
        yield lambda: anext(updates)


async def _set(host: Any, scope: CallScope, **values: Any) -> None:
    await host.set_variables(scope, [Write(name=name, value=value) for name, value in values.items()])


def _told(update: Update) -> tuple[str, str, int, Any]:
    assert update.variable is not None
    return update.kind.name, update.variable.name, update.variable.version, update.variable.value


async def test_watch_tells_every_change_with_its_version_and_author(host: Any, scope: CallScope, of: Any) -> None:
    async with watching(host, scope, "x") as next_update:
        await _set(host, scope, x=1)
        await host.set_variables(of("alice", scope.session_id, changed_by="tool:t"), [Write(name="x", value=2)])
        await host.register_variable(scope, declare("x", "string", "three"))
        await host.delete_variable(scope, "x")
        await _set(host, scope, x=b"5")
        updates = [await next_update() for _ in range(5)]
    assert [_told(update) for update in updates] == [
        ("CHANGED", "x", 1, 1),
        ("CHANGED", "x", 2, 2),
        ("REGISTERED", "x", 3, "three"),
        ("DELETED", "x", 4, None),
        ("CHANGED", "x", 5, b"5"),
    ]
    assert [update.variable.changed_by for update in updates][:2] == ["client", "tool:t"]


async def test_watch_begins_with_the_values_there_are_if_asked(host: Any, scope: CallScope) -> None:
    await _set(host, scope, a=1, b=2)
    await _set(host, scope, a=3)
    async with watching(host, scope, "a", "b", "missing", initial=True) as next_update:
        initial = {_told(await next_update()) for _ in range(2)}
        assert initial == {("INITIAL", "a", 2, 3), ("INITIAL", "b", 1, 2)}
        await _set(host, scope, missing="here")
        assert _told(await next_update()) == ("CHANGED", "missing", 1, "here")


async def test_watch_says_at_once_where_it_could_be_resumed(host: Any, scope: CallScope) -> None:
    await _set(host, scope, a=1, b=2)
    await _set(host, scope, a=3)
    async with asyncio.timeout(10):
        for initial, positions in ((False, {"a": 2, "b": 1, "new": 0}), (True, {"new": 0})):
            async with aclosing(host.watch_variables(scope, ["a", "b", "new"], initial=initial)) as updates:
                assert (await anext(updates)).positions == positions


async def test_watch_hears_of_no_other_variable(host: Any, scope: CallScope) -> None:
    async with watching(host, scope, "x") as next_update:
        await _set(host, scope, y=1)
        await _set(host, scope, x=1)
        assert _told(await next_update()) == ("CHANGED", "x", 1, 1)


async def test_several_variables_are_told_in_the_order_of_their_commits(host: Any, scope: CallScope) -> None:
    async with watching(host, scope, "a", "b") as next_update:
        for value in range(5):
            await _set(host, scope, b=value)
            await _set(host, scope, a=value)
        told = [_told(await next_update()) for _ in range(10)]
    assert [(name, value) for _, name, _, value in told] == [(n, v) for v in range(5) for n in ("b", "a")]


async def test_watch_resumes_after_a_version_and_misses_nothing(host: Any, scope: CallScope) -> None:
    for value in range(1, 6):
        await _set(host, scope, x=value, y=value)
    options = {"resume_after": {"x": 2}, "initial": True}
    async with watching(host, scope, "x", "y", **options) as next_update:
        told = [_told(await next_update()) for _ in range(4)]
    assert told == [("INITIAL", "y", 5, 5), *(("CHANGED", "x", n, n) for n in (3, 4, 5))]


async def test_resuming_after_the_last_version_waits_for_the_next(host: Any, scope: CallScope) -> None:
    await _set(host, scope, x=1)
    async with watching(host, scope, "x", resume_after={"x": 1}) as next_update:
        await _set(host, scope, x=2)
        assert _told(await next_update())[2] == 2


async def test_watch_that_is_too_far_behind_is_told_where_to_resume(make_host: Any, of: Any) -> None:
    host = await make_host(history_entries=3)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    for value in range(1, 11):
        await _set(host, scope, x=value)
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x", resume_after={"x": 2}) as next_update:
            await next_update()
    assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "WATCH_BEHIND")
    assert caught.value.details.metadata == {"name": "x", "resume_after": "6"}
    async with watching(host, scope, "x", resume_after={"x": 6}) as next_update:
        assert [_told(await next_update())[2] for _ in range(4)] == [7, 8, 9, 10]


async def test_deletion_that_was_forgotten_is_a_gap_and_not_silence(make_host: Any, of: Any) -> None:
    host = await make_host(max_variables=2)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    await _set(host, scope, x=1)
    await host.delete_variable(scope, "x")
    await _set(host, scope, a=1, b=2)  # takes the room in which the deletion was remembered
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x", resume_after={"x": 1}) as next_update:
            await next_update()
    assert caught.value.reason == "WATCH_BEHIND"
    await host.delete_variable(scope, "a")
    # A version never comes twice, even of a name that was forgotten.
    assert await host.set_variables(scope, [Write(name="x", value=1)]) == {"x": 5}


async def test_watch_cannot_be_resumed_after_what_never_was(host: Any, scope: CallScope) -> None:
    await _set(host, scope, x=1)
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x", resume_after={"x": 7}):
            pass
    assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "WATCH_AHEAD")


async def test_closing_the_session_ends_its_watches(host: Any, scope: CallScope) -> None:
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x") as next_update:
            await host.close_session(scope)
            await next_update()
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_CLOSED")


@pytest.fixture
async def owned(host: Any, scope: CallScope, session_host: Any) -> Any:
    """The host itself, whichever way ``host`` asks it: whoever runs it sweeps."""
    return session_host()


async def test_watch_is_told_that_a_variable_and_then_the_session_expired(
    host: Any, scope: CallScope, owned: Any, clock: Any
) -> None:
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x") as next_update:
            await host.set_variables(scope, [Write(name="x", value=1, ttl=5.0)])
            assert _told(await next_update()) == ("CHANGED", "x", 1, 1)
            clock.advance(5.0)
            await owned.sweep()
            assert _told(await next_update()) == ("EXPIRED", "x", 2, None)
            clock.advance(10_000.0)
            await owned.sweep()
            await next_update()
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_EXPIRED")


async def test_write_after_the_end_of_a_variable_is_told_as_two_changes(
    host: Any, scope: CallScope, clock: Any
) -> None:
    async with watching(host, scope, "x") as next_update:
        await host.set_variables(scope, [Write(name="x", value=1, ttl=5.0)])
        clock.advance(5.0)
        await _set(host, scope, x="again")
        told = [_told(await next_update()) for _ in range(3)]
    assert told == [("CHANGED", "x", 1, 1), ("EXPIRED", "x", 2, None), ("CHANGED", "x", 3, "again")]


@pytest.mark.parametrize(
    ("names", "resume_after", "field"),
    [
        ((), {}, "names"),
        (("a b",), {}, "name"),
        (("x" * 10_000,), {}, "name"),
        (("x",), {"y": 1}, "resume_after"),
        (("x",), {"x": -1}, "resume_after"),
    ],
)
async def test_watch_on_nothing_or_nonsense_is_refused(
    host: Any, scope: CallScope, names: Any, resume_after: Any, field: str
) -> None:
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, *names, resume_after=resume_after):
            pass
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.details.violations[0].field == field


async def test_nobody_watches_the_session_of_another(host: Any, scope: CallScope, of: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        async with watching(host, of("mallory", scope.session_id), "x"):
            pass
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def _can_watch(host: Any, scope: CallScope) -> bool:
    try:
        async with watching(host, scope, "x"):
            return True
    except BridgeError:
        return False


async def test_session_has_a_limit_of_watches_and_gets_the_place_back(make_host: Any, of: Any) -> None:
    host = await make_host(max_watches=2)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    async with watching(host, scope, "x"):
        async with watching(host, scope, "x"):
            with pytest.raises(BridgeError) as caught:
                async with watching(host, scope, "x"):
                    pass
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            assert caught.value.details.metadata["limit"] == "max_watches"
        async with asyncio.timeout(5):
            while not await _can_watch(host, scope):  # over a wire the host hears of the end a moment later
                pass


async def test_watch_ends_with_unavailable_when_the_host_stops(host: Any, scope: CallScope, owned: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x") as next_update:
            owned.end_watches(BridgeError(Code.UNAVAILABLE, "stopping", reason="SHUTDOWN"))
            await next_update()
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "SHUTDOWN")


class MuteStore(MemoryStore):
    """Tells nobody, like one that was emptied from outside."""

    @asynccontextmanager
    async def subscribe(self, session_id: str, wake: Any) -> AsyncIterator[None]:
        yield


async def test_watch_that_is_told_nothing_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.hosts.watching.LOOK_AGAIN", 0.01)
    store = MuteStore()
    host = SessionHost(store)
    scope = CallScope((await host.open_session(CallScope())).session_id)
    with pytest.raises(BridgeError) as caught:
        async with watching(host, scope, "x") as next_update:
            waiting = asyncio.ensure_future(next_update())
            await asyncio.sleep(0)
            await _set(host, scope, x=1)
            assert _told(await waiting) == ("CHANGED", "x", 1, 1)
            await store.delete_session(scope.session_id)
            await next_update()
    assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_slow_watcher_gets_every_change_it_can_be_given(host: Any, scope: CallScope) -> None:
    async with watching(host, scope, "x") as next_update:
        for value in range(100):
            await _set(host, scope, x=value)
        assert [_told(await next_update())[3] for _ in range(100)] == list(range(100))


async def test_limit_of_watches_tells_others_nothing_of_the_session(make_host: Any, of: Any) -> None:
    host = await make_host(max_watches=1)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    async with watching(host, scope, "x"):
        with pytest.raises(BridgeError) as caught:
            async with watching(host, of("bob", scope.session_id), "x"):
                pass
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_watch_that_opens_a_session_does_not_end_with_the_one_before(make_host: Any, of: Any, clock: Any) -> None:
    host = await make_host(auto_open=True)
    scope = of("alice", "ab" * 16)
    await _set(host, scope, x=1)
    clock.advance(100_000.0)  # over, though nobody has swept it away
    async with watching(host, scope, "x") as next_update:
        for value in (2, 3):
            await _set(host, scope, x=value)
            assert _told(await next_update()) == ("CHANGED", "x", value - 1, value)
